"""An exercise about a session that main's end cuts off."""

import pytest

from pytest_proclife import assert_abandoned


@pytest.mark.proclife_points(2, name="a session is started")
def test_started(submission):
    run = submission.run(timeout=3)
    submission.children_are("session")
    assert run.children, "No process was started."


@pytest.mark.proclife_points(1, visibility="hidden", tags=["end"])
def test_session_is_cut_off(submission):
    assert_abandoned(submission.run(timeout=3).children)
