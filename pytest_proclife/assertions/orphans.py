"""Claims about orphans, and about what had to be cleaned up."""

from __future__ import annotations

from pytest_proclife.assertions.causes import about_cause
from pytest_proclife.assertions.violation import (
    Offence,
    Violation,
    alone,
    came_to,
    counted,
    named,
    on_each,
    why_unknown,
)
from pytest_proclife.records import Cause, CleanUp, ProcessRecord, Role, Run
from pytest_proclife.render.process import describe
from pytest_proclife.render.text import plain

_NO_PROOF = "it and its parent ended so close together that nothing proves the order"
_OUTSIDE = ("test", "proclife")  # a process that these end does not end by itself
_REASONS = 3  # of what the witness missed


def orphaned(processes: tuple[ProcessRecord, ...]) -> Violation | None:
    """It still ran when its parent had ended."""
    return on_each(processes, "to have been orphaned", _not_orphaned)


def _not_orphaned(process: ProcessRecord) -> Offence | None:
    if process.orphaned:
        return None
    parent = process.parent
    if process.role is Role.MAIN:
        hint = "run.descendants are the processes that can outlive a parent"
        return Offence(
            process=process, actual="it is main: its parent is not in the run", hint=hint
        )
    if process.orphaned is None:
        return Offence(
            process=process, actual=_not_known(process), known=False, hint=_make_it_known(process)
        )
    assert parent is not None
    if parent.ended_at is None:
        actual = f"its parent {named(parent)} is still running"
    else:
        actual = f"it ended before its parent {named(parent)} did: {describe(process)}"
    hint = (
        "an exit path waits for the children of multiprocessing: a parent leaves orphans only "
        "if it has no exit path, or if it started them in another way"
    )
    return Offence(process=process, actual=actual, hint=hint, others=(parent,))


def _not_known(process: ProcessRecord) -> str:
    if process.parent is None:
        return "whether it outlived its parent is not known: its parent was not seen"
    return f"whether it outlived its parent is not known: {_NO_PROOF}"


def _make_it_known(process: ProcessRecord) -> str:
    if process.parent is None:
        return "run.witness.missing says which processes may have started others unseen"
    return "make it wait for the end of its parent, for example on a pipe, before it ends"


def no_orphans(run: Run, within: float) -> Violation | None:
    """No process outlived its parent, except those that ended by themselves in time.

    With pidfds the kernel hands each orphan to the run's supervisor, so none can be missed, even
    if `witness.complete` is false. Without them, an incomplete witness fails the check.
    """
    offences = tuple(o for p in run.descendants if (o := _outlived(p, within)) is not None)
    grace = f" by more than {within:g} s" if within else ""
    expected = f"expected no process to outlive its parent{grace}"
    return _absence(run, expected, "did", offences)


def _outlived(process: ProcessRecord, within: float) -> Offence | None:
    if process.orphaned is False:
        return None
    parent = process.parent
    others = () if parent is None else (parent,)
    after = _time_after_parent(process)
    by_itself = process.cause not in (None, Cause.CLEANED_UP, Cause.UNKNOWN) and (
        process.ended_by not in _OUTSIDE
    )
    if within > 0 and after is not None and after <= within and by_itself:
        return None
    if process.orphaned is None:
        return Offence(
            process=process, actual=_not_known(process), known=False, hint=_make_it_known(process)
        )
    if process.cause is None:
        actual, hint = "it is still running, and its parent has ended", about_cause(process, None)
    elif after is None:
        actual, hint = f"it outlived its parent: {describe(process, parent_named=True)}", ""
    else:
        actual = f"it outlived {named(parent)} by {after:.3f} s: " if parent is not None else ""
        actual += describe(process, parent_named=True)
        hint = _who_left_it(process, parent)
    in_time = within > 0 and after is not None and after <= within
    known = not (process.cause is Cause.UNKNOWN and in_time)
    return Offence(process=process, actual=actual, known=known, hint=hint, others=others)


def _who_left_it(process: ProcessRecord, parent: ProcessRecord | None) -> str:
    if process.cause is Cause.UNKNOWN:
        return f"whether it ended by itself is not known: {why_unknown(process)}"
    assert parent is not None
    if process.kind in ("subprocess", "os_fork", "posix_spawn"):
        return (
            "an exit path waits only for the processes of multiprocessing: wait for this one in "
            "the code"
        )
    return f"{parent.name} ended without waiting for it: {describe(parent)}"


def _time_after_parent(process: ProcessRecord) -> float | None:
    parent = process.parent
    if parent is None or parent.ended_at is None or process.ended_at is None:
        return None
    return max(0.0, process.ended_at - parent.ended_at)


def nothing_left(run: Run) -> Violation | None:
    """Proclife did not have to end anything.

    The kernel says that nothing is left at the end of a run, and what had to be ended for that is
    recorded, whoever started it. So with pidfds this holds even if `witness.complete` is false.
    """
    offences = tuple(o for p in (run.main, *run.descendants) if (o := _was_left(p)) is not None)
    return _absence(run, "expected nothing to clean up", "was left", offences)


def _was_left(process: ProcessRecord) -> Offence | None:
    if process.cause in (None, Cause.CLEANED_UP):
        hint = about_cause(process, None)
        return Offence(process=process, actual=came_to(process), hint=hint)
    if process.cause is Cause.UNKNOWN and _was_cleaned_up(process):
        actual = f"whether it ended before the clean-up is not known: {why_unknown(process)}"
        return Offence(process=process, actual=actual, known=False, hint=about_cause(process, None))
    return None


def _was_cleaned_up(process: ProcessRecord) -> bool:
    return any(isinstance(fact, CleanUp) for fact in process.evidence)


def _absence(run: Run, expected: str, verb: str, offences: tuple[Offence, ...]) -> Violation | None:
    witness = run.witness
    if offences:
        if len(offences) == 1:
            found = alone(offences[0], verb)
        else:
            found = counted(offences, verb.replace("was", "were"))
        return Violation(sentence=f"{expected}, but {found}", run=run, offences=offences)
    if witness.complete or witness.backend == "pidfd":
        return None
    reasons = "; ".join(plain(str(reason)) for reason in witness.missing[:_REASONS])
    return Violation(
        sentence=f"{expected}, but not every process could be seen: {reasons}",
        run=run,
        offences=(),
        hint=f"the backend {witness.backend!r} can miss processes, so this cannot be proven; the "
        "processes that were seen are as expected",
    )
