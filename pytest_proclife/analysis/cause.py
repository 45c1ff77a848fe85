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

from pytest_proclife import records
from pytest_proclife.analysis.history import History
from pytest_proclife.analysis.log import Sent
from pytest_proclife.records import Cause, Disposition, Ending, UnknownKind

# Signals that ask a process to end: a handler of these that is not seen may have exited.
# SIGHUP is not among them: servers take it for "read your configuration again".
_ASKING = frozenset({signals.SIGTERM, signals.SIGINT, signals.SIGQUIT})

# Signals that the kernel sends for what the process itself did (signal(7)), and that of abort(3).
# The process reports nothing before they come.
_OWN = "SEGV BUS FPE ILL ABRT TRAP SYS PIPE ALRM VTALRM PROF XCPU XFSZ"
_OWN_DOING = frozenset(signals.Signals[f"SIG{name}"] for name in _OWN.split())


class Unknown(Exception):
    """A fact is missing that could change the answer; `reason` says which."""

    def __init__(self, kind: UnknownKind, signal: int | None = None) -> None:
        super().__init__(kind)
        name = None if signal is None else records.signal_name(signal)
        self.reason = records.UnknownReason(kind=kind, signal=name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why and how a process ended, by whose request, and which fact is missing."""

    cause: Cause
    ending: Ending | None = None
    ended_by: int | str | None = None
    request: Sent | None = field(default=None, compare=False)
    unknown: records.UnknownReason | None = None


def decide(history: History) -> Verdict:
    """Decide why a process ended."""
    ending = _ending(history)
    try:
        for rule in _RULES:
            verdict = rule(history)
            if verdict is not None:
                return replace(verdict, ending=ending)
        if history.exits_in_c and history.witnessed:
            return Verdict(cause=Cause.EXITED, ending=ending)
        if history.exits_in_c:
            raise Unknown(UnknownKind.EXITED_IN_C)
        reported = history.last_report
        raise Unknown(UnknownKind.FINISH_REPORT if reported else UnknownKind.NO_END_REPORTED)
    except Unknown as unknown:
        return Verdict(cause=Cause.UNKNOWN, ending=ending, unknown=unknown.reason)


def _ending(history: History) -> Ending | None:
    finish = history.finish
    if history.exitcode is None:
        return None
    if history.signal is not None:
        return Ending.RAISED if history.passed_interrupt_on else Ending.SIGNALED
    if history.replaced_at is not None:
        return Ending.EXITED
    if history.last_report == "os_exit":
        return Ending.OS_EXIT
    if finish is None or history.has_gap(start=finish.at):
        return Ending.EXITED
    return finish.how


# --- the rules


def _cleaned_up(history: History) -> Verdict | None:
    if history.clean_up is None:
        return None
    earlier = (sent for sent in history.sent if sent.at < history.clean_up)
    if any(_was_dying_of(sent, history) for sent in earlier):
        return None
    return Verdict(cause=Cause.CLEANED_UP, ended_by="proclife")


def _was_dying_of(sent: Sent, history: History) -> bool:
    """Whether a signal ended it, or may have, that was sent before the clean-up and met nothing."""
    fatal = sent.signal == signals.SIGKILL or sent.disposition in (Disposition.DEFAULT, None)
    it = history.exitcode is None or history.signal == sent.signal
    return fatal and it and sent.certain and sent.alive is not False


def _without_status(history: History) -> None:
    if history.exitcode is None:
        raise Unknown(UnknownKind.WAIT_STATUS)


def _on_request(history: History) -> Verdict | None:
    """abandoned, killed, terminated: another sender's signal, and it ended of it."""
    history = _by_first_handler(history)
    for sent in sorted(history.sent, key=lambda sent: sent.at):
        if not sent.certain:
            continue
        if sent.by == history.id:
            if _ended_of_own(sent, history):
                _exclude_unseen(history, sent.at, _caught_before(sent, history))
                return None
            continue
        if _ended_of(sent, history):
            _exclude_earlier(sent, history)
            if history.signal == signals.SIGKILL != sent.signal and not _is_own_signal(history):
                # killed comes before terminated: no unseen process may have killed it
                _exclude(history, frozenset({signals.SIGKILL}))
            verdict = _verdict_for(sent, history)
            if verdict is None:  # it had finished by then, and its exit path was cut short
                others = tuple(other for other in history.sent if other is not sent)
                return _on_request(replace(history, sent=others, exitcode=0))
            return verdict
    _exclude_unseen(history)
    return None


def _by_first_handler(history: History) -> History:
    """What rose from a signal that a handler had sent to its own process rose from that handler."""
    finish = history.finish
    if finish is None:
        return history
    same = [s for s in history.sent if s.signal == finish.rose_from and s.at <= finish.at]
    last = max(same, key=lambda sent: sent.at, default=None)
    if last is None or last.by != history.id or last.handler in (None, finish.rose_from):
        return history
    return replace(history, finish=replace(finish, rose_from=last.handler, rose_at=None))


def _verdict_for(request: Sent, history: History) -> Verdict | None:
    cause = Cause.KILLED if request.signal == signals.SIGKILL else Cause.TERMINATED
    if request.call_lost and request.by == history.parent and history.daemon is not False:
        raise Unknown(UnknownKind.REQUEST_REPORT)  # the exit path may have called it
    if request.from_exit_path and history.daemon is not False:
        if request.by == history.parent:
            if history.finished_at < request.at:
                return None  # a finished daemon was not abandoned
            if history.daemon is None:
                raise Unknown(UnknownKind.DAEMON_FLAG)
            if history.finish is None and history.has_gap(end=request.at):
                raise Unknown(UnknownKind.FINISHED_BEFORE_EXIT_PATH)
            cause = Cause.ABANDONED
        elif not history.parent_certain:
            raise Unknown(UnknownKind.PARENT)
    return Verdict(cause=cause, ended_by=request.by, request=request)


def _own_end(history: History) -> Verdict | None:
    """returned, raised, sys_exit: its own code reported how it finished."""
    if history.finish is None or history.replaced_at is not None:
        return None
    _exclude_replacement(history)
    return Verdict(cause=Cause(history.finish.how))


def _end_from_outside(history: History) -> Verdict | None:
    """os_exit, signaled, exited: its own code did not report how it finished."""
    replaced = history.replaced_at is not None
    if history.signal is not None:
        cause, doubt = Cause.SIGNALED, UnknownKind.FINISHED_BEFORE_SIGNAL
    elif history.last_report == "os_exit" and not replaced:
        cause, doubt = Cause.OS_EXIT, UnknownKind.FINISHED_BEFORE_OS_EXIT
    else:
        return Verdict(cause=Cause.EXITED) if replaced or not history.observed else None
    if history.gaps:
        raise Unknown(doubt)
    return Verdict(cause=cause)


_RULES = (_cleaned_up, _without_status, _on_request, _own_end, _end_from_outside)


# --- did it end of this signal?
#
# It did if one of these is proven. A process that caught the signal and went on did not.
#
# | proof | by |
# | --- | --- |
# | it died of this very signal, or sent it to itself again | _died_of_request |
# | what left its target rose from the handler of this signal | `finish.rose_from` |
# | its handler called os._exit(), or sent it the signal that it died of | _ended_in_handler |


def _ended_of(request: Sent, history: History) -> bool:
    if request.alive is False:
        return False  # it was dead, and nobody had collected its status
    if request.disposition is Disposition.CAUGHT and request.at < (history.replaced_at or 0):
        return False  # the program that caught it has been replaced
    if history.signal != request.signal and _was_ignored(request, history):
        return False
    finished = history.finished_at < request.at
    if not finished and history.rose_from == request.signal:
        if _killed_instead(request, history) or _handled_later(request, history):
            return False
        _exclude_replacement(history)
        return True
    if not finished and _ended_in_handler(history) == request.signal:
        return not _handled_later(request, history)
    if history.signal == request.signal and _died_of_request(request, history):
        return True
    if not finished:
        _exclude_unseen_answer(request, history)
    return False


def _was_ignored(request: Sent, history: History) -> bool:
    """Whether it was thrown away: if a handler ran, it ran for a later signal.

    A handler that ran for this one may have set "ignored" before that was read.
    """
    if request.disposition is not Disposition.IGNORED:
        return False
    ran = min((at for at in history.runs_of(request.signal) if at >= request.at), default=math.inf)
    if request.disposition_at is not None and ran != math.inf:
        return request.disposition_at < ran
    return any(
        sent.by == history.id or sent.disposition not in (Disposition.IGNORED, None)
        for sent in _later(request, history)
    )


def _exclude_replacement(history: History) -> None:
    """Make sure that the program whose code reported its finish is the one that ended."""
    if history.has_gap(start=history.finished_at):
        raise Unknown(UnknownKind.REPLACEMENT)


def _killed_instead(request: Sent, history: History) -> bool:
    """Whether another process killed it in its exit path. Killed comes before terminated."""
    killed = any(sent.signal == history.signal == signals.SIGKILL for sent in history.requests)
    return killed and not request.from_exit_path


def _ended_in_handler(history: History) -> int | None:
    """The signal in whose handler it ended without an exception."""
    if history.last_report == "os_exit" and history.signal is None:
        return history.handler
    own = _own_of_death(history)
    return own[-1].handler if own else None


def _handled_later(request: Sent, history: History) -> bool:
    """Whether its last handler of this signal ran for another sender's signal, sent later."""
    until = history.finished_at if history.rose_from == request.signal else math.inf
    runs = [at for at in history.runs_of(request.signal) if at <= until]
    rose_at = None if history.finish is None else history.finish.rose_at
    if history.rose_from == request.signal and rose_at is not None:
        raised = min((at for at in runs if at >= rose_at), default=rose_at)
        runs = [at for at in runs if at <= raised]  # not those in its clean-up
    first = min((at for at in runs if at >= request.at), default=math.inf)
    others = (s for s in _later(request, history) if s.by not in (history.id, request.by))
    later = [sent for sent in others if sent.at <= until]
    if later and not runs:
        raise Unknown(UnknownKind.UNCERTAIN_REQUEST)  # a handler in C: which of them it was for
    # two that came before the handler ran are one to the kernel: the first asked
    return any(first < sent.at <= max(runs) for sent in later)


def _died_of_request(request: Sent, history: History) -> bool:
    if history.passed_interrupt_on:
        return False  # if its KeyboardInterrupt rose from this request, that is known
    alive = (sent for sent in _later(request, history) if sent.alive is not False)
    later = min(alive, key=lambda sent: sent.at, default=None)
    until = history.ended if later is None else later.at
    survived = request.disposition in (Disposition.CAUGHT, Disposition.IGNORED) or any(
        request.at <= at <= until for at in history.runs_of(request.signal)
    )
    if survived and later is not None and later.by != history.id:
        return False
    if request.disposition is Disposition.IGNORED:
        if later is not None and later.disposition is Disposition.DEFAULT:
            return False  # its own, with nothing in the way
        raise Unknown(UnknownKind.DIED_OF_IGNORED, request.signal)
    return True


def _later(request: Sent, history: History) -> list[Sent]:
    """The same signal, sent to it again later: by others, if it is known to be so, or by itself."""
    like = (s for s in history.sent if s.signal == request.signal and s.certain)
    return [sent for sent in like if sent.at > request.at]


def _exclude_unseen_answer(request: Sent, history: History) -> None:
    """Make sure that it did not exit because of a request in a way that is not seen."""
    ran = any(at >= request.at for at in history.runs_of(request.signal))
    if history.handles_in_c <= request.at and not ran:
        raise Unknown(UnknownKind.CAUGHT, request.signal)  # its handler of C may have exited
    if _met_no_handler(request, history):
        return
    if history.died_of is not None:  # another signal ended it
        left_unseen = history.finish is None and history.has_gap(start=request.at)
        left_unseen = left_unseen and not _killed_instead(request, history)
        if left_unseen or _may_have_failed_in_handler(request, history):
            raise Unknown(UnknownKind.REACTION, request.signal)
        return
    if not history.observed or history.replaced_at is not None:
        raise Unknown(UnknownKind.REACTION, request.signal)
    if _raised_unseen(request.signal, history):
        raise Unknown(UnknownKind.CAUGHT, request.signal)
    met = (s for s in history.requests if s.disposition in (Disposition.CAUGHT, None))
    later = (s for s in met if request.at < s.at <= history.finished_at and s.alive is not False)
    if _leaves_no_trace(history) and not any(later):
        raise Unknown(UnknownKind.LEFT_BY_HANDLER, request.signal)


def _met_no_handler(request: Sent, history: History) -> bool:
    """Whether it is certain that no handler ran for it.

    The disposition is read late. While a handler begins in C, and in abort(3), signals are blocked.
    """
    if any(at >= request.at for at in history.runs_of(request.signal)):
        return False
    blocked = request.disposition is Disposition.BLOCKED and history.sees_handlers
    return blocked or request.disposition in (Disposition.IGNORED, Disposition.DEFAULT)


def _may_have_failed_in_handler(request: Sent, history: History) -> bool:
    """Whether a fault, or abort(3), which nobody reports, may have come in the handler."""
    if history.signal not in _OWN_DOING or any(s.signal == history.signal for s in history.sent):
        return False
    ran = any(at >= request.at for at in history.runs_of(request.signal))
    return ran or not history.sees_handlers


def _raised_unseen(signal: int, history: History) -> bool:
    """Whether a handler that is written in C, so not seen to run, may have raised what left it."""
    finish = history.finish
    if finish is None or signal not in finish.handled or signal == signals.SIGINT:
        return False  # an exception of SIGINT's own handler, in C, is known by its type
    if finish.rose_from not in (None, signal):
        return False  # it came from another's handler
    unseen = finish.interrupt or (finish.exception and history.sees_handlers)
    return unseen and not history.runs_of(signal)


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
    if history.finished_at >= sent.at and history.rose_from == sent.signal:
        return True
    return _ended_in_handler(history) == sent.signal


def _caught_before(sent: Sent, history: History) -> frozenset[int]:
    """The signal that it sent itself and died of, if it had caught it before from an unseen sender.

    It ended of that one then.
    """
    if sent.signal != history.signal:
        return frozenset()
    known = [s for s in history.sent if s.signal == sent.signal and s.at < sent.at]
    runs = [at for at in history.runs_of(sent.signal) if at < sent.at]
    unexplained = len(runs) > len(known) or (sent.had_handler and not known)
    return frozenset({sent.signal}) if unexplained else frozenset()


def _is_own_signal(history: History) -> bool:
    """Whether it died of a signal that it sent itself, as a handler does."""
    return history.signal in _OWN_DOING or bool(_own_of_death(history))


def _own_of_death(history: History) -> list[Sent]:
    """The signals that it sent itself, of the number that it died of."""
    return [s for s in history.sent if s.by == history.id and s.signal == history.signal]


# --- could a signal that nobody reported explain this exit?


def _exclude_earlier(request: Sent, history: History) -> None:
    """Make sure that no other request came before the one that it ended of."""
    if history.signal == request.signal == signals.SIGKILL:
        # abandoned comes before killed: a handler's exception may have left its target already
        left = history.rose_from is not None and history.finished_at < request.at
        unseen = history.finish is None and history.has_gap(end=request.at)
        if history.daemon is False or not (left or unseen):
            return
    elif history.signal == request.signal and request.disposition is Disposition.DEFAULT:
        return  # alive, and with nothing in the way of the signal: it died of this one
    same = request.by, request.signal, request.via  # any of these gives the same verdict
    earlier = (s for s in history.sent if not s.certain and s.at <= request.at)
    if any((sent.by, sent.signal, sent.via) != same for sent in earlier):
        raise Unknown(UnknownKind.UNCERTAIN_EARLIER_REQUEST)
    if history.lost_reports.owner(history.began, request.at, other_than=history.id) is not None:
        raise Unknown(UnknownKind.EARLIER_REQUEST_REPORT)


def _exclude_unseen(
    history: History, until: float = math.inf, caught: frozenset[int] = frozenset()
) -> None:
    """Make sure that it did not end of a request, up to some time, that nobody reported."""
    visible = _visible(history, until) | caught
    if not history.sees_handlers and _leaves_no_trace(history) and history.finish is not None:
        visible |= history.finish.had if history.finished_at <= until else frozenset()
    _exclude(history, visible, _caught_without_trace(history), until)


def _exclude(
    history: History,
    visible: frozenset[int],
    silent: frozenset[int] = frozenset(),
    until: float = math.inf,
) -> None:
    uncertain = (s for s in history.sent if not s.certain and s.at <= until)
    # a signal that came after its own code had finished could only have killed it
    matters = (s for s in uncertain if s.at <= history.finished_at or s.signal == history.signal)
    if any(sent.signal in visible | silent for sent in matters):
        raise Unknown(UnknownKind.UNCERTAIN_REQUEST)
    until = min(until, history.ended)
    lost = history.lost_reports.owner(history.began, until, other_than=history.id)
    if (visible or silent) and lost is not None:
        raise Unknown(UnknownKind.REQUEST_REPORT)
    for spans, signals_of_it in (
        (history.signallers, visible | silent),
        (history.subinterpreters, visible),
    ):
        foreign = spans.owner(history.began, until, other_than=history.id)
        if signals_of_it and foreign is not None:
            raise Unknown(UnknownKind.FOREIGN_SENDER, next(iter(visible), None))
    sender = history.unobserved.owner(history.began, until, other_than=history.id)
    if visible and sender is not None:
        raise Unknown(UnknownKind.UNOBSERVED_SENDER, next(iter(visible)))


def _visible(history: History, until: float) -> frozenset[int]:
    """The signals that must have been sent to it by then, because it ended of them."""
    found = (
        history.rose_from if history.finished_at <= until else None,
        history.died_of if history.ended <= until and not by_own_timer(history) else None,
        _ended_in_handler(history),
    )
    return frozenset(filter(None, found))


def by_own_timer(history: History) -> bool:
    """Whether it died of SIGALRM of a timer that it had set: that was due, and did end it."""
    return history.signal == signals.SIGALRM and history.alarm_due <= history.ended


def _caught_without_trace(history: History) -> frozenset[int]:
    """The signals that it could have caught, and ended of, without a trace."""
    if history.signal is not None and not _is_own_signal(history):
        return frozenset()
    silent = not history.observed or history.replaced_at is not None
    if silent or (not history.sees_handlers and _leaves_no_trace(history)):
        return _ASKING
    return frozenset()
