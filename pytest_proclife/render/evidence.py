"""The sentences of facts: evidence, missing facts, and what was not seen."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from pytest_proclife import records
from pytest_proclife.records import Evidence, EvidenceKind, MissingKind, Run, UnknownKind
from pytest_proclife.render.text import seconds


def fact_words(fact: Evidence, run: Run | None = None) -> str:
    """The sentence of a fact about "it". Names of other processes need the run."""
    return _WORDS[fact.kind](fact, run)


def source_words(fact: Evidence, run: Run) -> str:
    """The name of whoever states a fact."""
    if isinstance(fact, records.CauseNamed):
        return fact.plugin
    if fact.source is records.Source.PROCESS and fact.about is not None:
        return run.processes[fact.about].name
    return str(fact.source)


def wait_words(pid: int, process: int | None, where: str, run: Run | None) -> str:
    """What a wait is for: "Process-1 (pid 12) at main.py:3"."""
    if process is not None and run is not None:
        return f"{run.processes[process]}{_at(where)}"
    return f"pid {pid}{_at(where)}"


def _started(fact: records.Started, run: Run | None) -> str:
    return f"started it{_at(fact.where)}"


def _not_started(fact: records.NotStarted, run: Run | None) -> str:
    name = fact.name or fact.child_kind
    words = f"could not start {name}" if fact.about is None else f"its start of {name} failed"
    return words + _at(fact.where) + (f": {fact.error}" if fact.error else "")


def _replaces(fact: records.Replaces, run: Run | None) -> str:
    words = f"it replaces {_other(fact, run, 'a worker')} in its Pool"
    if fact.lost_task is None:
        return f"{words}; the task of that one, if it had one, is lost"
    call = f" {fact.function}()" if fact.function else ""
    return f"{words}; the task{call} of that one is lost" if fact.lost_task else words


def _ran_on(fact: records.RanOn, run: Run | None) -> str:
    return f"ran on into the exit path of {_other(fact, run, 'its parent')}, whose copy it is"


def _other(fact: Evidence, run: Run | None, instead: str) -> str:
    return instead if fact.about is None or run is None else str(run.processes[fact.about])


def _signal_sent(fact: records.SignalSent, run: Run | None) -> str:
    words = f"sent {fact.signal} ({fact.via})"
    if fact.source is records.Source.KERNEL:  # else its sender says so
        words = f"{_other(fact, run, 'a process')} {words}"
    if not fact.certain:
        words += ", perhaps to it, perhaps to another process"
    elif fact.alive is False:
        words += " when it had ended"
    else:
        words += _DISPOSITIONS[fact.disposition]
    return words + ", and it ended of that" if fact.decisive else words


def _may_have_sent(fact: records.MayHaveSent, run: Run | None) -> str:
    program = shlex.join(fact.argv)[:_COMMAND_LIMIT] or "a program"
    if run is not None and fact.about is not None:
        program += f" (pid {run.processes[fact.about].pid})"
    return f"{program} was running, and may have sent {fact.signal}"


def _cpu_limit(fact: records.CpuLimit, run: Run | None) -> str:
    limits = (("soft", fact.soft), ("hard", fact.hard))
    seconds = " and ".join(f"{n} s ({name})" for name, n in limits if n is not None)
    return f"its processor time was limited to {seconds}"


def _asked_kernel(fact: records.AskedKernel, run: Run | None) -> str:
    if fact.call == "prctl":
        return f"it had asked the kernel for {fact.signal} at its parent's end"
    return f"it had asked the kernel for {fact.signal} by a timer, with {fact.call}()"


def _parent_ended(fact: records.ParentEnded, run: Run | None) -> str:
    if run is None or fact.about is None:
        return "its parent ended at that moment"
    return f"its parent, {run.processes[fact.about]}, ended at that moment"


def _finished(fact: records.Finished, run: Run | None) -> str:
    if fact.how is records.Ending.RETURNED:
        return "its code returned"
    if fact.how is records.Ending.SYS_EXIT:
        return "its code called sys.exit" + (f"({fact.message})" if fact.message else "")
    error = f"{fact.exception}: {fact.message}" if fact.message else fact.exception
    return f"its code raised {error}"


def _waiting(fact: records.Waiting, run: Run | None) -> str:
    return f"was waiting for {wait_words(fact.pid, fact.about, fact.where, run)}"


def _held_up(fact: records.HeldUp, run: Run | None) -> str:
    child = "a child" if run is None or fact.about is None else str(run.processes[fact.about])
    until = "" if fact.until is None else f" until {seconds(fact.until)}"
    return f"{HOLDERS[fact.by]} had to wait for {child}{until}{_at(fact.where)}"


def _collected(fact: records.Collected, run: Run | None) -> str:
    call = "" if fact.waited or not fact.via else f" in passing, by {fact.via}"
    return f"collected its status{call}{_at(fact.where)}"


def _clean_up(fact: records.CleanUp, run: Run | None) -> str:
    if fact.found_later:
        return "found it after the clean-up had begun"
    return "found it running when the clean-up began"


def _ended(fact: records.Ended, run: Run | None) -> str:
    if fact.exitcode is None:
        return "ended; its wait status was not seen"
    if fact.exitcode < 0:
        return f"died of {records.signal_name(-fact.exitcode)}"
    return f"exited with {fact.exitcode}"


def _reaped(fact: records.Reaped, run: Run | None) -> str:
    return "it was an orphan when it was reaped" if fact.orphan else "it was reaped"


def _fact_missing(fact: records.FactMissing, run: Run | None) -> str:
    words = f"unknown: {fact.reason}"
    if run is not None and fact.reason.kind in _WITNESSED and run.witness.backend == "pidfd":
        words += "; seccomp=True would tell"
    return words


def _foreign(fact: records.Foreign, run: Run | None) -> str:
    if not fact.function:
        return f"made a {fact.by}"
    if fact.by == "faulthandler":
        return "set a timer of faulthandler that ends it by _exit()"
    return f"took {fact.function}() of the C library by {fact.by}"


def _at(where: str) -> str:
    return f" at {where}" if where else ""


HOLDERS = {
    records.Holder.EXIT_PATH: "its exit path",
    records.Holder.EXIT_HANDLER: "an exit handler",
    records.Holder.THREAD: "a thread that is not a daemon",
    records.Holder.EXECUTOR: "its executor's thread",
    records.Holder.POOL: "the join() of its Pool",
}
_COMMAND_LIMIT = 200  # characters

_DISPOSITIONS: dict[records.Disposition | None, str] = {
    records.Disposition.CAUGHT: ", which it caught",
    records.Disposition.IGNORED: ", which it ignored",
    records.Disposition.BLOCKED: ", which it had blocked",
    records.Disposition.DEFAULT: "",
    None: "",
}

# A test holds that there is one for each kind.
_WORDS: dict[EvidenceKind, Callable[[Any, Run | None], str]] = {
    EvidenceKind.STARTED: _started,
    EvidenceKind.NOT_STARTED: _not_started,
    EvidenceKind.REPLACES: _replaces,
    EvidenceKind.SIGNAL_SENT: _signal_sent,
    EvidenceKind.HANDLER_RAN: lambda fact, run: f"its handler of {fact.signal} ran",
    EvidenceKind.SIGNAL_TAKEN: lambda fact, run: f"took {fact.signal} with {fact.via}()",
    EvidenceKind.MAY_HAVE_SENT: _may_have_sent,
    EvidenceKind.ALARM_DUE: lambda fact, run: "its own timer was due",
    EvidenceKind.CPU_LIMIT: _cpu_limit,
    EvidenceKind.ASKED_KERNEL: _asked_kernel,
    EvidenceKind.NOT_SENT: lambda fact, run: f"no process of the run sent {fact.signal}",
    EvidenceKind.PARENT_ENDED: _parent_ended,
    EvidenceKind.FINISHED: _finished,
    EvidenceKind.TASK_LOST: lambda fact, run: f"left its task {fact.function}() undone",
    EvidenceKind.RAN_ON: _ran_on,
    EvidenceKind.OS_EXIT_CALLED: lambda fact, run: f"called os._exit({fact.status})",
    EvidenceKind.EXIT_PATH_UNFINISHED: lambda fact, run: "its exit path began, and did not end",
    EvidenceKind.WAITING: _waiting,
    EvidenceKind.HELD_UP: _held_up,
    EvidenceKind.CLEAN_UP: _clean_up,
    EvidenceKind.ENDED: _ended,
    EvidenceKind.COLLECTED: _collected,
    EvidenceKind.JOINED: lambda fact, run: f"joined it{_at(fact.where)}",
    EvidenceKind.REAPED: _reaped,
    EvidenceKind.FACT_MISSING: _fact_missing,
    EvidenceKind.LEFT_OUT: lambda fact, run: f"left out: {fact.text}",
    EvidenceKind.FOREIGN: _foreign,
    EvidenceKind.CAUSE_NAMED: lambda fact, run: f"the cause is {fact.cause}",
}


# --- why a cause is unknown

# what the second witness sees
_WITNESSED = {
    UnknownKind.UNOBSERVED_SENDER,
    UnknownKind.FOREIGN_SENDER,
    UnknownKind.REQUEST_REPORT,
    UnknownKind.EARLIER_REQUEST_REPORT,
    UnknownKind.UNCERTAIN_REQUEST,
    UnknownKind.UNCERTAIN_EARLIER_REQUEST,
    UnknownKind.EXITED_IN_C,
}


def unknown_words(reason: records.UnknownReason) -> str:
    """The missing fact in a sentence."""
    return _UNKNOWN[reason.kind].format(signal=reason.signal or "a signal")


_OWN = "some of its reports are missing: "
_OTHERS = "reports of other processes are missing, and one of them may have been about "

_UNKNOWN = {
    UnknownKind.WAIT_STATUS: "its wait status could not be read",
    UnknownKind.NO_END_REPORTED: "it exited without a report of its finish or of os._exit()",
    UnknownKind.FINISH_REPORT: "the report of how its code finished is missing",
    UnknownKind.REPLACEMENT: _OWN + "another program may have replaced it",
    UnknownKind.PARENTS_EXIT: _OWN + "its parent's exit path may have ended it",
    UnknownKind.FINISHED_FIRST: _OWN + "it may have finished before {signal} came",
    UnknownKind.FINISHED_BEFORE_OS_EXIT: _OWN + "its code may have finished before os._exit()",
    UnknownKind.FINISHED_BEFORE_SIGNAL: _OWN + "its code may have finished before the signal",
    UnknownKind.FINISHED_BEFORE_EXIT_PATH: _OWN + "its target may have finished before",
    UnknownKind.REACTION: "what it did with {signal} could not be seen",
    UnknownKind.REACTION_REPORT: _OWN + "one of them may have said what it did with {signal}",
    UnknownKind.CAUGHT: "whether it caught {signal} could not be seen",
    UnknownKind.LEFT_BY_HANDLER: "whether it left by its handler of {signal} could not be seen",
    UnknownKind.DIED_OF_IGNORED: "it ignored {signal}, but died of it all the same",
    UnknownKind.PARENT: "an exit path asked it to end, but perhaps not that of its parent",
    UnknownKind.DAEMON_FLAG: (
        "its parent's exit path asked it to end, but its daemon flag is not known"
    ),
    UnknownKind.UNCERTAIN_REQUEST: "a signal was sent to it or to another process",
    UnknownKind.UNCERTAIN_EARLIER_REQUEST: (
        "an earlier signal was sent to it or to another process"
    ),
    UnknownKind.REQUEST_REPORT: _OTHERS + "a signal to it",
    UnknownKind.EARLIER_REQUEST_REPORT: _OTHERS + "an earlier signal to it",
    UnknownKind.UNOBSERVED_SENDER: (
        "a program that does not report was running, and may have sent {signal}"
    ),
    UnknownKind.FOREIGN_SENDER: (
        "a process was running that can send signals below Python, and may have sent {signal}"
    ),
    UnknownKind.EXITED_IN_C: "it exited without a report, as it can below Python",
}


# --- what was not seen


def missing_words(missing: records.Missing) -> str:
    """What may have happened unseen, in a sentence."""
    id = missing.process
    process = "a process" if id is None else missing.run.processes[id]
    return _MISSING[missing.kind].format(process=process, what=missing.what)


_MISSING = {
    MissingKind.BACKEND: "processes were polled: {what}",
    MissingKind.SHORT_LIVED: "processes that live for less than {what} can be missed",
    MissingKind.EXIT_CODES: (
        "the exit codes of processes other than main are only those that their parents collected "
        "and reported"
    ),
    MissingKind.NO_REPORTS: "nothing is reported from inside: {what}",
    MissingKind.REPORTS: "reports of {process} are missing",
    MissingKind.REPLACED: "{process} became a program that does not report",
    MissingKind.UNOBSERVED: "{process} does not report: what it started may be missing",
    MissingKind.UNSEEN_CALL: "{process} called {what}, which does not report what it starts",
    MissingKind.IMPORTED_EARLY: (
        "{process} took {what}() before it was watched: its calls may be missing"
    ),
    MissingKind.STARTED_EARLY: "{process} had a {what} before it was watched",
    MissingKind.FOREIGN_FUNCTION: (
        "{process} took {what}() of the C library, whose calls are not seen"
    ),
    MissingKind.CONTRADICTED: "{process} reported a signal that it did not send",
    MissingKind.SUBINTERPRETER: "{process} made a subinterpreter, whose calls are not seen",
}
