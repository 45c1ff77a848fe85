"""Lock, Semaphore and Condition between processes; and a lock that is lost with its holder."""

import multiprocessing
import signal

import pytest

from pytest_proclife import (
    assert_joined,
    assert_nothing_left,
    assert_overlapped,
    assert_returned,
    assert_terminated,
)


def add(lock, total):
    for _ in range(100):
        with lock:
            total.value += 1  # a read and a write: without the lock some are lost


def locked():
    lock, total = multiprocessing.Lock(), multiprocessing.Value("i", 0, lock=False)
    start_and_join(add, lock, total)
    print(total.value)


def enter(seats, inside, most):
    with seats:
        with inside.get_lock():
            inside.value += 1
            most.value = max(most.value, inside.value)
        with inside.get_lock():
            inside.value -= 1


def seated():
    inside, most = multiprocessing.Value("i", 0), multiprocessing.Value("i", 0)
    start_and_join(enter, multiprocessing.Semaphore(2), inside, most)
    print(most.value <= 2)


def wait_for_all(condition, present):
    with condition:
        present.value += 1
        condition.notify_all()
        condition.wait_for(lambda: present.value == 3)


def together():
    start_and_join(wait_for_all, multiprocessing.Condition(), multiprocessing.Value("i", 0))
    print("all were there")


def start_and_join(target, *args):
    workers = [multiprocessing.Process(target=target, args=args) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


@pytest.mark.proclife(start_methods="all")
@pytest.mark.parametrize(
    ("program", "output"), [(locked, "300\n"), (seated, "True\n"), (together, "all were there\n")]
)
def test_the_workers_do_not_get_in_each_others_way(proclife, program, output):
    run = proclife.run(program)
    assert run.stdout == output
    assert_returned(run.children)
    assert_joined(run.children, how="explicit")
    assert_nothing_left(run)


def test_who_waits_for_the_others_lives_at_the_same_time(proclife):
    run = proclife.run(together)
    assert_overlapped(run.children, run.children)


def hold(lock, holds):
    with lock:
        holds.set()
        signal.pause()


def lost():
    lock, holds = multiprocessing.Lock(), multiprocessing.Event()
    holder = multiprocessing.Process(target=hold, args=(lock, holds), name="holder")
    holder.start()
    holds.wait()
    holder.terminate()
    holder.join()
    print("free:", lock.acquire(block=False))


@pytest.mark.proclife(start_methods="all")
def test_a_lock_is_lost_with_a_holder_that_is_terminated(proclife):
    run = proclife.run(lost)
    assert_terminated(run["holder"], by=run.main)
    assert run.stdout == "free: False\n"
