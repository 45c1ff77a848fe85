"""The verdict on a hang, from canned looks at the processes of a run."""

from __future__ import annotations

import re
from typing import Any

import pytest
from histories import Log

from pytest_proclife import wire
from pytest_proclife.records import (
    AwaitedKind,
    HangKind,
    NoStackKind,
    Run,
    StackSource,
)
from pytest_proclife.render import hang
from pytest_proclife.supervisor import protocol

LIB = "/usr/lib/python3.13"
PIPE, OTHER = "pipe:[7]", "pipe:[8]"
READS = ((protocol.PIPE, 3, "r", PIPE, False),)
WRITES = ((protocol.PIPE, 4, "w", PIPE, False),)
LOCK = ((protocol.LOCK, 0, "", "", False),)
SHARED = "shared:[00:1b:5]"
SEMAPHORE = ((protocol.SEMAPHORE, 0, "", SHARED, False),)
USER = "main /home/me/job.py:3"
GET = f"Queue.get {LIB}/multiprocessing/queues.py:100"
WAIT = f"Condition.wait {LIB}/threading.py:359"


def verdict(run: Run, process: int = 0) -> tuple[HangKind, tuple[int, ...]]:
    found = run.processes[process].hangs[0]
    return found.kind, found.others


def child_of(pid: int) -> Any:
    return ((protocol.CHILD_ENDS, pid, "", "", False),)


# --- the line of the program


@pytest.mark.parametrize(
    ("frames", "line", "call"),
    [
        ((USER,), 3, ""),
        ((GET, USER), 3, "Queue.get"),
        ((f"recv {LIB}/multiprocessing/connection.py:5", GET, USER), 3, "Queue.get"),
        # the innermost line of the program, though it is a callback of a library
        (("call /home/me/other.py:9", f"run {LIB}/sched.py:151", USER), 9, ""),
        # an installed package is a program's own code only if there is no other
        (("get /v/lib/python3.13/site-packages/redis/client.py:8", USER), 3, "client.get"),
        (("get /v/lib/python3.13/site-packages/redis/client.py:8",), 8, ""),
        (("<module> <string>:1",), 1, ""),
        (
            ("_find_and_load <frozen importlib._bootstrap>:1", USER),
            3,
            "_find_and_load",
        ),
        ((f"run {LIB}/asyncio/__init__.py:8", USER), 3, "asyncio.run"),
    ],
)
def test_the_line_is_the_innermost_of_the_programs_own(
    frames: tuple[str, ...], line: int, call: str
) -> None:
    log = Log()
    log.main.stands(*frames)
    found = log.run().main.hangs[0]
    assert found.where is not None
    assert (found.where.line, found.call) == (line, call)


def test_a_forked_child_has_none_of_its_parents_lines() -> None:
    log = Log()
    child = log.child()
    start = f"Popen._launch {LIB}/multiprocessing/popen_fork.py:74"
    boot = f"BaseProcess._bootstrap {LIB}/multiprocessing/process.py:313"
    child.stands(GET, boot, start, USER)
    run = log.run()
    assert [frame.function for frame in run.processes[1].stacks[0].frames] == [
        "Queue.get",
        "BaseProcess._bootstrap",
    ]
    assert run.processes[1].hangs[0].where is None


def test_a_target_in_c_has_no_line_and_no_call() -> None:
    log = Log()
    child = log.child()
    boot = f"BaseProcess._bootstrap {LIB}/multiprocessing/process.py:313"
    run = f"BaseProcess.run {LIB}/multiprocessing/process.py:108"
    child.stands(run, boot, awaits=((protocol.TIME, 0, "", "", False),), call="clock_nanosleep")
    found = log.run().processes[1].hangs[0]
    assert (found.where, found.call, found.kind) == (None, "", HangKind.SLEEP)


def test_a_parent_that_hangs_in_start_keeps_its_lines() -> None:
    log = Log()
    log.main.stands(f"Popen._launch {LIB}/multiprocessing/popen_spawn_posix.py:60", USER)
    found = log.run().main.hangs[0]
    assert found.where is not None
    assert found.call == "Popen._launch"


# --- pipes


def test_a_pipe_that_another_process_can_write_is_waited_for() -> None:
    log = Log()
    child = log.child()
    log.main.stands(GET, USER, awaits=READS, opened=((PIPE, 3, "r"), (PIPE, 4, "w")))
    child.stands(USER, opened=((PIPE, 4, "w"),), state="R")
    assert verdict(log.run()) == (HangKind.DATA, (1,))
    assert verdict(log.run(), 1) == (HangKind.RUNS, ())


