"""What a failed statement of an exercise asked for, from its syntax tree and its values."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import lives
import pytest

from pytest_proclife.exercises import statement
from pytest_proclife.exercises.statement import Compared, Statement, Subject
from pytest_proclife.records import Run


def read(tmp_path: Path, text: str, compared: Compared | None = None, **names: Any) -> Statement:
    """The statement of a text that raises."""
    path = tmp_path / f"exercise_{len(list(tmp_path.iterdir()))}.py"  # lines are read once
    path.write_text(textwrap.dedent(text))
    code = compile(path.read_text(), str(path), "exec")
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - each text raises its own
        exec(code, names)
    found = statement.read(caught.value, str(tmp_path), compared)
    assert found is not None
    return found


@pytest.fixture
def run() -> Run:
    return lives.three_workers()


@pytest.mark.parametrize(
    ("condition", "subject", "field"),
    [
        ("'x' in run.stdout", Subject.OUTPUT, "stdout"),
        ("run.stdout.strip().lower() == 'x'", Subject.OUTPUT, "stdout"),
        ("run.exitcode == 5", Subject.EXIT_CODE, "exitcode"),
        ("run.main.exitcode == 5", Subject.EXIT_CODE, "exitcode"),
        ("run.duration < 0", Subject.DURATION, "duration"),
        ("len(run.children) == 5", Subject.PROCESSES, "children"),
        ("run.find(cause='raised')", Subject.PROCESSES, "find"),
        ("run['worker-1'].cause == 'raised'", Subject.PROCESS, "cause"),
        ("run.children[0].daemon", Subject.PROCESS, "daemon"),
        ("not [c for c in run.children if c.cause == 'returned']", Subject.PROCESSES, "children"),
        ("1 == 2", Subject.OTHER, ""),
    ],
)
def test_an_assert_is_about_what_it_names(
    condition: str, subject: Subject, field: str, tmp_path: Path, run: Run
) -> None:
    run = lives.changed(run, "MainProcess")
    object.__setattr__(run, "stdout", "")
    found = read(tmp_path, f"assert {condition}", run=run)
    assert (found.subject, found.field, found.text) == (subject, field, condition)


def test_a_field_of_a_process_has_that_process(tmp_path: Path, run: Run) -> None:
    text = "for child in run.children:\n    assert child.daemon"
    found = read(tmp_path, text, run=run)
    assert (found.process, found.run) == (run["worker-1"], run)


def test_a_message_is_its_authors_alone(tmp_path: Path, run: Run) -> None:
    text = """
        word = "no"
        assert run.children == 1, (
            f"{word} way\\nassert it"
        )
    """
    assert read(tmp_path, text, run=run).message == "no way\nassert it"
    assert read(tmp_path, "assert 0; assert 1, 'x'").message == ""
    assert read(tmp_path, "assert 1; assert 0, 'x'").message == "x"


def test_a_message_that_holds_only_once_is_left_out(tmp_path: Path) -> None:
    assert read(tmp_path, "it = iter('x')\nassert 0, next(it)").message == ""


def test_values_are_those_of_a_single_comparison(tmp_path: Path) -> None:
    compared = Compared(left=1, operator="==", right=2)
    assert read(tmp_path, "assert 1 == 2", compared).compared == compared
    assert read(tmp_path, "assert 0", compared).compared is None
    assert read(tmp_path, "assert 1 == 1 == 2", compared).compared is None


def test_what_counts_has_the_text_that_is_counted(tmp_path: Path) -> None:
    found = read(tmp_path, "out = ''\nassert out.count('x') == 2")
    assert (found.counts, found.counted) == (True, "x")


def test_an_assignment_says_how_many_values_it_takes(tmp_path: Path, run: Run) -> None:
    found = read(tmp_path, "a, b = run.children", run=run)
    assert (found.subject, found.unpacks) == (Subject.PROCESSES, 2)


def test_a_call_has_the_name_of_its_function(tmp_path: Path) -> None:
    text = "def assert_it(x): raise ValueError\nassert_it(())"
    assert read(tmp_path, text).called == ""  # the innermost statement is in the function
    helper = compile("def assert_it(x): raise ValueError", "/elsewhere/library.py", "exec")
    names: dict[str, Any] = {}
    exec(helper, names)
    assert read(tmp_path, "assert_it(())", **names).called == "assert_it"


def test_an_error_of_other_files_has_no_statement(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        exec(compile("1 / 0", "/elsewhere/it.py", "exec"))
    assert statement.read(caught.value, str(tmp_path), None) is None
