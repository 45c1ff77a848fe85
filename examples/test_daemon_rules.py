"""The rules for the daemon flag: before the start, not after it; no children; main is none."""

import multiprocessing

import pytest

from pytest_proclife import assert_daemon, assert_joined, assert_not_daemon, assert_raised


def work():
    pass


def set_before():
    process = multiprocessing.Process(target=work, name="worker")
    process.daemon = True
    process.start()
    process.join()


def set_after():
    process = multiprocessing.Process(target=work, name="worker")
    process.start()
    try:
        process.daemon = True
    finally:
        process.join()


def start_child():
    multiprocessing.Process(target=work).start()


def daemon_with_child():
    process = multiprocessing.Process(target=start_child, name="parent", daemon=True)
    process.start()
    process.join()


def ask_main():
    print(multiprocessing.current_process().daemon)


def test_the_flag_is_set_before_the_start(proclife):
    run = proclife.run(set_before)
    assert_daemon(run["worker"])
    assert_joined(run["worker"], how="explicit")


def test_the_flag_cannot_be_set_after_the_start(proclife):
    run = proclife.run(set_after)
    assert_raised(run.main, AssertionError, match="process has already started")
    assert_not_daemon(run["worker"])


@pytest.mark.proclife(start_methods="all")
def test_a_daemon_may_not_have_children(proclife):
    run = proclife.run(daemon_with_child)
    assert_raised(run["parent"], AssertionError, match="not allowed to have children")
    assert run["parent"].children == ()


def test_the_main_process_is_no_daemon(proclife):
    run = proclife.run(ask_main)
    assert run.stdout == "False\n"
    assert run.main.daemon is None  # nobody started it with a flag
