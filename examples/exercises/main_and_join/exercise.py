"""Three workers at the same time, and a main process that waits for them."""

import pytest

from pytest_proclife import assert_joined, assert_returned


@pytest.fixture
def run(submission):
    submission.children_are("worker")
    return submission.run(timeout=5)


@pytest.mark.proclife_points(1, name="three workers do their work")
def test_three_workers(run):
    assert_returned(run.children)
    assert len(run.children) == 3, f"There are to be three workers; yours were {len(run.children)}."
    for name in "ABC":
        assert f"Worker {name} finished." in run.stdout, (
            f"Worker {name} did not say that it finished."
        )


@pytest.mark.proclife_points(1, name="they work at the same time")
def test_together(run):
    assert len(run.children) > 1, "One process alone does nothing at the same time."
    last_start = max(worker.started_at for worker in run.children)
    first_end = min(worker.ended_at for worker in run.children)
    assert last_start < first_end, (
        "Your workers ran one after the other: start() all of them before you join() the first."
    )


@pytest.mark.proclife_points(2, name="main waits for each with join()")
def test_joined(run):
    assert_joined(run.children, "explicit")


@pytest.mark.proclife_points(1, name="main says so when all have finished")
def test_last_line(run):
    before, main_finished, _ = run.stdout.partition("Main Process finished.")
    assert main_finished, "Main did not say that it finished."
    finished = before.count(" finished.")
    assert finished == 3, f"When main said that it finished, {finished} of 3 workers had said so."
