"""Evidence about one process -> why and how it ended. Pure: values in, a verdict out.

The rules stand in the order of the causes in `records.Cause`; the first that holds decides.
A rule that lacks a fact says so instead of guessing (`Unknown`).
"""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass

from pytest_proclife.records import Cause, Ending

# Signals that ask a process to end, so that a handler's later end is the answer to them.
# SIGHUP is not among them: servers take it for "read your configuration again".
_ASKING = frozenset({signals.SIGTERM, signals.SIGINT, signals.SIGQUIT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A signal that was sent to the process. Times are monotonic ns, of the reports.

    `by` is a process's id, or "test"; `state` is what the kernel said that the signal would
    meet (caught, ignored, blocked, default), None where the process could not be asked.
    """

    at: int
    by: int | str
    signal: int
    via: str
    state: str | None = None

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
    """All that is known of one process that has ended.

    `observed`: it reports from inside. `sees_handlers`: it reports Python's signal handlers
    as they run (CPython 3.12 on). `last_word` is how its last report said that it leaves
    (exit, os_exit, launcher), None if there was none. `own_gap`: reports of its own are
    missing. `gaps`: when, in other processes, reports that may be missing were due.
    """

    id: int
    exitcode: int | None
    parent: int | None = None
    daemon: bool | None = None
    observed: bool = True
    sees_handlers: bool = True
    replaced: bool = False
    cleaned_up: bool = False
    asked: tuple[Asked, ...] = ()
    caught: tuple[tuple[int, int], ...] = ()  # (signal, at)
    left: Left | None = None
    last_word: str | None = None
    own_gap: bool = False
    gaps: tuple[int, ...] = ()

    @property
    def signal(self) -> int | None:
        return -self.exitcode if self.exitcode is not None and self.exitcode < 0 else None


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
    for rule in _RULES:
        try:
            verdict = rule(history, ending)
        except Unknown as missing:
            return Verdict(cause=Cause.UNKNOWN, ending=ending, reasons=(str(missing),))
        if verdict is not None:
            return verdict
    return Verdict(cause=Cause.UNKNOWN, ending=ending, reasons=(_nothing_reported(history),))


def _ending(history: History) -> Ending | None:
    left = history.left
    if history.exitcode is None:
        return None
    if history.signal is not None:
        passed_on = (
            left is not None
            and left.exception == "KeyboardInterrupt"
            and history.signal == signals.SIGINT
        )  # main shows -2: `exit_sigint` in CPython's main.c passes the signal on to itself
        return Ending.RAISED if passed_on else Ending.SIGNALED
    if history.last_word == "os_exit":
        return Ending.OS_EXIT
    return Ending(left.how) if left is not None else Ending.EXITED


def _cleaned_up(history: History, ending: Ending | None) -> Verdict | None:
    if history.cleaned_up and history.signal == signals.SIGKILL:
        return Verdict(cause=Cause.CLEANED_UP, ending=ending, ended_by="proclife")
    return None


def _on_request(history: History, ending: Ending | None) -> Verdict | None:
    """abandoned, killed, terminated: somebody else sent a signal, and it ended of it."""
    for request in sorted(history.asked, key=lambda r: r.at):
        if request.by == history.id:
            continue
        if not _ended_of(request, history):
            continue
        if request.signal != signals.SIGKILL and any(gap < request.at for gap in history.gaps):
            raise Unknown("reports are missing that could hold an earlier request")
        return _verdict_for(request, history, ending)
    if history.gaps and _may_have_been_asked(history):
        raise Unknown("reports are missing that could hold a request")
    return None


def _verdict_for(request: Asked, history: History, ending: Ending | None) -> Verdict | None:
    if request.from_exit_path and request.by == history.parent and history.daemon is not False:
        done = history.left is not None and history.left.at < request.at
        if done:
            return None  # a finished daemon was not abandoned
        if history.daemon is None:
            raise Unknown("its parent's exit path told it to end, but its daemon flag is not known")
        if history.own_gap and history.left is None:
            raise Unknown("reports of its own are missing: its target may have been done")
        return Verdict(cause=Cause.ABANDONED, ending=ending, ended_by=request.by)
    cause = Cause.KILLED if request.signal == signals.SIGKILL else Cause.TERMINATED
    return Verdict(cause=cause, ending=ending, ended_by=request.by)


def _ended_of(request: Asked, history: History) -> bool:
    """Whether it died of that very signal, or ended because it had caught it."""
    left = history.left
    if history.signal == request.signal:
        # Ctrl-C in the exit path: its own KeyboardInterrupt came first, and was passed on
        return not (
            left is not None
            and left.exception == "KeyboardInterrupt"
            and left.at < request.at
            and request.signal == signals.SIGINT
        )
    if left is not None and left.at < request.at:
        return False  # it was done before
    if left is not None and left.rose_from == request.signal:
        return True
    if any(signal == request.signal and at >= request.at for signal, at in history.caught):
        return request.signal in _ASKING
    if request.signal not in _ASKING or history.signal is not None:
        return False
    return _caught_in_silence(request, history)


def _caught_in_silence(request: Asked, history: History) -> bool:
    """It ended with a code of its own: did a handler of its take the signal unreported?"""
    left = history.left
    if not history.observed or history.replaced:
        if request.state is None:
            raise Unknown(f"what it did with {_name(request.signal)} could not be seen")
        return request.state == "caught"
    if history.own_gap:
        raise Unknown(f"reports are missing that could say what it did with {_name(request.signal)}")
    if left is not None and request.signal not in left.handled:
        return False
    if history.sees_handlers and request.signal != signals.SIGINT:
        return False  # its handler would have been seen to run
    if request.state is None:
        raise Unknown(f"whether it caught {_name(request.signal)} could not be seen")
    return request.state == "caught"


def _may_have_been_asked(history: History) -> bool:
    """Whether a request that was not seen could be the reason."""
    if history.signal is not None:
        return True
    if history.left is not None and history.left.rose_from is not None:
        return True
    return any(signal in _ASKING for signal, _ in history.caught)


def _own_end(history: History, ending: Ending | None) -> Verdict | None:
    """returned, raised, sys_exit: its own code reported its end."""
    if history.left is None or history.replaced:
        return None
    return Verdict(cause=Cause(history.left.how), ending=ending)


def _os_exit(history: History, ending: Ending | None) -> Verdict | None:
    if history.last_word != "os_exit" or history.signal is not None:
        return None
    if history.own_gap:
        raise Unknown("reports of its own are missing: its code may have ended before os._exit()")
    return Verdict(cause=Cause.OS_EXIT, ending=ending)


def _signaled(history: History, ending: Ending | None) -> Verdict | None:
    if history.signal is None:
        return None
    if history.own_gap:
        raise Unknown("reports of its own are missing: its code may have ended before the signal")
    return Verdict(cause=Cause.SIGNALED, ending=ending)


def _exited(history: History, ending: Ending | None) -> Verdict | None:
    if history.signal is None and (not history.observed or history.replaced):
        return Verdict(cause=Cause.EXITED, ending=Ending.EXITED)
    return None


_RULES = (_cleaned_up, _on_request, _own_end, _os_exit, _signaled, _exited)


def _nothing_reported(history: History) -> str:
    if history.last_word is not None:
        return "the report of how its code ended is missing"
    return f"it exited with {history.exitcode}, but reported neither its end nor os._exit()"


def _name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
