"""What the report of a failing test adds: the runs of its fixture, and misspelled causes."""

from __future__ import annotations

import enum
from collections.abc import Generator
from dataclasses import replace

import pytest

from pytest_proclife.errors import (
    LifecycleError,
    RunOver,
    RunTimeout,
    SeccompUnavailable,
    SupervisorLost,
    TargetError,
)
from pytest_proclife.plugin.fixture import Proclife
from pytest_proclife.records import Cause, Ending, Joined, Run
from pytest_proclife.render.screen import (
    NARROWEST,
    Screen,
    can_show_lines,
    set_columns_of_pytest,
)
from pytest_proclife.render.text import plain
from pytest_proclife.render.timeline import render

_RUNS = 3  # the last runs of a test that are shown
_ROWS = 12  # processes of each run
_LINES, _COLUMNS = 20, 200  # of the end of main's standard error

# of a test, or of the module or session of a wider fixture
_FIXTURE = pytest.StashKey[tuple[str, Proclife]]()
# the keys of the runs that the reports of a test have shown
_SHOWN = pytest.StashKey[set[tuple[int, float]]]()
# the text of a run, and the same with colours
_COLORED = pytest.StashKey[dict[str, str]]()
# Exceptions whose text says all; their types are of no use in the short summary.
_OURS = (LifecycleError, RunTimeout, RunOver, TargetError, SupervisorLost, SeccompUnavailable)
_NOUNS: dict[type[enum.StrEnum], str] = {
    Cause: "a cause",
    Ending: "an ending",
    Joined: "a way to join",
}


def fit_into_terminal(config: pytest.Config) -> None:
    """Have failures fit into pytest's terminal."""
    set_columns_of_pytest(_screen(config).columns)


def show_on_failure(node: pytest.Item, name: str, proclife: Proclife) -> None:
    """Show the runs of the fixture `name` if the test fails, or one that uses it."""
    node.stash[_FIXTURE] = name, proclife


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and (fixtures := _fixtures_of(item)):
        shown = item.stash.setdefault(_SHOWN, set())
        error = call.excinfo.value if call.excinfo is not None else None
        if error is not None:
            shorten(report, error)  # here, since a worker of pytest-xdist sends the report next
        failed = getattr(error, "run", None)
        if isinstance(failed, Run):
            shown.add(_key(failed))  # the message of the exception has it
        runs = [run for proclife in fixtures for run in proclife.runs]
        for number, run in list(enumerate(runs, 1))[-_RUNS:]:
            if _key(run) not in shown and all(p.shown in (None, run) for p in fixtures):
                shown.add(_key(run))
                title = f"proclife: run {number} of {len(runs)}"
                report.sections.append((title, _section(run, item.config)))
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Generator[None, None, None]:
    """Give colours to the runs that the terminal shows; other reports have them without."""
    colored = config.stash.get(_COLORED, {})
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "sections", None):
                report.sections = [
                    (title, colored.get(text, text)) for title, text in report.sections
                ]
    return (yield)


def shorten(report: pytest.TestReport | pytest.CollectReport, error: BaseException) -> None:
    """Have the line of a failure in the short summary begin with the process and the fact.

    It has 80 columns, the name of the test included.
    """
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and isinstance(error, _OURS):
        crash.message = getattr(error, "brief", "") or str(error).partition("\n")[0]


def runs_of(item: pytest.Item) -> tuple[Run, ...]:
    """The runs of a test's fixtures so far."""
    return tuple(run for proclife in _fixtures_of(item) for run in proclife.runs)


def _fixtures_of(item: pytest.Item) -> list[Proclife]:
    """The fixtures that a test uses, the widest first."""
    found = (node.stash[_FIXTURE] for node in item.listchain() if _FIXTURE in node.stash)
    names = getattr(item, "fixturenames", ())
    return [proclife for name, proclife in found if name in names or name == "proclife"]


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """Explain why `process.cause == "return"` cannot hold: "return" is not a cause."""
    if op == "==" and isinstance(left, str) and isinstance(right, str):
        for member, text in ((left, right), (right, left)):
            kind = type(member)
            if kind in _NOUNS and text not in list(kind):
                message = f"{text!r} is not {_NOUNS[kind]}: choose from {', '.join(kind)}"
                return [f"{left!r} == {right!r}", message]
    return None


def _key(run: Run) -> tuple[int, float]:
    return run.main.pid, run.started_at


def _section(run: Run, config: pytest.Config) -> str:
    screen = _screen(config)
    text = _with_errors(run, replace(screen, color=False))
    if screen.color:
        config.stash.setdefault(_COLORED, {})[text] = _with_errors(run, screen)
    return text


def _screen(config: pytest.Config) -> Screen:
    """That of pytest's terminal; a worker of pytest-xdist has none."""
    if not config.pluginmanager.has_plugin("terminalreporter"):
        return Screen()
    writer = config.get_terminal_writer()
    lines = can_show_lines(getattr(writer, "_file", None))
    return Screen(
        columns=max(writer.fullwidth, NARROWEST), color=bool(writer.hasmarkup), lines=lines
    )


def _with_errors(run: Run, screen: Screen) -> str:
    text = render(run, rows=_ROWS, screen=screen)
    lines = (run.stderr or "").splitlines()
    if lines:
        left_out = f", the last {_LINES} of {len(lines)} lines" if len(lines) > _LINES else ""
        shown = [plain(line)[:_COLUMNS] for line in lines[-_LINES:]]
        text = "\n".join([text, "", f"its standard error{left_out}:", *shown])
    return text
