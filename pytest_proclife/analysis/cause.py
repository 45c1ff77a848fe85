"""Why a process ended: its history -> cause, ending, sender. Pure.

`_RULES` are in the order of `records.Cause`, and the first that holds decides; a rule may give
several causes. A rule that lacks a fact raises `Unknown` instead of guessing. `Ending` and `Cause`
have the same names for what its own code did.

A request is a signal that another process, or the test, sent to it.
"""

from __future__ import annotations

import math
import signal as signals
from dataclasses import dataclass, field, replace

from pytest_proclife.analysis.history import Finish, History
from pytest_proclife.analysis.log import Sent
from pytest_proclife.records import (
    Cause,
    Disposition,
    Ending,
    UnknownKind,
    UnknownReason,
    signal_name,
)

# Signals that ask a process to end, so that an exit after their handler answers them.
# SIGHUP is not among them: servers take it for "read your configuration again".
ASKING = frozenset({signals.SIGTERM, signals.SIGINT, signals.SIGQUIT})

# Signals that the kernel sends for what the process itself did (signal(7)), and that of abort(3).
# The process reports nothing before they come.
OWN_DOING = frozenset(
    {
        *(signals.SIGSEGV, signals.SIGBUS, signals.SIGFPE, signals.SIGILL, signals.SIGABRT),
        *(signals.SIGTRAP, signals.SIGSYS, signals.SIGPIPE, signals.SIGALRM, signals.SIGVTALRM),
        *(signals.SIGPROF, signals.SIGXCPU, signals.SIGXFSZ),
    }
)


