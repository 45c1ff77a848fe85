"""A process in words: why it ended, who waited for it, and what main was waiting for."""

from __future__ import annotations

from pytest_proclife.analysis.evidence import ENDED_OF, IN_EXIT_PATH, WAITED
from pytest_proclife.records import Cause, Ending, Joined, ProcessRecord, Request, Role, Run
from pytest_proclife.render.text import plain, seconds, shortened

_NAMED = 8  # processes named in a sentence


def describe(process: ProcessRecord) -> str:
    """Why and how a process ended, in a few words."""
    if process.ending is Ending.RUNNING:
        return "running"
    words = [_why(process)]
    if process.signal is None:
        code = "not known" if process.exitcode is None else process.exitcode
        words.append(f"exit code {code}")
    elif process.signal not in words[0]:
        words.append(f"died of {process.signal}")
    if process.joined is not None:
        words.append(_join_words(process, process.joined))
    if process.orphaned and process.role is not Role.HELPER:
        words.append("outlived its parent")
    if process.target_ran is False and process.role is not Role.HELPER:
        words.append("its target never ran")
    return ", ".join(words)


def _why(process: ProcessRecord) -> str:
    match process.cause:
        case Cause.ABANDONED | Cause.TERMINATED | Cause.KILLED | Cause.CLEANED_UP:
            by = _who(process)
            if process.cause is Cause.ABANDONED and by:
                by += "'s exit path"
            text = cause_words(process.cause) + (f" by {by}" if by else "")
            signal = _asked_with(process)
            return text + (f" ({signal})" if signal else "") + _how(process)
        case Cause.RAISED if process.exception is not None:
            return f"raised {plain(process.exception.type)[:60]}"
        case Cause.SIGNALED:
            return f"died of {process.signal}"
        case Cause.UNKNOWN:
            reasons = [e.fact for e in process.evidence if e.fact.startswith("unknown: ")]
            return reasons[0] if reasons else "unknown"
        case None:
            return "running"
        case cause:
            return cause_words(cause)


def cause_words(cause: Cause) -> str:
    """A cause by itself."""
    return "died of a signal" if cause is Cause.SIGNALED else str(cause).replace("_", " ")


def _how(process: ProcessRecord) -> str:
    """How it went where it was asked and did not just die."""
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


def _asked_with(process: ProcessRecord) -> str | None:
    if process.cause is Cause.CLEANED_UP:
        return process.signal
    request = request_that_ended(process)
    return process.signal if request is None else request.signal


def request_that_ended(process: ProcessRecord) -> Request | None:
    """The request of which a process ended, where its cause is one; None where it is not known."""
    found = [r for r in process.requests if r.by == process.ended_by]
    named = {e.at for e in process.evidence if e.fact.endswith(ENDED_OF)}
    return next((r for r in found if r.at in named), found[0] if found else None)


def _who(process: ProcessRecord) -> str:
    match process.ended_by:
        case None:
            return ""
        case "test":
            return "the test"
        case int() as number:
            return shortened(process.run.processes[number].name)
        case other:
            return other


def _join_words(process: ProcessRecord, joined: Joined) -> str:
    match joined:
        case Joined.EXPLICIT:
            return "joined"
        case Joined.IMPLICIT:
            return "joined by the exit path"
        case Joined.LIBRARY:
            words = {
                "pool_worker": "its pool",
                "executor_worker": "its executor",
                "manager": "its manager",
            }
            return f"joined by {words.get(process.kind, 'the library')}"


def waiting_for(run: Run) -> str:
    """What main was doing when the run was ended at its deadline, in one sentence's words."""
    main = run.main
    waits = [e for e in main.evidence if e.fact.startswith(WAITED)]
    in_exit_path = any(e.fact == IN_EXIT_PATH for e in main.evidence)
    ended = main.ended_at if main.ended_at is not None else run.duration
    running = [p for p in main.children if p.ended_at is None or p.cause is Cause.CLEANED_UP]
    if waits:
        doing = f"its exit path {waits[-1].fact}" if in_exit_path else f"it {waits[-1].fact}"
        doing += f" since {seconds(waits[-1].at or 0.0)}"
    elif in_exit_path:
        doing = "it was in its exit path"
    elif main.finished_at is None:
        doing = "its own code was still running"
    else:
        doing = "it was on its way out, behind a thread or a handler"
    if main.finished_at is not None:
        doing = f"its code was done at {seconds(main.finished_at)}, and {doing}"
    others = [p for p in running if (p.ended_at or ended) >= ended and str(p) not in doing]
    if not others:
        return doing
    names = ", ".join(plain(str(p)) for p in others[:_NAMED])
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    verb = "was" if len(others) == 1 else "were"
    return f"{doing}; still running {verb} {names}{more}"
