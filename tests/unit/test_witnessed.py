"""The account of a run with the second witness: canned logs, no process."""

from __future__ import annotations

from typing import Any

import pytest
from histories import Log, Process

from pytest_proclife import wire
from pytest_proclife.records import (
    AskedKernel,
    Cause,
    Disposition,
    MissingKind,
    NotSent,
    Run,
    SignalSent,
    Source,
)
from pytest_proclife.render.evidence import fact_words
from pytest_proclife.supervisor import protocol

KILL, ALRM, TERM, ABRT = 9, 14, 15, 6


def sees(
    log: Log,
    sender: Process,
    signal: int,
    *targets: Process,
    met: str = "default",
    call: str = "kill",
    whole: bool = False,
) -> None:
    """The kernel shows a signal that a process is about to send."""
    states = tuple((target.number, met) for target in targets)
    log.add(protocol.SENDS, sender.number, signal, call, whole, states)


def witnessed(log: Log) -> Run:
    return log.run(seccomp=True)


def facts(run: Run, number: int, kind: type[Any]) -> list[Any]:
    return [fact for fact in run.processes[number].evidence if isinstance(fact, kind)]


def test_a_signal_that_a_shell_sends_has_its_sender() -> None:
    log = Log()
    child, shell = log.child(), log.program(None, "/bin/sh", "-c", "kill")
    sees(log, shell, ABRT, child)
    child.ends(signal=ABRT)
    shell.ends(0)
    log.main.returns()
    run = witnessed(log)
    record = run.processes[1]
    assert (record.cause, record.ended_by) == (Cause.TERMINATED, 2)
    assert [(r.by, r.signal, r.via) for r in record.requests] == [(2, "SIGABRT", "kill()")]
    (sent,) = facts(run, 1, SignalSent)
    assert (sent.source, sent.disposition, sent.decisive) == (
        Source.KERNEL,
        Disposition.DEFAULT,
        True,
    )
    assert str(sent) == "a process sent SIGABRT (kill()), and it ended of that"
    assert run.witness.complete


def test_a_signal_that_its_sender_reported_is_one_request_with_its_own_words() -> None:
    log = Log()
    child = log.child()
    log.main.sends(child, TERM, "terminate()", state=None)
    sees(log, log.main, TERM, child)
    child.ends(signal=TERM)
    log.main.collects(child, -TERM)
    log.main.returns()
    record = witnessed(log).processes[1]
    assert [(r.by, r.via) for r in record.requests] == [(0, "terminate()")]
    assert (record.cause, record.ended_by) == (Cause.TERMINATED, 0)


def test_two_signals_that_were_reported_once_are_two_requests() -> None:
    log = Log()
    child = log.child()
    log.main.sends(child, TERM, "terminate()", state=None)
    sees(log, log.main, TERM, child, met="ignored")
    sees(log, log.main, TERM, child)
    child.ends(signal=TERM)
    log.main.returns()
    vias = [request.via for request in witnessed(log).processes[1].requests]
    assert vias == ["terminate()", "kill()"]


def test_what_was_reported_and_not_sent_is_no_request() -> None:
    log = Log()
    child = log.child()
    log.main.sends(child, TERM, "terminate()", state=None)
    child.returns()
    log.main.returns()
    run = witnessed(log)
    assert run.processes[1].requests == ()
    assert run.processes[1].cause is Cause.RETURNED


@pytest.mark.parametrize(
    ("version", "raised", "expected"),
    [("3.13.0", False, True), ("3.13.0", True, False), ("3.11.0", False, False)],
)
def test_a_report_of_a_signal_that_was_not_sent_is_a_contradiction(
    version: str, raised: bool, expected: bool
) -> None:
    log = Log(version=version)
    child = log.child()
    log.main.sends(child, TERM, "terminate()", state=None)
    if raised:
        log.main.catches(2)  # a handler ran before it was sent, and raised
    log.main.waits(child)
    child.returns()
    log.main.returns()
    kinds = [missing.kind for missing in witnessed(log).witness.missing]
    assert (kinds == [MissingKind.CONTRADICTED]) is expected


def test_a_report_that_is_the_last_of_its_process_is_no_contradiction() -> None:
    log = Log()
    child = log.child()
    other = log.child()
    other.sends(child, TERM, state=None)
    other.ends(signal=KILL)  # before it had sent it
    child.returns()
    log.main.returns()
    assert witnessed(log).witness.complete


