"""Why a process ended: its history -> cause, ending, sender. Pure.

The rules are in the order of `records.Cause`; the first that holds decides. A rule that lacks a
fact raises `Unknown` instead of guessing.
"""

from __future__ import annotations

import math
import signal as signals
from dataclasses import dataclass, field, replace

from pytest_proclife.analysis.history import History, Left
from pytest_proclife.analysis.log import Asked
from pytest_proclife.records import Cause, Ending, signal_name

# Signals that ask a process to end, so that a handler's later end is the answer to them.
# SIGHUP is not among them: servers take it for "read your configuration again".
ASKING = frozenset({signals.SIGTERM, signals.SIGINT, signals.SIGQUIT})

# Signals that the kernel sends for what the process itself did (signal(7)), or abort(3):
# where one of these has no reported sender, no program that cannot report is suspected.
OWN_DOING = frozenset(
    {
        *(signals.SIGSEGV, signals.SIGBUS, signals.SIGFPE, signals.SIGILL, signals.SIGABRT),
        *(signals.SIGTRAP, signals.SIGSYS, signals.SIGPIPE, signals.SIGALRM, signals.SIGVTALRM),
        *(signals.SIGPROF, signals.SIGXCPU, signals.SIGXFSZ),
    }
)


class Unknown(Exception):
    """A fact is missing that could change the answer; the message says which."""


def ended_of(request: Asked, history: History) -> bool:
    """Whether it died of that very signal, or ended because it had caught it."""
    left = history.left
    if request.alive is False:
        return False  # it went to a dead process that nobody had collected
    if request.state == "caught" and request.at < (history.replaced or 0):
        return False  # another program caught it, which is gone
    done = left is not None and left.at < request.at
    if left is not None and not done and left.rose_from == request.signal:
        if request.state == "ignored" or _killed_instead(request, history):
            return False
        exclude_replacement(history)
        return True
    if history.signal == request.signal:
        return _died_of(request, history)
    if done or request.state == "ignored":
        return False
    if request.signal not in ASKING:
        return _left_by_its_handler(request, history)
    if history.signal is not None and not by_itself(history):
        # it caught the request or not, but it was another signal that ended it
        if request.from_exit_path and left is None and history.has_hole(start=request.at):
            raise Unknown("reports of its own are missing: its parent's exit may have ended it")
        return False
    if not _caught(request, history):
        return False
    exclude_replacement(history)
    return True


def exclude_replacement(history: History) -> None:
    """Make sure that the program whose code reported its end is the one that ended."""
    if history.left is not None and history.has_hole(start=history.left.at):
        raise Unknown("reports of its own are missing: another program may have taken its place")


def _left_by_its_handler(request: Asked, history: History) -> bool:
    """Where nobody sees handlers run, main's SystemExit may have come from the last one's."""
    left = history.left
    if history.sees_handlers or left is None or left.how != Ending.SYS_EXIT or left.exception:
        return False
    later = any(r.at > request.at and r.by != history.id and r.sure for r in history.asked)
    if later or request.state not in ("caught", None):
        return False
    name = signal_name(request.signal)
    raise Unknown(f"whether it left by its handler of {name} could not be seen")


def _killed_instead(request: Asked, history: History) -> bool:
    """Whether somebody killed it on its way out. To be killed comes before to be terminated."""
    return not request.from_exit_path and any(
        r.signal == history.signal == signals.SIGKILL and r.by != history.id and r.sure
        for r in history.asked
    )


def _died_of(request: Asked, history: History) -> bool:
    left = history.left
    if request.signal == signals.SIGINT and is_interrupt(left):
        # Ctrl-C in the exit path: its own KeyboardInterrupt came first, and was passed on
        return left is None or left.at >= request.at
    later = _next_like(request, history)
    until = history.ended if later is None else later.at
    survived = request.state in ("caught", "ignored") or any(
        signal == request.signal and request.at <= at <= until for signal, at in history.caught
    )
    if survived and later is not None and later.by != history.id:
        return False
    if request.state == "ignored":
        raise Unknown(f"it ignored {signal_name(request.signal)}, and yet it died of it")
    return True


def _next_like(request: Asked, history: History) -> Asked | None:
    """The next time that the same signal was sent to it, by others or by itself."""
    later = [
        r
        for r in history.asked
        if r.signal == request.signal and r.at > request.at and r.sure and r.alive is not False
    ]
    return min(later, key=lambda r: r.at, default=None)


def by_itself(history: History) -> bool:
    """Whether the signal that it died of is one that it sent itself, as a handler does."""
    if history.signal in OWN_DOING:
        return True
    return any(r.by == history.id and r.signal == history.signal for r in history.asked)


