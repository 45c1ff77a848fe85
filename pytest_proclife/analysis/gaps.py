"""What may be unseen: gaps in reports, and the times when unobserved programs were running."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pytest_proclife import wire
from pytest_proclife.analysis import foreign
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.foreign import Power, Powers
from pytest_proclife.analysis.log import ProcessFacts, Report
from pytest_proclife.records import HELPER_KINDS, MULTIPROCESSING_KINDS, Missing, MissingKind

Gap = tuple[float, float]  # monotonic ns: a report that is missing was written between these


class Spans:
    """Spans of monotonic ns, each with its owner's id. A question costs a binary search."""

    __slots__ = ("_furthest", "_starts")

    def __init__(self, spans: Iterable[tuple[float, float, int]] = ()) -> None:
        ordered = sorted(spans)
        self._starts = [start for start, _, _ in ordered]
        # for each start: the two latest ends up to there, of different owners
        self._furthest: list[tuple[tuple[float, int], tuple[float, int] | None]] = []
        first: tuple[float, int] | None = None
        second: tuple[float, int] | None = None
        for _, end, owner in ordered:
            if first is None or owner == first[1]:
                first = max(first or (end, owner), (end, owner))
            elif end > first[0]:
                first, second = (end, owner), first
            elif second is None or end > second[0]:
                second = (end, owner)
            self._furthest.append((first, second))

    def owner(self, start: float, end: float, *, other_than: int | None = None) -> int | None:
        """The owner of a span that overlaps start..end, if there is one `other_than` this."""
        index = bisect_right(self._starts, end) - 1
        if index < 0:
            return None
        for found in self._furthest[index]:
            if found is not None and found[1] != other_than and found[0] >= start:
                return found[1]
        return None


NO_SPANS = Spans()


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """What may be unseen of a run.

    `of_process` are the gaps in each process's own reports, `unexplained` those but for one that
    an exit below Python explains: nothing was lost in that. `observed` is whether a process is
    expected to report, `powers` what it can do unseen, each by number. `lost_reports` is when
    reports are missing, `unobserved` when programs were running that do not report, `signallers`
    when processes had a function of C that sends signals, `subinterpreters` when they had those,
    each by owner's id; `silent` has `unobserved` by number, in the order of their starts.
    `missing` is all of it for the reader.
    """

    of_process: tuple[tuple[Gap, ...], ...]
    unexplained: tuple[tuple[Gap, ...], ...]
    observed: tuple[bool, ...]
    lost_reports: Spans
    unobserved: Spans
    silent: Sequence[tuple[float, float, int]]
    powers: tuple[Powers, ...]
    signallers: Spans
    subinterpreters: Spans
    missing: tuple[Missing, ...]


def find(processes: Sequence[ProcessFacts], family: Family, witnessed: bool = False) -> Gaps:
    """Find the gaps in the reports of a run.

    If it is `witnessed`, the kernel has shown each start of a process and each signal: then what
    is missing are reports of what a process does itself.
    """
    of_process = tuple(_gaps_of(process) for process in processes)
    powers = foreign.find(processes, family)
    lost = tuple(_unexplained(p, of_process[p.number], powers[p.number]) for p in processes)
    since = {
        process.number: start
        for process in processes
        if (start := _unobserved_since(process, processes, family, powers)) is not None
    }
    silent = sorted((start, _end(processes[number]), number) for number, start in since.items())
    observed = tuple(
        _is_observed(process, processes, family, since, powers) for process in processes
    )
    if witnessed:
        return Gaps(
            of_process=of_process,
            unexplained=lost,
            observed=observed,
            lost_reports=NO_SPANS,
            unobserved=NO_SPANS,
            silent=(),
            powers=powers,
            signallers=NO_SPANS,
            subinterpreters=NO_SPANS,
            missing=tuple(
                missing
                for number in family.order
                for missing in _missing_of_witnessed(processes[number], family, lost, since)
            ),
        )
    return Gaps(
        of_process=of_process,
        unexplained=lost,
        observed=observed,
        lost_reports=Spans(
            (low, high, family.identities[process.number].id)
            for process in processes
            if not _never_reported(process)
            for low, high in (*lost[process.number], *((t, t) for t in process.lost_groups))
        ),
        unobserved=Spans(
            (start, end, family.identities[number].id) for start, end, number in silent
        ),
        silent=silent,
        powers=powers,
        signallers=_spans(Power.SIGNAL, processes, family, powers),
        subinterpreters=_spans(Power.SUBINTERPRETER, processes, family, powers),
        missing=tuple(
            missing
            for number in family.order
            for missing in _missing(processes[number], family, lost[number], since)
        ),
    )


