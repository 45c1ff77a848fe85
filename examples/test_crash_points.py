"""Whenever main dies, nothing of it stays: each worker watches for main's end."""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait

from pytest_proclife import assert_no_orphans, assert_nothing_left


def end_with_parent():
    """Leave this process as soon as its parent is gone, however that ended."""
    sentinel = multiprocessing.parent_process().sentinel

    def watch():
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work(tasks, watched):
    if watched:
        end_with_parent()
    for number in iter(tasks.get, None):
        print(number, flush=True)


def serve(watched=True):
    tasks = multiprocessing.SimpleQueue()
    workers = [multiprocessing.Process(target=work, args=(tasks, watched)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for number in (1, 2, None, None):
        tasks.put(number)
    for worker in workers:
        worker.join()


def test_nothing_stays_whenever_main_dies(proclife):
    at = ["started", "waiting", "joined"]
    crashes = proclife.crash_points(serve, signals=["SIGTERM", "SIGKILL"], at=at, linger=2.0)
    for crash in crashes:
        with crash:  # a subtest
            assert_no_orphans(crash.run, within=2.0)


def test_workers_that_do_not_watch_are_left_by_an_early_death(proclife):
    kwargs = {"watched": False}
    options = {"signals": ["SIGKILL"], "at": ["started", "exiting"], "linger": 0.2}
    crashes = list(proclife.crash_points(serve, kwargs=kwargs, **options))
    early = [c for c in crashes if c.point.kind == "started" and "Process" in c.point.about]
    assert {crash.outcome for crash in early} == {"left"}
    assert_nothing_left(crashes[-1].run)  # main was done