def _caught(request: Asked, history: History) -> bool:
    """It ended with a code of its own: did a handler of its take the signal while it ran?"""
    left, name = history.left, signal_name(request.signal)
    if not history.observed or history.replaced is not None:
        if request.state is None:
            raise Unknown(f"what it did with {name} could not be seen")
        return request.state == "caught"
    if left is None and history.holes:
        raise Unknown(f"reports are missing that could say that it was done before {name} came")
    done = left.at if left is not None else history.ended
    if any(signal == request.signal and request.at <= at <= done for signal, at in history.caught):
        return True
    if history.has_hole(request.at, done):
        raise Unknown(f"reports are missing that could say what it did with {name}")
    return _caught_in_silence(request, history)


def _caught_in_silence(request: Asked, history: History) -> bool:
    """The handlers that nobody sees run: those written in C, and on 3.11 all of them."""
    left = history.left
    handled = left is None or request.signal in left.handled
    if request.state not in ("caught", None):
        return False
    if not history.sees_handlers:
        doubt = request.state is None
    elif request.signal == signals.SIGINT:  # default_int_handler of CPython is written in C
        if request.state is None and not handled:
            return False
        doubt = request.state is None
    else:
        if not handled or not (request.state == "caught" or is_interrupt(left)):
            return False  # a handler of Python's would have been seen to run
        doubt = True
    if doubt:
        raise Unknown(f"whether it caught {signal_name(request.signal)} could not be seen")
    return True


def explains_itself(request: Asked, history: History) -> bool:
    """Whether it ended of a signal that it sent itself, whatever was sent to it later."""
    if request.signal == history.signal and request.state in ("default", None):
        return True
    if history.signal not in (None, request.signal) and not by_itself(history):
        return False  # something else ended it, after all
    left = history.left
    if left is not None and left.at >= request.at and left.rose_from == request.signal:
        return True
    done = left.at if left is not None else history.ended
    return request.signal in ASKING and any(
        signal == request.signal and request.at <= at <= done for signal, at in history.caught
    )


def is_interrupt(left: Left | None) -> bool:
    return left is not None and left.exception == "KeyboardInterrupt"


def exclude_earlier(request: Asked, history: History) -> None:
    """Make sure that no other request came before the one that it ended of."""
    if history.signal == request.signal and request.state == "default":
        return  # alive, and with nothing in the way of the signal: it died of this one
    if history.signal == request.signal == signals.SIGKILL:
        return
    same = request.by, request.signal, request.via  # whichever of these it was, it says the same
    if any(
        not r.sure and r.at <= request.at and (r.by, r.signal, r.via) != same for r in history.asked
    ):
        raise Unknown("an earlier request may have gone to it, or to another process")
    if history.missing.owner(history.began, request.at, but=history.id) is not None:
        raise Unknown("reports are missing that could hold an earlier request")


def exclude_unseen(history: History, until: float = math.inf) -> None:
    """Make sure that it did not end of a request, up to some time, that nobody reported."""
    _exclude(history, _signs(history, until), _silently_caught(history), until)


def exclude_unseen_kill(history: History) -> None:
    """Make sure that nobody unseen killed it on its way out, as a request had told it to end."""
    if not by_itself(history):
        _exclude(history, frozenset({signals.SIGKILL}), frozenset(), math.inf)


def _exclude(history: History, signs: frozenset[int], silent: frozenset[int], until: float) -> None:
    # what came when its code was done could only have ended it by killing it
    done = history.left.at if history.left is not None else math.inf
    unsure = {
        r.signal
        for r in history.asked
        if not r.sure and r.at <= until and (r.at <= done or r.signal == history.signal)
    }
    if unsure & (signs | silent):
        raise Unknown("a request may have gone to it, or to another process")
    until = min(until, history.ended)
    if (signs or silent) and (
        history.missing.owner(history.began, until, but=history.id) is not None
    ):
        raise Unknown("reports are missing that could hold a request")
    for signal in signs - OWN_DOING:
        if history.strangers.owner(history.began, until, but=history.id) is not None:
            name = signal_name(signal)
            raise Unknown(f"a program that does not report was running, and may have sent {name}")


def _signs(history: History, until: float) -> frozenset[int]:
    """The signals up to some time that show in what it did, so that somebody may have sent them."""
    left = history.left
    done = left.at if left is not None else history.ended
    found = {s for s, at in history.caught if s in ASKING and at <= min(done, until)}
    if left is not None and left.rose_from is not None and left.at <= until:
        found.add(left.rose_from)
    passed_on = history.signal == signals.SIGINT and is_interrupt(left)
    if history.signal is not None and not passed_on and history.ended <= until:
        found.add(history.signal)
    return frozenset(found)


