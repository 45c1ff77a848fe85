"""Signals by each way to send one: the cause names the sender, and strangers stay outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import importable
import pytest
from conftest import TARGETS
from fidelity import both

import pytest_proclife
from pytest_proclife import Cause, Code, Ending

SENDERS = str(TARGETS / "senders.py")


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of another run than the one that signals it."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("sender", ["MainProcess", "other"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    ("number", "exits", "cause", "code"),
    [(9, "", "killed", -9), (15, "", "terminated", -15), (15, "1", "terminated", 5)],
)
def test_a_signal_by_pidfd_is_its_senders(
    method: str,
    number: int,
    exits: str,
    cause: str,
    code: int,
    sender: str,
) -> None:
    run = pytest_proclife.run(SENDERS, ["by_pidfd", method, str(number), exits, sender])
    assert (run["child"].cause, run["child"].exitcode) == (cause, code), str(run)
    assert run["child"].ended_by == run[sender].id
    assert [r.signal for r in run["child"].requests] == [signal.Signals(number).name]
    assert run.witness.complete


def test_a_signal_by_pidfd_to_a_whole_group_is_one_to_each() -> None:
    run = pytest_proclife.run(SENDERS, ["to_a_group"])
    assert [(p.cause, p.ended_by) for p in run.children] == [(Cause.TERMINATED, run.main.id)] * 2


def test_a_child_in_a_group_is_terminated_however_soon_its_status_is_taken() -> None:
    run = pytest_proclife.run(SENDERS, ["to_many_groups"])
    assert len(run.children) == 40
    assert {(p.cause, p.ended_by) for p in run.children} == {(Cause.TERMINATED, run.main.id)}


def test_signals_that_one_sends_oneself_are_ones_own_beside_a_shell() -> None:
    run = pytest_proclife.run(SENDERS, ["to_themselves"])
    forks = [p for p in run.children if p.kind == "os_fork"]
    assert [(p.cause, p.signal) for p in forks] == [(Cause.SIGNALED, "SIGTERM")] * 3


def test_numbers_that_are_no_signals_are_refused_as_they_are_bare() -> None:
    bare, observed, run = both([SENDERS, "refused"])
    assert observed == bare
    assert run.main.cause is Cause.RETURNED
    assert run.main.requests == ()
    assert run.witness.complete


@pytest.mark.parametrize("way", ["kill", "killpg", "pidfd_send_signal"])
def test_who_is_signalled_from_another_run_is_neither_told_of_nor_ended(
    way: str, stranger: subprocess.Popen[bytes]
) -> None:
    # the child is there at the end of the linger, when all that is left is ended
    run = pytest_proclife.run(SENDERS, ["to_a_stranger", way, str(stranger.pid)], linger=0.0)
    assert [p.cause for p in run.processes] == [Cause.RETURNED, Cause.CLEANED_UP]
    assert stranger.poll() is None


def test_who_started_the_run_is_none_of_its_processes() -> None:
    run = pytest_proclife.run(Code("import os, signal; os.kill(os.getppid(), signal.SIGCONT)"))
    assert [p.role for p in run.processes] == ["main"]
    assert os.getpid() not in [p.pid for p in run.processes]


def test_a_program_that_is_not_there_leaves_the_run_complete() -> None:
    run = pytest_proclife.run(importable.start_what_is_not_there)
    assert run.children == ()
    assert run.witness.complete


# 3.11 has no sys.monitoring: nobody sees there where main's SystemExit came from.
SEES_HANDLERS = sys.version_info >= (3, 12)


@pytest.mark.parametrize("leaves", ["sys.exit", "raise"])
def test_a_handler_of_any_signal_that_leaves_main_is_the_end_that_was_asked_for(
    leaves: str,
) -> None:
    with pytest_proclife.start(SENDERS, ["left_by_a_handler", leaves]) as main:
        main.wait_for_output("ready")
        main.send_signal(signal.SIGHUP)
        end = main.wait().main
    wanted = Cause.TERMINATED if SEES_HANDLERS else Cause.UNKNOWN
    assert (end.cause, end.ending, end.exitcode) == (wanted, Ending.SYS_EXIT, 5)
    assert end.ended_by == ("test" if SEES_HANDLERS else None)


@pytest.mark.parametrize("goes_on", ["returns", "catches its exit"])
def test_a_handler_that_returns_is_not_what_main_left_by_later(goes_on: str) -> None:
    with pytest_proclife.start(SENDERS, ["left_by_a_handler", goes_on]) as main:
        main.wait_for_output("ready")
        main.send_signal(signal.SIGHUP)
        end = main.wait().main
    wanted = Cause.SYS_EXIT if SEES_HANDLERS else Cause.UNKNOWN
    assert (end.cause, end.ended_by, end.exitcode) == (wanted, None, 6)
