"""Whole logs made into accounts: who is who, who waited, who outlived whom, what was not seen."""

from __future__ import annotations

import random
import time
import tracemalloc

import pytest
from histories import EPOCH, STEP, Log, Process

from pytest_proclife import records, wire
from pytest_proclife.analysis.log import without_pending_ends
from pytest_proclife.records import (
    Cause,
    CauseNamed,
    CleanUp,
    Disposition,
    EvidenceKind,
    HeldUp,
    ProcessRecord,
    Run,
    TargetInfo,
)
from pytest_proclife.supervisor import protocol

# --- who is who


def test_main_alone_returns() -> None:
    log = Log()
    log.main.returns()
    run = log.run()

    assert [p.name for p in run] == ["MainProcess"]
    assert (run.main.cause, run.main.exitcode, run.main.target_ran) == ("returned", 0, True)
    assert run.main.argv == ("/bin/python", "job.py")
    assert run.witness.complete


def test_processes_stand_in_the_order_of_their_starts_not_of_their_discovery() -> None:
    log = Log()
    first = log.process()
    second = log.child(name="second")
    key = log.main.key
    data = wire.pack(
        wire.HELLO, 0, first.pid, EPOCH + STEP, (f"{first.pid}.1", key, "fork", "os_fork", "", "")
    )
    first.says_raw(data)
    run = log.run()

    assert [p.pid for p in run] == [log.main.pid, first.pid, second.pid]
    assert [p.id for p in run] == [0, 1, 2]


def test_a_child_of_a_fork_server_is_the_child_of_who_asked_for_it() -> None:
    log = Log()
    server = log.server()
    outer = log.served(server)
    inner = log.served(server, outer)
    run = log.run()

    assert run[outer.name].parent is run.main
    assert run[inner.name].parent is run[outer.name]
    assert run[inner.name].start_method == "forkserver"
    assert run.helpers[0].kind == "forkserver"
    assert run[inner.name].kind == "process"


def test_a_child_that_was_collected_before_its_start_returned_is_known_by_its_pid() -> None:
    log = Log()
    server = log.server()
    child = log.process()
    child.hello(server)
    flags = ("process", "quick", "1", "forkserver", "", "job.py:7 in <module>")
    log.main.says(wire.STARTED, str(child.pid), *flags)
    record = log.run()["quick"]

    assert (record.parent_id, record.start_method, record.daemon) == (0, "forkserver", True)


def test_a_child_of_a_fork_server_is_known_by_its_own_words_too() -> None:
    log = Log()
    server = log.server()
    outer = log.served(server)
    child = log.process()
    child.hello(server)
    child.name = "quick"
    child.runs(outer)
    log.main.loses()

    assert log.run()["quick"].parent_id == outer.number


def test_a_fork_of_a_fork_has_the_name_of_the_program_above() -> None:
    log = Log()
    child, grandchild = log.process(), log.process()
    child.hello(log.main)
    grandchild.hello(child)
    run = log.run()

    assert [(p.kind, p.name, p.argv) for p in run.descendants] == [
        ("os_fork", "python", None),
        ("os_fork", "python", None),
    ]
    assert run.processes[2].parent is run.processes[1]


def test_a_child_that_was_killed_before_its_first_word_is_recorded() -> None:
    log = Log()
    newborn = log.process(how="parent")
    log.add(protocol.CHILD, newborn.number, 0)
    log.main.sends(newborn, 9, "os.kill()")
    newborn.ends(signal=9)
    record = log.run().processes[1]

    assert (record.kind, record.cause, record.parent) == ("os_fork", "killed", log.run().main)
    assert record.target_ran is None
    assert log.run().witness.complete


def test_a_child_of_multiprocessing_killed_at_its_start_never_reached_its_target() -> None:
    log = Log()
    newborn = log.process(how="parent")
    log.main.started(newborn, kind="process", name="newborn", daemon=False)
    log.main.sends(newborn, 9, "kill()")
    newborn.ends(signal=9)

    assert log.run()["newborn"].target_ran is False


def test_a_program_of_a_shells_is_found_below_it_and_the_run_is_not_complete() -> None:
    log = Log()
    shell = log.program(log.main, "/bin/sh", "-c", "sleep 1")
    sleep = log.process(how="found", argv=("sleep", "1"))
    log.add(protocol.CHILD, sleep.number, shell.number)
    sleep.ends(0)
    shell.ends(0)
    log.main.returns()
    run = log.run()

    assert run["sleep"].parent is run["sh"]
    assert (run["sleep"].kind, run["sleep"].cause) == ("subprocess", "exited")
    assert tuple(map(str, run.witness.missing)) == (
        "sh (pid 101) does not report: what it started may be missing",
        "sleep (pid 102) does not report: what it started may be missing",
    )


def test_a_program_that_replaced_itself_is_what_it_became() -> None:
    log = Log()
    child = log.child(name="changeling")
    child.says(wire.EXEC, "0", "/bin/sleep", "1")
    child.ends(3)
    record = log.run()["changeling"]

    assert (record.cause, record.ending, record.exitcode) == ("exited", "exited", 3)
    assert record.argv == ("/bin/sleep", "1")
    assert tuple(map(str, log.run().witness.missing)) == (
        "changeling (pid 101) became a program that does not report",
    )


def test_a_python_that_replaced_a_python_counts_its_reports_anew() -> None:
    log = Log()
    child = log.process()
    child.hello(log.main)
    child.says(wire.EXEC, "1", "/bin/python", "other.py")
    child.hello(log.main, how="new", kind="exec")
    child.leaves("sys_exit", "SystemExit", "3")
    child.exits(3, "exit")
    record = log.run().processes[1]

    assert (record.kind, record.cause) == ("os_fork", "sys_exit")
    assert log.run().witness.complete


def test_an_exec_that_failed_changed_nothing() -> None:
    log = Log()
    child = log.child(name="persistent")
    child.says(wire.EXEC, "0", "/bin/nothing")
    child.returns()

    assert log.run()["persistent"].cause == "returned"


def test_a_pid_that_is_used_again_is_another_process() -> None:
    log = Log()
    first = log.child(name="first", pid=500)
    first.returns()
    log.main.collects(first, 0)
    second = log.child(name="second", pid=500)
    second.leaves("raised", "ValueError")
    second.exits(1)
    log.main.collects(second, 1, "library")
    run = log.run()

    assert [(p.cause, p.joined) for p in run.children] == [
        ("returned", "explicit"),
        ("raised", "library"),
    ]


# --- how it ended, by several processes' words


