"""From what a grader said, and how it ended, to a result."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_proclife.exercises.results import (
    Mark,
    Outcome,
    Result,
    Status,
    judge,
    mark_values,
    reading,
    say,
)
from pytest_proclife.exercises.workers import Answer

TOKEN = "token"


def mark(test: str, points: float = 0.0, outcome: Outcome = Outcome.NOT_RUN) -> Mark:
    return Mark(test=test, name=test, points=points, max_points=2.0, outcome=outcome)


PLAN = (mark("first"), mark("second"))
FULL = mark_values(mark("first", 2.0, Outcome.PASSED))
HALF = mark_values(mark("second", 1.0, Outcome.PARTIAL))


def answer(*lines: bytes, exitcode: int = 0, late: bool = False, words: str = "") -> Answer:
    return Answer(said=b"".join(lines), exitcode=exitcode, late=late, words=words, seconds=1.0)


def judged(*what: dict[str, Any], extra: bytes = b"", **how: Any) -> Result:
    said = [say(TOKEN, **one) for one in what]
    return judge("ada", answer(*said, extra, **how), TOKEN, PLAN, "key")


def test_the_marks_that_were_given_make_the_score() -> None:
    result = judged({"mark": FULL}, {"mark": HALF}, {"done": True})
    assert (result.status, result.score, result.max_score) == (Status.GRADED, 3.0, 4.0)
    assert [mark.outcome for mark in result.marks] == [Outcome.PASSED, Outcome.PARTIAL]


def test_a_test_that_was_not_run_has_its_place_and_no_points() -> None:
    result = judged({"mark": HALF}, {"done": True})
    assert [mark.outcome for mark in result.marks] == [Outcome.NOT_RUN, Outcome.PARTIAL]
    assert (result.score, result.max_score) == (1.0, 4.0)


@pytest.mark.parametrize(
    ("what", "how", "status", "reason"),
    [
        ({"ungradable": "it is empty"}, {}, Status.UNGRADABLE, "it is empty"),
        ({"tampered": "reports"}, {}, Status.TAMPERED, "reports"),
        ({"broken": "NameError"}, {"exitcode": 70}, Status.ERROR, "NameError"),
        ({}, {"exitcode": -9, "late": True}, Status.ERROR, "not done after 1 s, and was ended"),
        ({}, {"exitcode": -9}, Status.TAMPERED, "was killed (SIGKILL) while the answer ran"),
        ({}, {"exitcode": -11}, Status.ERROR, "the grader ended with signal 11"),
        ({}, {"exitcode": 70, "words": "a\nlast\n\n"}, Status.ERROR, "before it was done: last"),
        ({}, {}, Status.ERROR, "the grader ended with exit code 0 before it was done"),
    ],
)
def test_what_is_not_graded_has_its_reason_and_no_points(
    what: dict[str, str], how: dict[str, Any], status: Status, reason: str
) -> None:
    result = judged({"mark": FULL}, what, **how)
    assert result.status is status
    assert reason in result.reason
    assert result.score == 0.0
    assert all(mark.points == 0.0 for mark in result.marks)


def test_a_line_that_is_not_the_graders_is_tampering() -> None:
    forged = say("another", mark=mark_values(mark("second", 2.0, Outcome.PASSED)))
    result = judged({"mark": FULL}, {"done": True}, extra=forged)
    assert result.status is Status.TAMPERED


def test_half_a_line_of_a_killed_grader_is_left_out() -> None:
    result = judged({"mark": FULL}, extra=b'token {"ma', exitcode=-9)
    assert result.status is Status.TAMPERED
    assert "SIGKILL" in result.reason


def test_what_a_grader_read_and_what_of_it_was_changed() -> None:
    assert reading(answer(say(TOKEN, used=["/x/data"]), say(TOKEN, done=True)), TOKEN) == (
        ["/x/data"],
        "",
    )
    assert reading(answer(say(TOKEN, used=["/x/data"]), say(TOKEN, changed="data")), TOKEN) == (
        ["/x/data"],
        "data",
    )
    assert reading(answer(say("another", changed="data")), TOKEN) == ([], "")
