"""What to look at next, where a process came to another end than expected."""

from __future__ import annotations

from collections.abc import Callable

from pytest_proclife.description import describe, plain, request_that_ended, waiting_for
from pytest_proclife.records import Cause, Ending, ProcessRecord

_ASKED = (Cause.ABANDONED, Cause.TERMINATED, Cause.KILLED)


def about_cause(process: ProcessRecord, wanted: Cause | None) -> str:
    """The hint for a cause that was not the wanted one (None: it was, but not all of it)."""
    told = _ALONE.get(process.cause)
    if told is not None:
        return told(process)
    if wanted is Cause.ABANDONED:
        return _about_no_abandonment(process)
    if process.cause in _ASKED:
        return _about_request(process, wanted)
    if wanted in (Cause.TERMINATED, Cause.KILLED):
        return "process.requests has every signal that the run and the test sent it: none ended it"
    return "process.ending says how it ended, process.requests which signals were sent to it"


def _about_running(process: ProcessRecord) -> str:
    return "a snapshot says what was so far: wait for the end of the run"


def no_exit_path(process: ProcessRecord) -> bool:
    """Whether a process is known to have ended without an exit path."""
    if process.cause is Cause.UNKNOWN or process.finished_at is not None:
        return False
    return process.ending in (Ending.SIGNALED, Ending.OS_EXIT)


def _about_unknown(process: ProcessRecord) -> str:
    if process.run.witness.missing:
        return "run.witness.missing says what could not be seen, and of which process"
    return "the last line of its evidence says which fact is missing"


def _about_clean_up(process: ProcessRecord) -> str:
    if process.run.timed_out:
        return f"main was not done at the timeout: {waiting_for(process.run)}"
    return (
        "it still ran when the run was ended, after the linger or with the test: end it in the "
        "program, or give it longer by linger="
    )


def _about_exception(process: ProcessRecord) -> str:
    trace = process.exception.traceback.splitlines() if process.exception is not None else []
    if not trace:
        return "process.exception has what is known of the exception"
    return f"process.exception.traceback ends at {plain(trace[-1])}"


def _about_exit(process: ProcessRecord) -> str:
    return "it was seen from outside only: all that is known of its end is the exit code"


# Where it does not matter which cause was wanted.
_ALONE: dict[Cause | None, Callable[[ProcessRecord], str]] = {
    None: _about_running,
    Cause.UNKNOWN: _about_unknown,
    Cause.CLEANED_UP: _about_clean_up,
    Cause.RAISED: _about_exception,
    Cause.EXITED: _about_exit,
}


def _about_no_abandonment(process: ProcessRecord) -> str:
    parent = process.parent
    if process.daemon is None:
        return f"only a daemon of multiprocessing can be abandoned: its kind is {process.kind}"
    if process.daemon is False:
        return "it is no daemon: an exit path ends daemons only, and waits for the others"
    if process.cause in (Cause.TERMINATED, Cause.KILLED):
        return _about_request(process, Cause.ABANDONED)
    if process.orphaned and parent is not None and no_exit_path(parent):
        return (
            f"its parent had no exit path, which is what ends daemons: {parent.name} was not done "
            f"with its own code ({describe(parent)})"
        )
    if any(r.by == process.parent_id and r.via == "exit path" for r in process.requests):
        return "its parent's exit path asked it to end, but that is not what it ended of"
    return "no exit path asked it to end: a daemon that is done by then is not abandoned"


def _about_request(process: ProcessRecord, wanted: Cause | None) -> str:
    if wanted is not None and wanted is not Cause.SIGNALED and str(process.ending) == str(wanted):
        return f"the cause says why, the ending how: process.ending is {str(wanted)!r}"
    if process.cause is Cause.ABANDONED:
        return (
            "its parent's exit path ended it, as it does with daemons: join() it before its "
            "parent's code is done, or start it with daemon=False"
        )
    asked = request_that_ended(process)
    if asked is None:
        return "process.requests has every signal that was sent to it"
    return f"it was asked with {asked.signal} by {plain(asked.via)} at {asked.at:.3f} s"