def test_a_daemon_is_abandoned_by_its_parents_exit_path() -> None:
    log = Log()
    daemon = log.child(name="session", daemon=True)
    log.main.leaves()
    log.main.begins_exit_path(daemon)
    log.main.abandons(daemon)
    daemon.ends(signal=15)
    log.main.collects(daemon, -15, "implicit")
    log.main.exits()
    record = log.run()["session"]

    assert (record.cause, record.ended_by, record.signal) == ("abandoned", 0, "SIGTERM")
    assert (record.joined, record.orphaned, record.daemon) == ("implicit", False, True)
    assert [(r.by, r.signal, r.via) for r in record.requests] == [(0, "SIGTERM", "exit path")]
    assert [str(e) for e in record.evidence] == [
        "started it at job.py:7 in <module>",
        "sent SIGTERM (exit path), and it ended of that",
        "died of SIGTERM",
        "collected its status",
    ]


def test_a_signal_to_a_group_is_a_request_to_each_member() -> None:
    log = Log()
    one, two, three = (log.child() for _ in range(3))
    log.main.signals_group(77, 15, one, two)
    for child in (one, two):
        child.ends(signal=15)
    three.returns()

    assert [p.cause for p in log.run().children] == ["terminated", "terminated", "returned"]


def test_who_was_gone_when_a_groups_members_were_asked_for_may_have_been_one() -> None:
    log = Log()
    quick, slow = log.child(), log.child()
    log.main.signals_group(77, 15, slow)
    quick.ends(signal=15)
    slow.ends(signal=15)

    assert [p.cause for p in log.run().children] == ["unknown", "terminated"]


def test_a_child_that_the_sender_of_a_signal_found_in_the_group_was_a_member() -> None:
    log = Log()
    gone, other, slow = log.child(), log.child(), log.child()
    log.main.signals_group(77, 15, slow, own=(gone, slow))
    for child in (gone, other, slow):
        child.ends(signal=15)
    run = log.run()

    assert [p.cause for p in run.children] == ["terminated", "unknown", "terminated"]
    assert [len(p.requests) for p in run.children] == [1, 0, 1]


def test_a_child_in_a_group_is_the_one_that_had_the_pid_then() -> None:
    log = Log()
    first = log.child(pid=500)
    log.main.signals_group(500, 15, own=(first,))
    first.ends(signal=15)
    second = log.child(pid=500)
    second.ends(signal=15)

    assert [p.cause for p in log.run().children] == ["terminated", "signaled"]


def test_a_sender_cannot_put_others_or_itself_among_its_children_of_a_group() -> None:
    log = Log()
    words = ("77", "15", "os.kill()", "job.py:8", f"{log.main.pid} x -5 {'9' * 30} 4711")
    log.main.says(wire.KILL_GROUP, *words)
    log.main.returns()

    assert log.run().main.requests == ()


def test_a_program_that_was_not_there_leaves_the_run_complete() -> None:
    log = Log()
    program = log.program(None, "/no/such", exists=False)
    program.ends(255)
    child = log.child()
    child.ends(signal=15)
    run = log.run()

    assert (run.processes[1].cause, run.processes[1].exitcode) == ("exited", 255)
    assert run.processes[2].cause == "signaled"  # it sent no signal
    assert run.witness.complete


def test_who_was_not_known_when_the_test_signalled_a_group_may_have_been_a_member() -> None:
    log = Log()
    member = log.child()
    member.asked_by_test(15)
    member.group_asked_by_test(15)
    silent = log.process(how="orphan")
    for process in (member, silent):
        process.ends(signal=15, wake=7)
    run = log.run()

    assert (run.processes[1].cause, run.processes[1].ended_by) == ("terminated", "test")
    assert run.processes[2].cause == "unknown"


def test_who_was_known_and_no_member_when_the_test_signalled_a_group_was_not_asked() -> None:
    log = Log()
    member, other = log.child(), log.child()
    member.asked_by_test(15)
    member.group_asked_by_test(15)
    for child in (member, other):
        child.ends(signal=15, wake=7)

    assert [p.cause for p in log.run().children] == ["terminated", "signaled"]


def test_a_disposition_that_was_asked_for_too_late_says_nothing() -> None:
    log = Log(version="3.11.0")
    child = log.child()
    log.main.sends(child, 15)
    *before, asked = log.entries
    log.entries = before
    child.leaves("sys_exit", handled="2 15")
    log.add(*asked[1:])  # its interpreter has given the handler back by now
    child.exits(0)

    assert log.run().children[0].cause == "unknown"


def looks(process: ProcessRecord) -> list[Disposition | None]:
    return [f.disposition for f in process.evidence if isinstance(f, records.SignalSent)]


def test_what_the_sender_saw_that_its_signal_would_meet_is_what_it_met() -> None:
    log = Log()
    child = log.child()
    log.main.sends(child, 15, met="caught")
    child.catches(15)
    child.leaves("sys_exit", "SystemExit", "7", rose_from=15)
    child.exits(7)
    run = log.run()

    assert looks(run.children[0]) == [Disposition.CAUGHT]
    assert (run.children[0].cause, run.children[0].ended_by) == ("terminated", 0)


@pytest.mark.parametrize("met", ["ignored", "default", "blocked"])
def test_a_handler_that_ran_counts_for_more_than_what_was_seen_before(met: str) -> None:
    log = Log()
    child = log.child()
    log.main.sends(child, 15, met=met)  # and it set a handler between the look and the signal
    child.catches(15)
    child.leaves("sys_exit", "SystemExit", "7", rose_from=15)
    child.exits(7)

    assert log.run().children[0].cause == "terminated"


@pytest.mark.parametrize(
    ("sent", "cause", "by"),
    [
        pytest.param([15], "terminated", 0, id="the one that was sent"),
        pytest.param([2], "terminated", 0, id="the usual one"),
        pytest.param([], "raised", None, id="neither"),
        pytest.param([2, 15], "unknown", None, id="both"),
    ],
)
def test_an_interrupt_rose_from_the_one_of_several_signals_that_was_sent(
    sent: list[int], cause: str, by: int | None
) -> None:
    log = Log()
    child = log.child()
    for number in sent:
        log.main.sends(child, number, met="caught")
    child.leaves("raised", "KeyboardInterrupt", rose_from="2 15", handled="2 15")
    child.exits(1)

    assert (log.run().children[0].cause, log.run().children[0].ended_by) == (cause, by)


def test_who_was_a_zombie_when_its_signal_was_sent_did_not_end_of_it() -> None:
    log = Log()
    child, other = log.child(), log.child()
    other.sends(child, 15, met="ended")
    child.ends(signal=15)
    other.returns()
    run = log.run()

    assert (run.children[0].cause, run.children[0].ended_by) == ("signaled", None)
    assert [f.alive for f in run.children[0].evidence if isinstance(f, records.SignalSent)] == [
        False
    ]