def test_a_pipe_whose_other_end_only_the_reader_has_is_nobodys() -> None:
    log = Log()
    child = log.child(name="filler")
    child.leaves("raised", "KeyError", "no")
    child.exits(1)
    log.main.stands(GET, USER, awaits=READS, opened=((PIPE, 3, "r"), (PIPE, 4, "w")))
    run = log.run()
    assert verdict(run) == (HangKind.NOBODY, (1,))
    assert "filler (pid 101) ended at" in hang.why(run)
    assert "raised KeyError" in hang.why(run)


def test_a_process_that_failed_is_told_of_though_another_has_the_other_end_too() -> None:
    log = Log()
    failed, other = log.child(name="filler"), log.child(name="other")
    failed.leaves("raised", "KeyError", "no")
    failed.exits(1)
    log.main.stands(GET, USER, awaits=READS, opened=((PIPE, 3, "r"),))
    other.stands(USER, opened=((PIPE, 4, "w"),), state="R")
    words = hang.why(log.run())
    assert "from other (pid 102), which has the other end open; other was at job.py:3" in words
    assert "; before that filler (pid 101) ended at" in words


def test_a_wait_for_a_limited_time_is_said_to_be_one() -> None:
    log = Log()
    log.main.stands(WAIT, USER, awaits=((protocol.LOCK, 0, "", "", True),))
    words = "main was in Condition.wait at job.py:3 (with a timeout), waiting for another thread"
    assert hang.why(log.run()).startswith(words)


@pytest.mark.parametrize(("lost", "words"), [("1", "is lost"), ("", "may be lost")])
def test_a_task_is_lost_with_its_worker_if_that_was_seen(lost: str, words: str) -> None:
    log = Log()
    first = log.child(name="w-1", kind="pool_worker")
    if lost:
        first.says(wire.TASK, "square")
        first.ends(signal=9)
    else:
        log.main.sends(first, 9)
        first.ends(signal=9)
    second = log.child(name="w-2", kind="pool_worker")
    log.main.says(wire.REPLACES, str(second.pid), str(first.pid))
    log.main.stands(f"Pool.map {LIB}/multiprocessing/pool.py:367", USER, awaits=LOCK)
    run = log.run()
    assert verdict(run) == (HangKind.TASK_LOST, (1,))
    assert f"a task that {words}: w-1 (pid 101) ended at" in hang.why(run)


def test_reading_ends_alone_do_not_make_another_process_the_writer() -> None:
    log = Log()
    child = log.child()
    child.stands(USER, opened=((PIPE, 3, "r"), (OTHER, 4, "w")), state="R")
    log.main.stands(GET, USER, awaits=READS, opened=((PIPE, 3, "r"), (PIPE, 4, "w")))
    assert verdict(log.run())[0] is HangKind.NOBODY


def test_a_pipe_that_nobody_in_the_run_can_write_comes_from_outside() -> None:
    log = Log()
    log.main.stands(USER, awaits=READS, opened=((PIPE, 3, "r"),))
    assert verdict(log.run()) == (HangKind.OUTSIDE, ())


@pytest.mark.parametrize("name", ["/dev/pts/0", "socket:[9]", "anon_inode:[eventpoll]"])
def test_who_could_write_to_what_is_no_pipe_is_not_known(name: str) -> None:
    log = Log()
    awaits = ((protocol.FILE, 3, "r", name, False),)
    log.main.stands(USER, awaits=awaits, opened=((name, 3, "rw"),))
    run = log.run()
    assert verdict(run) == (HangKind.FILE, ())
    assert hang.why(run) == f"main was at job.py:3, waiting for descriptor 3, {name}"


def test_an_event_loop_may_be_waiting_for_anything() -> None:
    log = Log()
    opened = ((PIPE, 3, "r"), (PIPE, 4, "w"))
    log.main.stands(f"run {LIB}/asyncio/runners.py:9", USER, awaits=READS, opened=opened)
    assert verdict(log.run()) == (HangKind.LOOP, ())


def test_another_thread_of_the_reader_may_write() -> None:
    log = Log()
    others = [((WAIT, "work /home/me/job.py:9"), LOCK)]
    opened = ((PIPE, 3, "r"), (PIPE, 4, "w"))
    log.main.stands(GET, USER, awaits=READS, opened=opened, others=others)
    found = log.run().main.hangs[0]
    assert (found.kind, found.other_thread) == (HangKind.THREAD, log.main.pid + 5000)


def test_communicate_waits_until_nobody_can_write() -> None:
    log = Log()
    shell = log.program()
    sleeper = log.program(shell)
    shell.ends(0)
    log.main.stands(
        f"Popen.communicate {LIB}/subprocess.py:1206",
        USER,
        awaits=READS,
        opened=((PIPE, 3, "r"),),
    )
    sleeper.stands(missing="not_python", call="clock_nanosleep", opened=((PIPE, 1, "w"),))
    run = log.run()
    assert verdict(run) == (HangKind.END_OF_FILE, (2,))
    assert "sleep (pid 102) (an orphan), which has the other end open" in hang.why(run)


