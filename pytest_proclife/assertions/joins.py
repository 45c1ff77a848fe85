"""Claims about waits: joins, and what keeps a process in its exit path."""

from __future__ import annotations

from dataclasses import replace

from pytest_proclife.assertions.causes import about_cause, no_exit_path
from pytest_proclife.assertions.violation import (
    Offence,
    Records,
    Violation,
    named,
    on_each,
    outcome,
    unseen,
    why_unknown,
)
from pytest_proclife.records import (
    MULTIPROCESSING_KINDS,
    Cause,
    Collected,
    Ending,
    ExitPathUnfinished,
    HeldUp,
    Holder,
    Joined,
    ProcessRecord,
    Role,
)
from pytest_proclife.render.evidence import wait_words
from pytest_proclife.render.process import describe
from pytest_proclife.render.text import plain

_WAYS = {
    Joined.EXPLICIT: "by a join()",
    Joined.IMPLICIT: "by its parent's exit path",
    Joined.LIBRARY: "by the library that started it",
}

# what to do about a join of another kind than was expected
_OTHER_WAYS = {
    Joined.EXPLICIT: "the program itself waited for it: process.evidence has the line",
    Joined.IMPLICIT: "no code waited for it before its parent's code finished: call join() there",
    Joined.LIBRARY: "its Pool, executor or manager waited for it: process.evidence has the line",
}

_SEE_MISSING = "run.witness.missing lists all that could not be seen"


def joined(processes: Records, how: Joined | None) -> Violation | None:
    """A wait collected the status, and it was not abandoned."""
    way = "" if how is None else f" {_WAYS[how]} ({how})"
    return on_each(processes, f"to have been joined{way}", lambda p: _not_joined(p, how))


def _not_joined(process: ProcessRecord, how: Joined | None) -> Offence | None:
    if process.cause in (None, Cause.ABANDONED):
        known = process.cause is not None
        return Offence(process, outcome(process), about_cause(process, None), known=known)
    if process.joined is None and process.cause is Cause.CLEANED_UP:
        return Offence(process, outcome(process), about_cause(process, None))
    if process.joined is None:
        return _never_joined(process)
    if how is not None and process.joined is not how:
        return Offence(process, _joined_otherwise(process.joined), _OTHER_WAYS[process.joined])
    if process.cause is Cause.UNKNOWN and _may_be_daemon(process):
        actual = f"whether it was abandoned is not known: {why_unknown(process)}"
        return Offence(process, actual, about_cause(process, None), known=False)
    return None


def _joined_otherwise(joined: Joined) -> str:
    return f"it was joined {_WAYS[joined]} ({joined})"


def _may_be_daemon(process: ProcessRecord) -> bool:
    return process.daemon is not False and process.kind not in ("subprocess", "posix_spawn")


def _never_joined(process: ProcessRecord) -> Offence:
    parent = process.parent
    if process.role is Role.MAIN:
        hint = "run.children and run.descendants are the processes that can be joined"
        return Offence(process, "it is main, which no process of the run can wait for", hint)
    reason = "its parent was not seen" if parent is None else unseen(parent)
    if reason is not None:
        actual = f"no join of it was seen, and one may be missing: {reason}"
        return Offence(process, actual, _SEE_MISSING, known=False)
    assert parent is not None
    was_collected = any(isinstance(fact, Collected) for fact in process.evidence)
    cut_off = "" if was_collected else _wait_without_status(process, parent)
    if cut_off:
        hint = cut_off
    elif process.orphaned:
        hint = f"its parent had ended before it: {parent.name} {describe(parent)}"
    elif no_exit_path(parent):
        why = f"{parent.name} had none: {describe(parent)}"
        hint = f"only an exit path joins all children, and {why}"
    elif process.kind in MULTIPROCESSING_KINDS and not was_collected:
        hint = f"{parent.name} did not collect its status: call join()"
    elif process.kind in MULTIPROCESSING_KINDS:
        hint = _in_passing(process, "join()") or (
            "is_alive(), active_children() and the next start() can collect a status too, "
            "but they do not wait: call join()"
        )
    elif hint := _in_passing(process, "wait()"):
        pass
    else:
        hint = (
            "an exit path joins only the processes of multiprocessing: wait for this one in the "
            "code"
        )
    return Offence(process, "no wait collected its status", hint)


