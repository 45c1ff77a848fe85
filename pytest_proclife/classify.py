"""Evidence about one process -> why and how it ended. Pure: values in, a verdict out.

The rules stand in the order of the causes in `records.Cause`; the first that holds decides.
A rule that lacks a fact says so instead of guessing (`Unknown`).
"""

from __future__ import annotations

import signal as signals
from dataclasses import dataclass, field, replace

from pytest_proclife.history import Asked, History
from pytest_proclife.records import Cause, Ending
from pytest_proclife.response import (
    Unknown,
    ended_of,
    exclude_replacement,
    explains_itself,
    is_interrupt,
)
from pytest_proclife.suspicion import exclude_earlier, exclude_unseen, exclude_unseen_kill


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