def test_a_full_pipe_is_for_its_readers() -> None:
    log = Log()
    child = log.child()
    child.stands(USER, awaits=WRITES, opened=((PIPE, 3, "r"), (PIPE, 4, "w")))
    log.main.stands(USER, awaits=child_of(child.pid), opened=((PIPE, 3, "r"),))
    run = log.run()
    assert verdict(run) == (HangKind.CHILD, (1,))
    assert verdict(run, 1) == (HangKind.ROOM, (0,))


@pytest.mark.parametrize("how", ["not looked at", "not shown"])
@pytest.mark.parametrize("awaits", [READS, SEMAPHORE])
def test_nobody_is_said_only_if_all_processes_are_known(how: str, awaits: Any) -> None:
    log = Log()
    other = log.child()
    opened = ((PIPE, 3, "r"), (PIPE, 4, "w"), (SHARED, -1, "rw"))
    log.main.stands(GET, USER, awaits=awaits, opened=opened)
    if how == "not shown":
        other.stands(missing="other_user", call=protocol.NOT_SHOWN)
        assert "the kernel does not show what it waits for" in hang.block(log.run(), 200)
    assert verdict(log.run()) == (HangKind.UNKNOWN, ())
    other.stands(USER, state="R")
    assert verdict(log.run()) == (HangKind.NOBODY, ())


# --- locks


def test_a_semaphore_is_held_by_a_process_that_does_not_wait_for_it() -> None:
    log = Log()
    child = log.child()
    log.main.stands(USER, awaits=SEMAPHORE, opened=((SHARED, -1, "rw"),))
    child.stands(USER, opened=((SHARED, -1, "rw"),), state="R")
    assert verdict(log.run()) == (HangKind.HELD, (1,))


def test_another_thread_may_release_a_semaphore() -> None:
    log = Log()
    opened = ((SHARED, -1, "rw"),)
    others = [((USER,), SEMAPHORE), ((USER,), LOCK)]
    log.main.stands(USER, awaits=SEMAPHORE, opened=opened, others=others)
    found = log.run().main.hangs[0]
    assert (found.kind, found.other_thread) == (HangKind.THREAD, log.main.pid + 5001)


def test_those_who_wait_for_the_same_semaphore_cannot_release_it() -> None:
    log = Log()
    child = log.child()
    for process in (log.main, child):
        process.stands(USER, awaits=SEMAPHORE, opened=((SHARED, -1, "rw"),))
    assert verdict(log.run()) == (HangKind.NOBODY, ())


def test_a_process_whose_lines_are_not_known_may_hold_a_semaphore() -> None:
    log = Log()
    child = log.child()
    log.main.stands(USER, awaits=SEMAPHORE, opened=((SHARED, -1, "rw"),))
    child.stands(awaits=SEMAPHORE, opened=((SHARED, -1, "rw"),), missing="failed")
    assert verdict(log.run()) == (HangKind.HELD, (1,))


def test_a_lock_of_a_process_with_one_thread_is_nobodys() -> None:
    log = Log()
    log.main.stands(WAIT, USER, awaits=LOCK)
    assert verdict(log.run()) == (HangKind.NOBODY, ())


def test_a_lock_is_nobodys_only_if_all_threads_are_known() -> None:
    log = Log()
    log.main.stands(WAIT, USER, awaits=LOCK, others=[((), LOCK)])
    assert verdict(log.run())[0] is HangKind.UNKNOWN


@pytest.mark.parametrize(("threads", "kind"), [(1, HangKind.FORKED), (0, HangKind.NOBODY)])
def test_a_fork_of_a_process_with_threads_may_have_a_lock_for_ever(
    threads: int, kind: HangKind
) -> None:
    log = Log()
    child = log.child()
    others = [((WAIT, "work /home/me/job.py:9"), LOCK)] * threads
    log.main.stands(USER, awaits=child_of(child.pid), others=others)
    child.stands(USER, awaits=LOCK)
    assert verdict(log.run(), 1)[0] is kind


def test_an_event_in_a_fork_is_no_lock_that_was_held() -> None:
    log = Log()
    child = log.child()
    log.main.stands(USER, awaits=child_of(child.pid), others=[((WAIT, USER), LOCK)])
    child.stands(WAIT, f"Event.wait {LIB}/threading.py:6", USER, awaits=LOCK)
    assert verdict(log.run(), 1)[0] is HangKind.NOBODY


# --- which look counts


def test_a_pool_that_is_idle_is_not_called_nobodys() -> None:
    log = Log()
    handler = f"Pool._handle_results {LIB}/multiprocessing/pool.py:579"
    log.main.stands(
        WAIT,
        f"Pool.map {LIB}/multiprocessing/pool.py:367",
        USER,
        awaits=LOCK,
        others=[((handler,), READS)],
    )
    assert verdict(log.run()) == (HangKind.UNKNOWN, ())