def test_a_zombie_gets_no_request() -> None:
    log = Log()
    child, shell = log.program(), log.program(None, "/bin/sh")
    sees(log, shell, TERM, child, met="ended")
    child.ends(0)
    shell.ends(0)
    log.main.returns()
    assert witnessed(log).processes[1].requests == ()


def test_each_member_of_a_group_has_what_it_met() -> None:
    log = Log()
    first, second = log.child(), log.child()
    log.main.signals_group(100, TERM, states=None)
    log.entries.pop()  # the members are those that the kernel shows
    states = (first.number, "default"), (second.number, "ignored")
    log.add(protocol.SENDS, 0, TERM, "kill", True, states)
    first.ends(signal=TERM)
    second.returns()
    log.main.returns()
    run = witnessed(log)
    assert [run.processes[n].cause for n in (1, 2)] == [Cause.TERMINATED, Cause.RETURNED]
    assert [r.via for n in (1, 2) for r in run.processes[n].requests] == ["os.kill()"] * 2


def test_a_signal_that_no_process_of_the_run_sent_is_said_to_be_that() -> None:
    log = Log()
    child = log.child()
    log.program(None, "/bin/sh").ends(0)
    child.ends(signal=TERM)
    log.main.returns()
    run = witnessed(log)
    assert run.processes[1].cause is Cause.SIGNALED
    (fact,) = facts(run, 1, NotSent)
    assert str(fact) == "no process of the run sent SIGTERM"
    assert log.run().processes[1].cause is Cause.UNKNOWN  # the program may have sent it


@pytest.mark.parametrize(
    ("call", "argument", "signal", "words"),
    [
        ("prctl", KILL, KILL, "it had asked the kernel for SIGKILL at its parent's end"),
        ("alarm", 1, ALRM, "it had asked the kernel for SIGALRM by a timer, with alarm()"),
        ("setitimer", 0, ALRM, "it had asked the kernel for SIGALRM by a timer, with setitimer()"),
        ("alarm", 0, ALRM, None),
        ("prctl", TERM, KILL, None),
    ],
)
def test_what_a_process_asked_of_the_kernel_is_evidence_for_that_signal(
    call: str, argument: int, signal: int, words: str | None
) -> None:
    log = Log()
    program = log.program()
    log.add(protocol.ASKS, program.number, call, argument)
    program.ends(signal=signal)
    log.main.returns()
    run = witnessed(log)
    assert run.processes[1].cause is Cause.SIGNALED
    assert [str(fact) for fact in facts(run, 1, AskedKernel)] == [words] * (words is not None)


def test_what_exited_below_python_has_exited() -> None:
    log = Log()
    child = log.child()
    child.says(wire.FOREIGN, "ctypes", "_exit")
    child.ends(3)
    log.main.returns()
    assert witnessed(log).processes[1].cause is Cause.EXITED
    assert log.run().processes[1].cause is Cause.UNKNOWN


def test_a_program_whose_calls_cannot_be_read_is_missing() -> None:
    log = Log()
    program = log.program()
    log.add(protocol.UNREADABLE, program.number)
    program.ends(0)
    log.main.returns()
    assert [m.kind for m in witnessed(log).witness.missing] == [MissingKind.UNOBSERVED]


def test_if_its_report_is_lost_nobody_knows_whether_the_exit_path_sent_a_signal() -> None:
    log = Log()
    child = log.child(daemon=True)
    log.main.loses()
    sees(log, log.main, TERM, child)
    child.ends(signal=TERM)
    log.main.returns()
    assert witnessed(log).processes[1].cause is Cause.UNKNOWN


def test_what_runs_as_a_child_of_the_supervisor_at_its_exit_is_an_orphan() -> None:
    log = Log()
    shell = log.program(None, "/bin/sh")
    orphan = log.process(how="found", argv=("/bin/true",))
    log.add(protocol.CHILD, orphan.number, shell.number)
    log.add(protocol.ADOPTED, orphan.number)
    shell.ends(0)
    orphan.ends(0, orphan=True, wake=log.wake)
    log.main.returns()
    assert witnessed(log).processes[2].orphaned is True


def test_an_unknown_cause_says_what_would_tell() -> None:
    log = Log()
    child = log.child()
    log.program(None, "/bin/sh").ends(0)
    child.ends(signal=TERM)
    log.main.returns()
    run = log.run()
    words = [fact_words(fact, run) for fact in run.processes[1].evidence]
    assert any(line.endswith("; seccomp=True would tell") for line in words)
