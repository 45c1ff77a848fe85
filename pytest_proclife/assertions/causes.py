"""Claims about the cause of an exit, and hints for a different cause."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from pytest_proclife.assertions.violation import (
    Offence,
    Records,
    Violation,
    named,
    on_each,
    outcome,
)
from pytest_proclife.records import (
    AlarmDue,
    Cause,
    CpuLimit,
    Disposition,
    Ending,
    ExceptionInfo,
    HandlerRan,
    ParentEnded,
    ProcessRecord,
    SignalSent,
    SignalTaken,
)
from pytest_proclife.render import hang
from pytest_proclife.render.process import describe, request_that_ended
from pytest_proclife.render.text import plain, shortened


def no_exit_path(process: ProcessRecord) -> bool:
    """Whether a process is known to have ended without an exit path."""
    if process.cause is Cause.UNKNOWN or process.finished_at is not None:
        return False
    return process.ending in (Ending.SIGNALED, Ending.OS_EXIT)


def about_cause(process: ProcessRecord, wanted: Cause | None) -> str:
    """A hint for a cause other than `wanted`; None: the cause is right, other facts are not."""
    match process.cause:
        case None:
            return "this is a snapshot: wait for the end of the run"
        case Cause.UNKNOWN if process.run.witness.missing:
            return "run.witness.missing says what could not be seen, and of which process"
        case Cause.UNKNOWN:
            return "process.unknown_reason says which fact is missing"
        case Cause.CLEANED_UP:
            return _about_clean_up(process)
        case Cause.RAISED:
            return _about_exception(process)
        case Cause.EXITED:
            return (
                "it was observed from outside only: its exit code is all that is known of its end"
            )
        case _ if wanted is Cause.ABANDONED:
            return _about_no_abandonment(process)
        case Cause.ABANDONED | Cause.TERMINATED | Cause.KILLED:
            return _about_request(process, wanted)
        case Cause.SIGNALED:
            return about_signal(process)
        case _ if wanted in (Cause.TERMINATED, Cause.KILLED):
            return _about_no_such_request(process)
        case _:
            return (
                "process.ending says how it ended, process.requests lists the signals that were "
                "sent to it"
            )


def _about_no_such_request(process: ProcessRecord) -> str:
    met = next(iter(met_by_nobody(process)), None)
    if met is not None:
        return (
            f"{met.signal} came at {met.at or 0:.3f} s, and it did not end of that: no process "
            "that reports sent it"
        )
    if not process.requests:
        return "no signal to it was seen (process.requests is empty)"
    return "process.requests lists every signal that was sent to it: none of them ended it"


def about_signal(process: ProcessRecord) -> str:
    """Where the signal came from that a process died of, if no other is known to have sent it."""
    own = own_signal(process)
    if own is not None:
        return f"it sent {own.signal} to itself by {plain(own.via)} at {own.at or 0:.3f} s"
    known = _of_the_kernel(process)
    if known is not None:
        return known
    sender = f"no process that reports sent it {process.signal}"
    if process.run.witness.missing:
        return f"{sender}: run.witness.missing says what could not be seen, and of which process"
    return f"{sender}: its own code, the kernel or a process outside of the run may have sent it"


def _of_the_kernel(process: ProcessRecord) -> str | None:
    """For what the kernel may have sent the signal that it died of, as its evidence says."""
    for fact in process.evidence:
        match fact:
            case AlarmDue():
                return f"its own timer, set by signal.alarm() or setitimer(), sent {process.signal}"
            case CpuLimit():
                return f"the kernel sends {process.signal} at a limit of processor time: {fact}"
            case ParentEnded():
                return (
                    f"its parent ended at that moment: the kernel sends {process.signal} then to a "
                    "process that has asked for that by prctl(PR_SET_PDEATHSIG)"
                )
            case _:
                pass  # the others name no sender
    return None


def own_signal(process: ProcessRecord) -> SignalSent | None:
    """The signal that it sent itself and died of, if it did."""
    sent = (fact for fact in process.evidence if isinstance(fact, SignalSent))
    own = [s for s in sent if s.about == process.id and s.signal == process.signal and s.certain]
    return own[-1] if own else None


def met_by_nobody(process: ProcessRecord) -> list[HandlerRan | SignalTaken]:
    """The signals that came, as its handlers or `sigwait()` show, and that nobody reported."""
    sent = {fact.signal for fact in process.evidence if isinstance(fact, SignalSent)}
    came = (fact for fact in process.evidence if isinstance(fact, HandlerRan | SignalTaken))
    return [fact for fact in came if fact.signal not in sent]


def _about_clean_up(process: ProcessRecord) -> str:
    if process.run.timed_out:
        return f"main had not ended at the timeout: {hang.why(process.run)}"
    return (
        "it was still running when proclife ended the run, after the linger or with the test: "
        "end it in the program, or raise linger="
    )


def _about_exception(process: ProcessRecord) -> str:
    trace = process.exception.traceback.splitlines() if process.exception is not None else []
    if not trace:
        return "process.exception has all that is known of the exception"
    return f"process.exception.traceback ends at {plain(trace[-1])}"


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
            "only an exit path terminates daemons, and its parent had none: the code of "
            f"{parent.name} did not finish ({describe(parent)})"
        )
    asked = _asked_by_exit_path(process)
    if asked is not None and parent is not None:
        met = _MET.get(asked.disposition, "but it did not end of that")
        name = shortened(parent.name)
        return f"{name}'s exit path asked it to end ({asked.signal}), {met}"
    if process.cause is Cause.SIGNALED:
        return about_signal(process)
    return "no exit path asked it to end: a daemon that has finished by then is not abandoned"


_MET: dict[Disposition | None, str] = {
    Disposition.CAUGHT: "which it caught, and it ran on",
    Disposition.IGNORED: "which it ignored",
    Disposition.BLOCKED: "which it had blocked",
}


def _asked_by_exit_path(process: ProcessRecord) -> SignalSent | None:
    """The signal by which its parent's exit path asked it to end, if it did."""
    sent = (fact for fact in process.evidence if isinstance(fact, SignalSent))
    asked = (s for s in sent if s.about == process.parent_id and s.via == "exit path")
    return next((s for s in asked if s.alive is not False), None)


