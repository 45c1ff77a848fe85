"""What main does on its way out, and what os._exit() and SIGKILL leave undone."""

import atexit
import multiprocessing
import os
import signal
import sys

import pytest

from pytest_proclife import (
    assert_abandoned,
    assert_ended_before,
    assert_joined,
    assert_no_orphans,
    assert_orphaned,
    assert_returned,
)


def teach(begun, open_end):
    begun.set()
    signal.pause()


def wait_for_its_end(begun, session):
    begun.set()
    session.poll(None)  # until the only one that holds the other end is gone


def leave(how):
    daemon_begun, job_begun = multiprocessing.Event(), multiprocessing.Event()
    end, open_end = multiprocessing.Pipe(duplex=False)
    args = (daemon_begun, open_end)
    multiprocessing.Process(target=teach, args=args, name="daemon", daemon=True).start()
    daemon_begun.wait()
    open_end.close()
    multiprocessing.Process(target=wait_for_its_end, args=(job_begun, end), name="job").start()
    job_begun.wait()
    atexit.register(print, "exit handler", flush=True)
    match how:
        case "raise":
            raise LookupError("no chalk")
        case "sys.exit":
            sys.exit(3)
        case "os._exit":
            os._exit(4)
        case "SIGKILL":
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("how", ["return", "raise", "sys.exit"])
def test_the_exit_path_ends_daemons_waits_for_the_others_and_runs_handlers(proclife, how):
    run = proclife.run(leave, [how])
    assert_abandoned(run["daemon"])
    assert_returned(run["job"])
    assert_joined(run["job"], how="implicit")
    assert_ended_before(run.children, run.main)
    assert_no_orphans(run)
    assert run.stdout == "exit handler\n"


@pytest.mark.parametrize("how", ["os._exit", "SIGKILL"])
def test_without_an_exit_path_children_are_left_and_no_handler_runs(proclife, how):
    run = proclife.run(leave, [how], linger=0.2)
    assert_orphaned([run["daemon"], run["job"]])
    assert run.stdout == ""
    assert run["daemon"].cause == "cleaned_up"  # after the linger, and the job goes with it
