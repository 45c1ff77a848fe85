"""Claims about orphans, and about what had to be cleaned up."""

from __future__ import annotations

from pytest_proclife.assertions.causes import about_cause, no_exit_path
from pytest_proclife.assertions.violation import (
    Offence,
    Records,
    Violation,
    differing,
    named,
    on_each,
    outcome,
    why_unknown,
)
from pytest_proclife.records import Cause, CleanUp, ProcessRecord, Role, Run
from pytest_proclife.render.process import describe
from pytest_proclife.render.text import plain

_OUTSIDE = ("test", "proclife")  # a process that these end does not end by itself
_REASONS = 3  # of what the witness missed


def orphaned(processes: Records) -> Violation | None:
    """It still ran when its parent had ended."""
    return on_each(processes, "to have been orphaned", _not_orphaned)


def _not_orphaned(process: ProcessRecord) -> Offence | None:
    if process.orphaned:
        return None
    parent = process.parent
    if process.role is Role.MAIN:
        hint = "run.descendants are the processes that can outlive a parent"
        return Offence(process, "it is main: its parent is not in the run", hint)
    if process.orphaned is None:
        return _not_known(process)
    assert parent is not None
    if parent.ended_at is None:
        actual = f"its parent {named(parent)} is still running"
    else:
        actual = f"it ended before its parent {named(parent)} did: {describe(process)}"
    hint = (
        "an exit path waits for the children of multiprocessing: a parent leaves orphans only "
        "if it has no exit path, or if it started them in another way"
    )
    return Offence(process, actual, hint, others=(parent,))


def _not_known(process: ProcessRecord) -> Offence:
    if process.parent is None:
        reason = "its parent was not seen"
        hint = "run.witness.missing says which processes may have started others unseen"
    elif process.cause is Cause.CLEANED_UP:
        reason = f"{named(process.parent)} was running too when proclife ended both"
        hint = about_cause(process, None)
    else:
        reason = "it and its parent ended so close together that nothing proves the order"
        hint = "make it wait for the end of its parent, for example on a pipe, before it ends"
    actual = f"whether it outlived its parent is not known: {reason}"
    return Offence(process, actual, hint, known=False)


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
    after = _time_after_parent(process)
    in_time = within > 0 and after is not None and after <= within
    by_itself = process.cause not in (None, Cause.CLEANED_UP, Cause.UNKNOWN)
    if in_time and by_itself and process.ended_by not in _OUTSIDE:
        return None
    if process.orphaned is None:
        return _not_known(process)
    if process.cause is None:
        actual, hint = "it is still running, and its parent has ended", about_cause(process, None)
    elif after is None:
        actual, hint = f"it outlived its parent: {describe(process, parent_named=True)}", ""
    else:
        actual = f"it outlived {named(parent)} by {after:.3f} s: " if parent is not None else ""
        actual += describe(process, parent_named=True)
        hint = _who_left_it(process, parent)
    known = not (process.cause is Cause.UNKNOWN and in_time)
    others = () if parent is None else (parent,)
    return Offence(process, actual, hint, known=known, others=others)


def _who_left_it(process: ProcessRecord, parent: ProcessRecord | None) -> str:
    if process.cause is Cause.UNKNOWN:
        return f"whether it ended by itself is not known: {why_unknown(process)}"
    assert parent is not None
    leaves = process.kind in ("subprocess", "os_fork", "posix_spawn") and not no_exit_path(parent)
    if leaves and parent.cause is not Cause.EXITED:
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
        return Offence(process, outcome(process), about_cause(process, None))
    if process.cause is Cause.UNKNOWN and any(isinstance(e, CleanUp) for e in process.evidence):
        actual = f"whether it ended before the clean-up is not known: {why_unknown(process)}"
        return Offence(process, actual, about_cause(process, None), known=False)
    return None


def _absence(run: Run, expected: str, verb: str, offences: tuple[Offence, ...]) -> Violation | None:
    witness = run.witness
    if offences:
        sentence = f"{expected}, but {differing(offences, verb)}"
        return Violation(sentence=sentence, run=run, offences=offences)
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
