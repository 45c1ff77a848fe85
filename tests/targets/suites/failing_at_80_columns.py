"""Tests that fail: assertions, waits, a timeout, a wrong argument."""

import pytest_proclife
from pytest_proclife import Code

FOREVER = Code("""
import multiprocessing, signal

def log(ready):
    signal.signal(signal.SIGTERM, lambda *_: None)
    ready.set()
    signal.sigwait([signal.SIGUSR1])

context = multiprocessing.get_context("fork")
ready = context.Event()
context.Process(target=log, args=(ready,), name="logger", daemon=True).start()
ready.wait()
for number in range(5):
    worker = context.Process(target=str, name=f"worker-{number}")
    worker.start()
    worker.join()
""")
CATCHES = Code("""
import multiprocessing, signal, time

def log(ready):
    caught = []
    signal.signal(signal.SIGTERM, lambda *_: caught.append(True))
    ready.set()
    while not caught:
        time.sleep(0.1)

context = multiprocessing.get_context("fork")
ready = context.Event()
context.Process(target=log, args=(ready,), name="logger", daemon=True).start()
ready.wait()
""")


def test_cleaned_up(proclife):
    main = proclife.start(FOREVER, linger=0.0)
    main.wait_for(lambda run: run.main.finished_at)
    main.kill()
    pytest_proclife.assert_returned(main.wait()["logger"])


def test_caught(proclife):
    pytest_proclife.assert_abandoned(proclife.run(CATCHES).children)


def test_waits(proclife):
    main = proclife.start(FOREVER)
    main.wait_for(lambda run: run.main.finished_at)
    main.wait_for_output("never", timeout=0.1)


def test_without_the_fixture():
    with pytest_proclife.start(FOREVER) as main:
        main.wait_for_children(99, timeout=0.1)


def test_too_long():
    pytest_proclife.run(FOREVER, timeout=1)


def test_wrong_argument():
    pytest_proclife.run(FOREVER, env={"A": 1})


def test_ends_early(proclife):
    proclife.start(Code("pass")).wait_for_output("never")
