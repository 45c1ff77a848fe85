"""The result that follows from a grader's messages and its exit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lives
import pytest

from pytest_proclife.exercises.results import Mark, Outcome, Result, Status
from pytest_proclife.exercises.verdict import (
    Messages,
    Reporter,
    is_in_doubt,
    outside_influence,
    read,
    verdict,
    without_points,
)
from pytest_proclife.exercises.workers import Finished
from pytest_proclife.records import Cause, ExceptionInfo, Request, Stack, StackSource

TOKEN = "token"


def mark(test: str, points: float = 0.0, outcome: Outcome = Outcome.NOT_RUN) -> Mark:
    return Mark(test=test, name=test, points=points, max_points=2.0, outcome=outcome)


PLAN = (mark("first"), mark("second"))
FULL = mark("first", 2.0, Outcome.PASSED)
HALF = mark("second", 1.0, Outcome.PARTIAL)


def reported(*reports: Callable[[Reporter], None], token: str = TOKEN) -> bytes:
    """What a grader writes to its channel."""
    reading, writing = os.pipe()
    with open(reading, "rb") as channel:
        reporter = Reporter(token, writing, lambda text: text.replace("/copy", "/original"))
        for report in reports:
            report(reporter)
        os.close(writing)
        return channel.read()


def verdict_of(
    *reports: Callable[[Reporter], None],
    extra: bytes = b"",
    exitcode: int = 0,
    timed_out: bool = False,
    output: str = "",
) -> Result:
    messages = reported(*reports) + extra
    finished = Finished(
        messages=messages, exitcode=exitcode, timed_out=timed_out, output=output, seconds=1.0
    )
    return verdict("ada", finished, TOKEN, PLAN)


def test_the_marks_that_were_reported_make_the_score() -> None:
    result = verdict_of(lambda r: r.mark(FULL), lambda r: r.mark(HALF), Reporter.done)
    assert (result.status, result.score, result.max_score) == (Status.GRADED, 3.0, 4.0)
    assert [mark.outcome for mark in result.marks] == [Outcome.PASSED, Outcome.PARTIAL]


def test_a_test_that_was_not_run_has_its_place_and_no_points() -> None:
    result = verdict_of(lambda r: r.mark(HALF), Reporter.done)
    assert [mark.outcome for mark in result.marks] == [Outcome.NOT_RUN, Outcome.PARTIAL]
    assert (result.score, result.max_score) == (1.0, 4.0)


@pytest.mark.parametrize(
    ("problem", "exit_", "status", "reason"),
    [
        ((Status.UNGRADABLE, "it is empty"), {}, Status.UNGRADABLE, "it is empty"),
        ((Status.TAMPERED, "reports"), {}, Status.TAMPERED, "reports"),
        ((Status.ERROR, "NameError"), {"exitcode": 70}, Status.ERROR, "NameError"),
        (None, {"exitcode": -9}, Status.TAMPERED, "was killed (SIGKILL) while the answer ran"),
        (None, {"exitcode": -11}, Status.ERROR, "the grader ended with signal 11"),
        (None, {"exitcode": 70, "output": "a\nlast\n\n"}, Status.ERROR, "it was done: last"),
        (None, {}, Status.ERROR, "the grader ended with exit code 0 before it was done"),
    ],
)
def test_any_other_status_has_its_reason_and_no_points(
    problem: tuple[Status, str] | None, exit_: dict[str, Any], status: Status, reason: str
) -> None:
    reports: list[Callable[[Reporter], None]] = [lambda r: r.mark(FULL)]
    if problem is not None:
        reports.append(lambda r: r.problem(*problem))
    result = verdict_of(*reports, **exit_)
    assert result.status is status
    assert reason in result.reason
    assert result.score == 0.0
    assert all(mark.points == 0.0 for mark in result.marks)


def test_at_the_deadline_what_was_earned_stays() -> None:
    late: dict[str, Any] = {"exitcode": -9, "timed_out": True}
    result = verdict_of(lambda r: r.mark(FULL), **late)
    reason = "grading was not done after 1 s, and was ended"
    assert (result.status, result.score, result.reason) == (Status.GRADED, 2.0, reason)
    assert [mark.outcome for mark in result.marks] == [Outcome.PASSED, Outcome.NOT_RUN]
    assert result.marks[1].message == "grading was ended after 1 s, before this test was done"
    # nothing shows that the exercise works
    result = verdict_of(**late)
    assert (result.status, result.score, result.reason) == (Status.ERROR, 0.0, reason)


def test_tampering_outweighs_other_problems() -> None:
    result = verdict_of(
        lambda r: r.problem(Status.ERROR, "the exercise failed"),
        lambda r: r.problem(Status.TAMPERED, "reports are missing"),
    )
    assert (result.status, result.reason) == (Status.TAMPERED, "reports are missing")


def test_a_line_that_is_not_the_graders_is_tampering() -> None:
    forged = reported(lambda r: r.mark(mark("second", 2.0, Outcome.PASSED)), token="another")
    result = verdict_of(lambda r: r.mark(FULL), Reporter.done, extra=forged)
    assert result.status is Status.TAMPERED


def test_a_mark_that_is_told_twice_is_tampering() -> None:
    zero = mark("first", 0.0, Outcome.FAILED)
    for reports in (
        (lambda r: r.mark(FULL), lambda r: r.mark(zero), Reporter.done),
        (lambda r: r.mark(zero), lambda r: r.mark(FULL), Reporter.done),
        (lambda r: r.mark(zero), Reporter.done, lambda r: r.mark(HALF)),
    ):
        result = verdict_of(*reports)
        assert result.status is Status.TAMPERED
        assert "was reported twice: something other than the grader wrote" in result.reason
        assert result.score == 0


@pytest.mark.parametrize("beside", [False, True])
def test_a_result_is_in_doubt_if_another_answer_may_have_changed_it(beside: bool) -> None:
    def in_doubt(*reports: Callable[[Reporter], None], exitcode: int = 0) -> bool:
        finished = Finished(
            messages=reported(*reports),
            exitcode=exitcode,
            timed_out=False,
            output="",
            seconds=1.0,
            beside=beside,
        )
        return is_in_doubt(finished, TOKEN, verdict("ada", finished, TOKEN, PLAN))

    whole = (lambda r: r.mark(FULL), Reporter.done)
    assert not in_doubt(*whole)
    assert in_doubt(*whole, exitcode=-9)  # it was killed, perhaps as it waited for its turn
    assert in_doubt(lambda r: r.doubt("a signal"), *whole) is beside


def test_a_partial_line_of_a_killed_grader_is_left_out() -> None:
    result = verdict_of(lambda r: r.mark(FULL), extra=b'token {"ma', exitcode=-9)
    assert result.status is Status.TAMPERED
    assert "SIGKILL" in result.reason


def test_reports_name_the_original_of_a_copied_file() -> None:
    failed = Mark(
        test="first",
        name="first",
        points=0.0,
        max_points=2.0,
        outcome=Outcome.FAILED,
        sentences=("look at /copy/data",),
        message="/copy/data",
        detail="/copy/exercise.py:1: in test",
    )
    data = reported(lambda r: r.mark(failed), lambda r: r.problem(Status.ERROR, "no /copy/data"))
    messages = read(data, TOKEN)
    (found,) = messages.marks
    assert found.sentences == ("look at /original/data",)
    assert (found.message, found.detail) == ("/original/data", "/original/exercise.py:1: in test")
    assert messages.problems == ((Status.ERROR, "no /original/data"),)
    assert read(b"", TOKEN) == Messages()


def test_without_points_a_result_keeps_its_marks() -> None:
    result = verdict_of(lambda r: r.mark(FULL), Reporter.done)
    changed = without_points(result, Status.TAMPERED, "its copy was changed")
    assert (changed.status, changed.reason) == (Status.TAMPERED, "its copy was changed")
    assert [mark.points for mark in changed.marks] == [0.0, 0.0]
    assert changed.marks[0].outcome is Outcome.PASSED


def test_a_signal_from_nowhere_and_a_stopped_process_are_doubts() -> None:
    run = lives.ends()
    assert {text.partition(" got ")[0] for text in outside_influence(run)} == {
        process.name
        for process in run.processes
        if process.cause is Cause.SIGNALED and process.signal not in ("SIGSEGV", "SIGABRT")
    }
    (first, *rest) = run.processes
    error = ExceptionInfo(type="KeyboardInterrupt", message="", traceback="")
    own = Request(at=1.0, by=first.id, signal="SIGINT", via="kill()")
    interrupted = replace(
        first, cause=Cause.RAISED, signal="SIGINT", exception=error, requests=(own,)
    )
    assert list(outside_influence(replace(run, processes=(interrupted,))))
    others = replace(interrupted, requests=(replace(own, by=first.id + 1),))
    assert not list(outside_influence(replace(run, processes=(others,))))
    stack = Stack(
        at=1.0,
        thread=1,
        name="main",
        state="T",
        shown=True,
        call="",
        wchan="",
        awaited=(),
        source=StackSource.KERNEL,
        frames=(),
        missing=None,
        details="",
    )
    stopped = replace(run, processes=(replace(first, stacks=(stack,)), *rest))
    assert f"{first.name} was stopped" in set(outside_influence(stopped))
