"""An error in main, and a process that is waited for all the same."""

import pytest

from pytest_proclife import assert_joined, assert_nothing_left, assert_raised, assert_returned


@pytest.fixture
def run(submission):
    submission.children_are("saver")
    return submission.run(timeout=5)


@pytest.mark.proclife_points(1, name="the error is not hidden")
def test_error(run):
    assert run.exitcode != 0, "The program ended with exit code 0: nobody can tell that it failed."
    assert_raised(run.main, ValueError)


@pytest.mark.proclife_points(2, name="what is being saved is not lost")
def test_saved(run):
    assert_returned(run.children)
    assert "saved" in run.stdout, "Nothing was saved."


@pytest.mark.proclife_points(2, name="main waits for it with join()")
def test_joined(run, submission):
    if [(child.joined, child.cause) for child in run.children] == [("implicit", "returned")]:
        submission.partial(
            1,
            "Main's exit waited for the saver by itself. A join() in a finally block says that "
            "you want it.",
        )
    assert_joined(run.children, "explicit")
    assert_nothing_left(run)
