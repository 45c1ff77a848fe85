"""A logger that is a daemon, and a counter that must be none."""

import pytest

from pytest_proclife import (
    assert_abandoned,
    assert_no_orphans,
    assert_nothing_left,
    assert_returned,
)


@pytest.fixture
def run(submission):
    return submission.run(timeout=5)


@pytest.mark.proclife_points(2, name="the logger ends with the program")
def test_logger(run, submission):
    assert "logger" in [child.name for child in run.children], "There is no process named logger."
    if run["logger"].cause == "terminated":
        submission.partial(1, "The logger ends with the program, by hand: a daemon ends by itself.")
    assert_abandoned(run["logger"])


@pytest.mark.proclife_points(2, name="the counter's result is not lost")
def test_counter(run):
    assert "counter" in [child.name for child in run.descendants], (
        "There is no process named counter."
    )
    assert_returned(run["counter"])
    assert "counted 42 pages" in run.stdout, "Nobody said how many pages were counted."


@pytest.mark.proclife_points(1, name="main ends in good order, and nothing is left")
def test_order(run):
    assert run.exitcode == 0, f"Main is to end with exit code 0, not {run.exitcode}."
    assert "done" in run.stdout, "Main did not say that it was done."
    assert_no_orphans(run)
    assert_nothing_left(run)
