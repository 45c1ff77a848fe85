"""Defaults of the fixture: from the markers, then the command line, then the settings file."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pytest

from pytest_proclife.durations import LINGER, TIMEOUT, check_seconds
from pytest_proclife.guard import settings as guard_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """The defaults for the runs of one test. The names are those of the marker's arguments."""

    start_methods: tuple[str, ...] | None = None
    timeout: float | None = TIMEOUT  # s
    linger: float = LINGER  # s
    seccomp: bool = False


NAMES = tuple(field.name for field in fields(Defaults))


def configured(config: pytest.Config) -> dict[str, Any]:
    """The defaults that the command line, or else the settings file, gives, by their names.

    UsageError if one makes no sense.
    """
    found = {}
    for name in NAMES:
        source = "--proclife-" + name.replace("_", "-")
        value = config.getoption(f"proclife_{name}")
        try:
            if value is None:
                source = f"proclife_{name}"
                value = config.getini(source)
            if value is None:
                continue
            if name == "start_methods":
                texts = [value] if isinstance(value, str) else value
                value = [method for text in texts for method in text.split(",")]
            elif name != "seccomp":
                value = float(value)
            found[name] = checked(name, value)
        except (TypeError, ValueError, pytest.UsageError) as error:  # the last by getini()
            raise pytest.UsageError(f"{source}: {error}") from None
    return found


def checked(name: str, value: object) -> object:
    """The value of a default. ValueError if it makes no sense."""
    if value is None and name in ("start_methods", "timeout"):
        return None
    if name == "start_methods":
        return _start_methods(value)
    if name == "seccomp":
        if not isinstance(value, bool):
            raise ValueError(f"seccomp must be True or False, not {value!r}")
        return value
    seconds = check_seconds(name, value, finite=name == "linger")
    return None if math.isinf(seconds) else seconds


def _start_methods(value: object) -> tuple[str, ...]:
    # imported late: they take 10 ms, and only suites that set start methods need them
    from pytest_proclife.options import check_start_method
    from pytest_proclife.records import START_METHODS

    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not names:
        raise ValueError(
            'start_methods must be "all", the name of a start method, or several names, '
            f"not {value!r}"
        )
    if list(names) == ["all"]:
        return tuple(sorted(START_METHODS))
    return tuple(dict.fromkeys(map(check_start_method, names)))


def parametrize(metafunc: pytest.Metafunc) -> None:
    """Run a test that uses the fixture once for each of its start methods."""
    try:
        methods = defaults_of(metafunc.definition).start_methods
    except ValueError:
        return  # `check_markers` reports it
    if methods is not None:
        metafunc.parametrize("proclife", methods, ids=methods, indirect=True)


def check_exercise(metafunc: pytest.Metafunc) -> None:
    """CollectError for a test of an exercise that pytest itself runs, without a submission."""
    found = getattr(metafunc.definition, "_fixtureinfo", None)
    if found is None or "submission" in found.name2fixturedefs:
        return  # `proclife check` and `proclife grade` have the fixture, or the suite its own
    if metafunc.definition.get_closest_marker("proclife_points") is not None:
        name = metafunc.definition.path.name
        raise pytest.Collector.CollectError(
            f"{name} is an exercise, and pytest alone has no fixture `submission`: "
            f"run `proclife check {name} ANSWER`, or `proclife grade {name} ANSWERS...`"
        )


def defaults_of(item: pytest.Item) -> Defaults:
    """The defaults of a test: from the nearest marker that has one, else as configured."""
    values = configured(item.config)
    for mark in reversed(list(item.iter_markers("proclife"))):
        for name in mark.kwargs.keys() & set(NAMES):  # `check_markers` reports other names
            values[name] = checked(name, mark.kwargs[name])
    return Defaults(**values)


def check_markers(collector: pytest.Collector, report: pytest.CollectReport) -> None:
    """Fail the collection of a module or class in which a marker of ours is wrong."""
    faults = dict.fromkeys(_faults(collector, report)) if report.passed else ()
    if faults:
        report.outcome, report.result = "failed", []
        report.longrepr = "\n".join(faults)


def _faults(collector: pytest.Collector, report: pytest.CollectReport) -> Iterator[str]:
    for node in (collector, *(report.result or ())):
        for mark in node.own_markers:
            if mark.name == "proclife":
                fault = _fault_of(mark)
                if fault is None and isinstance(node, pytest.Item):
                    fault = _misplaced(node, mark)
            elif mark.name == guard_settings.MARKER:
                fault = guard_settings.fault_of(mark)
            else:
                continue
            if fault is not None:
                yield f"{node.nodeid.partition('[')[0]}: {fault}"


def _fault_of(mark: pytest.Mark) -> str | None:
    """What is wrong with the arguments of a marker, in one sentence."""
    if mark.args:
        return f"the marker proclife takes keyword arguments only, not {mark.args[0]!r}"
    for name, value in mark.kwargs.items():
        if name not in NAMES:
            return f"the marker proclife takes {', '.join(NAMES)}, not {name}"
        try:
            checked(name, value)
        except ValueError as error:
            return f"the marker proclife: {error}"
    return None


def _misplaced(item: pytest.Item, mark: pytest.Mark) -> str | None:
    """Why a test's own marker is wrong there; that of its class or module may be for others."""
    if "proclife" not in getattr(item, "fixturenames", ()):
        return (
            "it has the marker proclife, but no argument proclife: the marker is for the fixture "
            "of that name (request.getfixturevalue() would get it too late, and proclife_module "
            "and proclife_session have the marker of their module)"
        )
    callspec = getattr(item, "callspec", None)
    if mark.kwargs.get("start_methods") and (callspec is None or "proclife" not in callspec.params):
        return (
            "start_methods is for the marker of a test function, "
            "not for that of a TestCase's method or of a parameter"
        )
    return None
