"""The timeline as text, whole, and what is said of a main that did not end in time."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import lives
import pytest
from histories import Log

from pytest_proclife import wire
from pytest_proclife.analysis.log import process_number
from pytest_proclife.records import Run, TargetInfo
from pytest_proclife.render.phases import PhaseKind, events_of, phases_of
from pytest_proclife.render.process import describe, waiting_for
from pytest_proclife.render.screen import Screen
from pytest_proclife.render.text import width
from pytest_proclife.render.timeline import render
from pytest_proclife.supervisor import protocol


def test_the_daemon_exam() -> None:
    log = Log()
    session = log.child(name="Process-1", daemon=True)
    log.now += 900_000_000
    log.main.leaves()
    log.main.begins_exit_path(session)
    log.main.abandons(session)
    session.ends(signal=15)
    log.main.collects(session, -15, "implicit")
    log.now += 50_000_000
    log.main.exits()

    assert str(log.run()) == (
        "script job.py: 0.97 s, Python 3.13.0\n"
        "\n"
        "pid  process      0 s       0.97 s  why it ended\n"
        "100  MainProcess  ━━━━━━━━━━━━━━━╌  returned, exit code 0\n"
        "101    Process-1  ━━━━━━━━━━━━━━━!  daemon, abandoned by MainProcess's\n"
        "                                    exit path (SIGTERM), joined by the\n"
        "                                    exit path\n"
        "\n"
        "━ own code  ╌ exit path  ! signal"
    )


def test_helpers_stand_at_the_end_and_what_was_not_seen_below() -> None:
    log = Log()
    server = log.server()
    worker = log.served(server)
    shell = log.program(log.main, "/bin/sh", "-c", "true")
    shell.ends(0)
    worker.leaves("raised", "job.Broken", "no")
    worker.exits(1)
    log.main.collects(worker, 1)
    log.main.leaves()
    log.main.last_word()
    log.main.ends(running=(server,))
    server.leaves("sys_exit")
    server.last_word()
    server.ends(0, orphan=True)

    assert str(log.run()) == (
        "script job.py: 0.03 s, Python 3.13.0\n"
        "\n"
        "pid  process      0 s       0.03 s  why it ended\n"
        "100  MainProcess  ━━━━━━━━━━━━╌     returned, exit code 0\n"
        "102    Process-2      ━━━━━╌·┫      raised job.Broken, exit code 1,\n"
        "                                    joined\n"
        "103    sh               ━━┫         exited, exit code 0, joined\n"
        "     helpers of multiprocessing\n"
        "101  forkserver     ━━━━━━━━━━━━╌·  sys exit, exit code 0\n"
        "\n"
        "━ own code  ╌ exit path  · zombie  ┫ joined\n"
        "\n"
        "not seen: sh (pid 103) does not report: what it started may be missing"
    )


def test_names_of_any_length_and_width_stay_in_their_column() -> None:
    log = Log()
    names = ["日本語のプロセス", "e\u0301tude", "two\nlines", "n" * 50, "\x1b[31mred"]
    for name in names:
        log.child(name=name)
    text = render(log.run(duration=0.0), screen=Screen(columns=120))
    lines = [line.partition("━") for line in text.splitlines()[3:]]

    assert [before for before, _, _ in lines] == [
        "100  MainProcess                       ",
        "101    日本語のプロセス                ",
        "102    e\u0301tude                           ",
        "103    two\\nlines                      ",
        "104    nnnnnnnnnnnnn...nnnnnnnnnnnnnn  ",
        "105    \\x1b[31mred                     ",
    ]
    assert {width(before) for before, _, _ in lines} == {39}
    assert {after.strip() for _, _, after in lines} == {"running"}


def test_of_thousands_the_unusual_are_shown_and_the_others_counted() -> None:
    log = Log()
    children = [log.child() for _ in range(3000)]
    odd = children[1234]
    for child in children:
        if child is odd:
            child.ends(signal=11)
        elif child is children[7]:
            child.leaves("raised", "ValueError")
            child.exits(1)
        else:
            child.returns()
    log.main.returns()
    run = log.run()
    lines = render(run, rows=4, screen=Screen(columns=100)).splitlines()

    assert [re.split("━+", line)[0].strip() for line in lines[3:7]] == [
        "100  MainProcess",
        "2998 x    Process-1 ... Process-3000",
        f"{children[7].pid}    Process-8",
        f"{odd.pid}    {odd.name}",
    ]
    lines = render(run, rows=3, screen=Screen(columns=100)).splitlines()
    assert [line.split()[1] for line in lines[3:6]] == ["MainProcess", children[7].name, odd.name]
    assert lines[6] == "... and 2998 more: 2998 returned"
    assert len(str(run).splitlines()) < 50
    assert len(render(run, rows=None).splitlines()) > 3000


def test_children_are_alike_if_the_same_words_are_said_of_them() -> None:
    log = Log()
    children = [log.child(name=f"worker-{number}") for number in range(9)]
    for number, child in enumerate(children[:8]):
        if number % 2:
            child.returns()
        else:
            child.exits(3, "os_exit")
    log.child(children[8], name="inner")
    lines = render(log.run(), rows=8, screen=Screen(columns=100)).splitlines()

    assert [line[:30].rstrip() for line in lines[3:8]] == [
        "100  MainProcess",
        "4 x    worker-0 ... worker-6",
        "4 x    worker-1 ... worker-7",
        "109    worker-8",
        "110      inner",
    ]


def test_of_a_failure_only_what_bears_on_it_is_shown() -> None:
    log = Log()
    first, second = log.child(name="first"), log.child(name="second")
    inner = log.child(first, name="inner")
    for child in (inner, first, second):
        child.returns()
    run = log.run()
    lines = render(run, about=[run["inner"]]).splitlines()

    assert [line.split()[1] for line in lines[3:6]] == ["MainProcess", "first", "inner"]
    assert lines[6] == "... and 1 more: 1 returned"


# --- made for a screen


@pytest.mark.parametrize("columns", [40, 41, 60, 76, 80, 99, 100, 120, 200])
@pytest.mark.parametrize("life", [lives.ends, lives.left_behind, lives.unknown_daemon])
def test_no_line_is_longer_than_the_terminal(columns: int, life: Callable[[], Run]) -> None:
    run = life()
    named = lives.changed(run, run.processes[-1].name, name="日本語" * 30)
    for lines in (True, False):
        text = render(named, screen=Screen(columns=columns, lines=lines))
        assert max(map(width, text.splitlines())) <= columns


def test_a_narrow_terminal_has_the_words_below_the_bar() -> None:
    text = render(lives.left_behind(), screen=Screen(columns=40))

    assert text.splitlines()[:9] == [
        "script job.py: 0.32 s, Python 3.13.0",
        "",
        "0 s                               0.32 s",
        "MainProcess (pid 100)",
        "━━━━━━━━━━━━━━━",
        "  died of SIGKILL",
        "job (pid 101)",
        "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━",
        "  returned, exit code 0, outlived its",
    ]


def test_ascii_is_enough() -> None:
    run = lives.ends()
    text = render(run, screen=Screen(lines=False))

    assert text.isascii()
    assert run.timeline(ascii=True) == text
    assert text.splitlines()[-1] == "= own code  - exit path  . zombie  ! signal  | joined"


def test_each_group_of_causes_has_a_colour() -> None:
    run = lives.ends()
    colored = run.timeline(color=True)
    rows = {line.split()[1]: line for line in colored.splitlines() if line[:3].isdigit()}

    assert "\x1b[32mreturned, exit code 0, joined\x1b[0m" in rows["returned"]
    assert "\x1b[31mdied of SIGABRT" in rows["signaled"]
    assert "\x1b[33mkilled by MainProcess" in rows["killed"]
    assert "\x1b[36mos exit" in rows["os_exit"]
    assert re.sub(r"\x1b\[[\d;]*m", "", colored) == run.timeline()


def test_the_time_as_a_zombie_ends_where_its_status_was_collected() -> None:
    run = lives.ends()
    phases = {phase.kind: phase for phase in phases_of(run["os_exit"])}
    (joined,) = events_of(run["os_exit"])

    assert phases[PhaseKind.ZOMBIE].begin == run["os_exit"].ended_at
    assert phases[PhaseKind.ZOMBIE].end == run["os_exit"].joined_at == joined.at


def test_a_time_that_nobody_saw_is_in_no_picture() -> None:
    run = lives.changed(lives.ends(), "os_exit", evidence=(), joined_at=None)

    assert [phase.kind for phase in phases_of(run["os_exit"])] == [PhaseKind.CODE]
    assert events_of(run["os_exit"]) == ()


def test_what_runs_in_a_snapshot_goes_on_to_its_end() -> None:
    run = lives.snapshot()
    (phase,) = phases_of(run["job"])

    assert phase.end == run.duration


def test_a_process_stands_below_its_parent_and_a_stray_one_below_main() -> None:
    log = Log()
    first = log.child(name="first")
    log.child(name="second")
    log.child(first, name="inner")
    log.process(how="orphan", argv=("/bin/stray",))
    lines = str(log.run()).splitlines()[3:8]
    names = [line[5:17].rstrip() for line in lines]

    assert names == ["MainProcess", "  first", "    inner", "  second", "  stray"]


def test_a_chain_of_thousands_of_generations_is_no_trouble() -> None:
    log = Log()
    parent = log.main
    for _ in range(3000):
        parent = log.child(parent)

    assert render(log.run(), rows=5000)


def test_a_programs_text_is_told_by_its_first_line() -> None:
    run = replace(Log().run(), target=TargetInfo(kind="code", text="import os\nprint()", args=()))

    assert str(run).startswith("code import os...: 0.00 s")


# --- a process in words


def test_words_for_each_cause() -> None:
    log = Log()
    names = ["abandoned", "polite", "killed", "asked", "tested", "own", "code", "left", "raised"]
    children = {name: log.child(name=name, daemon=name in names[:2]) for name in names}
    children["code"].exits(7, "os_exit")
    children["left"].leaves("sys_exit", "SystemExit", "3")
    children["left"].exits(3)
    children["raised"].leaves("raised", "ValueError", "no")
    children["raised"].exits(1)
    children["own"].ends(signal=6)
    log.main.sends(children["killed"], 9, "kill()")
    children["killed"].ends(signal=9)
    log.main.collects(children["killed"], -9)
    log.main.sends(children["asked"], 15, "Pool")
    children["asked"].ends(signal=15)
    log.main.collects(children["asked"], -15, "library")
    children["tested"].asked_by_test(2, "caught")
    children["tested"].leaves("raised", "KeyboardInterrupt", rose_from=2)
    children["tested"].exits(1)
    log.main.leaves()
    log.main.begins_exit_path(children["abandoned"], children["polite"])
    log.main.abandons(children["abandoned"])
    children["abandoned"].ends(signal=15)
    log.main.abandons(children["polite"], state="caught")
    children["polite"].catches(15)
    children["polite"].leaves("sys_exit", "SystemExit", "5", rose_from=15)
    children["polite"].exits(5)
    run = log.run()

    assert {name: describe(run[name]) for name in names} == {
        "abandoned": "abandoned by MainProcess's exit path (SIGTERM)",
        "polite": (
            "abandoned by MainProcess's exit path (SIGTERM) and left by sys.exit, exit code 5"
        ),
        "killed": "killed by MainProcess (SIGKILL), joined",
        "asked": "terminated by MainProcess (SIGTERM), joined by the library",
        "tested": "terminated by the test (SIGINT) and raised KeyboardInterrupt, exit code 1",
        "own": "died of SIGABRT",
        "code": "os exit, exit code 7",
        "left": "sys exit, exit code 3",
        "raised": "raised ValueError, exit code 1",
    }
    assert describe(run.main) == "running"


def test_words_for_what_is_not_known() -> None:
    log = Log()
    lost, mute = log.child(name="lost"), log.child(name="mute")
    lost.loses()
    lost.last_word("os_exit", "7")
    lost.ends(7)
    mute.ends(None)
    run = log.run()

    assert describe(run["lost"]) == (
        "unknown: some of its reports are missing: its code may have finished before os._exit(), "
        "exit code 7"
    )
    assert (
        describe(run["mute"]) == "unknown: its wait status could not be read, exit code not known"
    )


def test_words_for_an_orphan_and_for_a_target_that_never_ran() -> None:
    log = Log()
    outer = log.child(name="outer")
    inner = log.child(outer, name="inner")
    broken = log.child(outer, name="broken", runs=False)
    broken.leaves("raised", "EOFError")
    broken.exits(1)
    outer.exits(0, "os_exit")
    log.wake -= 1
    outer_end = next(e for e in log.entries if e[1:3] == (protocol.ENDED, outer.number))
    log.entries[log.entries.index(outer_end)] = (*outer_end[:4], (inner.number,))
    inner.leaves()
    inner.last_word("launcher", "0")
    inner.ends(0, orphan=True)
    run = log.run()

    assert describe(run["inner"]) == "returned, exit code 0, outlived its parent"
    assert describe(run["broken"]) == "raised EOFError, exit code 1, its target never ran"


def test_words_for_a_signal_in_the_exit_path() -> None:
    log = Log()
    child = log.child(name="child")
    child.leaves()
    child.ends(signal=11)

    assert describe(log.run()["child"]) == "returned, died of SIGSEGV"


def test_words_for_one_of_several_requests_are_of_the_one_that_ended_it() -> None:
    log = Log()
    names = ["stopped", "read anew", "drained", "asked once"]
    children = [log.child(name=name) for name in names]
    stopped, reading, draining, once = children
    for number in (19, 15, 18):
        stopped.asked_by_test(number)
    stopped.ends(signal=15)
    log.main.sends(reading, 1, "os.kill()", state="caught")
    reading.catches(1)
    log.main.sends(reading, 15, "terminate()", state="caught")
    reading.catches(15)
    reading.leaves("sys_exit", "SystemExit", rose_from=15)
    reading.exits(0)
    log.main.sends(draining, 15, "terminate()", state="caught")
    draining.catches(15)
    draining.returns()
    once.asked_by_test(15)
    once.ends(signal=15)
    run = log.run()

    assert [describe(run[name]) for name in names] == [
        "terminated by the test (SIGTERM)",
        "terminated by MainProcess (SIGTERM) and left by sys.exit, exit code 0",
        "returned, exit code 0",
        "terminated by the test (SIGTERM)",
    ]
    assert [str(e) for e in run["read anew"].evidence if e.about == 0][1:] == [
        "sent SIGHUP (os.kill()), which it caught",
        "sent SIGTERM (terminate()), which it caught, and it ended of that",
    ]
    assert [str(e) for e in run["asked once"].evidence if e.source == "test"] == [
        "sent SIGTERM (test), and it ended of that"
    ]


# --- what main was waiting for


def timed_out(log: Log) -> str:
    log.clean_up()
    for process in (p for p in log.run() if p.ended_at is None):
        number = process_number(log.entries, process.pid, log.now)
        log.add(protocol.CLEANUP, number)
        log.wake += 1
        log.add(protocol.ENDED, number, log.wake, ())
        log.add(protocol.REAPED, number, 9, True)
    return waiting_for(log.run(timed_out=True))


def test_main_was_in_a_join() -> None:
    log = Log()
    worker, other = log.child(name="worker"), log.child(name="other")
    log.main.waits(other)
    other.returns()
    log.main.collects(other, 0)
    log.main.waits(worker, "job.py:12 in main")

    assert timed_out(log) == "it was waiting for worker (pid 101) at job.py:12 in main since 0.02 s"


def test_main_was_in_the_join_that_it_began_last() -> None:
    log = Log()
    worker, other = log.child(name="worker"), log.child(name="other")
    for child in (worker, other, worker):  # the first two joins were interrupted
        log.main.waits(child, "job.py:12 in main")

    assert [wait.process for wait in log.run().main.waiting_for] == [2, 1]
    assert timed_out(log) == (
        "it was waiting for worker (pid 101) at job.py:12 in main since 0.01 s; "
        "still running was other (pid 102)"
    )


def test_main_was_in_the_join_of_its_exit_path() -> None:
    log = Log()
    worker, second = log.child(name="worker"), log.child(name="second")
    log.now += 500_000_000
    log.main.leaves()
    log.main.begins_exit_path(worker, second)
    log.main.waits(worker, "")

    assert timed_out(log) == (
        "its code was done at 0.51 s, and its exit path was waiting for worker (pid 101) "
        "since 0.51 s; "
        "still running was second (pid 102)"
    )


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "its own code was still running"),
        ([wire.EXIT_PATH], "its code was done at 0.00 s, and it was in its exit path"),
        (
            [wire.EXIT_PATH, wire.EXIT_PATH_DONE],
            "its code was done at 0.00 s, and it was on its way out, behind a thread or a handler",
        ),
    ],
)
def test_main_was_not_in_a_join(events: list[str], words: str) -> None:
    log = Log()
    if events:
        log.main.leaves()
    for kind in events:
        log.main.says(kind)

    assert timed_out(log) == words


def test_of_many_that_still_ran_some_are_named() -> None:
    log = Log()
    for _ in range(10):
        log.child()

    assert timed_out(log).endswith("Process-7 (pid 107), Process-8 (pid 108) and 2 more")