def _spans(
    power: Power, processes: Sequence[ProcessFacts], family: Family, powers: Sequence[Powers]
) -> Spans:
    """When processes had a power."""
    return Spans(
        (since, _end(process), family.identities[process.number].id)
        for process in processes
        if (since := powers[process.number].get(power)) is not None
    )


def should_report(process: ProcessFacts) -> bool:
    """Whether a process reports from inside, or was meant to."""
    if process.reports or process.unreadable:
        return True
    if not process.announcements:
        # forked by a process that reports, and gone before its own first report
        return process.entered or process.known_by in ("parent", "fork")
    return process.announcements[0][1].flag(5) is not False and not _ran_nothing(process)


# --- programs that do not report


def _unobserved_since(
    process: ProcessFacts,
    processes: Sequence[ProcessFacts],
    family: Family,
    powers: Sequence[Powers],
) -> float | None:
    """When a process began to be able to do things that nobody reports; None if it never was."""
    identity = family.identities[process.number]
    if identity.kind in HELPER_KINDS or _ran_nothing(process):
        return None
    unseen = process.first(wire.UNSEEN)
    starts = powers[process.number].get(Power.START, math.inf)
    if process.replaced_at is not None:
        return min(process.replaced_at, starts)
    if unseen is not None or starts < math.inf:
        return starts if unseen is None else min(unseen.at, starts)
    if should_report(process) and not _never_reported(process):
        return None
    if process.announcements:
        return process.began
    # it was found some time after its start, which was after that of its parent
    return -math.inf if identity.parent is None else processes[identity.parent].began


def _is_observed(
    process: ProcessFacts,
    processes: Sequence[ProcessFacts],
    family: Family,
    since: dict[int, float],
    powers: Sequence[Powers],
) -> bool:
    """Whether a process is expected to report, so that its silence means something."""
    if process.reports:
        return True
    if process.announcements:
        return process.announcements[0][1].flag(5) is not False and not _ran_nothing(process)
    if process.number == 0:
        return process.entered
    parent = family.identities[process.number].parent
    if parent is not None:
        of_parent = processes[parent].reports
        had_child = any(r.kind == wire.EARLY and r.field(0) == "child" for r in of_parent)
        if parent in since or Power.FORK in powers[parent] or had_child:
            return False
    return not process.argv or process.argv[0].rsplit("/", 1)[-1].startswith("python")


def _ran_nothing(process: ProcessFacts) -> bool:
    """Whether exec failed in it, or was bound to, so that it did nothing except exit."""
    if process.ran_nothing:
        return True
    if not process.announcements or process.reports:
        return False
    return process.announcements[0][1].field(5) == wire.NO_PROGRAM


def _never_reported(process: ProcessFacts) -> bool:
    """Whether the recorder entered a program that never reported: another version, say.

    It is taken for a program that cannot report, not for one that lost all its reports. A child of
    `multiprocessing` runs on its parent's interpreter, so there this doubt does not exist.
    """
    if process.reports or process.unreadable or not process.announcements:
        return False
    kind = process.announcements[0][1].field(1)
    return kind not in MULTIPROCESSING_KINDS | HELPER_KINDS


# --- gaps


