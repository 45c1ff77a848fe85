"""The marker: what it may say, where it may stand, and a test for each start method."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_proclife.plugin import guard_options
from pytest_proclife.plugin.defaults import NAMES, Value, checked, configured


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
            elif mark.name == guard_options.MARKER:
                fault = guard_options.fault_of(mark)
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
