"""A failure as pytest's terminal shows it, in 80 columns and in more."""

from __future__ import annotations

import pytest
from conftest import copy_into, mostly_slow

from pytest_proclife.render.text import width

OURS = ("live.py", "runner.py", "target.py", "verbs.py", "failure.py", "<string>")
SUMMARIES = {
    "test_cleaned_up": "logger: it was cleaned up by pro",
    "test_caught": "logger: it returned, exit code 0",
    "test_waits": "'never' was not in the output within",
    "test_without_the_fixture": "main did not start 99",
    "test_too_long": "main did not end within 1 s",
    "test_wrong_argument": "env['A'] must be a string",
    "test_ends_early": "'never' was not in the output",
}


@pytest.mark.parametrize("columns", mostly_slow([80, 120]))
def test_a_failure_fits_and_shows_no_line_of_ours(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    copy_into(suite, "failing_at_80_columns.py")
    result = suite.runpytest("-Werror")
    result.assert_outcomes(failed=7)
    lines = result.outlines
    lines = lines[next(n for n, line in enumerate(lines) if " FAILURES " in line) :]
    # the sentence is one line, however long: tests search for parts of it
    sentences = [
        line for line in lines if line[:1] == "E" and line[1:].strip().startswith("pytest_")
    ]
    assert len(sentences) == 7
    assert [line for line in lines if width(line) > columns and line not in sentences] == []
    assert not any(f"{name}:" in line for name in OURS for line in lines if line[:1] != "E")
    for name, words in SUMMARIES.items():
        (line,) = [line for line in lines if line.startswith(f"FAILED test_it.py::{name} - ")]
        assert words in line


def test_what_decides_stands_in_the_first_lines(suite: pytest.Pytester) -> None:
    copy_into(suite, "failing_at_80_columns.py")
    lines = suite.runpytest("-Werror", "-k", "caught").outlines
    first = next(n for n, line in enumerate(lines) if line.startswith("E  "))
    words = " ".join(line[1:].strip() for line in lines[first : first + 3])
    assert "but it returned, exit code 0" in words
    assert (
        "MainProcess's exit path asked it to end (SIGTERM), which it caught, and it ran on" in words
    )


@pytest.mark.slow
def test_processes_that_do_not_bear_on_a_failure_are_counted(suite: pytest.Pytester) -> None:
    copy_into(suite, "failing_at_80_columns.py")
    lines = suite.runpytest("-Werror", "-k", "cleaned_up or waits").outlines
    assert sum("... and 5 more: 5 returned" in line for line in lines) == 2
    assert not any("worker-0" in line for line in lines if line.startswith("E"))
