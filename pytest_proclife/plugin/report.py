"""What a failing test shows: the runs of its fixture, and words that are no causes."""

from __future__ import annotations

import enum
from collections.abc import Generator

import pytest

from pytest_proclife.plugin.fixture import Proclife
from pytest_proclife.records import Cause, Ending, Joined, Run
from pytest_proclife.render.text import plain
from pytest_proclife.render.timeline import render

_RUNS = 3  # shown of a test, the last ones
_ROWS = 12  # processes of each
_LINES, _COLUMNS = 20, 200  # of main's standard error, the end

_FIXTURE = pytest.StashKey[Proclife]()
_SHOWN = pytest.StashKey[set[tuple[int, float]]]()
_WORDS: dict[type[enum.StrEnum], str] = {
    Cause: "cause",
    Ending: "ending",
    Joined: "way to be joined",
}


def show_where_it_fails(item: pytest.Item, proclife: Proclife) -> None:
    """Have the test's runs shown if it fails."""
    item.stash[_FIXTURE] = proclife
    item.stash[_SHOWN] = set()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and _FIXTURE in item.stash:
        shown = item.stash[_SHOWN]
        told = getattr(call.excinfo.value, "run", None) if call.excinfo is not None else None
        if isinstance(told, Run):
            shown.add(_name(told))  # it stands in the message
        runs = item.stash[_FIXTURE].runs
        for number, run in list(enumerate(runs, 1))[-_RUNS:]:
            if _name(run) not in shown:
                shown.add(_name(run))
                title = f"proclife: run {number} of {len(runs)}"
                report.sections.append((title, _in_words(run)))
    return report


def pytest_assertrepr_compare(op: str, left: object, right: object) -> list[str] | None:
    """`process.cause == "return"` says that there is no such cause."""
    if op == "==" and isinstance(left, str) and isinstance(right, str):
        for ours, word in ((left, right), (right, left)):
            kind = type(ours)
            if kind in _WORDS and word not in list(kind):
                known = ", ".join(kind)
                return [f"{left!r} == {right!r}", f"{word!r} is no {_WORDS[kind]}: {known}"]
    return None


def _name(run: Run) -> tuple[int, float]:
    return run.main.pid, run.started_at


def _in_words(run: Run) -> str:
    text = render(run, rows=_ROWS)
    lines = (run.stderr or "").splitlines()
    if lines:
        left_out = f", the last {_LINES} of {len(lines)} lines" if len(lines) > _LINES else ""
        shown = [plain(line)[:_COLUMNS] for line in lines[-_LINES:]]
        text = "\n".join([text, "", f"its standard error{left_out}:", *shown])
    return text
