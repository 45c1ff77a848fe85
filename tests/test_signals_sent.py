"""Signals by each way to send one: the cause names the sender, and strangers stay outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import importable
import pytest
from conftest import TARGETS, mostly_slow
from fidelity import both

import pytest_proclife
from pytest_proclife import (
    Cause,
    Code,
    Ending,
    ProcessRecord,
    Run,
    assert_shut_down,
    records,
)
from pytest_proclife.records import Disposition, EvidenceKind, UnknownKind

SENDERS = str(TARGETS / "senders.py")


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of another run than the one that signals it."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("sender", ["MainProcess", "other"])
@pytest.mark.parametrize("method", mostly_slow(["fork", "spawn", "forkserver"]))
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


@pytest.mark.parametrize(
    ("how", "cause"),
    [
        ("in the except block", Cause.TERMINATED),
        ("with another exception", Cause.TERMINATED),
        ("by its code", Cause.SYS_EXIT),
        ("after it", Cause.SYS_EXIT),
        ("returns", Cause.RETURNED),
        ("os._exit", Cause.OS_EXIT),
    ],
)
def test_how_main_leaves_after_an_interrupt_that_it_caught_is_known(how: str, cause: Cause) -> None:
    with pytest_proclife.start(SENDERS, ["leaves_when_interrupted", how]) as main:
        main.wait_for_output("ready")
        main.send_signal(signal.SIGINT)
        run = main.wait()
    exits = how in ("in the except block", "by its code", "after it")
    assert run.main.cause is (Cause.UNKNOWN if exits and not SEES_HANDLERS else cause)
    assert_shut_down(run.main)


@pytest.mark.parametrize("goes_on", ["returns", "catches its exit"])
def test_a_handler_that_returns_is_not_what_main_left_by_later(goes_on: str) -> None:
    with pytest_proclife.start(SENDERS, ["left_by_a_handler", goes_on]) as main:
        main.wait_for_output("ready")
        main.send_signal(signal.SIGHUP)
        end = main.wait().main
    wanted = Cause.SYS_EXIT if SEES_HANDLERS else Cause.UNKNOWN
    assert (end.cause, end.ended_by, end.exitcode) == (wanted, None, 6)


# --- what a signal met


def met(process: ProcessRecord) -> list[Disposition | None]:
    return [f.disposition for f in process.evidence if isinstance(f, records.SignalSent)]


def by(run: Run, way: str, child: ProcessRecord) -> ProcessRecord:
    """Who sent it the signal: main, or the fork that did nothing else."""
    if way != "sibling":
        return run.main
    return max((p for p in run.children if p.kind == "os_fork" and p.id > child.id), key=_minus_id)


def _minus_id(process: ProcessRecord) -> int:
    return -process.id


@pytest.mark.parametrize("way", ["Process", "kill", "pidfd", "killpg", "sibling"])
@pytest.mark.parametrize(
    ("name", "cause"),
    mostly_slow(
        [
            ("ignore_and_leave", Cause.TERMINATED),
            ("catch_and_restore", Cause.RETURNED),
            ("catch_in_asyncio", Cause.RETURNED),
        ]
    ),
)
def test_a_handler_that_is_gone_at_once_has_caught_the_signal(
    name: str, cause: Cause, way: str
) -> None:
    run = pytest_proclife.run(SENDERS, ["quick_ends", "fork", name, "15", way, "5"])
    children = [p for p in run.children if p.kind == "process"]
    assert len(children) == 5
    for child in children:
        assert child.cause is cause, child.evidence
        assert met(child) == [Disposition.CAUGHT]
        sender = by(run, way, child)
        assert [request.by for request in child.requests] == [sender.id]
        assert child.ended_by == (sender.id if cause is Cause.TERMINATED else None)
        assert_shut_down(child, by=sender, signal="SIGTERM", within=30)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_under_each_start_method_too(method: str) -> None:
    arguments = ["quick_ends", method, "ignore_and_leave", "15", "Process", "2"]
    run = pytest_proclife.run(SENDERS, arguments)
    assert [p.cause for p in run.children] == [Cause.TERMINATED] * 2
    assert [met(p) for p in run.children] == [[Disposition.CAUGHT]] * 2


@pytest.mark.parametrize("way", ["kill", "killpg"])
def test_an_interrupt_that_is_caught_before_a_quick_end_is_known(way: str) -> None:
    run = pytest_proclife.run(SENDERS, ["quick_ends", "fork", "catch_interrupt", "2", way, "5"])
    assert [p.cause for p in run.children] == [Cause.RETURNED] * 5
    assert [met(p) for p in run.children] == [[Disposition.CAUGHT]] * 5


def test_a_program_that_catches_an_interrupt_and_ends_has_returned() -> None:
    run = pytest_proclife.run(SENDERS, ["interrupted", "5"])
    assert [p.cause for p in run.children] == [Cause.RETURNED] * 5, run
    assert [met(p) for p in run.children] == [[Disposition.CAUGHT]] * 5
    assert run.witness.complete


# --- whose signal


OWN_DEEDS = {
    "abort_by_itself": "SIGABRT",
    "abort_with_a_handler": "SIGABRT",
    "fault_by_itself": "SIGSEGV",
    "alarm_by_itself": "SIGALRM",
    "alarm_of_its_thread": "SIGALRM",
}


def test_what_a_process_did_itself_is_its_own_beside_a_shell_that_could_have_done_it() -> None:
    run = pytest_proclife.run(SENDERS, ["beside_a_shell", *OWN_DEEDS])
    for name, number in OWN_DEEDS.items():
        child = run[name]
        assert (child.cause, child.signal, child.ended_by) == (Cause.SIGNALED, number, None), run
    due = [f.kind for f in run["alarm_by_itself"].evidence]
    assert EvidenceKind.ALARM_DUE in due


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("sleep", "kill -9 {pid}"),
        ("sleep", "kill -SEGV {pid}"),
        ("note_then_again", "kill -HUP {pid}"),
        ("alarm_that_it_does_not_wait_for", "kill -ALRM {pid}"),
        ("alarm_that_it_took_back", "kill -ALRM {pid}"),
        ("alarm_that_was_over", "kill -ALRM {pid}"),
    ],
)
@pytest.mark.parametrize("shell", mostly_slow(["", "sh"]))
def test_a_signal_by_a_program_that_does_not_report_is_unknown_and_the_program_named(
    name: str, command: str, shell: str
) -> None:
    words = ["sh", "-c", command] if shell else command.split()
    run = pytest_proclife.run(SENDERS, ["by_a_program", name, *words])
    child = run["child"]
    assert (child.cause, child.ended_by) == (Cause.UNKNOWN, None), child.evidence
    assert child.unknown_reason is not None
    assert child.unknown_reason.kind is UnknownKind.UNOBSERVED_SENDER
    (fact,) = (f for f in child.evidence if isinstance(f, records.MayHaveSent))
    sender = next(p for p in run.children if p is not child)
    assert (fact.about, fact.signal) == (sender.id, child.signal)
    assert fact.argv == tuple(word.format(pid=child.pid) for word in words)


def test_a_parents_end_in_the_same_moment_is_told_of_who_died_of_a_signal() -> None:
    run = pytest_proclife.run(SENDERS, ["die_with_the_parent"])
    parent, child = run.descendants
    assert (child.cause, child.signal, parent.cause) == (Cause.SIGNALED, "SIGKILL", Cause.OS_EXIT)
    (fact,) = (f for f in child.evidence if f.kind is EvidenceKind.PARENT_ENDED)
    assert fact.about == parent.id
    # the call that asked the kernel for it
    assert "took prctl() of the C library by ctypes" in map(str, child.evidence)
    assert run.witness.complete, run.witness.missing


@pytest.mark.slow
def test_a_limit_of_processor_time_is_told_of_who_died_of_its_signal() -> None:
    run = pytest_proclife.run(SENDERS, ["out_of_processor_time"], timeout=120)
    told = [
        (child.signal, fact.soft, fact.hard)
        for child in run.children
        for fact in child.evidence
        if isinstance(fact, records.CpuLimit)
    ]
    assert told == [("SIGXCPU", 1, 60), ("SIGKILL", 1, 1), ("SIGKILL", 1, 1)], run
    assert [p.cause for p in run.children[:3]] == [Cause.SIGNALED] * 3
    below_a_shell = max(run.descendants, key=lambda process: process.id)
    (fact,) = (f for f in below_a_shell.evidence if isinstance(f, records.CpuLimit))
    assert (fact.soft, fact.hard) == (1, 1)


def test_a_request_by_a_program_that_does_not_report_names_the_program() -> None:
    run = pytest_proclife.run(SENDERS, ["by_a_program", "leave_if_asked", "kill", "{pid}"])
    child = run["child"]
    assert (child.cause, child.exitcode) == (Cause.UNKNOWN, 7), child.evidence
    (fact,) = (f for f in child.evidence if isinstance(f, records.MayHaveSent))
    assert (fact.argv, fact.signal) == (("kill", str(child.pid)), "SIGTERM")


@pytest.mark.parametrize("how", ["in the handler", "while it is handled", "after that"])
@pytest.mark.parametrize("method", mostly_slow(["fork", "spawn", "forkserver"]))
def test_by_which_exit_without_a_code_a_child_left_is_known(method: str, how: str) -> None:
    child = pytest_proclife.run(SENDERS, ["asked_to_leave", method, how])["child"]
    right = Cause.SYS_EXIT if how == "after that" else Cause.TERMINATED
    assert (child.cause, child.ending, child.exitcode) == (right, Ending.SYS_EXIT, 0)


@pytest.mark.parametrize(
    ("how", "cause"), [("handled", Cause.UNKNOWN), ("no handler", Cause.SYS_EXIT)]
)
def test_who_left_beside_a_shell_may_have_been_asked_by_it_if_it_had_a_handler(
    how: str, cause: Cause
) -> None:
    run = pytest_proclife.run(SENDERS, ["asked_by_a_shell", how])
    assert (run.main.cause, run.main.ending, run.main.exitcode) == (cause, Ending.SYS_EXIT, 6)


def test_a_signal_to_one_that_had_ended_is_no_request() -> None:
    (child,) = pytest_proclife.run(SENDERS, ["to_one_that_has_ended"]).children
    assert [request.signal for request in child.requests] == ["SIGKILL"]
    sent = [fact for fact in child.evidence if isinstance(fact, records.SignalSent)]
    assert [(fact.signal, fact.alive) for fact in sent] == [("SIGKILL", True), ("SIGTERM", False)]


def test_the_stack_at_an_abort_has_no_frame_of_ours() -> None:
    bare, observed, run = both([SENDERS, "abort_and_show_the_stack"])
    of_c = "Current thread's C stack"  # 3.14 on
    assert observed.stderr.partition(of_c)[0] == bare.stderr.partition(of_c)[0]
    assert "abort_and_show_the_stack" in bare.stderr
    assert (run.main.cause, run.main.signal) == (Cause.SIGNALED, "SIGABRT")
