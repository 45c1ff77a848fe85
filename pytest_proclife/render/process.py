"""A process in words: why it ended, who waited for it, and what main was waiting for."""

from __future__ import annotations

from pytest_proclife import records
from pytest_proclife.records import Cause, Ending, Joined, ProcessRecord, Role, Run
from pytest_proclife.render.evidence import wait_words
from pytest_proclife.render.text import plain, seconds, shortened

_NAMED = 8  # processes named in a sentence


def describe(
    process: ProcessRecord, *, parent_named: bool = False, start_named: bool = False
) -> str:
    """Why and how a process ended, in a few words.

    `parent_named`, `start_named`: the sentence around it says already that it outlived its
    parent, or that its target never ran.
    """
    if process.ending is Ending.RUNNING:
        return "running"
    why, named = _why(process)
    words = [why]
    if process.signal is None:
        code = "not known" if process.exitcode is None else process.exitcode
        words.append(f"exit code {code}")
    elif process.signal != named:
        words.append(f"died of {process.signal}")
    if process.joined is not None:
        words.append(join_words(process, process.joined))
    is_helper = process.role is Role.HELPER
    if process.orphaned and not is_helper and not parent_named:
        words.append("outlived its parent")
    if any(isinstance(fact, records.RanOn) for fact in process.evidence):
        words.append("ran on into its parent's exit path")
    if process.target_ran is False and not is_helper and not start_named:
        words.append("its target never ran")
    return ", ".join(words)


def _why(process: ProcessRecord) -> tuple[str, str | None]:
    """Why it ended, and the signal that these words name."""
    match process.cause:
        case Cause.ABANDONED | Cause.TERMINATED | Cause.KILLED | Cause.CLEANED_UP:
            by = _sender(process)
            if process.cause is Cause.ABANDONED and by:
                by += "'s exit path"
            text = cause_words(process.cause) + (f" by {by}" if by else "")
            signal = _signal(process)
            return text + (f" ({signal})" if signal else "") + _how(process), signal
        case Cause.RAISED if process.exception is not None:
            return f"raised {plain(process.exception.type)[:60]}", None
        case Cause.SIGNALED:
            return f"died of {process.signal}", process.signal
        case Cause.UNKNOWN:
            reason = process.unknown_reason
            return "unknown" if reason is None else f"unknown: {reason}", None
        case None:
            return "running", None
        case cause:
            return cause_words(cause), None


def cause_words(cause: Cause) -> str:
    """A cause by itself."""
    return "died of a signal" if cause is Cause.SIGNALED else str(cause).replace("_", " ")


def _how(process: ProcessRecord) -> str:
    """How it ended, if it was asked to and did not just die."""
    match process.ending:
        case Ending.RETURNED:
            return " and returned"
        case Ending.RAISED:
            name = process.exception.type if process.exception is not None else "an exception"
            return f" and raised {plain(name)[:60]}"
        case Ending.SYS_EXIT:
            return " and left by sys.exit"
        case Ending.OS_EXIT:
            return " and left by os._exit"
        case _:
            return ""


def _signal(process: ProcessRecord) -> str | None:
    if process.cause is Cause.CLEANED_UP:
        return process.signal if process.signal == "SIGKILL" else None
    request = request_that_ended(process)
    return process.signal if request is None else request.signal


def request_that_ended(process: ProcessRecord) -> records.SignalSent | None:
    """The signal that a process ended of, if its cause is one; None if it is not known."""
    sent = (fact for fact in process.evidence if isinstance(fact, records.SignalSent))
    return next((fact for fact in sent if fact.decisive), None)


def _sender(process: ProcessRecord) -> str:
    match process.ended_by:
        case None:
            return ""
        case "test":
            return "the test"
        case int() as number:
            return shortened(process.run.processes[number].name)
        case other:
            return other


def join_words(process: ProcessRecord, joined: Joined) -> str:
    """Whose wait collected its status."""
    match joined:
        case Joined.EXPLICIT:
            return "joined"
        case Joined.IMPLICIT:
            return "joined by the exit path"
        case Joined.LIBRARY:
            its = {"pool_worker": "pool", "executor_worker": "executor", "manager": "manager"}
            return (
                f"joined by its {its[process.kind]}"
                if process.kind in its
                else "joined by the library"
            )


def cleaned_up_at(process: ProcessRecord) -> float | None:
    """When proclife began to end what was left, if it ended this process, which ran then."""
    facts = (fact for fact in process.evidence if isinstance(fact, records.CleanUp))
    found = next((fact for fact in facts if not fact.found_later), None)
    return found.at if found is not None and process.cause is Cause.CLEANED_UP else None


def waiting_for(run: Run) -> str:
    """What main was doing when the run was ended at its timeout, in one sentence's words."""
    main = run.main
    in_exit_path = any(isinstance(fact, records.ExitPathUnfinished) for fact in main.evidence)
    wait = main.waiting_for[-1] if main.waiting_for else None
    running = [p for p in main.children if p.ended_at is None or cleaned_up_at(p) is not None]
    if wait is not None:
        words = plain(wait_words(wait.pid, wait.process, wait.where, run))
        doing = "its exit path" if in_exit_path else "it"
        doing += f" was waiting for {words} since {seconds(wait.at)}"
    elif in_exit_path:
        doing = "it was in its exit path"
    elif main.finished_at is None:
        doing = "its own code was still running"
    else:
        doing = "it was on its way out, behind a thread or a handler"
    if main.finished_at is not None:
        doing = f"its code was done at {seconds(main.finished_at)}, and {doing}"
    waited_for = None if wait is None else wait.process
    others = [p for p in running if p.id != waited_for]
    if not others:
        return doing
    names = ", ".join(plain(str(p)) for p in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    verb = "was" if len(others) == 1 else "were"
    return f"{doing}; still running {verb} {names}{more}"
