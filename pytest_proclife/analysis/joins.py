"""Who waited for a process, and whether it outlived its parent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_proclife import wire
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.foreign import Power
from pytest_proclife.analysis.gaps import Gaps
from pytest_proclife.analysis.log import ProcessFacts, Report
from pytest_proclife.records import MULTIPROCESSING_KINDS, Holder, Joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Join:
    """How a process and its parent came apart, and what held it up before its own end.

    `joined_at` is in monotonic ns.
    """

    joined: Joined | None
    joined_at: int | None
    orphaned: bool | None
    holds: tuple[Hold, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A child, by number, for which the exit path of its parent had to wait.

    Times are monotonic ns; `until` is None if the wait was cut off.
    """

    child: int
    since: int
    until: int | None
    by: Holder
    where: str


def find(
    processes: Sequence[ProcessFacts], family: Family, gaps: Gaps, backend: str
) -> tuple[Join, ...]:
    """Find out who waited for each process, by number."""
    alive = {  # the pids of the children that were alive when a process's exit path began
        process.number: frozenset((*report.fields, *_waited_for_in_exit_path(process)))
        for process in processes
        if (report := process.last(wire.EXIT_PATH)) is not None
    }
    joins = []
    for process in processes:
        joined, at = _joined(process, processes, family, gaps, alive)
        orphaned = _orphaned(process, processes, family, backend)
        holds = _holds(process, processes, family)
        joins.append(Join(joined=joined, joined_at=at, orphaned=orphaned, holds=holds))
    return tuple(joins)


def _waited_for_in_exit_path(process: ProcessFacts) -> list[str]:
    """The pids of children that were alive when multiprocessing's exit function waited for them."""
    waits = (r for r in process.reports if r.kind == wire.WAITING)
    return [r.field(0) for r in waits if r.field(3) == Holder.EXIT_PATH]


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
            how = report.field(5)  # it had ended when the exit path began
        if how == _SYSTEM:
            if identity.kind in MULTIPROCESSING_KINDS:
                return None, None  # its status was taken from multiprocessing
            how = Joined.EXPLICIT
        if how in tuple(Joined) and waited(report, identity.kind):
            return Joined(how), report.at
    if process.collected or identity.kind in MULTIPROCESSING_KINDS:
        return None, None
    parent, at = identity.parent, None if process.reaped_by_us else process.reaped
    if at is None or parent is None or _reaped_by_kernel(parent, at, processes, family, gaps):
        return None, None
    return Joined.EXPLICIT, at


_SYSTEM, _START = "system", "start()"  # of wire.COLLECTED


def waited(report: Report, kind: str) -> bool:
    """Whether who collected the status of a process of this kind had asked to wait for it."""
    how = report.field(2)
    # a start() looks at all children; that of a library's worker may find one of the program's
    in_passing = how == Joined.LIBRARY and report.field(4) == _START and kind == "process"
    return how != "" and not in_passing


def _reaped_by_kernel(
    parent: int, at: int, processes: Sequence[ProcessFacts], family: Family, gaps: Gaps
) -> bool:
    """Whether the parent may have ignored SIGCHLD then, so that nobody had to wait."""
    if any(low <= at for low, _ in gaps.unexplained[parent]):
        return True
    if gaps.powers[parent].get(Power.HANDLE, math.inf) <= at:
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


# --- held up


def _holds(
    process: ProcessFacts, processes: Sequence[ProcessFacts], family: Family
) -> tuple[Hold, ...]:
    """The children that kept a process in its exit path, each once, in the order of the waits."""
    found: dict[int, Hold] = {}
    finish = process.last_of_program(wire.FINISHED)
    for report in filter(process.is_before_clean_up, process.reports):
        for pid, since, limit, by, where in _waits(report):
            child = _child_with(pid, report.at, process, processes, family)
            if child is None:
                continue
            if finish is not None:
                since = max(since, finish.at)  # a thread of it began to wait before
            if report.kind == wire.HELD and child.end is not None and child.end <= since:
                continue  # it had ended by then, and was looked at later
            until = _wait_ended(process, child, since, limit)
            hold = Hold(child=child.number, since=since, until=until, by=by, where=where)
            first = found.setdefault(child.number, hold)
            ends = None if None in (first.until, until) else max(first.until or 0, until or 0)
            found[child.number] = replace(first, since=min(first.since, since), until=ends)
    return tuple(found.values())


def _waits(report: Report) -> Iterator[tuple[str, int, int | None, Holder, str]]:
    """The waits that keep the exit path: pid, since, the timeout's end, by, where."""
    if report.kind == wire.WAITING and report.field(3) in tuple(Holder):
        limit = timeout_ends(report)
        yield report.field(0), report.at, limit, Holder(report.field(3)), report.field(1)
    elif report.kind == wire.HELD:
        since = report.field(2)
        at = int(since) if since.isdecimal() and len(since) < 20 else report.at
        for pid in report.fields[3:]:
            yield pid, min(at, report.at), None, Holder(report.field(0)), report.field(1)


def timeout_ends(report: Report) -> int | None:
    """When the timeout of a wait is over, in monotonic ns; None if it has none."""
    try:
        return report.at + int(float(report.field(4)) * 1e9)
    except (ValueError, OverflowError):
        return None


def _child_with(
    pid: str,
    at: int,
    process: ProcessFacts,
    processes: Sequence[ProcessFacts],
    family: Family,
) -> ProcessFacts | None:
    """The child that had a pid at a time. Pids are used again.

    What its parent does may come before a fork's own first report.
    """
    children = (processes[number] for number in family.children[process.number])
    lived = sorted((c for c in children if str(c.pid) == pid), key=lambda child: child.began)
    begun = [child for child in lived if child.began <= at]
    return begun[-1] if begun else next(iter(lived), None)


def _wait_ended(
    process: ProcessFacts, child: ProcessFacts, since: int, limit: int | None
) -> int | None:
    """When a wait for a child was over, at the latest; None if it was cut off."""
    ends = [r.at for by, r in child.collected if by == process.number and r.at >= since]
    if limit is not None and process.was_running_at(limit):
        ends.append(limit)
    if child.end is not None and ended_before(child, process):
        ends.append(max(child.end, since))
    left = process.last(wire.EXITING)
    if left is not None and not process.is_before_clean_up(left):
        left = None
    if left is not None and left.field(0) != "os_exit" and left.at >= since:
        ends.append(left.at)
    return min(ends, default=None)


def ended_before(process: ProcessFacts, other: ProcessFacts) -> bool:
    """Whether its end came with an earlier wake-up than that of another, or before a clean-up."""
    if process.clean_up is not None or other.clean_up is not None:
        return process.clean_up is None
    if process.end_wake is None:
        return False
    return other.end_wake is None or process.end_wake < other.end_wake


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
    | both were running when the clean-up began | None |
    | it was running then, and its parent had ended | True |
    | its parent was running then, and it had ended | False |
    | it came to the supervisor alive, and its parent forked it itself | True |
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
    if process.clean_up is not None or parent.clean_up is not None:
        return None if process.clean_up == parent.clean_up else parent.clean_up is None
    served = identity.forked_from not in (None, parent.number)
    if process.adopted and not served:
        return True
    if parent.end is None or parent.end_wake is None:
        return False
    if any(by == parent.number for by, _ in process.collected):
        return False
    if process.end_wake is None or process.number in parent.children_running:
        return True
    if process.end_wake < parent.end_wake:
        return False
    if process.reported_after(parent.end):
        return True
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