def _silently_caught(history: History) -> frozenset[int]:
    """The signals that it could have caught, and ended of, without a trace."""
    if history.signal is not None and not by_itself(history):
        return frozenset()
    if not history.observed or history.replaced is not None:
        return ASKING
    handled = ASKING if history.left is None else history.left.handled & ASKING
    return handled & {signals.SIGINT} if history.sees_handlers else ASKING


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The cause, the ending, who ended it by which request, and the reasons in words."""

    cause: Cause
    ending: Ending | None
    ended_by: int | str | None = None
    request: Asked | None = field(default=None, compare=False)
    reasons: tuple[str, ...] = ()


def classify(history: History) -> Verdict:
    """Decide why a process ended."""
    ending = _ending(history)
    if history.exitcode is None:
        return Verdict(
            cause=Cause.UNKNOWN, ending=ending, reasons=("its wait status could not be had",)
        )
    try:
        for rule in _RULES:
            verdict = rule(history, ending)
            if verdict is not None:
                return verdict
    except Unknown as missing:
        return Verdict(cause=Cause.UNKNOWN, ending=ending, reasons=(str(missing),))
    return Verdict(cause=Cause.UNKNOWN, ending=ending, reasons=(_nothing_reported(history),))


def _ending(history: History) -> Ending | None:
    left = history.left
    if history.exitcode is None:
        return None
    if history.signal is not None:
        passed_on = is_interrupt(left) and history.signal == signals.SIGINT
        # main shows -2: `exit_sigint` in CPython's main.c passes the signal on to itself
        return Ending.RAISED if passed_on else Ending.SIGNALED
    if history.replaced is not None:
        return Ending.EXITED
    if history.last_word == "os_exit":
        return Ending.OS_EXIT
    if left is None or history.has_hole(start=left.at):
        return Ending.EXITED
    return Ending(left.how)


# --- the rules


def _cleaned_up(history: History, ending: Ending | None) -> Verdict | None:
    if history.cleaned_up is None or history.signal != signals.SIGKILL:
        return None
    for request in history.asked:
        earlier = request.at < history.cleaned_up and request.sure and request.alive is not False
        if earlier and request.signal == signals.SIGKILL:
            return None  # nothing survives that: it was dying when the clean-up came
    return Verdict(cause=Cause.CLEANED_UP, ending=ending, ended_by="proclife")


def _on_request(history: History, ending: Ending | None) -> Verdict | None:
    """abandoned, killed, terminated: somebody else sent a signal, and it ended of it."""
    for request in sorted(history.asked, key=lambda r: r.at):
        if not request.sure:
            continue
        if request.by == history.id:
            if explains_itself(request, history):
                exclude_unseen(history, request.at)
                return None
            continue
        if ended_of(request, history):
            exclude_earlier(request, history)
            if history.signal == signals.SIGKILL != request.signal:
                exclude_unseen_kill(history)  # that comes before to be terminated
            verdict = _verdict_for(request, history, ending)
            if verdict is None:  # it was done by then, and its exit path was cut short
                others = tuple(r for r in history.asked if r is not request)
                return _on_request(replace(history, asked=others, exitcode=0), ending)
            return verdict
    exclude_unseen(history)
    return None


def _own_end(history: History, ending: Ending | None) -> Verdict | None:
    """returned, raised, sys_exit: its own code reported its end."""
    if history.left is None or history.replaced is not None:
        return None
    exclude_replacement(history)
    return Verdict(cause=Cause(history.left.how), ending=ending)


def _os_exit(history: History, ending: Ending | None) -> Verdict | None:
    if history.last_word != "os_exit" or history.signal is not None or history.replaced is not None:
        return None
    if history.holes:
        raise Unknown("reports of its own are missing: its code may have ended before os._exit()")
    return Verdict(cause=Cause.OS_EXIT, ending=ending)


def _signaled(history: History, ending: Ending | None) -> Verdict | None:
    if history.signal is None:
        return None
    if history.holes:
        raise Unknown("reports of its own are missing: its code may have ended before the signal")
    return Verdict(cause=Cause.SIGNALED, ending=ending)


def _exited(history: History, ending: Ending | None) -> Verdict | None:
    if history.signal is None and (not history.observed or history.replaced is not None):
        return Verdict(cause=Cause.EXITED, ending=Ending.EXITED)
    return None


_RULES = (_cleaned_up, _on_request, _own_end, _os_exit, _signaled, _exited)


def _verdict_for(request: Asked, history: History, ending: Ending | None) -> Verdict | None:
    if request.from_exit_path and history.daemon is not False:
        if request.by != history.parent and not history.parent_known:
            raise Unknown("an exit path told it to end, but whether its parent's is not known")
        if request.by == history.parent:
            return _abandoned(request, history, ending)
    cause = Cause.KILLED if request.signal == signals.SIGKILL else Cause.TERMINATED
    return Verdict(cause=cause, ending=ending, ended_by=request.by, request=request)


def _abandoned(request: Asked, history: History, ending: Ending | None) -> Verdict | None:
    if history.left is not None and history.left.at < request.at:
        return None  # a finished daemon was not abandoned
    if history.daemon is None:
        raise Unknown("its parent's exit path told it to end, but its daemon flag is not known")
    if history.left is None and history.has_hole(end=request.at):
        raise Unknown("reports of its own are missing: its target may have been done")
    return Verdict(cause=Cause.ABANDONED, ending=ending, ended_by=request.by, request=request)


def _nothing_reported(history: History) -> str:
    if history.last_word is not None:
        return "the report of how its code ended is missing"
    return f"it exited with {history.exitcode}, but reported neither its end nor os._exit()"