@pytest.mark.parametrize("met", ["", "unknown", "nonsense"])
def test_a_sender_that_could_not_look_leaves_that_to_the_supervisor(met: str) -> None:
    log = Log()
    child = log.child()
    log.main.sends(child, 10, met=met, state="ignored")
    child.returns()

    assert looks(log.run().children[0]) == ([Disposition.IGNORED] if not met else [None])


def test_of_a_group_each_has_what_the_sender_saw_of_it() -> None:
    log = Log()
    one, two, other = log.child(), log.child(), log.child()
    log.main.signals_group(0, 10, log.main, one, other, states="ignored", own=(one, two), met="cbd")
    for child in (one, two, other):
        child.returns()
    log.main.returns()
    run = log.run()

    assert looks(run.main) == [Disposition.DEFAULT]
    assert [looks(p) for p in run.children] == [
        [Disposition.CAUGHT],
        [Disposition.BLOCKED],  # it was gone when the supervisor looked
        [Disposition.IGNORED],  # the supervisor's look
    ]


def test_whose_status_had_been_collected_was_not_in_a_group_that_was_signalled_then() -> None:
    log = Log()
    gone, child = log.child(), log.child()
    gone.leaves()
    gone.last_word("launcher", "0")
    log.main.collects(gone, 0)
    log.main.signals_group(77, 15, own=(child,))
    gone.ends(0)  # the supervisor sees that late
    child.ends(signal=15)

    assert [len(looks(p)) for p in log.run().children] == [0, 1]


# --- what a signal came from


def facts(process: ProcessRecord, kind: EvidenceKind) -> list[records.Evidence]:
    return [fact for fact in process.evidence if fact.kind is kind]


def test_an_alarm_of_its_own_is_its_own_beside_a_shell() -> None:
    log = Log()
    log.program(log.main, "/bin/sh")
    due, early, back = log.child(), log.child(), log.child()
    due.says(wire.ALARM, str(STEP))
    early.says(wire.ALARM, str(3600 * 10**9))
    back.says(wire.ALARM, str(STEP))
    back.says(wire.ALARM, "")
    log.now += 10 * STEP
    for child in (due, early, back):
        child.ends(signal=14)
    run = log.run()

    assert [p.cause for p in run.children[1:]] == ["signaled", "unknown", "unknown"]
    assert [len(facts(p, EvidenceKind.ALARM_DUE)) for p in run.children[1:]] == [1, 0, 0]


def test_an_alarm_that_a_handler_took_was_over() -> None:
    log = Log()
    log.program(log.main, "/bin/sh")
    child = log.child()
    child.says(wire.ALARM, str(STEP))
    log.now += 2 * STEP
    child.catches(14)
    child.ends(signal=14)

    assert log.run().children[1].cause == "unknown"


def test_the_programs_that_ran_at_the_moment_of_a_death_may_have_sent_the_signal() -> None:
    log = Log()
    victim = log.child()
    before = log.program(log.main, "/bin/ls")
    before.ends(0)
    log.now += 10**9
    shell = log.program(log.main, "/bin/sh", "-c", "sleep 5")
    kill = log.program(log.main, "/bin/kill", "-9", str(victim.pid))
    kill.ends(0)
    victim.ends(signal=9)
    late = log.program(log.main, "/bin/true")
    for program in (late, shell):
        program.ends(0)
    named = facts(log.run().children[0], EvidenceKind.MAY_HAVE_SENT)

    assert [fact.about for fact in named] == [3, 4]
    assert [str(fact) for fact in named] == [
        "/bin/sh -c 'sleep 5' was running, and may have sent SIGKILL",
        f"/bin/kill -9 {victim.pid} was running, and may have sent SIGKILL",
    ]


def test_if_none_ran_at_that_moment_the_last_one_is_named() -> None:
    log = Log()
    victim = log.child()
    for name in ("/bin/ls", "/bin/kill"):
        log.program(log.main, name).ends(0)
    log.now += 10**9
    victim.ends(signal=9)
    (named,) = facts(log.run().children[0], EvidenceKind.MAY_HAVE_SENT)

    assert isinstance(named, records.MayHaveSent)
    assert named.argv == ("/bin/kill",)


@pytest.mark.parametrize(
    ("signal", "limits", "told"),
    [
        (24, ("1", "2"), (1, 2)),
        (24, ("1", ""), (1, None)),
        (24, ("", "2"), None),
        (9, ("1", "2"), (1, 2)),
        (9, ("1", ""), None),
        (15, ("1", "2"), None),
    ],
)
def test_a_limit_of_processor_time_stands_beside_a_death_by_its_signal(
    signal: int, limits: tuple[str, str], told: object
) -> None:
    log = Log()
    parent = log.child()
    parent.says(wire.CPU_LIMIT, *limits)
    child = log.child(parent)
    log.add(protocol.CPU_LIMIT, log.main.number, "5", "6")  # not its own
    child.ends(signal=signal)
    run = log.run()
    found = facts(run.processes[2], EvidenceKind.CPU_LIMIT)

    assert [(f.soft, f.hard) for f in found if isinstance(f, records.CpuLimit)] == (
        [told] if told else []
    )


def test_a_parents_end_stands_beside_the_death_of_who_it_left() -> None:
    log = Log()
    parent = log.child()
    child, joined, later, sent = (log.child(parent) for _ in range(4))
    joined.ends(signal=9)
    log.main.sends(sent, 9)
    parent.ends(signal=9)
    child.ends(signal=9, orphan=True)
    sent.ends(signal=9, orphan=True)
    log.now += 10**9
    later.ends(signal=9, orphan=True)
    run = log.run()
    told = [
        fact.about
        for process in run.processes[2:]
        for fact in facts(process, EvidenceKind.PARENT_ENDED)
    ]

    assert told == [1]


# --- before the end


def test_a_zombie_has_its_exit_code_before_anybody_collects_it() -> None:
    log = Log()
    child = log.child(name="child")
    child.leaves("sys_exit")
    child.last_word("launcher", "3")
    child.is_zombie(3 << 8)
    snapshot = log.run()

    assert (snapshot["child"].cause, snapshot["child"].exitcode) == ("sys_exit", 3)
    assert snapshot["child"].joined is None
    assert (snapshot.main.ending, snapshot.main.cause, snapshot.main.exitcode) == (
        "running",
        None,
        None,
    )


def test_a_status_that_only_the_reaper_had_does_not_take_back_what_a_zombie_showed() -> None:
    log = Log()
    child = log.child(name="child")
    child.is_zombie(9)
    log.add(protocol.REAPED, child.number, None, False)

    assert log.run()["child"].signal == "SIGKILL"