def _about_request(process: ProcessRecord, wanted: Cause | None) -> str:
    if wanted is not None and wanted is not Cause.SIGNALED and str(process.ending) == str(wanted):
        return f"the cause says why it ended; process.ending says how, and is {str(wanted)!r}"
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


def caused(
    processes: Records,
    wanted: Cause,
    expected: str = "",
    check: Callable[[ProcessRecord], Offence | None] = lambda process: None,
) -> Violation | None:
    """The cause, and what else is `expected`: `check` finds that in a process with this cause."""

    def both(process: ProcessRecord) -> Offence | None:
        return check(process) if process.cause is wanted else _other_cause(process, wanted)

    return on_each(processes, expected or _PHRASES[wanted], both)


def exited(processes: Records, wanted: Cause, code: int | None) -> Violation | None:
    """sys_exit or os_exit, with an exit code."""
    if code is None:
        return caused(processes, wanted)

    def check(process: ProcessRecord) -> Offence | None:
        if process.exitcode == code:
            return None
        known = process.exitcode is not None
        actual = f"its exit code is {process.exitcode if known else 'not known'}"
        return Offence(process, actual, _code_hint(process), known=known)

    return caused(processes, wanted, f"{_PHRASES[wanted]} with exit code {code}", check)


def _code_hint(process: ProcessRecord) -> str:
    if process.exitcode is None:
        return "no process that reports saw its wait status"
    if process.signal is not None:
        return f"{process.signal} came after its code had finished, in its exit path"
    return "sys.exit() and os._exit() keep the lowest eight bits; a string gives 1, None gives 0"


def ended_by(processes: Records, wanted: Cause, by: ProcessRecord | str | None) -> Violation | None:
    """killed or terminated, by a process of the run or by the test."""
    if by is None:
        return caused(processes, wanted)
    sender, name = (by, "the test") if isinstance(by, str) else (by.id, named(by))

    def check(process: ProcessRecord) -> Offence | None:
        if process.ended_by == sender:
            return None
        hint = "process.requests lists every signal that was sent to it, with its sender"
        return Offence(process, outcome(process), hint)

    return caused(processes, wanted, f"{_PHRASES[wanted]} by {name}", check)


def signaled(processes: Records, signal: str | None) -> Violation | None:
    """It died of a signal that it sent itself, or that no process of the run sent."""

    def check(process: ProcessRecord) -> Offence | None:
        if signal is None or process.signal == signal:
            return None
        return Offence(process, outcome(process), about_cause(process, None))

    expected = f"to have died of {signal or 'a signal'} that no process of the run sent"
    return caused(processes, Cause.SIGNALED, expected, check)


def raised(
    processes: Records, type: str | type[BaseException] | None, match: re.Pattern[str] | None
) -> Violation | None:
    """An exception left the target, of this type and with a message that matches."""
    if type is None and match is None:
        return caused(processes, Cause.RAISED)

    def check(process: ProcessRecord) -> Offence | None:
        error = process.exception
        if error is None:
            hint = "the report of its finish is missing, or has no exception"
            return Offence(process, "the exception that left it is not known", hint, known=False)
        of_type = type is None or _is_of(error.type, type)
        if of_type and (match is None or match.search(error.message)):
            return None
        return Offence(process, _raised(error), about_cause(process, None))

    name = type if isinstance(type, str) else "an exception" if type is None else type.__qualname__
    like = "" if match is None else f" with a message like {match.pattern!r}"
    return caused(processes, Cause.RAISED, f"{_PHRASES[Cause.RAISED]} {name}{like}", check)


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


def _raised(error: ExceptionInfo) -> str:
    message = plain(error.message)
    if len(message) > _MESSAGE:
        message = f"{message[:_MESSAGE]}..."
    return f"it raised {plain(error.type)}" + (f": {message}" if message else "")


def _other_cause(process: ProcessRecord, wanted: Cause) -> Offence:
    actual = outcome(process)
    if process.cause is Cause.RAISED and process.exception is not None:
        code = f"exit code {'not known' if process.exitcode is None else process.exitcode}"
        end = code if process.signal is None else f"died of {process.signal}"
        actual = f"{_raised(process.exception)}, {end}"
    known = process.cause not in (None, Cause.UNKNOWN)
    return Offence(process, actual, about_cause(process, wanted), known=known)