class Unknown(Exception):
    """A fact is missing that could change the answer; `reason` says which."""

    def __init__(self, kind: UnknownKind, signal: int | None = None) -> None:
        super().__init__(kind)
        name = None if signal is None else signal_name(signal)
        self.reason = UnknownReason(kind=kind, signal=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why and how a process ended, by whose request, and which fact is missing."""

    cause: Cause
    ending: Ending | None
    ended_by: int | str | None = None
    request: Sent | None = field(default=None, compare=False)
    unknown: UnknownReason | None = None


def decide(history: History) -> Verdict:
    """Decide why a process ended."""
    ending = _ending(history)
    try:
        if history.exitcode is None:
            raise Unknown(UnknownKind.WAIT_STATUS)
        for rule in _RULES:
            verdict = rule(history, ending)
            if verdict is not None:
                return verdict
        raise Unknown(
            UnknownKind.FINISH_REPORT if history.last_report else UnknownKind.NO_END_REPORTED
        )
    except Unknown as unknown:
        return Verdict(cause=Cause.UNKNOWN, ending=ending, unknown=unknown.reason)


def _ending(history: History) -> Ending | None:
    finish = history.finish
    if history.exitcode is None:
        return None
    if history.signal is not None:
        passed_on = _is_interrupt(finish) and history.signal == signals.SIGINT
        # main shows -2: `exit_sigint` in CPython's main.c passes the signal on to itself
        return Ending.RAISED if passed_on else Ending.SIGNALED
    if history.replaced_at is not None:
        return Ending.EXITED
    if history.last_report == "os_exit":
        return Ending.OS_EXIT
    if finish is None or history.has_gap(start=finish.at):
        return Ending.EXITED
    return finish.how


# --- the rules


def _cleaned_up(history: History, ending: Ending | None) -> Verdict | None:
    if history.cleaned_up_at is None or history.signal != signals.SIGKILL:
        return None
    for sent in history.sent:
        earlier = sent.at < history.cleaned_up_at and sent.certain and sent.alive is not False
        if earlier and sent.signal == signals.SIGKILL:
            return None  # nothing survives that: it was dying when the clean-up came
    return Verdict(cause=Cause.CLEANED_UP, ending=ending, ended_by="proclife")


def _on_request(history: History, ending: Ending | None) -> Verdict | None:
    """abandoned, killed, terminated: another sender's signal, and it ended of it."""
    history = _passed_on(history)
    for sent in sorted(history.sent, key=lambda sent: sent.at):
        if not sent.certain:
            continue
        if sent.by == history.id:
            if _ended_of_own(sent, history):
                _exclude_unseen(history, sent.at)
                return None
            continue
        if _ended_of(sent, history):
            _exclude_earlier(sent, history)
            if history.signal == signals.SIGKILL != sent.signal and not _is_own_signal(history):
                # killed comes before terminated: no unseen process may have killed it
                _exclude(history, frozenset({signals.SIGKILL}), frozenset(), math.inf)
            verdict = _verdict_for(sent, history, ending)
            if verdict is None:  # it had finished by then, and its exit path was cut short
                others = tuple(other for other in history.sent if other is not sent)
                return _on_request(replace(history, sent=others, exitcode=0), ending)
            return verdict
    _exclude_unseen(history)
    return None


def _passed_on(history: History) -> History:
    """What rose from a signal that a handler had sent to its own process rose from that handler."""
    finish = history.finish
    if finish is None or finish.rose_from is None:
        return history
    same = [s for s in history.sent if s.signal == finish.rose_from and s.at <= finish.at]
    last = max(same, key=lambda sent: sent.at, default=None)
    if last is None or last.by != history.id or last.handler in (None, finish.rose_from):
        return history
    return replace(history, finish=replace(finish, rose_from=last.handler, rose_at=None))


def _verdict_for(request: Sent, history: History, ending: Ending | None) -> Verdict | None:
    if request.from_exit_path and history.daemon is not False:
        if request.by != history.parent and not history.parent_certain:
            raise Unknown(UnknownKind.PARENT)
        if request.by == history.parent:
            return _abandoned(request, history, ending)
    cause = Cause.KILLED if request.signal == signals.SIGKILL else Cause.TERMINATED
    return Verdict(cause=cause, ending=ending, ended_by=request.by, request=request)


def _abandoned(request: Sent, history: History, ending: Ending | None) -> Verdict | None:
    if history.finish is not None and history.finish.at < request.at:
        return None  # a finished daemon was not abandoned
    if history.daemon is None:
        raise Unknown(UnknownKind.DAEMON_FLAG)
    if history.finish is None and history.has_gap(end=request.at):
        raise Unknown(UnknownKind.FINISHED_BEFORE_EXIT_PATH)
    return Verdict(cause=Cause.ABANDONED, ending=ending, ended_by=request.by, request=request)


def _own_end(history: History, ending: Ending | None) -> Verdict | None:
    """returned, raised, sys_exit: its own code reported how it finished."""
    if history.finish is None or history.replaced_at is not None:
        return None
    _exclude_replacement(history)
    return Verdict(cause=Cause(history.finish.how), ending=ending)


def _os_exit(history: History, ending: Ending | None) -> Verdict | None:
    if history.last_report != "os_exit":
        return None
    if history.signal is not None or history.replaced_at is not None:
        return None
    if history.gaps:
        raise Unknown(UnknownKind.FINISHED_BEFORE_OS_EXIT)
    return Verdict(cause=Cause.OS_EXIT, ending=ending)


def _signaled(history: History, ending: Ending | None) -> Verdict | None:
    if history.signal is None:
        return None
    if history.gaps:
        raise Unknown(UnknownKind.FINISHED_BEFORE_SIGNAL)
    return Verdict(cause=Cause.SIGNALED, ending=ending)


def _exited(history: History, ending: Ending | None) -> Verdict | None:
    if history.signal is None and (not history.observed or history.replaced_at is not None):
        return Verdict(cause=Cause.EXITED, ending=Ending.EXITED)
    return None


_RULES = (_cleaned_up, _on_request, _own_end, _os_exit, _signaled, _exited)


# --- did it end of this signal?
#
# It did if one of these is proven. A process that caught the signal and went on did not.
#
# | proof | by |
# | --- | --- |
# | it died of this very signal, or sent it to itself again | _died_of |
# | what left its target rose from the handler of this signal | `finish.rose_from` |
# | its handler called os._exit(), or sent it the signal that it died of | _ended_in_handler |


def _ended_of(request: Sent, history: History) -> bool:
    finish = history.finish
    if request.alive is False:
        return False  # it was dead, and nobody had collected its status
    if request.disposition is Disposition.CAUGHT and request.at < (history.replaced_at or 0):
        return False  # the program that caught it has been replaced
    finished = finish is not None and finish.at < request.at
    ignored = request.disposition is Disposition.IGNORED and history.signal != request.signal
    # it was thrown away; but a handler may have set that before the disposition was read
    if ignored and any(s.by == history.id and s.at > request.at for s in _like(request, history)):
        return False
    if finish is not None and not finished and finish.rose_from == request.signal:
        if _killed_instead(request, history) or _handled_later(request, history, finish.at):
            return False
        _exclude_replacement(history)
        return True
    if not finished and _ended_in_handler(history) == request.signal:
        return not _handled_later(request, history)
    if history.signal == request.signal and _died_of(request, history):
        return True
    if not finished:
        _exclude_unseen_answer(request, history)
    return False


def _exclude_replacement(history: History) -> None:
    """Make sure that the program whose code reported its finish is the one that ended."""
    if history.finish is not None and history.has_gap(start=history.finish.at):
        raise Unknown(UnknownKind.REPLACEMENT)


def _killed_instead(request: Sent, history: History) -> bool:
    """Whether another process killed it in its exit path. Killed comes before terminated."""
    return not request.from_exit_path and any(
        sent.signal == history.signal == signals.SIGKILL and sent.by != history.id and sent.certain
        for sent in history.sent
    )


def _ended_in_handler(history: History) -> int | None:
    """The signal in whose handler it ended without an exception."""
    if history.last_report == "os_exit" and history.signal is None:
        return history.handler
    own = [s for s in history.sent if s.by == history.id and s.signal == history.signal]
    return own[-1].handler if own else None


def _handled_later(request: Sent, history: History, until: float = math.inf) -> bool:
    """Whether its last handler of this signal ran for another sender's signal, sent later."""
    runs = [at for signal, at in history.caught if signal == request.signal and at <= until]
    finish = history.finish
    if finish is not None and finish.rose_from == request.signal and finish.rose_at is not None:
        own = min((at for at in runs if at >= finish.rose_at), default=finish.rose_at)
        runs = [at for at in runs if at <= own]  # not those in its clean-up
    first = min((at for at in runs if at >= request.at), default=math.inf)
    later = [
        sent
        for sent in history.sent
        if sent.signal == request.signal
        and sent.by not in (history.id, request.by)
        and sent.certain
        and request.at < sent.at <= until
    ]
    if later and not runs:
        raise Unknown(UnknownKind.UNCERTAIN_REQUEST)  # a handler in C: which of them it was for
    # two that came before the handler ran are one to the kernel: the first asked
    return any(first < sent.at <= max(runs) for sent in later)


def _died_of(request: Sent, history: History) -> bool:
    finish = history.finish
    if request.signal == signals.SIGINT and _is_interrupt(finish):
        return False  # its own KeyboardInterrupt was passed on: if it rose from this, that is known
    later = _next_like(request, history)
    until = history.ended if later is None else later.at
    survived = request.disposition in (Disposition.CAUGHT, Disposition.IGNORED) or any(
        signal == request.signal and request.at <= at <= until for signal, at in history.caught
    )
    if survived and later is not None and later.by != history.id:
        return False
    if request.disposition is Disposition.IGNORED:
        if later is not None and later.disposition is Disposition.DEFAULT:
            return False  # its own, with nothing in the way
        raise Unknown(UnknownKind.DIED_OF_IGNORED, request.signal)
    return True


def _next_like(request: Sent, history: History) -> Sent | None:
    """The next time that the same signal was sent to it, by another process or by itself."""
    later = (s for s in _like(request, history) if s.at > request.at and s.alive is not False)
    return min(later, key=lambda sent: sent.at, default=None)


def _like(request: Sent, history: History) -> list[Sent]:
    """The signals of the same number that are known to have been sent to it."""
    return [sent for sent in history.sent if sent.signal == request.signal and sent.certain]


def _exclude_unseen_answer(request: Sent, history: History) -> None:
    """Make sure that it did not exit because of a request in a way that is not seen."""
    if request.disposition not in (Disposition.CAUGHT, None):
        return  # it ignored or blocked it
    passed_on = history.signal == signals.SIGINT and _is_interrupt(history.finish)
    if history.signal is not None and not passed_on:  # another signal ended it
        left_unseen = history.finish is None and history.has_gap(start=request.at)
        left_unseen = left_unseen and not _killed_instead(request, history)
        if left_unseen or _may_have_failed_in_handler(request, history):
            raise Unknown(UnknownKind.REACTION, request.signal)
        return
    if not history.observed or history.replaced_at is not None:
        raise Unknown(UnknownKind.REACTION, request.signal)
    if _raised_unseen(request.signal, history):
        raise Unknown(UnknownKind.CAUGHT, request.signal)
    if _leaves_no_trace(history):
        later = any(
            sent.at > request.at and sent.by != history.id and sent.certain for sent in history.sent
        )
        if not later:
            raise Unknown(UnknownKind.LEFT_BY_HANDLER, request.signal)


def _may_have_failed_in_handler(request: Sent, history: History) -> bool:
    """Whether a fault, or abort(3), which nobody reports, may have come in the handler."""
    if history.signal not in OWN_DOING or any(s.signal == history.signal for s in history.sent):
        return False
    ran = any(signal == request.signal and at >= request.at for signal, at in history.caught)
    return ran or not history.sees_handlers


def _raised_unseen(signal: int, history: History) -> bool:
    """Whether a handler that is written in C, so not seen to run, may have raised what left it."""
    finish = history.finish
    if finish is None or signal not in finish.handled or signal == signals.SIGINT:
        return False  # an exception of SIGINT's own handler, in C, is known by its type
    ran = any(number == signal for number, _ in history.caught)
    return not ran and (finish.interrupt or (finish.exception and history.sees_handlers))


def _leaves_no_trace(history: History) -> bool:
    """Whether it may have left by SystemExit from a handler that was not seen.

    That is main, which shows that exception only after a handler in Python ran, and never on 3.11.
    """
    finish = history.finish
    return finish is not None and not finish.exception and finish.how is Ending.SYS_EXIT


def _ended_of_own(sent: Sent, history: History) -> bool:
    """Whether it ended of a signal that it sent itself, whatever was sent to it later."""
    if sent.handler is not None and sent.signal == history.signal:
        return False  # a handler sent it: it ended of the signal that the handler is for
    if sent.signal == history.signal and sent.disposition in (Disposition.DEFAULT, None):
        return True
    if history.signal not in (None, sent.signal) and not _is_own_signal(history):
        return False  # another signal ended it
    finish = history.finish
    if finish is not None and finish.at >= sent.at and finish.rose_from == sent.signal:
        return True
    return _ended_in_handler(history) == sent.signal


def _is_own_signal(history: History) -> bool:
    """Whether it died of a signal that it sent itself, as a handler does."""
    if history.signal in OWN_DOING:
        return True
    return any(sent.by == history.id and sent.signal == history.signal for sent in history.sent)


def _is_interrupt(finish: Finish | None) -> bool:
    return finish is not None and finish.interrupt


# --- could a signal that nobody reported explain this exit?


def _exclude_earlier(request: Sent, history: History) -> None:
    """Make sure that no other request came before the one that it ended of."""
    if history.signal == request.signal == signals.SIGKILL:
        # abandoned comes before killed: it may have been in its exit path already
        if history.daemon is False or not _may_have_left_by_handler(history, request.at):
            return
    elif history.signal == request.signal and request.disposition is Disposition.DEFAULT:
        return  # alive, and with nothing in the way of the signal: it died of this one
    same = request.by, request.signal, request.via  # any of these gives the same verdict
    if any(
        not sent.certain and sent.at <= request.at and (sent.by, sent.signal, sent.via) != same
        for sent in history.sent
    ):
        raise Unknown(UnknownKind.UNCERTAIN_EARLIER_REQUEST)
    if history.lost_reports.owner(history.began, request.at, other_than=history.id) is not None:
        raise Unknown(UnknownKind.EARLIER_REQUEST_REPORT)


def _may_have_left_by_handler(history: History, until: int) -> bool:
    """Whether an exception of a handler's may have left its target before that time."""
    if history.finish is None:
        return history.has_gap(end=until)
    return history.finish.rose_from is not None and history.finish.at < until


def _exclude_unseen(history: History, until: float = math.inf) -> None:
    """Make sure that it did not end of a request, up to some time, that nobody reported."""
    _exclude(history, _visible(history, until), _caught_without_trace(history), until)


def _exclude(
    history: History, visible: frozenset[int], silent: frozenset[int], until: float
) -> None:
    # a signal that came after its own code had finished could only have killed it
    finished = history.finish.at if history.finish is not None else math.inf
    uncertain = {
        sent.signal
        for sent in history.sent
        if not sent.certain
        and sent.at <= until
        and (sent.at <= finished or sent.signal == history.signal)
    }
    if uncertain & (visible | silent):
        raise Unknown(UnknownKind.UNCERTAIN_REQUEST)
    until = min(until, history.ended)
    if (visible or silent) and (
        history.lost_reports.owner(history.began, until, other_than=history.id) is not None
    ):
        raise Unknown(UnknownKind.REQUEST_REPORT)
    for signal in visible:
        if history.unobserved.owner(history.began, until, other_than=history.id) is not None:
            raise Unknown(UnknownKind.UNOBSERVED_SENDER, signal)


def _visible(history: History, until: float) -> frozenset[int]:
    """The signals that must have been sent to it by then, because it ended of them."""
    finish = history.finish
    found = set()
    if finish is not None and finish.rose_from is not None and finish.at <= until:
        found.add(finish.rose_from)
    passed_on = history.signal == signals.SIGINT and _is_interrupt(finish)
    if history.signal is not None and not passed_on and history.ended <= until:
        found.add(history.signal)
    handler = _ended_in_handler(history)
    return frozenset(found if handler is None else {*found, handler})


def _caught_without_trace(history: History) -> frozenset[int]:
    """The signals that it could have caught, and ended of, without a trace."""
    if history.signal is not None and not _is_own_signal(history):
        return frozenset()
    if not history.observed or history.replaced_at is not None:
        return ASKING
    if history.sees_handlers:
        return frozenset()
    return ASKING if _leaves_no_trace(history) else frozenset()
