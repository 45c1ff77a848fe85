"""A teaching session that ends with the exam, or is finished: a daemon, or none."""

import pytest

from pytest_proclife import assert_abandoned, assert_not_held_up, assert_returned


@pytest.fixture
def ends(submission):
    submission.children_are("session")
    return submission.run(timeout=5, linger=3)


@pytest.fixture
def finishes(submission):
    submission.children_are("session")
    return submission.run(args=["finish"], timeout=5, linger=3)


@pytest.mark.proclife_points(1, name="the session goes on during the exam")
def test_at_the_same_time(ends):
    assert ends.children, "There is no process beside main: the exam had to wait for the session."
    assert "Exam is over" in ends.stdout, "The exam did not come to its end."
    before_the_end = ends.stdout.partition("Exam is over")[0]
    assert "Teaching session: 4" not in before_the_end, "The exam waited for the session."


@pytest.mark.proclife_points(2, name="without an argument the session ends with the exam")
def test_ends_with_the_exam(ends):
    assert_abandoned(ends.children)
    assert_not_held_up(ends.main)


@pytest.mark.proclife_points(2, name="with finish it is taught to its end")
def test_finishes(finishes):
    assert_returned(finishes.children)
    assert "Teaching session: 4" in finishes.stdout, "The last lesson was not taught."
