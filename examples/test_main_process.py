"""The main process that starts three workers and waits for them (main_process.py)."""

from pathlib import Path

import pytest

from pytest_proclife import Code, LifecycleError, assert_joined, assert_target_ran

LESSON = Path(__file__).with_name("main_process.py")


def test_main_waits_for_its_three_workers(proclife):
    run = proclife.run(LESSON)
    assert len(run.children) == 3
    assert_target_ran(run.children)
    assert_joined(run.children, how="explicit")


def test_in_a_notebook_the_workers_never_run_and_nobody_notices(proclife):
    # as in a notebook, the children find no file from which to import `worker_task`
    run = proclife.run(Code(LESSON.read_text()), start_method="spawn")
    assert run.stdout.endswith("Main Process finished.\n")
    assert_joined(run.children)
    with pytest.raises(LifecycleError, match="start-up raised AttributeError"):
        assert_target_ran(run.children)
