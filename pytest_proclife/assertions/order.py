"""Claims about order: which process ended first, and which were running at the same time.

`ended_at` is when the kernel's event for an end arrived, which is never early and can be late. So
an order has to be proven: by a child's `orphaned`, by a sign of life of one process after the end
of the other, or by times further apart than an event is ever late.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from pytest_proclife.assertions.violation import Offence, Records, Violation, named, on_each
from pytest_proclife.records import MULTIPROCESSING_KINDS, Cause, ProcessRecord, Source
from pytest_proclife.render.process import cleaned_up_at, describe

# s; with all cores busy the events of ends arrived up to 20 ms late
LATENESS = 0.05

_HINT = (
    "an order is proven by `orphaned` of a child, by a report of the later process after the end "
    f"of the other, or by {LATENESS * 1000:g} ms between the two"
)


class Life(NamedTuple):
    """A process, and the last time at which it is known to have lived."""

    process: ProcessRecord
    sign: float


class Claim(NamedTuple):
    """A claim about two processes: whether it holds (None without proof), and the words for it."""

    expected: str
    holds: Callable[[Life, Life], bool | None]
    actual: Callable[[ProcessRecord, ProcessRecord], str]
    unproven: str


def outlived(processes: Records, others: Records) -> Violation | None:
    """Each ended after each of the others."""
    claim = Claim("to have outlived", _ended_after, _both_ends, "the order")
    return _pairs(processes, others, claim)


def ended_before(processes: Records, others: Records) -> Violation | None:
    """Each ended before each of the others did."""
    claim = Claim("to have ended before", _ended_before, _both_ends, "the order")
    return _pairs(processes, others, claim)


def overlapped(processes: Records, others: Records) -> Violation | None:
    """Each was running at a time when each of the others was."""
    claim = Claim("to have overlapped with", _together, _spans, "that both were running")
    return _pairs(processes, others, claim)


def _ended_after(life: Life, other: Life) -> bool | None:
    """Whether it ended after the other; None without proof."""
    end, other_end = life.process.ended_at, other.process.ended_at
    if end is None or other_end is None:
        return None if end == other_end else end is None
    if Cause.CLEANED_UP in (life.process.cause, other.process.cause):
        return _outlived_by_clean_up(life.process, other.process)
    after = _outlived_ancestor(life.process, other.process)
    if after is not None:
        return after
    before = _outlived_ancestor(other.process, life.process)
    if before is not None:
        return not before
    if life.sign >= other_end or end - other_end >= LATENESS:
        return True
    if other.sign >= end or other_end - end >= LATENESS:
        return False
    return None


def _ended_before(life: Life, other: Life) -> bool | None:
    after = _ended_after(life, other)
    return None if after is None else not after


def _outlived_by_clean_up(process: ProcessRecord, other: ProcessRecord) -> bool | None:
    """Which of two was still running when the clean-up began; None if both were."""
    if process.cause is not Cause.CLEANED_UP:
        after = _outlived_by_clean_up(other, process)
        return None if after is None else not after
    at, end = cleaned_up_at(process), other.ended_at
    return True if at is not None and end is not None and end <= at else None


def sign_of_life(process: ProcessRecord) -> float:
    """The last time at which a process is known to have lived."""
    reported = [
        fact.at for fact in process.evidence if fact.source is Source.ITSELF and fact.at is not None
    ]
    waited = [
        child.joined_at
        for child in process.children
        if child.joined_at is not None and child.kind in MULTIPROCESSING_KINDS
    ]
    return max(process.started_at, process.finished_at or 0.0, *reported, *waited)


def _outlived_ancestor(process: ProcessRecord, ancestor: ProcessRecord) -> bool | None:
    """Whether it outlived an ancestor; None if that is not one, or without proof."""
    answers = set()
    at: ProcessRecord | None = process
    while at is not None and at.id != ancestor.id:
        answers.add(at.orphaned)
        at = at.parent
    return answers.pop() if at is not None and len(answers) == 1 else None


def _both_ends(process: ProcessRecord, other: ProcessRecord) -> str:
    return f"it {_end_of(process)}, and {named(other)} {_end_of(other)}"


def _end_of(process: ProcessRecord) -> str:
    if process.ended_at is None:
        return "is still running"
    if process.cause is Cause.CLEANED_UP:
        return "was running when proclife ended the run"
    return f"ended at {process.ended_at:.3f} s"


def _together(life: Life, other: Life) -> bool | None:
    if other.process.parent_id == life.process.id or life.process.parent_id == other.process.id:
        return True  # a parent is running when it starts a child
    first, second = sorted((life, other), key=lambda life: life.process.started_at)
    end, begin = first.process.ended_at, second.process.started_at
    clean_up = cleaned_up_at(first.process)
    if clean_up is not None and begin <= clean_up:
        return True
    if first.process.cause is Cause.CLEANED_UP:
        return None
    if end is None or first.sign >= begin or end - begin >= LATENESS:
        return True
    return False if end <= begin else None


def _spans(process: ProcessRecord, other: ProcessRecord) -> str:
    first, second = sorted((process, other), key=lambda p: p.started_at)
    began = f"{named(second)} was started at {second.started_at:.3f} s"
    return f"{named(first)} {_end_of(first)}, and {began}"


def _about_order(process: ProcessRecord, other: ProcessRecord) -> str:
    """The reason for a proven order that is not the expected one."""
    first, second = sorted((process, other), key=lambda p: p.started_at)
    if first.joined_at is not None and first.joined_at <= second.started_at:
        return f"{first.name} was joined at {first.joined_at:.3f} s, before the other was started"
    return f"why {process.name} ended: {describe(process)}"


def _pairs(processes: Records, others: Records, claim: Claim) -> Violation | None:
    lives = [Life(other, sign_of_life(other)) for other in others]

    def against_all(process: ProcessRecord) -> Offence | None:
        life = Life(process, sign_of_life(process))
        faults = [
            (other.process, holds is False)
            for other in lives
            if other.process.id != process.id and not (holds := claim.holds(life, other))
        ]
        if not faults:
            return None
        (other, known), more = faults[0], len(faults) - 1
        actual = claim.actual(process, other)
        actual += "" if known else f": nothing proves {claim.unproven}"
        actual += f" (and {more} more of them)" if more else ""
        hint = _about_order(process, other) if known else _HINT
        return Offence(process, actual, hint, known=known, others=(other,))

    group = named(others[0]) if len(others) == 1 else f"each of {len(others)} others"
    return on_each(processes, f"{claim.expected} {group}", against_all)
