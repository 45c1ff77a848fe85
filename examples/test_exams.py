"""The exam while a teaching session goes on: one that is no daemon, and one that is."""

from pathlib import Path

from pytest_proclife import assert_abandoned, assert_held_up_by, assert_not_held_up, assert_returned

HERE = Path(__file__).parent


def test_the_exam_is_over_but_the_program_waits_for_the_session(proclife):
    run = proclife.run(HERE / "exam_nondaemon.py")
    assert_returned(run["Process-1"])
    assert_held_up_by(run.main, run["Process-1"])


def test_the_session_that_is_a_daemon_ends_with_the_exam(proclife):
    run = proclife.run(HERE / "exam_daemon.py")
    assert_abandoned(run["Process-1"])
    assert_not_held_up(run.main)
