"""A ProcessPoolExecutor: its workers are no daemons, and a lost one breaks it."""

import os
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from pytest_proclife import (
    assert_joined,
    assert_no_orphans,
    assert_not_daemon,
    assert_os_exit,
    assert_raised,
    assert_returned,
)


def square(number):
    return number * number


def lesson():
    with ProcessPoolExecutor(2) as executor:
        print(list(executor.map(square, range(4))))


def forgotten():
    ProcessPoolExecutor(1).submit(square, 2)


def lost_worker():
    with ProcessPoolExecutor(1) as executor:
        executor.submit(os._exit, 3).result()


@pytest.mark.proclife(start_methods="all")
@pytest.mark.parametrize("program", [lesson, forgotten])
def test_the_workers_of_an_executor_return_and_are_joined_by_it(proclife, program):
    run = proclife.run(program)
    assert_not_daemon(run.children)
    assert_returned(run.children)
    assert_joined(run.children, how="library")
    assert_no_orphans(run)


def test_a_worker_that_is_lost_breaks_the_executor(proclife):
    run = proclife.run(lost_worker)
    assert_os_exit(run.children, code=3)
    assert_raised(run.main, BrokenProcessPool)
