"""What is known of one process that has ended: the values that its cause is decided from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from signal import SIGALRM, SIGINT

from pytest_proclife import wire
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.foreign import Power
from pytest_proclife.analysis.gaps import NO_SPANS, Gaps, Spans, should_report
from pytest_proclife.analysis.log import ProcessFacts, Report, Sent
from pytest_proclife.records import HELPER_KINDS, MULTIPROCESSING_KINDS, Ending

_SEES_HANDLERS = (3, 12)  # the version from which on sys.monitoring shows handlers as they run


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """What a process reported when its own code finished.

    An `exception` left its target, a KeyboardInterrupt if it is an `interrupt`. `rose_from` is
    the signal whose handler raised it. `handled` are the signals that ask for an exit and had a
    handler in Python. `had` are all signals for which a function of Python was ever the handler,
    on 3.11, where nobody sees which of them SystemExit came from.
    """

    at: int
    how: Ending
    exception: bool = False
    interrupt: bool = False
    rose_from: int | None = None
    handled: frozenset[int] = frozenset()
    rose_at: int | None = None  # when that run of the handler began
    had: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that is known of one process that has ended. Times are monotonic ns."""

    id: int
    exitcode: int | None
    began: float = -math.inf
    ended: float = math.inf
    parent: int | None = None
    parent_certain: bool = True  # reported, not inferred
    daemon: bool | None = None
    observed: bool = True  # it reports from inside, or should have
    sees_handlers: bool = True  # it reports when Python's handlers run: CPython 3.12 on
    replaced_at: int | None = None  # when a program that does not report replaced it by exec
    clean_up: int | None = None  # when proclife began to clean up, if it was running then
    sent: tuple[Sent, ...] = ()  # the signals that were sent to it
    caught: tuple[tuple[int, int], ...] = ()  # (signal, when its handler ran or sigwait() took it)
    alarm_due: float = math.inf  # from when on its own timer had sent it SIGALRM
    finish: Finish | None = None
    handler: int | None = None  # the signal whose handler called os._exit
    last_report: str | None = None  # how it exits: exit, os_exit, launcher; None if it was lost
    # of a Pool's worker: whether it ended in the middle of a task; None if that is not known
    lost_task: bool | None = None
    gaps: tuple[tuple[float, float], ...] = ()  # when reports of its own are missing
    lost_reports: Spans = NO_SPANS  # when reports of others are missing: they could be requests
    unobserved: Spans = NO_SPANS  # when programs were running whose signals nobody reports
    signallers: Spans = NO_SPANS  # when processes had a function of C that sends signals
    subinterpreters: Spans = NO_SPANS  # when processes had those, whose signals nobody reports
    exits_in_c: bool = False  # it can exit below Python
    witnessed: bool = False  # the kernel has shown all signals that processes of the run sent
    handles_in_c: float = math.inf  # since when it can set handlers that are not seen to run

    @property
    def signal(self) -> int | None:
        return -self.exitcode if self.exitcode is not None and self.exitcode < 0 else None

    @property
    def passed_interrupt_on(self) -> bool:
        """Whether KeyboardInterrupt left main, which sends itself SIGINT: `exit_sigint`, main.c."""
        return self.signal == SIGINT and self.finish is not None and self.finish.interrupt

    @property
    def died_of(self) -> int | None:
        """The signal that it died of, if it is not an interrupt that it passed on."""
        return None if self.passed_interrupt_on else self.signal

    @property
    def rose_from(self) -> int | None:
        return None if self.finish is None else self.finish.rose_from

    @property
    def finished_at(self) -> float:
        return math.inf if self.finish is None else self.finish.at

    @property
    def requests(self) -> tuple[Sent, ...]:
        return tuple(sent for sent in self.sent if sent.by != self.id and sent.certain)

    def runs_of(self, signal: int) -> list[int]:
        """When handlers of a signal ran, or sigwait() took it."""
        return [at for number, at in self.caught if number == signal]

    def has_gap(self, start: float = -math.inf, end: float = math.inf) -> bool:
        """Whether reports of its own are missing that it wrote after `start`, before `end`."""
        return any(low < end and high > start for low, high in self.gaps)


def build(
    processes: Sequence[ProcessFacts], family: Family, gaps: Gaps, witnessed: bool = False
) -> tuple[History, ...]:
    """The history of each process, by number."""
    return tuple(_history(process, family, gaps, witnessed) for process in processes)


def is_multiprocessings(process: ProcessFacts, gaps: Gaps) -> bool:
    """Whether `multiprocessing` itself reported that a process is a child of its own."""
    announced = any(report.field(1) in MULTIPROCESSING_KINDS for _, report in process.announcements)
    reported = process.last(wire.RUN) is not None
    return announced or reported or bool(gaps.of_process[process.number])


