"""What may be unseen: gaps in reports, and the times when unobserved programs were running."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

from pytest_proclife import wire
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.log import Report, Sighting
from pytest_proclife.records import HELPER_KINDS, MULTIPROCESSING_KINDS


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

    def owner(self, start: float, end: float, *, but: int | None = None) -> int | None:
        """Whose span overlaps start..end; `but` is left out of account."""
        index = bisect_right(self._starts, end) - 1
        if index < 0:
            return None
        for found in self._furthest[index]:
            if found is not None and found[1] != but and found[0] >= start:
                return found[1]
        return None


NONE = Spans()

Hole = tuple[float, float]


class Losses:
    """The holes in each process's reports, and the times in which strangers ran."""

    def __init__(self, family: Family) -> None:
        self.family = family
        ids = family.ids
        self.holes = {one.number: _holes(one) for one in family.order}
        self.missing = Spans(
            (low, high, ids[one.number])
            for one in family.order
            if not _never_spoke(one)
            for low, high in (*self.holes[one.number], *((at, at) for at in one.astray))
        )
        strange = {one.number: self._strange(one) for one in family.order}
        self.strange = {number: since for number, since in strange.items() if since is not None}
        self.strangers = Spans(
            (since, _end(self.family.sightings[number]), ids[number])
            for number, since in self.strange.items()
        )

    def _strange(self, one: Sighting) -> float | None:
        """From when on a process may have done things that nobody reports."""
        if self.family.kinds[one.number] in HELPER_KINDS or _ran_nothing(one):
            return None
        unseen = one.first(wire.UNSEEN)
        if one.replaced is not None:
            return one.replaced
        if unseen is not None:
            return unseen.at
        if not reports(one) or _never_spoke(one):
            if one.told:
                return one.began
            # it was found some time after its start, which was after that of its parent
            parent = self.family.parents[one.number]
            return -math.inf if parent is None else self.family.sightings[parent].began
        return None

    def speechless(self, one: Sighting) -> bool:
        """Whether a process is known not to report, so that its silence says nothing."""
        if one.reports:
            return False
        if one.told:
            return one.told[0][1].flag(5) is False or _ran_nothing(one)
        parent = self.family.parents[one.number]
        if one.number == 0:
            return not one.let_in
        if parent in self.strange:
            return True
        program = one.argv[0].rsplit("/", 1)[-1] if one.argv else "python"
        return not program.startswith("python")

    def in_words(self) -> list[str]:
        """What may not have been seen, process by process."""
        reasons = []
        for one in self.family.order:
            who = f"{self.family.names[one.number]} (pid {one.pid})"
            if one.replaced is not None:
                reasons.append(f"{who} became a program that does not report")
            elif one.number in self.strange and not one.reports:
                reasons.append(f"{who} does not report: what it started may be missing")
            elif self.holes[one.number]:
                reasons.append(f"reports of {who} are missing")
            for report in one.reports:
                if report.kind == wire.UNSEEN:
                    called = report.field(0)[:100]
                    reasons.append(f"{who} called {called}: a shell does not report")
        return reasons


def reports(one: Sighting) -> bool:
    """Whether a process reports from inside, or was to."""
    if one.reports or one.garbled:
        return True
    if not one.told:
        # forked by a process that reports, and gone before it could say so itself
        return one.let_in or one.known_by == "parent"
    return one.told[0][1].flag(5) is not False and not _ran_nothing(one)


def _ran_nothing(one: Sighting) -> bool:
    """Whether exec was bound to fail in it, so that it did nothing but end."""
    return bool(one.told) and one.told[0][1].field(5) == wire.NOTHING and not one.reports


def _never_spoke(one: Sighting) -> bool:
    """Whether a program was let in and never said a word: a Python of another version, say.

    It is taken for one that cannot speak, not for one all of whose reports are missing.
    A child of multiprocessing runs on its parent's interpreter, so that this is no doubt there.
    """
    if one.reports or one.garbled or not one.told:
        return False
    return one.told[0][1].field(1) not in MULTIPROCESSING_KINDS | HELPER_KINDS


def _end(one: Sighting) -> float:
    return math.inf if one.end is None else one.end


def _holes(one: Sighting) -> tuple[Hole, ...]:
    """When reports were due that are missing."""
    exited = one.end is not None and one.exitcode is not None and one.exitcode >= 0
    if not one.reports:
        return ((one.began, _end(one)),) if exited and reports(one) else ()
    found: list[Hole] = [(at - 0.5, at + 0.5) for at in one.garbled]
    before: float = one.began
    last: Report | None = None
    for program in one.programs:
        if last is not None and last.kind != wire.EXEC:
            found.append((before, program[0].at))  # that it would be replaced was not heard
        found += _gaps(program, before)
        last = program[-1]
        before = last.at
    if exited and one.replaced is None and one.latest(wire.LAST_WORD) is None:
        found.append((before, _end(one)))
    return tuple(found)


def _gaps(program: list[Report], before: float) -> list[Hole]:
    found: list[Hole] = []
    expected = 0
    for report in sorted(program, key=lambda r: r.seq):
        if report.seq > expected:
            # two threads may number their reports in one order and stamp them in the other
            found.append((min(before, report.at), max(before, report.at)))
        expected = report.seq + 1
        before = report.at
    return found
