"""The arguments of assertions: a wrong one is an error of one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pytest_proclife.errors import LifecycleError
from pytest_proclife.records import Joined, ProcessRecord, Run, signal_name, signal_number

_REPR = 60  # characters of what was given instead

_PASS = "pass a process of a run (run.main, run['Process-1']) or several of them (run.children)"


def records(given: object) -> tuple[ProcessRecord, ...]:
    """The processes that an assertion was given, each once. LifecycleError if there are none."""
    __tracebackhide__ = True
    if isinstance(given, ProcessRecord):
        return (given,)
    if isinstance(given, Run):
        raise TypeError("a run is not a process: pass run.main, run.children or run.descendants")
    if isinstance(given, str | bytes) or not isinstance(given, Iterable):
        raise TypeError(f"{_PASS}, not {_shown(given)}")
    found = tuple(given)
    for process in found:
        if not isinstance(process, ProcessRecord):
            raise TypeError(f"{_PASS}, not {_shown(process)}")
    if not found:
        raise LifecycleError(
            "no processes given: the assertion would prove nothing; "
            f"p must be a process, or several, not {_shown(given)}"
        )
    for process in found[1:]:
        _of_one_run(found[0], process)
    return tuple({process.id: process for process in found}.values())


def record(given: object) -> ProcessRecord:
    """The one process that an assertion was given."""
    __tracebackhide__ = True
    if not isinstance(given, ProcessRecord):
        raise TypeError(f"pass one process of a run (run.main), not {_shown(given)}")
    return given


def a_run(given: object) -> Run:
    """The run that an assertion was given."""
    __tracebackhide__ = True
    if not isinstance(given, Run):
        raise TypeError(f"pass the run itself, as run() returned it, not {_shown(given)}")
    return given


def sides(
    p: object, q: object, *, apart: bool
) -> tuple[tuple[ProcessRecord, ...], tuple[ProcessRecord, ...]]:
    """Two groups of processes that can be compared. `apart`: no process may be in both."""
    __tracebackhide__ = True
    processes, others = records(p), records(q)
    _of_one_run(processes[0], others[0])
    both = {p.id for p in processes} & {p.id for p in others}
    if both and (apart or len(processes) == len(others) == 1):
        name = str(next(p for p in processes if p.id in both))
        raise ValueError(f"{name} is on both sides: a process has no order with itself")
    return processes, others


def how_joined(how: object) -> Joined | None:
    __tracebackhide__ = True
    try:
        return None if how is None else Joined(str(how))
    except ValueError:
        ways = ", ".join(repr(str(way)) for way in Joined)
        raise ValueError(f"how must be one of {ways}, or None, not {_shown(how)}") from None


def sender(by: object, processes: tuple[ProcessRecord, ...]) -> ProcessRecord | str | None:
    """The process, or "test", that is claimed to have ended the processes."""
    __tracebackhide__ = True
    if by is None or by == "test":
        return "test" if by == "test" else None
    if not isinstance(by, ProcessRecord):
        raise ValueError(f'by must be a process of the run or "test", not {_shown(by)}')
    _of_one_run(processes[0], by)
    return by


def exit_code(code: object, name: str = "code", least: int = 0) -> int | None:
    __tracebackhide__ = True
    if code is None:
        return None
    if not isinstance(code, int) or isinstance(code, bool) or not least <= code <= 255:
        raise ValueError(f"{name} must be an exit code from {least} to 255, not {_shown(code)}")
    return code


def signal_named(signal: object) -> str | None:
    """The name of a signal that is given by its name or number."""
    __tracebackhide__ = True
    return None if signal is None else signal_name(signal_number(signal))


def pattern(match: object) -> re.Pattern[str] | None:
    __tracebackhide__ = True
    if match is None:
        return None
    if isinstance(match, re.Pattern) and isinstance(match.pattern, str):
        return match
    if not isinstance(match, str):
        raise ValueError(f"match must be a regular expression, not {_shown(match)}")
    try:
        return re.compile(match)
    except re.error as error:
        raise ValueError(f"match is not a regular expression: {error} in {match!r}") from None


def exception_type(given: object) -> str | type[BaseException] | None:
    __tracebackhide__ = True
    if given is None or (isinstance(given, str) and given):
        return given
    if isinstance(given, type) and issubclass(given, BaseException):
        return given
    raise ValueError(f"type must be an exception class or the name of one, not {_shown(given)}")


def _of_one_run(process: ProcessRecord, other: ProcessRecord) -> None:
    __tracebackhide__ = True
    # a copy that went through pickle or JSON is the same run
    if process.run is not other.run and process.run != other.run:
        raise ValueError(f"{process} and {other} are processes of different runs")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _REPR else f"{text[:_REPR]}..."
