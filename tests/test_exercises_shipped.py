"""The exercises that ship: each answer has the marks and the sentences that it must get.

`expected.json` has the points of each answer, in the order of the tests, and how the sentences
begin that it must get. Times and the numbers of processes and lines are left out.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from notebooks import write_notebook

pytestmark = pytest.mark.once  # each runs pytest several times

EXERCISES = sorted(
    path.parent
    for path in (Path(__file__).parent.parent / "examples/exercises").glob("*/exercise.py")
)


def graded(exercise: Path, answers: Path, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "pytest_proclife", "grade", str(exercise / "exercise.py")]
    command += [str(answers), "-j", "2", "-o", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    document = json.loads((folder / "summary.json").read_text())
    return {result["submission"]: result for result in document["results"]}


def normal(sentence: str) -> str:
    sentence = re.sub(r"\d+\.\d+ s", "N s", sentence)
    sentence = re.sub(r"Process-\d+", "Process-N", sentence)
    return re.sub(r"\((?:code cell \d+, )?line \d+\)", "(line N)", sentence)


def hold(results: dict[str, Any], expected: dict[str, Any]) -> None:
    assert set(results) == set(expected)
    for name, result in results.items():
        assert result["status"] == "graded", (name, result["reason"])
        points = [mark["points"] for mark in result["marks"]]
        said = "\n".join(text for mark in result["marks"] for text in mark["sentences"])
        assert points == expected[name]["points"], f"{name}: {points}\n{said}"
        texts = [normal(text) for mark in result["marks"] for text in mark["sentences"]]
        for begin in expected[name]["sentences"]:
            assert any(text.startswith(begin) for text in texts), (name, begin, texts)


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda path: path.name)
def test_each_answer_has_its_marks_and_its_sentences(exercise: Path, tmp_path: Path) -> None:
    expected = json.loads((exercise / "expected.json").read_text())
    hold(graded(exercise, exercise / "answers", tmp_path / "out"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda path: path.name)
def test_an_answer_has_the_same_as_a_notebook(exercise: Path, tmp_path: Path) -> None:
    expected = json.loads((exercise / "expected.json").read_text())
    notebooks = tmp_path / "notebooks"
    notebooks.mkdir()
    # the best one, and every third of the others: a notebook is a program like theirs by then
    wrong = sorted(set(expected) - {"reference"})[::3]
    expected = {name: expected[name] for name in ("reference", *wrong)}
    for answer in (exercise / "answers" / f"{name}.py" for name in expected):
        parts = answer.read_text().partition("if __name__")
        cells = ("%matplotlib inline", parts[0], parts[1] + parts[2])
        write_notebook(notebooks / f"{answer.stem}.ipynb", *cells)
    hold(graded(exercise, notebooks, tmp_path / "out"), expected)


# What PYTHONUNBUFFERED makes of a line and its end, and another process speaks between.
APART = """
import os, time

def print(*words, flush=False):
    os.write(1, " ".join(map(str, words)).encode())
    time.sleep(0.05)
    os.write(1, b"\\n")
"""


@pytest.mark.slow
@pytest.mark.parametrize("lesson", ["locks", "main_and_join"])  # several speak at a time
def test_each_answer_has_the_same_where_a_line_and_its_end_are_written_apart(
    lesson: str, tmp_path: Path
) -> None:
    exercise = next(path for path in EXERCISES if path.name == lesson)
    expected = json.loads((exercise / "expected.json").read_text())
    apart = tmp_path / "apart"
    apart.mkdir()
    for answer in (exercise / "answers").glob("*.py"):
        (apart / answer.name).write_text(APART + answer.read_text())
    hold(graded(exercise, apart, tmp_path / "out"), expected)


@pytest.mark.parametrize("exercise", EXERCISES, ids=lambda path: path.name)
def test_an_exercise_is_complete(exercise: Path) -> None:
    assert (exercise / "task.md").read_text().startswith("# ")
    compile((exercise / "starter.py").read_text(), "starter.py", "exec")
    expected = json.loads((exercise / "expected.json").read_text())
    wrong = [name for name, what in expected.items() if name != "reference"]
    assert len(wrong) >= 5
    assert all(expected[name]["sentences"] for name in wrong)
    best = expected["reference"]["points"]
    assert all(sum(expected[name]["points"]) < sum(best) for name in wrong)


def test_there_is_an_exercise_for_each_lesson() -> None:
    lessons = {"main_and_join", "exam", "daemon_rules", "pool_and_executor", "locks"}
    lessons |= {"error_in_main", "producer_and_consumer", "graceful_shutdown", "pool_monitor"}
    assert {path.name for path in EXERCISES} == lessons