def _in_passing(process: ProcessRecord, wait: str) -> str:
    """The call that collected its status without a wait; "" if none was seen."""
    facts = (fact for fact in process.evidence if isinstance(fact, Collected))
    fact = next((fact for fact in facts if fact.via), None)
    if fact is None:
        return ""
    by = "another process" if fact.about is None else named(process.run.processes[fact.about])
    call = f"{by} collected its status by {fact.via}"
    if fact.waited:
        return f"{call}, which is not the {wait} of what started it"
    return f"{call}, which does not wait for it: call {wait}"


def held_up_by(process: ProcessRecord, children: Records) -> Violation | None:
    """Each of the children ran on, and its parent's exit path waited for it."""
    expected = f"to have held up {named(process)} after its code had finished"

    def check(child: ProcessRecord) -> Offence | None:
        offence = _did_not_hold_up(child, process)
        return None if offence is None else replace(offence, others=(process,))

    return on_each(children, expected, check)


def _did_not_hold_up(child: ProcessRecord, process: ProcessRecord) -> Offence | None:
    if child.parent_id != process.id:
        parent = child.parent
        whose = "not known" if parent is None else named(parent)
        hint = "an exit path waits only for the children of its process"
        return Offence(child, f"its parent is {whose}", hint)
    hold = _hold_of(child, process)
    holds_up = hold is not None and hold.until is not None
    if holds_up and not _perhaps_abandoned(child):
        return None
    if holds_up or child.cause is None:
        return Offence(child, outcome(child), about_cause(child, None), known=False)
    if process.finished_at is None:
        if no_exit_path(process):
            hint = f"{process.name} had no exit path: {describe(process)}"
            return Offence(child, "its parent's code did not finish", hint)
        hint = f"what is known of the end of {process.name}: {describe(process)}"
        return Offence(child, "when its parent's code finished is not known", hint, known=False)
    if _died_of_exit_path(child):
        return Offence(
            child, outcome(child), "it died of the exit path's signal: it did not run on"
        )
    cut_off = _cut_off(process)
    if child.joined is None and cut_off is not None:
        return Offence(child, "no wait for it succeeded", f"{process.name}'s exit path {cut_off}")
    reason = unseen(process)
    if reason is not None:
        actual = (
            f"no wait for it was seen in its parent's exit path, and one may be missing: {reason}"
        )
        return Offence(child, actual, _SEE_MISSING, known=False)
    if child.joined is None:
        return _never_joined(child)
    hint = f"no wait of {process.name}'s exit path began while it was alive"
    return Offence(child, _joined_otherwise(child.joined), hint)


def _holds(process: ProcessRecord) -> dict[int | None, HeldUp]:
    """What is known of the waits that kept a process in its exit path, by the child's id."""
    if process.finished_at is None:
        return {}
    return {fact.about: fact for fact in process.evidence if isinstance(fact, HeldUp)}


def _hold_of(child: ProcessRecord, process: ProcessRecord) -> HeldUp | None:
    """The wait for a child that kept its parent in the exit path, if it ran on there."""
    return None if _died_of_exit_path(child) else _holds(process).get(child.id)


def _died_of_exit_path(child: ProcessRecord) -> bool:
    """Whether it died of the exit path's signal, even if its target had returned before."""
    if child.cause is Cause.ABANDONED:
        return child.ending is Ending.SIGNALED
    sent = (request for request in child.requests if request.via == "exit path")
    returned = child.cause in (Cause.RETURNED, Cause.RAISED, Cause.SYS_EXIT)
    return returned and any(request.signal == child.signal for request in sent)


def _perhaps_abandoned(child: ProcessRecord) -> bool:
    """Whether it may have died of the exit path's signal, so that it did not run on."""
    died = child.ending in (None, Ending.SIGNALED)
    return child.cause is Cause.UNKNOWN and died and _may_be_daemon(child)


def not_held_up(processes: Records) -> Violation | None:
    """No child made the exit path wait."""
    expected = "not to have been held up by a child after its code had finished"
    return on_each(processes, expected, _held_up)