def test_two_threads_that_wait_for_each_other_are_both_told_of() -> None:
    log = Log()
    log.main.stands(USER, awaits=LOCK, others=[(("work /home/me/job.py:9",), LOCK)])
    assert hang.why(log.run()) == (
        "main was at job.py:3, waiting for another thread; thread 'thread-1' of main was at"
        " job.py:9, waiting for another thread"
    )


def test_nothing_is_said_of_a_run_that_nobody_has_looked_at() -> None:
    run = Log().run()
    assert (run.main.stacks, run.main.hangs, hang.block(run, 200)) == ((), (), "")
    assert hang.why(run) == "its own code was still running"


def test_a_process_that_went_on_after_the_look_has_no_verdict() -> None:
    log = Log()
    child = log.child()
    child.stands(USER, awaits=READS)
    log.main.stands(USER, awaits=child_of(child.pid))
    child.returns()
    log.main.returns()
    run = log.run()
    assert len(run.processes[1].stacks) == 1
    assert [process.hangs for process in run] == [(), ()]


def test_the_last_look_counts() -> None:
    log = Log()
    log.main.stands(GET, USER, awaits=READS)
    log.main.stands(USER, state="R")
    (stack,) = log.run().main.stacks
    assert (stack.state, len(stack.frames)) == ("R", 1)


def test_a_process_that_was_cleaned_up_keeps_its_verdict() -> None:
    log = Log()
    log.main.stands(USER, awaits=((protocol.TIME, 0, "", "", False),))
    log.main.cleaned_up()
    assert verdict(log.run(timed_out=True)) == (HangKind.SLEEP, ())


# --- words


def test_without_frames_the_place_of_a_join_is_what_main_has_reported() -> None:
    log = Log()
    child = log.child()
    log.main.waits(child)
    log.main.stands(awaits=child_of(child.pid), call="wait4", missing="no_reader")
    words = hang.why(log.run())
    assert words.startswith(
        "main was in the system call wait4 at job.py:11 in <module>, waiting for Process-1 (pid 101"
    )


def test_without_frames_a_thread_that_waits_for_more_than_a_lock_is_told_of() -> None:
    log = Log()
    log.main.stands(
        awaits=LOCK,
        call="futex",
        missing="ptrace_scope",
        opened=((PIPE, 4, "w"), (PIPE, 3, "r")),
        others=[((), LOCK), ((), WRITES)],
    )
    assert hang.why(log.run()) == (
        "main was in the system call futex, waiting for another thread; thread 't5101' of main was"
        " in the system call futex, writing to a pipe that is full, which no other process of the"
        " run has open"
    )


@pytest.mark.parametrize("missing", [kind for kind in NoStackKind if kind != "not_python"])
def test_each_reason_for_having_no_frames_is_said(missing: NoStackKind) -> None:
    log = Log()
    log.main.stands(awaits=READS, call="read", missing=str(missing))
    run = log.run()
    assert run.main.stacks[0].missing is missing
    assert run.main.stacks[0].source is StackSource.KERNEL
    assert "no lines of Python" in hang.block(run, 200)


@pytest.mark.parametrize("missing", ["no_reader", "ptrace_scope", "refused"])
def test_the_way_out_is_said_with_the_refusal(missing: str) -> None:
    log = Log()
    log.main.stands(awaits=READS, call="read", missing=missing)
    assert re.search(r"\n(for the|no) lines of Python.*: ", hang.block(log.run(), 200))


def test_each_kind_of_hang_has_its_words() -> None:
    assert set(hang._REASONS) == set(HangKind)


def test_text_of_a_program_stays_on_its_line() -> None:
    log = Log()
    log.main.stands("f\x1b[2J\nx /a\nb.py:3", awaits=READS, call="read")
    run = log.run()
    assert hang.why(run).isprintable()
    assert all(line.isprintable() for line in hang.block(run, 200).splitlines())


def test_a_document_has_the_stacks_and_the_verdict() -> None:
    log = Log()
    child = log.child()
    log.main.stands(USER, awaits=child_of(child.pid), others=[((WAIT, USER), LOCK)])
    child.stands(GET, USER, awaits=READS, opened=((PIPE, 3, "r"), (PIPE, 4, "w")))
    run = log.run()
    again = Run.from_json(run.to_json())
    assert again == run
    assert again.processes[1].stacks[0].awaited[0].kind is AwaitedKind.PIPE
    assert hang.why(again) == hang.why(run)
    text = run.to_json().replace('"process": 1', '"process": 7')
    with pytest.raises(ValueError, match="names a process that is not in it"):
        Run.from_json(text)
