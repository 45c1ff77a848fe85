"""Who waited for a process, and whether it outlived its parent."""

from __future__ import annotations

from pytest_proclife import wire
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.gaps import Losses
from pytest_proclife.analysis.log import Sighting
from pytest_proclife.records import MULTIPROCESSING_KINDS, Joined


class Parting:
    """Asked of each process of a run once."""

    def __init__(self, family: Family, losses: Losses, backend: str) -> None:
        self.family = family
        self.losses = losses
        self.backend = backend
        self.alive_at_exit: dict[int, frozenset[str]] = {}

    def joined(self, one: Sighting) -> tuple[Joined | None, int | None]:
        parent = self.family.parents[one.number]
        for by, report in one.collected:
            how = report.field(2)
            if not how or (parent is not None and by != parent):
                continue
            if how == Joined.IMPLICIT and str(one.pid) not in self._alive_at_exit(by):
                return None, None  # it was over when the exit path began
            return Joined(how), report.at
        if one.collected or self.family.kinds[one.number] in MULTIPROCESSING_KINDS:
            return None, None
        if one.reaped is None or one.reaped_by_us or parent is None:
            return None, None
        if self._reaped_by_kernel(parent, one.reaped):
            return None, None
        return Joined.EXPLICIT, one.reaped

    def _reaped_by_kernel(self, parent: int, at: int) -> bool:
        """Whether the parent may have ignored SIGCHLD then, so that nobody's wait was needed."""
        if any(low <= at for low, _ in self.losses.holes[parent]):
            return True
        number: int | None = parent
        seen: set[int] = set()
        while number is not None and number not in seen:
            above = self.family.sightings[number]
            said = [r for r in above.reports if r.kind == wire.UNWAITED and r.at <= at]
            if said:
                return said[-1].flag(0) is True
            # a forked process goes on as its parent was
            seen.add(number)
            number, at = self.family.forked_from[number], above.began
        return False

    def _alive_at_exit(self, number: int) -> frozenset[str]:
        """The pids of the children that lived when a process's exit path began."""
        if number not in self.alive_at_exit:
            report = self.family.sightings[number].last(wire.EXIT_PATH)
            self.alive_at_exit[number] = frozenset(() if report is None else report.fields)
        return self.alive_at_exit[number]

    def orphaned(self, one: Sighting) -> bool | None:
        """Whether it ran on when its parent had ended; by the order of what the kernel says."""
        parent = self.family.parents[one.number]
        if parent is None:
            # it came down to the supervisor alive, so whoever its parent was had ended
            return True if one.adopted else None
        above = self.family.sightings[parent]
        if above.end is None or above.end_wake is None:
            return False
        if any(by == parent for by, _ in one.collected):
            return False
        if one.end is None or one.end_wake is None or one.number in above.running_then:
            return True
        if one.end_wake < above.end_wake:
            return False
        if one.said_after(above.end):
            return True
        by_kernel = self.family.forked_from[one.number]
        served = by_kernel is not None and by_kernel != parent  # by a fork server
        if one.reaped is not None and not one.reaped_by_us and not served:
            return False  # its parent collected it, or it would have come down to us
        if one.end_wake == above.end_wake:
            return None
        # its parent's end was stamped first; had it been known as a child and been alive then,
        # it would stand among those
        looked_for = self.backend == "pidfd" and one.known_at < above.end
        looked_for = looked_for and (
            parent in (by_kernel, one.found_below) or any(by == parent for by, _ in one.told)
        )
        return None if looked_for or one.known_by == "orphan" else True