def _held_up(process: ProcessRecord) -> Offence | None:
    holds = _holds(process)
    over = {id: fact.until for id, fact in holds.items() if fact.until is not None}
    holding = tuple(c for c in process.children if c.id in over and not _died_of_exit_path(c))
    if holding:
        last = max(holding, key=lambda child: over[child.id])
        waited = over[last.id] - min(holds[child.id].at or 0.0 for child in holding)
        more = f" and {len(holding) - 1} more" if len(holding) > 1 else ""
        actual = f"its exit path waited {waited:.3f} s for {named(last)}{more}"
        known = not all(map(_perhaps_abandoned, holding))
        actual += "" if known else ", which may have died of its signal"
        hint = _why_it_waited(last, holds[last.id]) if known else about_cause(last, None)
        return Offence(process, actual, hint, known=known, others=holding)
    cut_off = _cut_off(process)
    if cut_off is not None:
        hint = _why_cut_off(process)
        return Offence(process, f"its exit path {cut_off}", hint)
    missing = _missing(process)
    if missing is None:
        return None
    hint = _SEE_MISSING if unseen(process) else about_cause(process, None)
    return Offence(process, missing, hint, known=False)


def _wait_without_status(process: ProcessRecord, parent: ProcessRecord) -> str:
    """Its parent's wait for it that got no status; "" if there was none."""
    wait = next((wait for wait in parent.waiting_for if wait.process == process.id), None)
    if wait is not None:
        place = plain(wait_words(wait.pid, wait.process, wait.where, process.run))
        return f"{parent.name} was waiting for {place}, and that wait was cut off"
    hold = _holds(parent).get(process.id)
    if hold is None:
        return ""
    begun, until = hold.at or 0.0, hold.until or parent.ended_at or 0.0
    came = [r for r in parent.requests if begun <= r.at <= until]
    words = f": {came[-1].signal} came at {came[-1].at:.3f} s" if came else ""
    return f"{parent.name}'s exit path left its wait for it without its status{words}"


def _why_cut_off(process: ProcessRecord) -> str:
    """What is known of the wait in its exit path that got no status."""
    done = process.finished_at or 0.0
    wait = next(wait for wait in process.waiting_for if wait.at >= done)
    child = None if wait.process is None else process.run.processes[wait.process]
    if child is not None and any(isinstance(fact, Collected) for fact in child.evidence):
        return f"another wait had collected the status of {child.name}"
    if any(isinstance(fact, ExitPathUnfinished) for fact in process.evidence):
        return f"{process.name} ended in that wait: {describe(process)}"
    return f"{process.name} went on without its status"


def _why_it_waited(child: ProcessRecord, hold: HeldUp) -> str:
    at = f" at {hold.where}" if hold.where else ""
    match hold.by:
        case Holder.EXIT_HANDLER:
            return f"an exit handler waits for {child.name}{at}"
        case Holder.THREAD:
            return f"a thread waits for {child.name}{at}, and the exit path joins that thread"
        case Holder.EXECUTOR:
            return "the exit path joins the executor's thread: shut the executor down in the code"
        case Holder.POOL:
            return f"the exit path joins the Pool{at}: close and join it in the code"
        case Holder.EXIT_PATH:
            pass
    before = [request for request in child.requests if request.at <= (hold.at or 0.0)]
    if before:
        asked = before[0]
        sent = f"sent {asked.signal} by {plain(asked.via)} at {asked.at:.3f} s"
        sent = "asked to end there" if asked.via == "exit path" else sent
        return f"{child.name} was {sent}, and ran on: {describe(child)}"
    if child.daemon:
        return f"the end of {child.name} took until then: {describe(child)}"
    return "with daemon=True it would be terminated there; a join() would make the wait explicit"


def _cut_off(process: ProcessRecord) -> str | None:
    """The wait that its exit path was in when it was cut off."""
    done = process.finished_at
    if done is None:
        return None
    wait = next((wait for wait in process.waiting_for if wait.at >= done), None)
    if wait is None:
        return None
    words = plain(wait_words(wait.pid, wait.process, wait.where, process.run))
    return f"was waiting for {words}"


def _missing(process: ProcessRecord) -> str | None:
    """The fact that is missing to say that its exit path did not wait for a child."""
    if process.cause is None:
        return "it is still running"
    reason = unseen(process)
    if reason is not None:
        return f"its joins may not all have been seen: {reason}"
    if process.cause is Cause.CLEANED_UP:
        return "proclife ended it before its exit path ended"
    if process.finished_at is None and not no_exit_path(process):
        return f"when its code finished is not known: {describe(process)}"
    return None
