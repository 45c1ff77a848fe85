"""Squares from a Pool of three workers, and from an executor."""

import pytest

from pytest_proclife import assert_no_orphans, assert_nothing_left


@pytest.fixture
def run(submission):
    return submission.run(timeout=5)


def of_kind(run, kind):
    return [child for child in run.children if child.kind == kind]


def first(workers):
    """Those that main started before it joined any. A Pool puts others in the place of workers that
    have ended, and may do so once more when it is terminated in the midst of its work.
    """
    joins = [worker.joined_at for worker in workers if worker.joined_at is not None]
    return [worker for worker in workers if all(worker.started_at < at for at in joins)]


@pytest.mark.proclife_points(2, name="a Pool of three workers squares ten numbers")
def test_pool(run):
    workers = first(of_kind(run, "pool_worker"))
    assert workers, "No worker of a Pool was there."
    assert len(workers) == 3, f"The Pool is to have three workers, not {len(workers)}."
    expected = "pool: [0, 1, 4, 9, 16, 25, 36, 49, 64, 81]"
    assert expected in run.stdout, f"There is no line that says: {expected}"


@pytest.mark.proclife_points(2, name="an executor squares five numbers")
def test_executor(run):
    workers = of_kind(run, "executor_worker")
    assert workers, "No worker of a ProcessPoolExecutor was there."
    assert len(workers) <= 2, f"The executor is to have two workers, not {len(workers)}."
    expected = "executor: [0, 1, 4, 9, 16]"
    assert expected in run.stdout, f"There is no line that says: {expected}"


@pytest.mark.proclife_points(1, name="main ends in good order, and nothing is left")
def test_order(run):
    assert run.exitcode == 0, f"Main is to end with exit code 0, not {run.exitcode}."
    assert run.children, "Without a process there is nothing to leave."
    assert_no_orphans(run)
    assert_nothing_left(run)
