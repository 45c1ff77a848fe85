"""Claims about the cause of an exit, and hints for a different cause."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace

from pytest_proclife.assertions.violation import Offence, Violation, came_to, named, on_each
from pytest_proclife.records import Cause, Ending, ProcessRecord
from pytest_proclife.render.process import describe, request_that_ended, waiting_for
from pytest_proclife.render.text import plain

_REQUESTED = (Cause.ABANDONED, Cause.TERMINATED, Cause.KILLED)


def about_cause(process: ProcessRecord, wanted: Cause | None) -> str:
    """A hint for a cause other than `wanted`; None: the cause is right, other facts are not."""
    hint = _FOR_EVERY_CLAIM.get(process.cause)
    if hint is not None:
        return hint(process)
    if wanted is Cause.ABANDONED:
        return _about_no_abandonment(process)
    if process.cause in _REQUESTED:
        return _about_request(process, wanted)
    if wanted in (Cause.TERMINATED, Cause.KILLED):
        return "process.requests lists every signal that was sent to it: none of them ended it"
    return (
        "process.ending says how it ended, process.requests lists the signals that were sent to it"
    )


def _about_running(process: ProcessRecord) -> str:
    return "this is a snapshot: wait for the end of the run"


def no_exit_path(process: ProcessRecord) -> bool:
    """Whether a process is known to have ended without an exit path."""
    if process.cause is Cause.UNKNOWN or process.finished_at is not None:
        return False
    return process.ending in (Ending.SIGNALED, Ending.OS_EXIT)


def _about_unknown(process: ProcessRecord) -> str:
    if process.run.witness.missing:
        return "run.witness.missing says what could not be seen, and of which process"
    return "process.unknown_reason says which fact is missing"


def _about_clean_up(process: ProcessRecord) -> str:
    if process.run.timed_out:
        return f"main had not ended at the timeout: {waiting_for(process.run)}"
    return (
        "it was still running when proclife ended the run, after the linger or with the test: "
        "end it in the program, or raise linger="
    )


def _about_exception(process: ProcessRecord) -> str:
    trace = process.exception.traceback.splitlines() if process.exception is not None else []
    if not trace:
        return "process.exception has all that is known of the exception"
    return f"process.exception.traceback ends at {plain(trace[-1])}"


def _about_exit(process: ProcessRecord) -> str:
    return "it was observed from outside only: its exit code is all that is known of its end"


# For these causes the hint does not depend on the claim.
_FOR_EVERY_CLAIM: dict[Cause | None, Callable[[ProcessRecord], str]] = {
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
        return (
            "it is not a daemon: at exit, its parent terminates daemons and waits for all other "
            "children"
        )
    if process.cause in (Cause.TERMINATED, Cause.KILLED):
        return _about_request(process, Cause.ABANDONED)
    if process.orphaned and parent is not None and no_exit_path(parent):
        return (
            f"its parent had no exit path, which terminates daemons: the code of {parent.name} did "
            f"not finish ({describe(parent)})"
        )
    if any(r.by == process.parent_id and r.via == "exit path" for r in process.requests):
        return "its parent's exit path asked it to end, but it did not end of that"
    return "no exit path asked it to end: a daemon that has finished by then is not abandoned"


def _about_request(process: ProcessRecord, wanted: Cause | None) -> str:
    if wanted is not None and wanted is not Cause.SIGNALED and str(process.ending) == str(wanted):
        return f"the cause says why it ended, process.ending how: that is {str(wanted)!r}"
    if process.cause is Cause.ABANDONED:
        return (
            "its parent's exit path terminates daemons: join() it before its parent's code "
            "finishes, or start it with daemon=False"
        )
    request = request_that_ended(process)
    if request is None:
        return "process.requests lists every signal that was sent to it"
    return f"it was sent {request.signal} by {plain(request.via)} at {request.at:.3f} s"


_PHRASES = {
    Cause.ABANDONED: "to have been abandoned",
    Cause.KILLED: "to have been killed",
    Cause.TERMINATED: "to have been terminated",
    Cause.RETURNED: "to have returned",
    Cause.RAISED: "to have raised",
    Cause.SYS_EXIT: "to have left by sys.exit",
    Cause.OS_EXIT: "to have left by os._exit",
}
_MESSAGE = 200  # characters of an exception's message in a sentence


def caused(processes: tuple[ProcessRecord, ...], wanted: Cause) -> Violation | None:
    """The cause alone."""
    return on_each(processes, _PHRASES[wanted], lambda p: _other_cause(p, wanted))


def exited(
    processes: tuple[ProcessRecord, ...], wanted: Cause, code: int | None
) -> Violation | None:
    """sys_exit or os_exit, with an exit code."""

    def check(process: ProcessRecord) -> Offence | None:
        offence = _other_cause(process, wanted)
        if offence is not None or code is None or process.exitcode == code:
            return offence
        known = process.exitcode is not None
        actual = f"its exit code is {process.exitcode if known else 'not known'}"
        return Offence(process=process, actual=actual, known=known, hint=_code_hint(process))

    with_code = "" if code is None else f" with exit code {code}"
    return on_each(processes, _PHRASES[wanted] + with_code, check)


def _code_hint(process: ProcessRecord) -> str:
    if process.exitcode is None:
        return "no process that reports saw its wait status"
    if process.signal is not None:
        return f"{process.signal} came after its code had finished, in its exit path"
    return "sys.exit() and os._exit() keep the lowest eight bits; a string gives 1, None gives 0"


def ended_by(
    processes: tuple[ProcessRecord, ...], wanted: Cause, by: ProcessRecord | str | None
) -> Violation | None:
    """killed or terminated, by a process of the run or by the test."""

    def check(process: ProcessRecord) -> Offence | None:
        offence = _other_cause(process, wanted)
        if offence is not None or by is None:
            return offence
        if process.ended_by == (by if isinstance(by, str) else by.id):
            return None
        hint = "process.requests lists every signal that was sent to it, with its sender"
        return Offence(process=process, actual=came_to(process), hint=hint)

    who = "" if by is None else " by the test" if isinstance(by, str) else f" by {named(by)}"
    return on_each(processes, _PHRASES[wanted] + who, check)


def signaled(processes: tuple[ProcessRecord, ...], signal: str | None) -> Violation | None:
    """It died of a signal that it sent itself, or that no process of the run sent."""

    def check(process: ProcessRecord) -> Offence | None:
        offence = _other_cause(process, Cause.SIGNALED)
        if offence is not None or signal is None or process.signal == signal:
            return offence
        return Offence(process=process, actual=came_to(process), hint=about_cause(process, None))

    what = signal or "a signal"
    return on_each(processes, f"to have died of {what} that no process of the run sent", check)


def raised(
    processes: tuple[ProcessRecord, ...],
    type: str | type[BaseException] | None,
    match: re.Pattern[str] | None,
) -> Violation | None:
    """An exception left the target, of this type and with a message that matches."""

    def check(process: ProcessRecord) -> Offence | None:
        offence = _other_cause(process, Cause.RAISED)
        if offence is not None or (type is None and match is None):
            return offence
        error = process.exception
        if error is None:
            actual = "the exception that left it is not known"
            hint = "the report of its finish is missing, or has no exception"
            return Offence(process=process, actual=actual, known=False, hint=hint)
        of_type = type is None or _is_of(error.type, type)
        if of_type and (match is None or match.search(error.message)):
            return None
        return Offence(process=process, actual=_raised(process), hint=about_cause(process, None))

    name = "an exception" if type is None and match is not None else type
    what = "" if name is None else f" {name if isinstance(name, str) else name.__qualname__}"
    like = "" if match is None else f" with a message like {match.pattern!r}"
    return on_each(processes, _PHRASES[Cause.RAISED] + what + like, check)


def _is_of(name: str, wanted: str | type[BaseException]) -> bool:
    """Whether a reported type is the wanted one, or a subclass of it that is known here."""
    if isinstance(wanted, str):
        return wanted in (name, name.rpartition(".")[2])
    return any(name in _names(kind) for kind in _with_subclasses(wanted))


def _with_subclasses(kind: type[BaseException]) -> Iterator[type[BaseException]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _with_subclasses(below)


def _names(kind: type[BaseException]) -> tuple[str, ...]:
    """The names by which a process may report a type; the module that it runs is __main__."""
    name = kind.__qualname__
    if kind.__module__ == "builtins":
        return (name,)
    return tuple(f"{module}.{name}" for module in (kind.__module__, "__main__", "__mp_main__"))


def _raised(process: ProcessRecord) -> str:
    error = process.exception
    assert error is not None
    message = plain(error.message)
    if len(message) > _MESSAGE:
        message = f"{message[:_MESSAGE]}..."
    return f"it raised {plain(error.type)}" + (f": {message}" if message else "")


def _other_cause(process: ProcessRecord, wanted: Cause) -> Offence | None:
    if process.cause is wanted:
        return None
    known = process.cause not in (None, Cause.UNKNOWN)
    hint = about_cause(process, wanted)
    offence = Offence(process=process, actual=came_to(process), known=known, hint=hint)
    if process.cause is Cause.RAISED and process.exception is not None:
        code = f"exit code {'not known' if process.exitcode is None else process.exitcode}"
        end = code if process.signal is None else f"died of {process.signal}"
        return replace(offence, actual=f"{_raised(process)}, {end}")
    return offence
