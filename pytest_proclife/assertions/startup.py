"""Claims about the start of a process: was its target reached, is it a daemon?"""

from __future__ import annotations

from pytest_proclife.assertions.violation import (
    Offence,
    Records,
    Violation,
    on_each,
    outcome,
    unseen,
)
from pytest_proclife.records import MULTIPROCESSING_KINDS, Joined, ProcessRecord, Role
from pytest_proclife.render.text import plain

_MESSAGE = 200  # characters of an exception's message in a sentence

# What a spawned child raises if it cannot find its target.
_NOT_FOUND = ("AttributeError", "ImportError", "ModuleNotFoundError", "FileNotFoundError")

_ABOUT_THE_FLAG = (
    "the daemon flag is read when start() is called; a new Process inherits the flag from "
    "the process that creates it, and Pool sets the flag for its workers"
)


def target_ran(processes: Records) -> Violation | None:
    """The target was reached."""
    return on_each(processes, "to have run its target", _never_ran)


def _never_ran(process: ProcessRecord) -> Offence | None:
    if process.target_ran:
        return None
    if process.target_ran is None:
        reason = (
            unseen(process) or "it reported neither the start of its target nor an end before it"
        )
        actual = f"whether its target ran is not known: {reason}"
        hint = "run.witness.missing says what could not be seen"
        return Offence(process, actual, hint, known=False)
    hint = "; ".join(hint for hint in (_why_not(process), _about_join(process)) if hint)
    return Offence(process, f"its target never ran: {_start_up(process)}", hint)


def _start_up(process: ProcessRecord) -> str:
    error = process.exception
    if error is None:
        return outcome(process, start_named=True)
    under = f"under {process.start_method} " if process.start_method else ""
    message = plain(error.message)[:_MESSAGE]
    text = f"{under}its start-up raised {plain(error.type)}"
    return f"{text}: {message}" if message else text


def _why_not(process: ProcessRecord) -> str:
    error = process.exception
    if error is None or process.start_method not in ("spawn", "forkserver"):
        return ""
    if error.type == "RuntimeError" and "bootstrapping" in error.message:
        return (
            "the main module starts processes when it is imported: move that below `if __name__ "
            '== "__main__":`'
        )
    if "synchronize.py" in error.traceback:
        return (
            "its parent's exit path removes the names of locks and events before it waits for "
            "children that are still starting: join() it in the parent's code"
        )
    if error.type in _NOT_FOUND:
        return (
            f"a child under {process.start_method} imports its target: it cannot find what a "
            "notebook, `python -c` or standard input defines, so move the target into a module"
        )
    return "process.exception.traceback says where its start-up ended"


def _about_join(process: ProcessRecord) -> str:
    if process.joined is not Joined.EXPLICIT:
        return ""
    return (
        "join() succeeded all the same: it waits for the process to exit and does not check its "
        f"exit code ({process.exitcode})"
    )


def daemon(processes: Records, wanted: bool) -> Violation | None:
    """The daemon flag at the start."""

    def check(process: ProcessRecord) -> Offence | None:
        if process.daemon is wanted:
            return None
        if process.daemon is None:
            return _no_flag(process)
        actual = f"it was started {'with' if process.daemon else 'without'} the flag"
        return Offence(process, actual, _ABOUT_THE_FLAG)

    return on_each(processes, "to be a daemon" if wanted else "not to be a daemon", check)


def _no_flag(process: ProcessRecord) -> Offence:
    hint = "only processes that multiprocessing started have a daemon flag"
    if process.role is Role.MAIN:
        actual = "it is main, which is started without a flag"
    elif process.kind not in MULTIPROCESSING_KINDS:
        actual = f"it has no daemon flag: its kind is {process.kind}"
    else:
        actual, hint = "its daemon flag is not known", "the report of its start is missing"
    return Offence(process, actual, hint, known=False)
