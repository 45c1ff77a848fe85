"""Defaults for runs: the marker, then the command line, then the settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest

from pytest_proclife.guard import settings

NAMES = ("start_methods", "timeout", "linger")  # as the marker has them

Value = float | tuple[str, ...] | None
_KEY = pytest.StashKey[dict[str, Value]]()


def configured(config: pytest.Config) -> dict[str, Value]:
    """What the command line, or else the settings, say. UsageError where that makes no sense."""
    if _KEY not in config.stash:
        config.stash[_KEY] = dict(_configured(config))
    return config.stash[_KEY]


def _configured(config: pytest.Config) -> Iterator[tuple[str, Value]]:
    for name in NAMES:
        where = "--proclife-" + name.replace("_", "-")
        value = config.getoption(f"proclife_{name}")
        try:
            if value is None:
                where = f"proclife_{name}"
                value = config.getini(where)
            if value is None:
                continue
            if name == "start_methods":
                words = [value] if isinstance(value, str) else value
                value = [part for word in words for part in word.split(",")]
            else:
                value = float(value)
            yield name, checked(name, value)
        except (TypeError, ValueError, pytest.UsageError) as error:  # the last of getini()
            raise pytest.UsageError(f"{where}: {error}") from None


def checked(name: str, value: object) -> Value:
    """A value as it will be used; None where there is no end. ValueError says what is wrong."""
    if name == "start_methods":
        return None if value is None else _start_methods(value)
    if name == "timeout" and value is None:
        return None
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not value >= 0
        or (name == "linger" and math.isinf(value))
    ):
        raise ValueError(f"{name} is a number of seconds, 0 or more, not {value!r}")
    return None if math.isinf(value) else float(value)


def _start_methods(value: object) -> tuple[str, ...]:
    import multiprocessing

    there = sorted(multiprocessing.get_all_start_methods())
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not names:
        raise ValueError(f'start_methods is "all", a name or several names, not {value!r}')
    if list(names) == ["all"]:
        return tuple(there)
    for name in names:
        if name not in there:
            raise ValueError(f"unknown start method {name!r}: this platform has {', '.join(there)}")
    return tuple(dict.fromkeys(names))


def multiply(metafunc: pytest.Metafunc) -> None:
    """Make a test for each start method that is asked for."""
    try:
        methods = defaults_of(metafunc.definition).get("start_methods")
    except ValueError:
        return  # `check` says so
    if isinstance(methods, tuple):
        metafunc.parametrize("proclife", methods, ids=methods, indirect=True)


def check(collector: pytest.Collector, report: pytest.CollectReport) -> None:
    """Fail where a marker is wrong: of a function, a TestCase's method, a parameter, a class."""
    faults = dict.fromkeys(_faults(collector, report)) if report.passed else ()
    if faults:
        report.outcome, report.result = "failed", []
        report.longrepr = "\n".join(faults)


def defaults_of(node: pytest.Item) -> dict[str, Value]:
    """What the test's markers say, the nearest first, then the command line, the settings."""
    found: dict[str, Value] = {}
    for mark in node.iter_markers("proclife"):
        for name, value in mark.kwargs.items():
            found.setdefault(name, checked(name, value))
    return {**configured(node.config), **found}


def _faults(collector: pytest.Collector, report: pytest.CollectReport) -> Iterator[str]:
    for node in (collector, *(report.result or ())):
        for mark in node.own_markers:
            if mark.name == "proclife":
                fault = _fault_of(mark)
                if fault is None and isinstance(node, pytest.Item):
                    fault = _misplaced(node, mark)
            elif mark.name == settings.MARKER:
                fault = settings.fault_of(mark)
            else:
                continue
            if fault is not None:
                yield f"{node.nodeid.partition('[')[0]}: {fault}"


def _fault_of(mark: pytest.Mark) -> str | None:
    """What is wrong with what a marker says, in one sentence."""
    if mark.args:
        return f"the marker proclife takes its arguments by name, not {mark.args[0]!r}"
    for name, value in mark.kwargs.items():
        if name not in NAMES:
            return f"the marker proclife takes {', '.join(NAMES)}, not {name}"
        try:
            checked(name, value)
        except ValueError as error:
            return f"the marker proclife: {error}"
    return None


def _misplaced(item: pytest.Item, mark: pytest.Mark) -> str | None:
    """What is wrong with where a test's own marker stands.

    One that a class or a module has is for those of its tests that use the fixture.
    """
    if "proclife" not in getattr(item, "fixturenames", ()):
        return "it has the marker proclife and does not use the fixture proclife"
    callspec = getattr(item, "callspec", None)
    if mark.kwargs.get("start_methods") and (callspec is None or "proclife" not in callspec.params):
        return (
            "start_methods is for the marker of a test function, "
            "not of a TestCase's method nor of a parameter"
        )
    return None
