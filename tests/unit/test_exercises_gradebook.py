"""Rosters, late penalties, extra credit, the files of Canvas and Moodle, and warnings."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_proclife.exercises import gradebook
from pytest_proclife.exercises.gradebook import Roster, grades, read_roster
from pytest_proclife.exercises.results import Mark, Outcome, Program, Result, Status


def mark(points: float, outcome: Outcome = Outcome.PASSED, **values: Any) -> Mark:
    return Mark(test="t", name="it", points=points, max_points=4.0, outcome=outcome, **values)


def result(name: str, *marks: Mark, **values: Any) -> Result:
    given: dict[str, Any] = {"status": Status.GRADED, "seconds": 1.0, **values}
    return Result(submission=name, marks=marks, **given)


def roster(tmp_path: Path, text: str) -> Roster:
    path = tmp_path / "roster.csv"
    path.write_text(text, encoding="utf-8-sig")
    return read_roster(path)


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text)))


def test_the_late_penalty_is_a_share_of_the_score_for_each_unit(tmp_path: Path) -> None:
    found = roster(tmp_path, "submission,late\nada,\nbob,1.5\neve,20\n")
    names = ("ada", "bob", "eve", "unlisted")
    results = [result(name, mark(4.0), mark(2.0, Outcome.PARTIAL)) for name in names]
    grade = {g.submission: (g.points, g.penalty) for g in grades(results, found, 10)}
    assert grade == {"ada": (6, 0), "bob": (5.1, 0.9), "eve": (0, 6), "unlisted": (6, 0)}


def test_extra_credit_comes_on_top_of_the_maximum() -> None:
    one = result("ada", mark(4.0), mark(3.0, extra=True))
    assert (one.score, one.max_score) == (7.0, 4.0)
    (grade,) = grades([one], Roster(), 0)
    assert (grade.points, grade.max_points, grade.extra) == (7.0, 4.0, 3.0)
    assert rows(gradebook.grades_csv([grade]))[1] == ["ada", "7", "4", "3", "0", "0"]
    tampered = replace(one, status=Status.TAMPERED, reason="x")
    assert grades([tampered], Roster(), 0)[0].extra == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("name,late\nada,1\n", "has no column 'submission'"),
        ("submission\nada\nada\n", "has two rows for 'ada'"),
        ("submission,late\nada,soon\n", "'late' of 'ada' is not a number: 'soon'"),
        ("submission,late\nada,-1\n", "is not a number: '-1'"),
        ("submission,late\nada,nan\n", "is not a number: 'nan'"),
    ],
)
def test_what_is_not_a_roster_is_refused(text: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        roster(tmp_path, text)


def test_canvas_finds_a_student_by_the_columns_of_the_roster(tmp_path: Path) -> None:
    found = roster(tmp_path, "submission,Student,ID,Section\nada,Ada Lovelace,17,A\nbob,,,\n")
    results = [result("ada", mark(4.0)), result("bob", mark(1.0)), result("=cmd()", mark(0.0))]
    text = gradebook.canvas(grades(results, found, 0), found, "exam")
    assert rows(text) == [
        ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", "exam"],
        ["    Points Possible", "", "", "", "", "4"],
        ["Ada Lovelace", "17", "", "", "A", "4"],
        ["bob", "", "", "bob", "", "1"],
        ["'=cmd()", "", "", "'=cmd()", "", "0"],
    ]


def test_moodle_finds_a_student_by_the_folder_of_its_export_or_by_the_roster(
    tmp_path: Path,
) -> None:
    found = roster(tmp_path, "submission,email\nbob,bob@example.org\n")
    names = ("Ada Lovelace_1234_assignsubmission_file_", "bob")
    results = [result(name, mark(4.0)) for name in names]
    text = gradebook.moodle(grades(results, found, 0), found, {"bob": "Well done.\nGo on."})
    assert rows(text) == [
        [
            *("Identifier", "Full name", "Username", "Email address"),
            *("Grade", "Maximum grade", "Feedback comments"),
        ],
        ["Participant 1234", "Ada Lovelace", "", "", "4", "4", ""],
        ["", "bob", "bob", "bob@example.org", "4", "4", "Well done.\nGo on."],
    ]


def test_what_a_teacher_should_look_at_has_a_sentence() -> None:
    failed = mark(0.0, Outcome.FAILED)
    alike = [result(name, failed, key=f"key-{name}") for name in ("ada", "bob", "eve")]
    assert gradebook.warnings(alike) == [
        (
            "all 3 answers have the same outcome in every test: does the exercise tell a right "
            "answer from a wrong one?"
        )
    ]
    odd = [
        result("ada", mark(4.0), key="same"),
        result("bob", failed, key="same"),
        result("eve", failed, program=Program(ran=False, missing=("numpy",))),
        result("kim", mark(0.0, Outcome.NOT_RUN), program=Program(missing=("numpy", "dask"))),
    ]
    assert gradebook.warnings(odd) == [
        "these answers are the same files: ada, bob",
        "no test ran the program of: eve",
        "some tests were not run for: kim",
        "2 answers import numpy, which is not installed here",
        "1 answer imports dask, which is not installed here",
    ]
    assert gradebook.warnings([result("ada", mark(4.0)), result("bob", failed)]) == []
