"""Who waited for a process, and whether it outlived its parent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pytest_proclife import wire
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.gaps import Gaps
from pytest_proclife.analysis.log import ProcessFacts
from pytest_proclife.records import MULTIPROCESSING_KINDS, Joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """How a process and its parent came apart. `joined_at` is in monotonic ns."""

    joined: Joined | None
    joined_at: int | None
    orphaned: bool | None


def find(
    processes: Sequence[ProcessFacts], family: Family, gaps: Gaps, backend: str
) -> tuple[Join, ...]:
    """Find out who waited for each process, by number."""
    alive = {  # the pids of the children that were alive when a process's exit path began
        process.number: frozenset(report.fields)
        for process in processes
        if (report := process.last(wire.EXIT_PATH)) is not None
    }
    joins = []
    for process in processes:
        joined, at = _joined(process, processes, family, gaps, alive)
        orphaned = _orphaned(process, processes, family, backend)
        joins.append(Join(joined=joined, joined_at=at, orphaned=orphaned))
    return tuple(joins)


# --- joined


def _joined(
    process: ProcessFacts,
    processes: Sequence[ProcessFacts],
    family: Family,
    gaps: Gaps,
    alive: dict[int, frozenset[str]],
) -> tuple[Joined | None, int | None]:
    """Whose wait collected its status, and when."""
    identity = family.identities[process.number]
    for by, report in process.collected:
        how = report.field(2)
        if not how or (identity.parent is not None and by != identity.parent):
            continue
        if how == Joined.IMPLICIT and str(process.pid) not in alive.get(by, ()):
            return None, None  # it had ended when the exit path began
        return Joined(how), report.at
    if process.collected or identity.kind in MULTIPROCESSING_KINDS:
        return None, None
    parent, at = identity.parent, None if process.reaped_by_us else process.reaped
    if at is None or parent is None or _reaped_by_kernel(parent, at, processes, family, gaps):
        return None, None
    return Joined.EXPLICIT, at


def _reaped_by_kernel(
    parent: int, at: int, processes: Sequence[ProcessFacts], family: Family, gaps: Gaps
) -> bool:
    """Whether the parent may have ignored SIGCHLD then, so that nobody had to wait."""
    if any(low <= at for low, _ in gaps.of_process[parent]):
        return True
    number: int | None = parent
    visited: set[int] = set()
    while number is not None and number not in visited:
        above = processes[number]
        changes = [r for r in above.reports if r.kind == wire.SIGCHLD_IGNORED and r.at <= at]
        if changes:
            return changes[-1].flag(0) is True
        # a forked process goes on with its parent's disposition
        visited.add(number)
        number, at = family.identities[number].forked_from, above.began
    return False


# --- orphaned


def _orphaned(
    process: ProcessFacts, processes: Sequence[ProcessFacts], family: Family, backend: str
) -> bool | None:
    """Whether it was still running when its parent had ended, by the order of kernel events.

    The first case that holds decides:

    | case | orphaned |
    | --- | --- |
    | its parent was not seen, and it came to the supervisor alive | True |
    | its parent was not seen | None |
    | its parent has not ended | False |
    | its parent collected its status | False |
    | it has not ended, or was found running after its parent's end | True |
    | its end came with an earlier wake-up than its parent's | False |
    | it reported something after its parent's end | True |
    | its parent reaped it, or it would have come to the supervisor | False |
    | both ends came with the same wake-up | None |
    | its parent's end came first, and then it was not found running, as a known child is | None |
    | its parent's end came first, and it became known only as an orphan that was reaped | None |
    | its parent's end came first | True |

    If a fork server forked it, the kernel's parent is the server: who reaped it proves nothing.
    """
    identity = family.identities[process.number]
    if identity.parent is None:
        return True if process.adopted else None
    parent = processes[identity.parent]
    if parent.end is None or parent.end_wake is None:
        return False
    if any(by == parent.number for by, _ in process.collected):
        return False
    if process.end is None or process.end_wake is None:
        return True
    if process.number in parent.children_running:
        return True
    if process.end_wake < parent.end_wake:
        return False
    if process.reported_after(parent.end):
        return True
    served = identity.forked_from not in (None, parent.number)
    if process.reaped is not None and not process.reaped_by_us and not served:
        return False
    if process.end_wake == parent.end_wake:
        return None
    known_as_child = parent.number in (identity.forked_from, process.found_below) or any(
        by == parent.number for by, _ in process.announcements
    )
    if backend == "pidfd" and process.known_at < parent.end and known_as_child:
        return None
    return None if process.known_by == "orphan" else True
