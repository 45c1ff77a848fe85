"""A service that is stopped from outside: asked to, it takes its workers along; killed, not."""

import multiprocessing
import signal
import sys
import time

from pytest_proclife import (
    assert_abandoned,
    assert_killed,
    assert_no_orphans,
    assert_nothing_left,
    assert_orphaned,
    assert_returned,
    assert_shut_down,
)


def work(begun):
    begun.set()
    rest()


def rest():
    while True:  # signal.pause() would sleep over a signal that comes just before it
        time.sleep(0.1)


def stop(number, frame):
    sys.exit(0)  # so main has an exit path, which ends the workers


def serve():
    signal.signal(signal.SIGTERM, stop)
    for _ in range(2):
        begun = multiprocessing.Event()
        multiprocessing.Process(target=work, args=(begun,), daemon=True).start()
        begun.wait()
    print("ready", flush=True)
    rest()


def drain():
    stopped = []
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.append(number))
    print("ready", flush=True)
    while not stopped:
        time.sleep(0.1)  # its work


def test_a_service_that_drains_its_work_shuts_down(proclife):
    with proclife.start(drain) as service:
        service.wait_for_output("ready")
        service.terminate()
        run = service.wait()
    assert_returned(run.main)  # nobody made it end: it ended by itself
    assert_shut_down(run.main, by="test", within=10, exitcode=0)


def test_a_service_that_is_asked_to_stop_leaves_nothing(proclife):
    with proclife.start(serve) as service:
        service.wait_for_output("ready")
        service.terminate()
        run = service.wait()
    assert_shut_down(run.main, by="test", exitcode=0)
    assert_abandoned(run.children)
    assert_no_orphans(run)
    assert_nothing_left(run)


def test_a_service_that_is_killed_leaves_its_workers(proclife):
    with proclife.start(serve, linger=0.2) as service:
        service.wait_for_output("ready")
        service.kill()
        run = service.wait()
    assert_killed(run.main, by="test")
    assert_orphaned(run.children)
