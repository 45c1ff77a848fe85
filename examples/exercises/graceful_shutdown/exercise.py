"""A program that is stopped with SIGTERM, saves what it has, and leaves nothing behind."""

import pytest

from pytest_proclife import (
    RunTimeout,
    assert_no_orphans,
    assert_nothing_left,
    assert_returned,
    assert_shut_down,
)


@pytest.fixture(scope="module")
def run(submission, proclife_module):
    submission.children_are("counter")
    main = proclife_module.start(submission, timeout=4)
    main.wait_for_output("tick\n", times=2)
    main.terminate()
    try:
        return main.wait()
    except RunTimeout as timeout:  # it goes on: the tests say what is wrong with that
        return timeout.run


@pytest.mark.proclife_points(1, name="a process ticks until it is asked to end")
def test_ticks(run):
    assert [child.name for child in run.children] == ["counter"], (
        "There should be one process, named counter."
    )


@pytest.mark.proclife_points(2, name="main ends in good order on SIGTERM")
def test_main(run):
    assert_shut_down(run.main, signal="SIGTERM", within=1.5, exitcode=0)


@pytest.mark.proclife_points(2, name="what was counted is saved")
def test_saved(run):
    assert_returned(run["counter"])
    assert "saved: " in run.stdout


@pytest.mark.proclife_points(1, name="nothing is left")
def test_nothing_left(run):
    assert run.main.ended_at is not None, "Main had not ended 4 seconds after SIGTERM."
    assert_no_orphans(run)
    assert_nothing_left(run)