def _history(process: ProcessFacts, family: Family, gaps: Gaps, witnessed: bool) -> History:
    number = process.number
    identity = family.identities[number]
    last = process.last_of_program(wire.EXITING)
    return History(
        id=identity.id,
        exitcode=process.exitcode,
        began=process.began if should_report(process) or process.announcements else 0,
        ended=_ended(process),
        parent=family.parent_id(number),
        parent_certain=identity.parent_certain,
        daemon=_daemon(process, family, gaps),
        observed=gaps.observed[number],
        sees_handlers=identity.version >= _SEES_HANDLERS,
        replaced_at=process.replaced_at,
        clean_up=process.clean_up,
        sent=tuple(
            sent if isinstance(sent.by, str) else _by_id(sent, sent.by, family, gaps)
            for sent in process.sent
        ),
        caught=tuple((r.number(0) or 0, r.at) for r in process.all_of_program(wire.CAUGHT)),
        alarm_due=_alarm_due(process),
        finish=_finish(process, identity.kind),
        handler=None if last is None else last.number(2),
        last_report=None if last is None else _exits(process, last, gaps),
        lost_task=_lost_task(process, gaps),
        gaps=gaps.of_process[number],
        lost_reports=gaps.lost_reports,
        unobserved=gaps.unobserved,
        signallers=gaps.signallers,
        subinterpreters=gaps.subinterpreters,
        exits_in_c=Power.EXIT in gaps.powers[number],
        witnessed=witnessed,
        handles_in_c=gaps.powers[number].get(Power.HANDLE, math.inf),
    )


def _by_id(sent: Sent, sender: int, family: Family, gaps: Gaps) -> Sent:
    """The same with the sender's id. If its report may be lost, nobody knows what it called."""
    of_sender = gaps.of_process[sender]
    lost = not sent.reported and any(low <= sent.at <= high for low, high in of_sender)
    return replace(sent, by=family.identities[sender].id, call_lost=lost)


def _ended(process: ProcessFacts) -> float:
    """When it ended; it had when its status was collected, and the kernel's event comes late."""
    end = math.inf if process.end is None else process.end
    return min([end, *(report.at for _, report in process.collected)])


def _alarm_due(process: ProcessFacts) -> float:
    """When the timer was due that it said would send it SIGALRM, with nothing in the way."""
    last = process.last_of_program(wire.ALARM)
    if last is None or not last.field(0):
        return math.inf
    taken = any(r.number(0) == SIGALRM for r in process.all_of_program(wire.CAUGHT))
    return math.inf if taken else last.at + int(last.field(0)[:20])


def _finish(process: ProcessFacts, kind: str) -> Finish | None:
    report = process.last_of_program(wire.FINISHED)
    if report is None:
        return None
    return Finish(
        at=report.at,
        how=Ending(report.field(0)),
        exception=bool(report.field(1)),
        interrupt=report.flag(6) is True,
        rose_from=_rose_from(process, report),
        rose_at=int(report.field(7)) if report.field(7).isdecimal() else None,
        handled=_numbers(report.field(5)),
        # the handler of a fork server does nothing: forkserver.py, `sigchld_handler`
        had=frozenset() if kind in HELPER_KINDS else _numbers(report.field(8)),
    )


def _numbers(text: str) -> frozenset[int]:
    return frozenset(int(n) for n in text.split() if n.isdecimal() and len(n) < 3)


def _rose_from(process: ProcessFacts, finish: Report) -> int | None:
    """The signal whose handler raised what left its code; of several, the one that was sent."""
    possible = [int(n) for n in finish.field(4).split() if n.isdecimal() and len(n) < 3]
    if len(possible) > 1:
        sent = {s.signal for s in process.sent if s.certain and s.at <= finish.at}
        possible = [number for number in possible if number in sent] or [int(SIGINT)]
    return possible[0] if len(possible) == 1 else None


def _lost_task(process: ProcessFacts, gaps: Gaps) -> bool | None:
    if process.last_of_program(wire.TASK) is not None:
        return True
    own_end = any(process.last_of_program(kind) for kind in (wire.FINISHED, wire.EXITING))
    own_signal = any(sent.by == process.number for sent in process.sent)
    # it reports its task before each of these
    return False if (own_end or own_signal) and not gaps.of_process[process.number] else None


def _exits(process: ProcessFacts, last: Report, gaps: Gaps) -> str:
    """How it reported that it exits; of another library's child only its launcher reports."""
    if last.field(0) == "launcher" and not is_multiprocessings(process, gaps):
        return "os_exit"
    return last.field(0)


def _daemon(process: ProcessFacts, family: Family, gaps: Gaps) -> bool | None:
    identity = family.identities[process.number]
    if identity.daemon is not None or identity.kind in MULTIPROCESSING_KINDS:
        return identity.daemon
    if process.announcements or not gaps.observed[process.number]:
        return False
    # what looks like os.fork() may be a Process of which the reports that say so are missing
    if gaps.of_process[process.number] or identity.parent is None:
        return None
    return None if gaps.of_process[identity.parent] else False