def test_an_end_whose_status_is_on_its_way_is_not_shown_in_a_snapshot() -> None:
    log = Log()
    collected, pending = log.child(name="collected"), log.child(name="pending")
    collected.ends(signal=9)
    pending.is_zombie(None)
    log.entries = without_pending_ends(log.entries)
    snapshot = log.run()

    assert (snapshot["collected"].cause, snapshot["collected"].exitcode) == ("signaled", -9)
    assert (snapshot["pending"].ending, snapshot["pending"].cause) == ("running", None)


# --- libraries with process classes of their own


def test_a_child_of_another_librarys_launcher_left_by_os_exit() -> None:
    log = Log()
    child = log.process()
    child.hello(log.main)
    child.exits(3, how="launcher")
    record = log.run().processes[1]

    assert (record.cause, record.exitcode) == ("os_exit", 3)
    assert (record.daemon, record.target_ran) == (None, None)


def test_a_lost_report_before_a_launchers_end_is_no_other_library() -> None:
    log = Log()
    child = log.process()
    child.hello(log.main)
    child.loses()
    child.exits(3, how="launcher")

    assert log.run().processes[1].cause == "unknown"


def test_a_spawned_child_of_another_library_does_not_say_whether_its_target_ran() -> None:
    log = Log()
    child = log.process()
    child.hello(log.main, how="new", kind="process")
    child.leaves("sys_exit")
    child.exits(0, how="exit")
    record = log.run().processes[1]

    assert (record.cause, record.daemon, record.target_ran) == ("sys_exit", None, None)


def test_a_child_that_is_told_of_twice_is_what_its_start_says() -> None:
    log = Log()
    child = log.program(observed=True)
    log.main.started(child, kind="process", name="worker", daemon=True, method="loky")
    child.ends(signal=9)
    record = log.run()["worker"]

    assert (record.kind, record.daemon, record.target_ran) == ("process", True, False)


def test_the_sender_of_a_signal_to_its_own_group_sent_it_to_itself() -> None:
    log = Log()
    child = log.child()
    child.says(wire.KILL_GROUP, "0", "15", "os.kill()", "")
    child.ends(signal=15)

    assert log.run().children[0].cause == "signaled"


def test_a_group_that_could_not_be_asked_for_makes_others_ends_doubtful() -> None:
    log = Log()
    sender, other = log.child(), log.child()
    sender.says(wire.KILL_GROUP, "0", "15", "os.kill()", "")
    sender.ends(signal=15)
    other.ends(signal=15)

    assert [p.cause for p in log.run().children] == ["signaled", "unknown"]


def test_a_signal_by_pid_alone_is_certain_only_if_the_process_spoke_later() -> None:
    log = Log()
    heard, unheard = log.child(), log.child()
    for child in (heard, unheard):
        log.main.says(wire.KILL, str(child.pid), "15", "terminate()", "")
    heard.catches(15)
    heard.leaves("sys_exit", "SystemExit", "5", rose_from=15)
    heard.exits(5)
    unheard.ends(signal=15)

    assert [p.cause for p in log.run().children] == ["terminated", "unknown"]


def test_a_shell_is_suspected_of_a_signal_that_nobody_sent() -> None:
    log = Log()
    log.program(log.main, "/bin/sh", "-c", "kill -9 102")
    victim, faulty = log.child(), log.child()
    victim.ends(signal=9)
    faulty.ends(signal=11)
    causes = {p.name: p.cause for p in log.run().children}

    assert causes[victim.name] == "unknown"
    assert causes[faulty.name] == "unknown"


def test_a_hidden_request_of_somebody_elses_is_not_a_signal_from_nowhere() -> None:
    log = Log()
    child = log.child(name="child")
    log.main.loses()
    child.ends(signal=15)
    log.main.returns()
    run = log.run()

    assert run["child"].cause == "unknown"
    assert (
        str(run["child"].evidence[-1])
        == "unknown: reports of other processes are missing, and one of them may have been "
        "about a signal to it"
    )
    assert tuple(map(str, run.witness.missing)) == ("reports of MainProcess (pid 100) are missing",)


def test_all_that_a_process_said_can_be_missing() -> None:
    log = Log()
    child = log.process(how="parent")
    log.main.started(child, kind="process", name="mute", daemon=False)
    child.ends(0)
    record = log.run()["mute"]

    assert (record.cause, record.ending, record.target_ran) == ("unknown", "exited", None)


def test_a_plugin_may_name_the_cause_where_nobody_else_can() -> None:
    log = Log()
    log.program().ends(75)
    log.main.returns()
    run = log.run(cause_hook=lambda run, process: ("sys_exit", "my-plugin"))

    assert run["sleep"].cause == "sys_exit"
    assert run["sleep"].run is run
    named = run["sleep"].evidence[-1]
    assert isinstance(named, CauseNamed)
    assert (named.plugin, named.cause, named.source) == ("my-plugin", "sys_exit", "plugin")
    assert run.main.cause == "returned"


# --- who waited for it


@pytest.mark.parametrize(
    ("how", "alive_at_exit", "joined"),
    [
        ("explicit", False, "explicit"),
        ("library", False, "library"),
        ("implicit", True, "implicit"),
        ("implicit", False, None),
        ("", False, None),
    ],
)
def test_the_wait_that_collected_the_status_is_the_join(
    how: str, alive_at_exit: bool, joined: str | None
) -> None:
    log = Log()
    child = log.child(name="child")
    log.main.begins_exit_path(*([child] if alive_at_exit else []))
    child.returns()
    log.main.collects(child, 0, how)
    record = log.run()["child"]

    assert record.joined == joined
    assert (record.joined_at is None) == (joined is None)


def test_a_join_after_a_status_that_was_taken_in_passing_is_one() -> None:
    log = Log()
    child = log.child(name="child")
    child.returns()
    log.main.collects(child, 0, "")
    log.main.collects(child, 0, "explicit")

    assert log.run()["child"].joined == "explicit"


@pytest.mark.parametrize("how", ["", "explicit"])
def test_a_childs_end_before_the_exit_path_leaves_the_join_what_it_was(how: str) -> None:
    log = Log()
    child = log.child(name="child")
    child.returns()
    log.main.leaves()
    log.main.begins_exit_path()
    log.main.collects(child, 0, "implicit", otherwise=how)

    assert log.run()["child"].joined == (how or None)


@pytest.mark.parametrize(("kind", "joined"), [("process", None), ("pool_worker", "library")])
def test_a_librarys_start_that_finds_an_ended_child_joins_only_its_own(
    kind: str, joined: str | None
) -> None:
    log = Log()
    child = log.child(name="child", kind=kind)
    child.returns()
    log.main.collects(child, 0, "library", via="start()")

    assert log.run()["child"].joined == joined


