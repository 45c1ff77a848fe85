"""Evidence about one process -> why and how it ended. Pure: values in, a verdict out.

The rules stand in the order of the causes in `records.Cause`; the first that holds decides.
A rule that lacks a fact says so instead of guessing (`Unknown`).
"""

from __future__ import annotations

import math
import signal as signals
from dataclasses import dataclass

from pytest_proclife.records import Cause, Ending
from pytest_proclife.spans import NONE, Spans

# Signals that ask a process to end, so that a handler's later end is the answer to them.
# SIGHUP is not among them: servers take it for "read your configuration again".
_ASKING = frozenset({signals.SIGTERM, signals.SIGINT, signals.SIGQUIT})

# Signals that the kernel sends for what the process itself did (signal(7)), or abort(3):
# where one of these has no reported sender, no program that cannot report is suspected.
_OWN_DOING = frozenset(
    {
        *(signals.SIGSEGV, signals.SIGBUS, signals.SIGFPE, signals.SIGILL, signals.SIGABRT),
        *(signals.SIGTRAP, signals.SIGSYS, signals.SIGPIPE, signals.SIGALRM, signals.SIGVTALRM),
        *(signals.SIGPROF, signals.SIGXCPU, signals.SIGXFSZ),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A signal that was sent to the process. Times are monotonic ns, of the reports.

    `by` is a process's id, or "test"; `state` is what the kernel said that the signal would
    meet (caught, ignored, blocked, default), None where the process could not be asked.
    `alive` is what its sender saw of it just before, None where it did not look. Not `sure`:
    it may have gone to another process.
    """

    at: int
    by: int | str
    signal: int
    via: str
    state: str | None = None
    alive: bool | None = None
    sure: bool = True

    @property
    def from_exit_path(self) -> bool:
        return self.via == "exit path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a process reported of the end of its own code. `rose_from` is a signal's number."""

    at: int
    how: str
    exception: str | None = None
    rose_from: int | None = None
    handled: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that is known of one process that has ended. Times are monotonic ns.

    `parent_known`: the parent is certain, not inferred. `observed`: it reports from inside, or
    should have. `sees_handlers`: it reports Python's signal handlers as they run (CPython 3.12
    on). `replaced`: a program that does not report took its place. `cleaned_up` is when
    proclife sent it SIGKILL. `caught` holds (signal, when). `last_word` is how its last report
    said that it leaves (exit, os_exit, launcher), None if there was none. `holes` are when
    reports of its own are missing. `missing`: when reports of others are missing, any of which
    could be a request. `strangers`: when programs ran whose requests nobody reports.
    """

    id: int
    exitcode: int | None
    began: float = -math.inf
    ended: float = math.inf
    parent: int | None = None
    parent_known: bool = True
    daemon: bool | None = None
    observed: bool = True
    sees_handlers: bool = True
    replaced: bool = False
    cleaned_up: int | None = None
    asked: tuple[Asked, ...] = ()
    caught: tuple[tuple[int, int], ...] = ()
    left: Left | None = None
    last_word: str | None = None
    holes: tuple[tuple[float, float], ...] = ()
    missing: Spans = NONE
    strangers: Spans = NONE

    @property
    def signal(self) -> int | None:
        return -self.exitcode if self.exitcode is not None and self.exitcode < 0 else None

    def has_hole(self, start: float = -math.inf, end: float = math.inf) -> bool:
        """Whether reports of its own are missing that it wrote after `start`, before `end`."""
        return any(low < end and high > start for low, high in self.holes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The cause, the ending, who ended it, and the reasons in words."""

    cause: Cause
    ending: Ending | None
    ended_by: int | str | None = None
    reasons: tuple[str, ...] = ()


class Unknown(Exception):
    """A fact is missing that could change the answer; the message says which."""


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
        passed_on = _is_interrupt(left) and history.signal == signals.SIGINT
        # main shows -2: `exit_sigint` in CPython's main.c passes the signal on to itself
        return Ending.RAISED if passed_on else Ending.SIGNALED
    if history.replaced:
        return Ending.EXITED
    if history.last_word == "os_exit":
        return Ending.OS_EXIT
    if left is None or history.has_hole(start=left.at):
        return Ending.EXITED
    return Ending(left.how)


def _is_interrupt(left: Left | None) -> bool:
    return left is not None and left.exception == "KeyboardInterrupt"


# --- the rules


def _cleaned_up(history: History, ending: Ending | None) -> Verdict | None:
    if history.cleaned_up is None or history.signal != signals.SIGKILL:
        return None
    for request in history.asked:
        if request.signal == signals.SIGKILL and request.at < history.cleaned_up and request.sure:
            return None  # nothing survives that: it was dying when the clean-up came
    return Verdict(cause=Cause.CLEANED_UP, ending=ending, ended_by="proclife")


def _on_request(history: History, ending: Ending | None) -> Verdict | None:
    """abandoned, killed, terminated: somebody else sent a signal, and it ended of it."""
    for request in sorted(history.asked, key=lambda r: r.at):
        if not request.sure:
            continue
        if request.by == history.id:
            if _explains_itself(request, history):
                return None
            continue
        if _ended_of(request, history):
            _exclude_earlier(request, history)
            return _verdict_for(request, history, ending)
    _exclude_unseen(history)
    return None


def _own_end(history: History, ending: Ending | None) -> Verdict | None:
    """returned, raised, sys_exit: its own code reported its end."""
    if history.left is None or history.replaced:
        return None
    if history.has_hole(start=history.left.at):
        raise Unknown("reports of its own are missing: another program may have taken its place")
    return Verdict(cause=Cause(history.left.how), ending=ending)


def _os_exit(history: History, ending: Ending | None) -> Verdict | None:
    if history.last_word != "os_exit" or history.signal is not None or history.replaced:
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
    if history.signal is None and (not history.observed or history.replaced):
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
    return Verdict(cause=cause, ending=ending, ended_by=request.by)


def _abandoned(request: Asked, history: History, ending: Ending | None) -> Verdict | None:
    if history.left is not None and history.left.at < request.at:
        return None  # a finished daemon was not abandoned
    if history.daemon is None:
        raise Unknown("its parent's exit path told it to end, but its daemon flag is not known")
    if history.left is None and history.has_hole(end=request.at):
        raise Unknown("reports of its own are missing: its target may have been done")
    return Verdict(cause=Cause.ABANDONED, ending=ending, ended_by=request.by)


# --- whether it ended of a request


def _ended_of(request: Asked, history: History) -> bool:
    """Whether it died of that very signal, or ended because it had caught it."""
    left = history.left
    if request.alive is False:
        return False  # it went to a dead process that nobody had collected
    if history.signal == request.signal:
        return _died_of(request, history)
    if request.state == "ignored":
        return False
    if left is not None and left.at < request.at:
        return False  # it was done before
    if left is not None and left.rose_from == request.signal:
        return True
    if request.signal not in _ASKING:
        return False
    if history.signal is not None and not _by_itself(history):
        return False  # it caught the request or not, but it was another signal that ended it
    return _caught(request, history)


def _died_of(request: Asked, history: History) -> bool:
    left = history.left
    if request.signal == signals.SIGINT and _is_interrupt(left):
        # Ctrl-C in the exit path: its own KeyboardInterrupt came first, and was passed on
        return left is None or left.at >= request.at
    if request.state == "ignored":
        raise Unknown(f"it ignored {_name(request.signal)}, and yet it died of it")
    return True


def _by_itself(history: History) -> bool:
    """Whether the signal that it died of is one that it sent itself, as a handler does."""
    if history.signal in _OWN_DOING:
        return True
    return any(r.by == history.id and r.signal == history.signal for r in history.asked)


def _caught(request: Asked, history: History) -> bool:
    """It ended with a code of its own: did a handler of its take the signal while it ran?"""
    left = history.left
    done = left.at if left is not None else history.ended
    if any(signal == request.signal and request.at <= at <= done for signal, at in history.caught):
        return True
    name = _name(request.signal)
    if not history.observed or history.replaced:
        if request.state is None:
            raise Unknown(f"what it did with {name} could not be seen")
        return request.state == "caught"
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
        if not handled or not (request.state == "caught" or _is_interrupt(left)):
            return False  # a handler of Python's would have been seen to run
        doubt = True
    if doubt:
        raise Unknown(f"whether it caught {_name(request.signal)} could not be seen")
    return True


# --- what nobody reported


def _explains_itself(request: Asked, history: History) -> bool:
    """Whether it ended of a signal that it sent itself, whatever was sent to it later."""
    if request.signal == history.signal and request.state in ("default", None):
        return True
    left = history.left
    if left is not None and left.at >= request.at and left.rose_from == request.signal:
        return True
    done = left.at if left is not None else history.ended
    return request.signal in _ASKING and any(
        signal == request.signal and request.at <= at <= done for signal, at in history.caught
    )


def _exclude_earlier(request: Asked, history: History) -> None:
    """Make sure that no other request came before the one that it ended of."""
    if history.signal == request.signal and request.state == "default":
        return  # alive, and with nothing in the way of the signal: it died of this one
    if history.signal == request.signal == signals.SIGKILL:
        return
    if any(not r.sure and r.at <= request.at for r in history.asked):
        raise Unknown("an earlier request may have gone to it, or to another process")
    if history.missing.owner(history.began, request.at, but=history.id) is not None:
        raise Unknown("reports are missing that could hold an earlier request")


def _exclude_unseen(history: History) -> None:
    """Make sure that it did not end of a request that nobody reported."""
    signs = _signs(history)
    unsure = {r.signal for r in history.asked if not r.sure}
    silent = _silently_caught(history)
    if unsure & (signs | silent):
        raise Unknown("a request may have gone to it, or to another process")
    if (signs or silent) and (
        history.missing.owner(history.began, history.ended, but=history.id) is not None
    ):
        raise Unknown("reports are missing that could hold a request")
    for signal in signs - _OWN_DOING:
        stranger = history.strangers.owner(history.began, history.ended, but=history.id)
        if stranger is not None:
            raise Unknown(
                f"a program that does not report was running, and may have sent {_name(signal)}"
            )


def _signs(history: History) -> frozenset[int]:
    """The signals that show in its end, so that somebody may have sent them."""
    left = history.left
    done = left.at if left is not None else history.ended
    found = {signal for signal, at in history.caught if signal in _ASKING and at <= done}
    if history.signal is not None:
        passed_on = history.signal == signals.SIGINT and _is_interrupt(left)
        if not passed_on:
            found = {history.signal}
    if left is not None and left.rose_from is not None:
        found.add(left.rose_from)
    return frozenset(found)


def _silently_caught(history: History) -> frozenset[int]:
    """The signals that it could have caught, and ended of, without a trace."""
    if history.signal is not None:
        return frozenset()
    if not history.observed or history.replaced:
        return _ASKING
    handled = _ASKING if history.left is None else history.left.handled & _ASKING
    return handled & {signals.SIGINT} if history.sees_handlers else _ASKING


def _nothing_reported(history: History) -> str:
    if history.last_word is not None:
        return "the report of how its code ended is missing"
    return f"it exited with {history.exitcode}, but reported neither its end nor os._exit()"


def _name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
