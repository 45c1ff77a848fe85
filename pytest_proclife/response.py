"""What a process did with a signal that was sent to it: whether it ended of it."""

from __future__ import annotations

import signal as signals

from pytest_proclife.history import Asked, History, Left
from pytest_proclife.records import Ending

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


def signal_name(number: int) -> str:
    """SIGTERM for 15; `signal 40` where it has no name."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