def test_a_system_call_takes_the_status_of_multiprocessings_child_and_joins_others() -> None:
    log = Log()
    child, fork = log.child(name="child"), log.process()
    fork.hello(log.main)
    for process in (child, fork):
        process.returns()
        log.main.collects(process, 0, "system", via="os.waitpid()")

    assert [process.joined for process in log.run().children] == [None, "explicit"]


@pytest.mark.parametrize(
    ("code", "orphan", "joined"), [(255, False, "explicit"), (255, True, None), (0, True, None)]
)
def test_a_join_without_the_fork_server_collects_no_status(
    code: int, orphan: bool, joined: str | None
) -> None:
    log = Log()
    child = log.child(name="child", method="forkserver")
    log.main.collects(child, 255)
    child.leaves()
    child.last_word("launcher", str(code))
    child.ends(code, orphan=orphan)

    assert log.run()["child"].joined == joined


def test_a_wait_of_the_exit_path_may_come_before_a_forks_own_first_report() -> None:
    log = Log()
    log.main.leaves()
    fork = log.process(pid=150)
    log.main.says(wire.WAITING, "150", "", "main", "exit_handler", "")
    fork.hello(log.main)
    fork.exits(0, "os_exit")
    log.main.collects(fork, 0, "system", via="os.waitpid()")
    log.main.exits()
    run = log.run()

    (held,) = [fact for fact in run.main.evidence if isinstance(fact, HeldUp)]
    assert (held.about, held.by) == (run.children[0].id, "exit_handler")
    assert held.until is not None


def test_nobody_joins_by_claiming_another_processs_child() -> None:
    log = Log()
    child, liar = log.child(name="child"), log.child()
    child.returns()
    liar.collects(child, 0)

    assert log.run()["child"].joined is None


def test_any_wait_joins_what_multiprocessing_did_not_start() -> None:
    log = Log()
    waited, orphan = log.program(), log.program(log.main, "true")
    waited.ends(0)
    log.main.returns()
    orphan.ends(0, orphan=True)
    run = log.run()

    assert (run["sleep"].joined, run["true"].joined) == ("explicit", None)


# --- whom it outlived


def pair(log: Log) -> tuple[ProcessRecord, Run]:
    run = log.run()
    return run["inner"], run


def test_who_ended_before_the_parent_is_no_orphan() -> None:
    log = Log()
    outer = log.child(name="outer")
    log.child(outer, name="inner").ends(0, wake=1)
    outer.ends(0, wake=2)

    assert pair(log)[0].orphaned is False


def test_who_ran_when_the_parent_ended_is_an_orphan() -> None:
    log = Log()
    outer = log.child(name="outer")
    inner = log.child(outer, name="inner")
    outer.ends(0, wake=1, running=(inner,))
    inner.ends(0, wake=1)
    record, run = pair(log)

    assert record.orphaned is True
    assert run.orphans == (record,)


def test_who_still_runs_when_the_parent_has_ended_is_an_orphan() -> None:
    log = Log()
    outer = log.child(name="outer")
    log.child(outer, name="inner")
    outer.ends(0)

    assert pair(log)[0].orphaned is True


def test_nothing_proves_the_order_of_two_ends_in_one_wake_up() -> None:
    log = Log()
    outer = log.child(name="outer")
    inner = log.child(outer, name="inner")
    outer.ends(signal=9, wake=1)
    inner.ends(signal=9, wake=1, orphan=True)

    assert pair(log)[0].orphaned is None


def test_who_was_dead_at_the_first_look_of_a_wake_up_is_no_orphan_of_who_was_not() -> None:
    log = Log()
    outer = log.child(name="outer")
    log.child(outer, name="inner").ends(signal=9, wake=1, orphan=True)
    outer.ends(signal=9, wake=1.5)

    assert pair(log)[0].orphaned is False


def test_who_was_dead_when_the_parents_end_was_noticed_may_have_died_before_it() -> None:
    log = Log()
    outer = log.child(name="outer")
    inner = log.child(outer, name="inner")
    outer.ends(signal=9, wake=1, running=())
    inner.ends(signal=9, wake=2, orphan=True)

    assert pair(log)[0].orphaned is None


def test_whose_status_the_parent_took_is_no_orphan() -> None:
    log = Log()
    outer = log.child(name="outer")
    inner = log.child(outer, name="inner")
    outer.ends(0, wake=1)
    inner.ends(0, wake=1, orphan=False)

    assert pair(log)[0].orphaned is False


def test_who_came_down_alive_is_an_orphan_of_a_parent_that_nobody_saw() -> None:
    log = Log()
    alive = log.process(how="found", argv=("sleep", "1"))
    log.add(protocol.ADOPTED, alive.number)
    alive.ends(0)
    log.process(how="found", argv=("true",)).ends(0)  # a zombie may have died before its parent
    log.main.ends(0)
    run = log.run()

    assert (run["sleep"].parent, run["sleep"].orphaned) == (None, True)
    assert run["true"].orphaned is None


def test_a_process_that_was_found_has_the_name_of_the_program_that_it_became() -> None:
    log = Log()
    found = log.process(how="found", argv=("sh", "-c", "sleep 1 & wait"))
    log.add(protocol.PROGRAM, found.number, ("/bin/sleep", "1"))
    found.ends(0)

    assert log.run()["sleep"].argv == ("/bin/sleep", "1")


def forked_and_reaped(*before: str) -> Run:
    """An `os.fork` whose child ends; main says before that SIGCHLD is ignored, or not any more."""
    log = Log()
    for ignored in before:
        log.main.says(wire.SIGCHLD_IGNORED, ignored)
    child = log.process()
    child.hello(log.main)
    child.last_word("os_exit", "3")
    child.ends(3)
    log.main.leaves()
    log.main.last_word("exit", "")
    log.main.ends(0)
    return log.run()


def test_nobody_waits_for_a_child_whose_parent_ignores_sigchld() -> None:
    assert forked_and_reaped().children[0].joined == "explicit"
    assert forked_and_reaped("1").children[0].joined is None
    assert forked_and_reaped("1", "0").children[0].joined == "explicit"


@pytest.mark.parametrize(
    ("function", "joined"), [("_exit", "explicit"), ("signal", None), ("sigaction", None)]
)
def test_a_wait_is_known_of_who_exits_below_python_and_not_of_who_may_ignore_sigchld(
    function: str, joined: str | None
) -> None:
    log = Log()
    parent = log.child()
    child = log.process()
    child.hello(parent)
    child.last_word("os_exit", "3")
    parent.says(wire.FOREIGN, "ctypes", function)  # before the supervisor sees the reaping
    child.ends(3)
    parent.ends(8)
    log.main.leaves()
    log.main.last_word("exit", "")
    log.main.ends(0)
    assert log.run().descendants[1].joined == joined


