"""A main process that raises: no exception reaches its children."""

import multiprocessing
import signal

import pytest

from pytest_proclife import (
    assert_abandoned,
    assert_joined,
    assert_no_orphans,
    assert_raised,
    assert_returned,
)


def teach(begun, open_end):
    begun.set()
    signal.pause()


def correct_exams(begun, session):
    begun.set()
    session.poll(None)  # until the session, the only one that holds the other end, is gone
    print("exams corrected")


def school():
    teaching, correcting = multiprocessing.Event(), multiprocessing.Event()
    end, open_end = multiprocessing.Pipe(duplex=False)
    args = (teaching, open_end)
    multiprocessing.Process(target=teach, args=args, name="session", daemon=True).start()
    teaching.wait()
    open_end.close()
    multiprocessing.Process(target=correct_exams, args=(correcting, end), name="job").start()
    correcting.wait()
    raise LookupError("no chalk")


@pytest.mark.proclife(start_methods="all")
def test_a_main_that_raises_waits_for_its_children_all_the_same(proclife):
    run = proclife.run(school)
    assert_raised(run.main, LookupError, match="no chalk")
    assert_returned(run["job"])
    assert_joined(run["job"], how="implicit")
    assert_abandoned(run["session"])
    assert_no_orphans(run)
    assert (run.exitcode, run.stdout) == (1, "exams corrected\n")
