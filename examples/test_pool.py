"""A Pool: its workers are daemons, and it is the pool that waits for them, or ends them."""

import multiprocessing
import signal

import pytest

from pytest_proclife import (
    assert_abandoned,
    assert_daemon,
    assert_joined,
    assert_no_orphans,
    assert_returned,
    assert_terminated,
)


def square(number):
    return number * number


def closed():
    pool = multiprocessing.Pool(2)
    print(pool.map(square, range(4)))
    pool.close()
    pool.join()


def remember(queue):
    """Run in each worker as it starts."""
    global started
    started = queue


def never_done(_):
    started.put("busy")
    signal.pause()


def busy(leave_with):
    queue = multiprocessing.SimpleQueue()
    pool = multiprocessing.Pool(2, initializer=remember, initargs=(queue,))
    pool.map_async(never_done, range(2), chunksize=1)
    queue.get(), queue.get()  # both workers are at work
    if leave_with == "terminate":
        pool.terminate()
        pool.join()


@pytest.mark.proclife(start_methods="all")
def test_the_workers_of_a_closed_pool_return(proclife):
    run = proclife.run(closed)
    assert run.stdout == "[0, 1, 4, 9]\n"
    assert_daemon(run.children)
    assert_returned(run.children)
    assert_joined(run.children, how="library")


def test_a_pool_that_is_terminated_ends_its_busy_workers(proclife):
    run = proclife.run(busy, ["terminate"])
    assert_terminated(run.children, by=run.main)
    assert_no_orphans(run)


def test_a_pool_that_is_forgotten_is_ended_by_mains_exit_path(proclife):
    run = proclife.run(busy, ["nothing"])
    assert_abandoned(run.children)
    assert_no_orphans(run)
