"""A student's feedback as a page of its own."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_proclife.exercises import sheet
from pytest_proclife.exercises.gradebook import Grade, Roster, grades
from pytest_proclife.exercises.results import Mark, Outcome, Program, Result, Status


def mark(name: str, points: float, outcome: Outcome, *sentences: str, **values: Any) -> Mark:
    return Mark(
        test=name,
        name=name,
        points=points,
        max_points=2.0,
        outcome=outcome,
        sentences=sentences,
        **values,
    )


RESULT = Result(
    submission="ada_l<b>",
    status=Status.GRADED,
    seconds=1.0,
    marks=(
        mark("it starts", 2.0, Outcome.PASSED),
        mark("it ends", 0.0, Outcome.FAILED, "It hangs.", "It is *late*."),
        mark("it saves", 1.0, Outcome.PARTIAL, "It hangs.", "It hangs.", extra=True),
        mark("secret", 0.0, Outcome.FAILED, "Never.", visibility="hidden"),
    ),
    program=Program(left_out=("code cell 1, line 1: !pip install x",)),
)


def grade(result: Result = RESULT, penalty: float = 0.0) -> Grade:
    rows = {result.submission: {"late": "1"}}
    return grades([result], Roster(rows=rows), penalty)[0]


def test_the_markdown_has_each_visible_test_and_each_sentence_once() -> None:
    assert (
        sheet.markdown(RESULT, grade(), "friendly")
        == """\
# ada\\_l\\<b\\>

3 of 4 points.

## ✓ it starts (2 of 2)


## ✗ it ends (0 of 2)

- It hangs.
- It is \\*late\\*.

## ◐ it saves (1 of 2 extra)

- See “it ends” above.

## Not run of the notebook

- code cell 1, line 1: !pip install x
"""
    )


def test_a_late_answer_has_its_penalty() -> None:
    assert "3 of 4 points, less 0.3 since it was late." in sheet.markdown(
        RESULT, grade(penalty=10), "friendly"
    )


def test_the_page_shows_the_picture_as_an_image_and_nothing_of_the_answer_as_markup() -> None:
    picture = "<svg onload='alert(1)'></svg>"
    text = sheet.page(RESULT, grade(), "friendly", picture)
    assert "<svg" not in text
    assert 'src="data:image/svg+xml;base64,' in text
    assert "<title>ada_l&lt;b&gt;</title>" in text
    assert "default-src 'none'" in text
    assert "secret" not in text
    assert "Never." not in text
    assert "data:image" not in sheet.page(RESULT, grade(), "friendly", "")


@pytest.mark.parametrize(
    ("status", "begin"),
    [
        (Status.UNGRADABLE, "This answer cannot be graded: it is empty"),
        (Status.ERROR, "There is no result yet: it is empty"),
    ],
)
def test_an_answer_without_points_has_the_reason(status: Status, begin: str) -> None:
    result = Result(
        submission="ada", status=status, marks=RESULT.marks, seconds=1.0, reason="it is empty"
    )
    assert sheet.markdown(result, grade(result), "friendly") == f"# ada\n\n{begin}\n"
    assert "it starts" not in sheet.page(result, grade(result), "friendly", "")
