"""A Pool that works, and a daemon that watches it and ends with the program."""

import pytest

from pytest_proclife import (
    assert_abandoned,
    assert_daemon,
    assert_no_orphans,
    assert_nothing_left,
    assert_overlapped,
)


@pytest.fixture(scope="module")  # one run for all tests
def run(submission):
    return submission.run(timeout=12, allow_timeout=True)


def workers_of(run):
    """Those that main started before it joined any: a Pool puts others in the place of those."""
    workers = run.find(kind="pool_worker")
    joins = [worker.joined_at for worker in workers if worker.joined_at is not None]
    return [worker for worker in workers if all(worker.started_at < at for at in joins)]


@pytest.mark.proclife_points(2, name="a Pool of two workers squares six numbers")
def test_pool(run):
    workers = workers_of(run)
    assert len(workers) == 2, f"The Pool should have two workers; there were {len(workers)}."
    assert "squares: [1, 4, 9, 16, 25, 36]" in run.stdout


@pytest.mark.proclife_points(1, name="the monitor is there while they work")
def test_monitor(run):
    assert "monitor: alive" in run.stdout
    workers = workers_of(run)
    assert workers, "There is no Pool that it could watch."
    assert_overlapped(run["monitor"], workers)


@pytest.mark.proclife_points(2, name="the monitor ends with the program")
def test_ends_with_main(run):
    assert_daemon(run["monitor"])
    assert_abandoned(run["monitor"])


@pytest.mark.proclife_points(1, name="the program ends in good order, and nothing is left")
def test_order(run):
    assert run.exitcode == 0
    assert run.children, "Without a process there is nothing to leave."
    assert_no_orphans(run)
    assert_nothing_left(run)