def test_a_forked_process_ignores_sigchld_as_its_parent_did() -> None:
    log = Log()
    log.main.says(wire.SIGCHLD_IGNORED, "1")
    parent, child = log.process(), log.process()
    parent.hello(log.main)
    child.hello(parent)
    child.last_word("os_exit", "0")
    child.ends(0)
    parent.last_word("os_exit", "0")
    parent.ends(0)
    log.main.leaves()
    log.main.last_word("exit", "")
    log.main.ends(0)

    assert [p.joined for p in log.run().descendants] == [None, None]


def test_who_spoke_after_the_parents_end_is_an_orphan() -> None:
    log = Log()
    outer = log.child(name="outer")
    inner = log.child(outer, name="inner")
    outer.ends(0, wake=1)
    inner.leaves()
    inner.last_word("launcher", "0")
    inner.ends(0, wake=2, orphan=True)

    assert pair(log)[0].orphaned is True


# --- whether its target ran


def test_a_child_whose_start_up_raised_did_not_reach_its_target() -> None:
    log = Log()
    child = log.child(name="child", runs=False)
    child.leaves("raised", "FileNotFoundError", "no main")
    child.exits(1)
    record = log.run()["child"]

    assert (record.cause, record.target_ran) == ("raised", False)
    assert record.exception is not None
    assert record.exception.type == "FileNotFoundError"


def test_whether_the_target_ran_is_not_known_where_reports_are_missing() -> None:
    log = Log()
    child = log.child(name="child", runs=False)
    child.loses()
    child.leaves("raised", "ValueError")
    child.exits(1)

    assert log.run()["child"].target_ran is None


def test_a_fork_has_no_target() -> None:
    log = Log()
    child = log.process()
    child.hello(log.main)
    child.exits(0, "os_exit")
    record = log.run().processes[1]

    assert (record.cause, record.target_ran, record.daemon) == ("os_exit", None, None)


# --- reports that nobody should believe