def _gaps_of(process: ProcessFacts) -> tuple[Gap, ...]:
    """When reports were due that are missing."""
    exited = process.end is not None and process.exitcode is not None and process.exitcode >= 0
    if not process.reports:
        due = exited and should_report(process)
        return ((process.began, _end(process)),) if due else ()
    found: list[Gap] = [(at - 0.5, at + 0.5) for at in process.unreadable]
    before: float = process.began
    last: Report | None = None
    for program in process.programs:
        if last is not None and last.kind != wire.EXEC:
            found.append((before, program[0].at))  # the report of the exec was lost
        found += _gaps_of_program(program, before)
        last = program[-1]
        before = last.at
    if exited and _exited_unseen(process):
        found.append((before, _end(process)))
    return tuple(found)


def _exited_unseen(process: ProcessFacts) -> bool:
    return process.replaced_at is None and process.last_of_program(wire.EXITING) is None


def _unexplained(process: ProcessFacts, gaps: tuple[Gap, ...], powers: Powers) -> tuple[Gap, ...]:
    """Without the gap at the end of a process that could exit below Python: nothing was lost."""
    explained = Power.EXIT in powers and gaps and gaps[-1][1] == _end(process)
    return gaps[:-1] if explained else gaps


def _gaps_of_program(program: Sequence[Report], before: float) -> Iterator[Gap]:
    expected = 0
    for report in sorted(program, key=lambda r: r.seq):
        if report.seq > expected:
            # two threads may number their reports in one order and stamp them in the other
            yield min(before, report.at), max(before, report.at)
        expected = report.seq + 1
        before = report.at


def _end(process: ProcessFacts) -> float:
    return math.inf if process.end is None else process.end


def _missing_of_witnessed(
    process: ProcessFacts, family: Family, gaps: Sequence[Sequence[Gap]], since: dict[int, float]
) -> Iterator[Missing]:
    """What may be unseen of one process, if the kernel shows what starts and signals others."""
    id = family.identities[process.number].id
    if gaps[process.number] and process.number not in since:
        yield Missing(process=id, kind=MissingKind.REPORTS)
    # before, a handler that raised just before the signal was sent is not seen
    if process.contradicted and family.identities[process.number].version >= (3, 12):
        yield Missing(process=id, kind=MissingKind.CONTRADICTED)
    if process.calls_unreadable:
        yield Missing(process=id, kind=MissingKind.UNOBSERVED)


def _missing(
    process: ProcessFacts, family: Family, gaps: tuple[Gap, ...], since: dict[int, float]
) -> Iterator[Missing]:
    """What may be unseen of one process."""
    id = family.identities[process.number].id
    if process.replaced_at is not None:
        yield Missing(process=id, kind=MissingKind.REPLACED)
    elif process.number in since and not process.reports:
        yield Missing(process=id, kind=MissingKind.UNOBSERVED)
    elif gaps:
        yield Missing(process=id, kind=MissingKind.REPORTS)
    for report in process.reports:
        if report.kind == wire.UNSEEN:
            called = report.field(0)[:100]
            yield Missing(process=id, kind=MissingKind.UNSEEN_CALL, what=called)
        elif report.kind == wire.EARLY:
            what, name = report.field(0), report.field(1)[:100]
            if what == "function":
                yield Missing(process=id, kind=MissingKind.IMPORTED_EARLY, what=name)
            else:
                yield Missing(process=id, kind=MissingKind.STARTED_EARLY, what=what)
        elif report.kind == wire.FOREIGN and report.field(0) == wire.SUBINTERPRETER:
            yield Missing(process=id, kind=MissingKind.SUBINTERPRETER)
        elif report.kind == wire.FOREIGN and report.field(0) == wire.FAULTHANDLER:
            if _exited_unseen(process):  # else its timer did not get that far
                name = report.field(1)[:100]
                yield Missing(process=id, kind=MissingKind.FOREIGN_FUNCTION, what=name)
        elif report.kind == wire.FOREIGN and report.field(1) not in wire.ASKING_KERNEL.split():
            name = report.field(1)[:100]
            yield Missing(process=id, kind=MissingKind.FOREIGN_FUNCTION, what=name)
