"""Programs that hang: where each stands, and the sentence that says why."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from conftest import TARGETS, mostly_slow

import pytest_proclife
from pytest_proclife import Ending, Run, RunningMain
from pytest_proclife.render import hang

TARGET = TARGETS / "hangs.py"
LINES = TARGET.read_text().splitlines()
LOOKS = 30  # in a row


def line_of(which: str, mark: str) -> str:
    """The place of a mark in the part of the target that a program is in, else of the only one."""
    start = LINES.index(f"def {which}() -> None:")
    marked = [n for n, line in enumerate(LINES) if line.endswith(f"  # {mark}")]
    heads = [n for n, line in enumerate(LINES) if line.startswith(("# --- ", "WHICH"))]
    begin, end = max(n for n in heads if n < start), min(n for n in heads if n > start)
    (found,) = [n for n in marked if begin < n < end or len(marked) == 1]
    return f"hangs.py:{found + 1}"


def is_quiet(run: Run) -> bool:
    """Whether all threads of all processes wait, or are stopped."""
    states = set()
    for process in run:
        if process.ending is Ending.RUNNING:
            for task in Path(f"/proc/{process.pid}/task").iterdir():
                states.add((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states <= {"S", "T"}


def until_quiet(main: RunningMain) -> None:
    """Wait until nothing in the run has moved for some looks: a hang stays as it is."""
    until, quiet = time.monotonic() + 30, 0
    while quiet < LOOKS:
        assert time.monotonic() < until, "the program does not come to rest"
        quiet = quiet + 1 if is_quiet(main.snapshot()) else 0
        time.sleep(0.002)  # /proc cannot be waited for


def sentence(run: Run) -> str:
    """Why it hangs, without what differs from run to run."""
    text = re.sub(r"\(pid \d+\)", "(pid N)", hang.why(run))
    return re.sub(r"\d+\.\d\d s", "T s", text)


# What the sentence is for each program, with its line for "HERE".
SENTENCES = {
    "full_queue": (
        "main was in Process.join at HERE, waiting for filler (pid N) since T s; filler had "
        "finished its code at T s and was in its exit path, in Queue._finalize_join, waiting "
        "for its thread 'QueueFeederThread'; thread 'QueueFeederThread' of filler was in "
        "Queue._feed, writing to a pipe that is full, which main could read"
    ),
    "dead_producer": (
        "main was in Queue.get at HERE, waiting for data, and no other process of the run has "
        "the other end open: filler (pid N) ended at T s (raised KeyError, exit code 1)"
    ),
    "grandchild": (
        "main was in Popen.communicate at HERE, reading until the other end is closed, which "
        "sleep (pid N), whose parent has ended, has open; sleep was in the system call "
        "clock_nanosleep, sleeping"
    ),
    "killed_worker": (
        "main was in Pool.map at HERE, waiting for a task that is lost: ForkPoolWorker-1 (pid "
        "N) ended at T s (died of SIGKILL, joined by its pool); still running was "
        "ForkPoolWorker-2 (pid N)"
    ),
    "lost_lock": (
        "main was in Lock.__enter__ at HERE, waiting for a lock or semaphore that no other "
        "process of the run can release: holder (pid N) ended at T s (os exit, exit code 3, "
        "joined)"
    ),
    "thread": (
        "main had finished its code at T s and was in its exit path, waiting for its thread "
        "'collector'; thread 'collector' of main was in Event.wait at HERE, waiting for another"
        " thread, and no other one runs that could end that"
    ),
    "pending_future": (
        "main was in Future.result at HERE, waiting for ForkProcess-1 (pid N); ForkProcess-1 "
        "was at THERE, waiting for data, which main could write"
    ),
    "barrier": (
        "main was in Barrier.wait at HERE, waiting for a lock or semaphore that no other "
        "process of the run can release: party (pid N) ended at T s (sys exit, exit code 2, "
        "joined)"
    ),
    "held_lock": (
        "main was in Process.join at HERE, waiting for child (pid N) since T s; child was at "
        "THERE, waiting for a lock, with no other thread that could release it: it was forked "
        "from a process with several threads, and a lock that another of these held stays "
        "locked in it"
    ),
    "exit_handler": (
        "main had finished its code at T s and was in its exit path, in Event.wait at HERE, "
        "waiting for another thread, and no other one runs that could end that"
    ),
    "stopped_child": (
        "main was in Process.join at HERE, waiting for child (pid N) since T s; child was at "
        "THERE, and is stopped by its own SIGSTOP"
    ),
    "ignored_sigterm": (
        "main had finished its code at T s and was in its exit path, in Process.join, waiting "
        "for session (pid N) since T s, which got SIGTERM at T s and ignored it; session was at"
        " THERE, waiting for a signal"
    ),
    "manager": (
        "main was in Event.wait at HERE, waiting for another thread, and no other one runs that"
        " could end that: SyncManager-1 (pid N) ended at T s (killed by MainProcess (SIGKILL))"
    ),
    "semaphore": (
        "main was at HERE, waiting for a lock or semaphore that no other process of the run can"
        " release: taker-1 (pid N) ended at T s (returned, exit code 0, joined) and taker-2 "
        "(pid N) ended at T s (returned, exit code 0, joined)"
    ),
    "somebody_elses": (
        "main was at HERE, waiting for any child, of which only server (pid N) is left (already"
        " collected: worker (pid N) ended at T s (returned, exit code 0, joined)); server was "
        "at STAYS, waiting for a signal"
    ),
}


@pytest.mark.parametrize("which", mostly_slow(SENTENCES, fast=3))
def test_a_hang_is_explained_in_one_sentence(which: str) -> None:
    expected = re.sub("THERE|HERE|STAYS", lambda m: line_of(which, m[0]), SENTENCES[which])
    with pytest_proclife.start(TARGET, args=[which]) as main:
        main.wait_for_output("ready\n")
        until_quiet(main)
        run = main.stacks()
    assert sentence(run) == expected