HOSTILE = [
    b"",
    b"\0",
    b"nonsense",
    b"h",
    b"h0 1 2",
    b"h" + b"9" * 5000 + b" 1 2",
    b"\xff\xfe\xfd",
    b"Z0 101 2\0what",
    b"l5 101 9\0vanished\0\0\0\0\0",
    b"l5 101 9\0returned",
    b"l5 101 9\0raised\0" + b"X" * 90_000 + b"\0\0\0\0",
    b"l5 101 9\0raised\0E\0m\0t\0" + b"9" * 5000 + b"\0nan " + b"9" * 5000,
    b"k5 101 9\0one\0two\0three\0",
    b"k5 101 9\0" + b"9" * 5000 + b"\0-15\0x\0",
    b"k5 101 9\0" + b"101\0000\0x\0",
    b"g5 101 9\0x\0y\0z\0",
    b"c5 101 9\0loud",
    b"c5 101 9\0" + b"9" * 5000,
    b"j5 101 9\0x\0y\0z\0",
    b"j5 101 9\0" + b"100\0" + b"9" * 4000 + b"\0explicit\0",
    b"r5 101 9\0x\0main\0" + b"n" * 90_000 + b"\0maybe\0teleport",
    b"s5 101 9\0x",
    b"e5 101 9\0never\0x",
    b"E5 101 9",
    b"x5 101 9\0a\0b",
    b"w5 101 9\0nobody\0" + b"w" * 90_000,
    b"u5 101 9\0" + b"u" * 90_000,
    b"h-5 101 9\0k\0k\0new\0main\0x\0",
    b"h%d 101 9\0k\0k\0fork\0main\0x\0" % (1 << 80),
    b"h0 101 -99999999999999999999999999999999999999\0k\0\0new\0banana\0" + b"9." * 3000 + b"\0",
    b"h1 101 " + b"9" * 4000 + b"\0k\0\0new\0banana\0\0",
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_report_breaks_nothing(data: bytes) -> None:
    log = Log()
    child, other = log.child(name="child"), log.child(name="other")
    child.says_raw(data)
    child.returns()
    other.returns()
    log.main.returns()
    run = log.run()

    assert {p.exitcode for p in run} == {0}
    assert Run.from_json(run.to_json()) == run
    assert len(str(run)) < 4000
    assert all(len(p.name) <= 210 for p in run)


def test_random_bytes_break_nothing() -> None:
    chance = random.Random(7)
    log = Log()
    children = [log.child() for _ in range(5)]
    for _ in range(3000):
        kind = chance.choice("hsrlxXekgcjwEuZ")
        words = [
            chance.choice(["", "0", "1", "15", "101", "exit", "fork", "new", "returned", "os_fork"])
            for _ in range(chance.randrange(9))
        ]
        words = [chance.choice([word, children[0].key, log.main.key]) for word in words]
        sender, seq, at = (
            chance.choice(children),
            chance.randrange(-3, 40),
            chance.randrange(1 << 34),
        )
        about = chance.choice([None, *(c.number for c in children), 0])
        log.add(protocol.REPORT, sender.number, wire.pack(kind, seq, 1, at, tuple(words)), about)
    for child in children:
        child.ends(chance.choice([0, 1]))
    log.main.ends(0)
    run = log.run()

    assert Run.from_json(run.to_json()) == run
    assert str(run)


def test_forged_names_make_nobody_its_own_ancestor() -> None:
    log = Log()
    one, two = log.process(), log.process()
    one.key, two.key = f"{one.pid}.1", f"{two.pid}.2"
    for child, parent in ((one, two), (two, one)):
        child.hello(parent)
    three = log.process()
    three.key = f"{three.pid}.3"
    three.hello(three)
    run = log.run()

    for process in run:
        above, steps = process.parent, 0
        while above is not None:
            above, steps = above.parent, steps + 1
            assert steps < 10
    assert all(str(p.pid) in str(run) for p in run)


def test_nobody_takes_another_processs_name_for_itself() -> None:
    log = Log()
    liar, child = log.child(name="liar"), log.process()
    liar.says(wire.HELLO, log.main.key, "", "fork", "os_fork", "", "")
    child.hello(log.main)

    assert log.run().processes[2].parent_id == 0


def test_nobody_becomes_main_by_saying_so() -> None:
    log = Log()
    child = log.child(name="child")
    child.says(wire.RUN, "1", "main", "MainProcess", "", "")
    run = log.run()

    assert run.processes[1].role == "child"
    assert run.processes[1].kind == "process"


def test_a_report_is_not_older_than_main_nor_younger_than_its_arrival() -> None:
    log = Log()
    child = log.child(name="child")
    for at in (0, 1 << 62):
        data = wire.pack(wire.FINISHED, child.seq, child.pid, at, ("returned", "", "", "", "", "2"))
        child.seq += 1
        child.says_raw(data)
    record = log.run()["child"]

    assert record.finished_at is not None
    assert 0 <= record.finished_at <= log.run().duration


# --- clean-up


def test_how_a_process_ended_after_the_clean_up_began_is_not_its_own_doing() -> None:
    log = Log()
    job = log.child(name="job")
    log.clean_up()
    log.main.ends(signal=9)
    job.leaves("raised", "EOFError")
    job.exits(1)
    log.main.ends(signal=9)
    record = log.run()["job"]

    assert (record.cause, record.ending, record.exitcode) == ("cleaned_up", "raised", 1)
    assert (record.finished_at, record.orphaned, record.ended_by) == (None, None, "proclife")


def test_what_processes_did_to_each_other_after_the_clean_up_began_is_left_out() -> None:
    log = Log()
    first, second = log.child(name="first"), log.child(name="second", daemon=True)
    log.main.waits(first)
    log.clean_up()
    first.ends(signal=9)
    log.main.collects(first, -9)
    log.main.leaves()
    log.main.begins_exit_path(second)
    log.main.abandons(second)
    log.main.waits(second, "")
    second.ends(signal=15)
    log.main.collects(second, -15, "implicit")
    log.main.exits(0)
    run = log.run()

    assert {p.cause for p in run} == {Cause.CLEANED_UP}
    assert [(p.requests, p.joined, p.orphaned) for p in run.children] == [((), None, None)] * 2
    assert [wait.process for wait in run.main.waiting_for] == [1]
    assert run.main.finished_at is None
    assert not any(fact.kind == "exit_path_unfinished" for fact in run.main.evidence)
    assert run.witness.complete


def test_what_had_ended_when_the_clean_up_began_has_its_own_end() -> None:
    log = Log()
    joined, left = log.child(name="joined"), log.child(name="left")
    joined.returns()
    log.main.collects(joined, 0)
    left.returns()
    log.clean_up()
    log.main.collects(left, 0)  # another child was killed, and main went on
    log.main.cleaned_up()
    run = log.run()

    assert [(p.cause, p.orphaned) for p in run.children] == [(Cause.RETURNED, False)] * 2
    assert [p.joined for p in run.children] == ["explicit", None]


def test_an_orphan_is_one_only_if_its_parent_had_ended_when_the_clean_up_began() -> None:
    log = Log()
    job = log.child(name="job")
    below = log.child(job, name="below")
    log.main.ends(signal=9, running=(job,))
    log.clean_up()
    job.cleaned_up()
    below.cleaned_up()

    assert [p.orphaned for p in log.run().descendants] == [True, None]


def test_what_is_found_after_the_clean_up_began_belongs_to_it() -> None:
    log = Log()
    log.clean_up()
    late = log.child(name="late")
    forked = log.process(how="fork", argv=("python", "job.py"))
    log.add(protocol.CHILD, forked.number, log.main.number)
    for process in (log.main, late, forked):
        process.cleaned_up()
    run = log.run()

    assert [(p.cause, p.orphaned) for p in run.children] == [(Cause.CLEANED_UP, None)] * 2
    found = [fact for p in run for fact in p.evidence if isinstance(fact, CleanUp)]
    assert [fact.found_later for fact in found] == [False, True, True]
    assert run.witness.complete


# --- what it costs


def storm(count: int) -> Log:
    log = Log()
    children = [log.child() for _ in range(count)]
    for child in children:
        log.main.waits(child)
        child.returns()
        log.main.collects(child, 0)
    log.main.leaves()
    log.main.begins_exit_path(*children)
    log.main.exits()
    return log


@pytest.mark.slow
def test_ten_thousand_processes_are_assembled_within_seconds() -> None:
    log = storm(10_000)
    begun = time.process_time()
    run = log.run()
    text = str(run)
    assert sum(len(p.children) for p in run) == 10_000

    assert time.process_time() - begun < 10  # about 2 on a slow machine; quadratic is minutes
    assert len(text) < 10_000


@pytest.mark.slow
def test_a_record_takes_at_most_four_kilobytes() -> None:
    log = storm(2000)
    log.run()  # what is cached once is no record's
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        run = log.run()
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()

    assert used / len(run.processes) < 4096


def test_a_command_that_says_nothing_is_taken_for_a_program_that_cannot() -> None:
    log = Log(observed=False)
    log.main.ends(4)
    run = log.run(target=TargetInfo(kind="command", text="make", args=()))

    assert run.main.cause == "exited"
    assert not run.witness.complete


def test_a_script_that_says_nothing_has_lost_its_words() -> None:
    log = Log(observed=False)
    log.main.ends(4)

    assert log.run().main.cause == "unknown"


# --- starts that failed, workers that are replaced, copies that run on


def not_started(log: Log, process: Process | None, error: str = "OSError: [Errno 2] x") -> None:
    pid = "" if process is None else str(process.pid)
    log.main.says(wire.NOT_STARTED, pid, "subprocess", "prog", error, "job.py:3 in go")


def test_a_fork_that_could_not_execute_its_program_is_no_process() -> None:
    log = Log()
    program = log.program(None, "/bin/prog", "x")
    program.ends(255)
    not_started(log, program)
    later = log.child(name="later")
    later.returns()
    log.main.collects(later, 0)
    log.main.returns()
    run = log.run()
    assert [(p.id, p.name) for p in run] == [(0, "MainProcess"), (1, "later")]
    assert run.children == (run["later"],)
    assert run.witness.complete
    (fact,) = (f for f in run.main.evidence if isinstance(f, records.NotStarted))
    assert (fact.child_kind, fact.name, fact.about) == ("subprocess", "prog", None)
    assert str(fact) == "could not start prog at job.py:3 in go: OSError: [Errno 2] x"


def test_a_fork_that_ran_code_before_it_could_not_execute_its_program_is_a_process() -> None:
    log = Log()
    program = log.program(None, "/bin/prog", "x")
    program.hello(log.main)
    program.ends(255)
    not_started(log, program)
    log.main.returns()
    assert [p.name for p in log.run()] == ["MainProcess", "prog"]


def test_a_failed_start_of_another_process_with_the_same_pid_takes_none_away() -> None:
    log = Log()
    early = log.program(None, "/bin/sleep", "1")
    early.ends(0)
    failed = log.program(None, "/bin/prog", "x")
    failed.ends(255)
    not_started(log, failed)
    reused = log.process(pid=failed.pid, how="parent")
    log.main.started(reused, kind="process", name="reused", daemon=False)
    reused.ends(signal=9)
    log.main.returns()
    assert [p.name for p in log.run()] == ["MainProcess", "sleep", "reused"]


def test_a_start_that_raised_after_the_child_had_begun_names_that_child() -> None:
    log = Log()
    child = log.process()
    child.hello(log.main)
    child.name = "job"
    child.runs(log.main)
    log.main.says(wire.NOT_STARTED, "", "process", "job", "", "job.py:3 in go")
    child.returns()
    log.main.returns()
    run = log.run()
    (fact,) = (f for f in run.main.evidence if isinstance(f, records.NotStarted))
    assert fact.about == run["job"].id
    assert str(fact) == "its start of job failed at job.py:3 in go"


@pytest.mark.parametrize(
    ("end", "lost"), [("task", True), ("returned", False), ("os._exit", False), ("killed", None)]
)
def test_a_replaced_worker_has_lost_a_task_or_not_or_it_is_not_known(
    end: str, lost: bool | None
) -> None:
    log = Log()
    old = log.child(name="old", kind="pool_worker", daemon=True)
    if end == "task":
        old.says(wire.TASK, "square")
    if end == "returned":
        old.returns()
    elif end == "killed":
        old.ends(signal=9)
    else:
        old.exits(3, "os_exit")
    new = log.child(name="new", kind="pool_worker", daemon=True)
    log.main.says(wire.REPLACES, str(new.pid), str(old.pid))
    new.returns()
    log.main.returns()
    run = log.run()
    (fact,) = (f for f in run["new"].evidence if isinstance(f, records.Replaces))
    assert (fact.about, fact.lost_task) == (run["old"].id, lost)
    assert fact.function == ("square" if lost else "")


def test_a_worker_whose_reports_are_missing_may_have_lost_a_task() -> None:
    log = Log()
    old = log.child(name="old", kind="pool_worker", daemon=True)
    old.loses()
    old.exits(3, "os_exit")
    new = log.child(name="new", kind="pool_worker", daemon=True)
    log.main.says(wire.REPLACES, str(new.pid), str(old.pid))
    new.returns()
    log.main.returns()
    (fact,) = (f for f in log.run()["new"].evidence if isinstance(f, records.Replaces))
    assert fact.lost_task is None


@pytest.mark.parametrize(
    ("last", "how", "expected"),
    [("returned", "exit", True), ("", "exit", True), ("", "os_exit", False)],
)
def test_a_fork_that_leaves_as_its_parent_would_ran_on(last: str, how: str, expected: bool) -> None:
    log = Log()
    fork = log.process()
    fork.hello(log.main)
    if last:
        fork.leaves(last)
    fork.last_word(how, "0")
    fork.ends(0)
    log.main.returns()
    (child,) = log.run().children
    assert [f.about for f in child.evidence if isinstance(f, records.RanOn)] == [0] * expected


# --- below Python, and before the recorder


def test_an_exit_below_python_is_no_lost_report_of_a_signal() -> None:
    log = Log(version="3.11.9")
    child = log.child()
    child.says(wire.FOREIGN, "ctypes", "_exit")
    child.ends(3)
    log.main.collects(child, 3)
    log.main.leaves("sys_exit")
    log.main.exits()
    run = log.run()

    assert (run.main.cause, run["Process-1"].cause) == ("sys_exit", "unknown")
    assert (
        str(run["Process-1"].unknown_reason) == "it exited without a report, as it can below Python"
    )
    assert [(m.kind, m.what) for m in run.witness.missing] == [("foreign_function", "_exit")]
    assert "took _exit() of the C library by ctypes" in map(str, run["Process-1"].evidence)


def test_a_fork_has_the_functions_that_its_parent_took_and_no_subinterpreters() -> None:
    log = Log()
    log.main.says(wire.FOREIGN, "ctypes", "kill")
    log.main.says(wire.FOREIGN, wire.SUBINTERPRETER, "")
    before = log.child(name="before")
    log.main.ends(signal=9)
    victim = log.process()
    victim.hello(before)
    victim.ends(signal=9, orphan=True)
    run = log.run()

    found = next(p for p in run if p.pid == victim.pid)
    assert (found.cause, str(found.unknown_reason)) == (
        "unknown",
        "a process was running that can send signals below Python, and may have sent SIGKILL",
    )


def test_a_timer_of_faulthandler_is_a_way_to_exit_for_its_own_process_alone() -> None:
    log = Log()
    child = log.child()
    child.says(wire.FOREIGN, wire.FAULTHANDLER, "_exit")
    fork = log.process()
    fork.hello(child)
    fork.ends(1)
    child.collects(fork, 1)
    child.ends(1)
    log.main.collects(child, 1)
    log.main.says(wire.FOREIGN, wire.FAULTHANDLER, "_exit")
    log.main.returns()
    run = log.run()

    assert [str(p.unknown_reason) for p in run.descendants] == [
        "it exited without a report, as it can below Python",
        "it exited without a report of its finish or of os._exit()",
    ]
    assert {(m.process, m.kind) for m in run.witness.missing} == {
        (run["Process-1"].id, "foreign_function"),
        (2, "reports"),
    }
    assert "set a timer of faulthandler that ends it by _exit()" in map(str, run.main.evidence)


def test_a_function_that_is_taken_after_a_fork_is_not_the_forks() -> None:
    log = Log()
    child = log.child()
    log.main.says(wire.FOREIGN, "cffi", "_exit")
    child.ends(3)
    log.main.collects(child, 3)
    log.main.returns()
    run = log.run()

    assert str(run["Process-1"].unknown_reason).startswith("it exited without a report of its")
    assert {m.kind for m in run.witness.missing} == {"foreign_function", "reports"}


def test_what_was_there_before_the_recorder_is_said() -> None:
    log = Log()
    log.main.says(wire.EARLY, "function", "os._exit")
    log.main.says(wire.EARLY, "child", "")
    log.main.says(wire.EARLY, "thread", "")
    log.main.returns()
    run = log.run()

    main = str(run.main)
    assert [str(missing) for missing in run.witness.missing] == [
        f"{main} took os._exit() before it was watched: its calls may be missing",
        f"{main} had a child before it was watched",
        f"{main} had a thread before it was watched",
    ]
    assert run.main.cause == "returned"


def test_a_child_from_before_the_recorder_does_not_report_and_lost_nothing() -> None:
    log = Log()
    log.main.says(wire.EARLY, "child", "")
    child = log.process(how="found", argv=("/bin/python", "early.py"))
    log.add(protocol.CHILD, child.number, log.main.number)
    child.ends(3)
    log.main.returns()
    run = log.run()

    assert [(p.cause, p.exitcode) for p in run.children] == [("exited", 3)]
    assert run.main.cause == "returned"
