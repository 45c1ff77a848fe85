"""Programs that hang: where each stands, and the sentence that says why."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from conftest import TARGETS
from test_cli import PROCLIFE, Terminal

import pytest_proclife
from pytest_proclife import Ending, Run, RunningMain, RunTimeout, confinement, stacks
from pytest_proclife.records import AwaitedKind, CleanUp, HangKind, NoStackKind, StackSource
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
        try:
            if process.ending is Ending.RUNNING:
                for task in Path(f"/proc/{process.pid}/task").iterdir():
                    states.add((task / "stat").read_text().rpartition(")")[2].split()[0])
        except OSError:
            return False  # it has just ended
    return states <= {"S", "T"}


def until_quiet(main: RunningMain) -> None:
    """Wait until nothing in the run has moved for some looks: a hang stays as it is."""
    until, quiet = time.monotonic() + 30, 0
    while quiet < LOOKS:
        assert time.monotonic() < until, "the program does not come to rest"
        quiet = quiet + 1 if is_quiet(main.snapshot()) else 0
        time.sleep(0.002)  # /proc cannot be waited for


def until_waits(pid: int) -> None:
    """Wait until a process of one thread has waited for some looks in a row."""
    until, quiet = time.monotonic() + 30, 0
    while quiet < LOOKS:
        assert time.monotonic() < until
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        quiet = quiet + 1 if state == "S" else 0
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
        "main was in Popen.communicate at HERE, waiting for the end of data from sleep (pid N) "
        "(an orphan), which has the other end open; sleep was in the system call "
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
        " thread, and no other thread is running that could end that wait"
    ),
    "pending_future": (
        "main was in Future.result at HERE, waiting for ForkProcess-1 (pid N); ForkProcess-1 "
        "was at THERE, waiting for data from main, which has the other end open"
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
        "waiting for another thread, and no other thread is running that could end that wait"
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
        "main was in Event.wait at HERE, waiting for another thread, and no other thread is "
        "running that could end that wait: SyncManager-1 (pid N) ended at T s (killed by "
        "MainProcess (SIGKILL))"
    ),
    "semaphore": (
        "main was at HERE, waiting for a lock or semaphore that no other process of the run can"
        " release: taker-1 (pid N) ended at T s (returned, exit code 0, joined) and taker-2 "
        "(pid N) ended at T s (returned, exit code 0, joined)"
    ),
    "connection": (
        "main was in Connection.recv at HERE, waiting for data from server (pid N), "
        "which has the other end open; server was in Connection.recv at THERE, waiting for data "
        "from main, which has the other end open"
    ),
    "brother": (
        "main was in Popen.wait at HERE, waiting for cat (pid N); cat was in the system call "
        "read, waiting for data from worker (pid N), which has the other end open; "
        "worker was at STAYS, waiting for a signal"
    ),
    "event_loop": "main was in asyncio.run at HERE, waiting in its event loop",
    "somebody_elses": (
        "main was at HERE, waiting for any child, of which only server (pid N) is left (already"
        " collected: worker (pid N) ended at T s (returned, exit code 0, joined)); server was "
        "at STAYS, waiting for a signal"
    ),
}


@pytest.mark.parametrize("which", SENTENCES)
def test_a_hang_is_explained_in_one_sentence(which: str) -> None:
    expected = re.sub("THERE|HERE|STAYS", lambda m: line_of(which, m[0]), SENTENCES[which])
    with pytest_proclife.start(TARGET, args=[which]) as main:
        main.wait_for_output("ready\n")
        until_quiet(main)
        run = main.stacks()
    assert sentence(run) == expected


# --- when a run is looked at


@pytest.mark.parametrize("backend", ["pidfd", "polling"])
def test_all_is_looked_at_before_anything_is_ended(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCLIFE_BACKEND", backend)
    with pytest.raises(RunTimeout) as caught:
        pytest_proclife.run(["sh", "-c", "sleep 1000 & wait"], timeout=0.3)
    run = caught.value.run
    assert run.timed_out
    for process in run:
        clean_up = next(fact for fact in process.evidence if isinstance(fact, CleanUp))
        assert process.stacks[0].at < (clean_up.at or 0.0)
        assert process.stacks[0].missing is NoStackKind.NOT_PYTHON
    assert hang.why(run) in str(caught.value)
    assert "\n\nwhere each process stood at 0." in str(caught.value)
    assert Run.from_json(run.to_json()) == run


def test_limits_do_not_keep_a_late_run_from_being_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limited = confinement.Confinement(limits={"processes": 100})
    monkeypatch.setattr(confinement, "_current", [limited])
    read = stacks._read

    def read_slowly(asked: Sequence[tuple[int, int]]) -> Iterable[stacks.Found]:
        time.sleep(0.5)  # several looks at the limits
        return read(asked)

    monkeypatch.setattr(stacks, "_read", read_slowly)
    with pytest.raises(RunTimeout) as caught:
        pytest_proclife.run(TARGET, args=["dead_producer"], timeout=2.0)
    assert caught.value.run.main.stacks[0].frames


@pytest.mark.slow
def test_the_timeout_of_a_run_names_the_line() -> None:
    with pytest.raises(RunTimeout) as caught:
        pytest_proclife.run(TARGET, args=["dead_producer"], timeout=2.0)
    expected = SENTENCES["dead_producer"].replace("HERE", line_of("dead_producer", "HERE"))
    assert sentence(caught.value.run) == expected
    assert hang.why(caught.value.run) in str(caught.value)


def test_the_timeout_of_a_wait_names_the_line() -> None:
    with pytest_proclife.start(TARGET, args=["exit_handler"]) as main:
        main.wait_for_output("ready\n")
        until_quiet(main)
        with pytest.raises(RunTimeout, match=r"Event\.wait at hangs\.py:\d+, waiting for another"):
            main.wait(timeout=0.0)
        assert main.snapshot().main.ending is Ending.RUNNING


def test_a_run_that_ends_has_no_stacks() -> None:
    assert pytest_proclife.run(["true"], timeout=60).main.stacks == ()


def test_a_look_cuts_no_call_off() -> None:
    program = TARGETS / "looked_at.py"
    with pytest_proclife.start(program) as main:
        main.wait_for_output("ready\n")
        until_quiet(main)
        for _ in range(5):
            main.stacks()
        main.send_signal(signal.SIGTERM)
        run = main.wait(timeout=60)
    assert (run.stdout or "").splitlines() == ["ready", "read: 0", "poll: 1", "SIGTERM"]


# --- how a run is looked at


def test_each_call_says_what_it_waits_for() -> None:
    with pytest_proclife.start(TARGETS / "in_calls.py") as main:
        main.wait_for_output("ready\n")
        until_quiet(main)
        run = main.stacks()
    awaited = {s.name: [(a.kind, a.way, a.name[:5]) for a in s.awaited] for s in run.main.stacks}
    pipe = (AwaitedKind.PIPE, "r", "pipe:")
    assert {name: found for name, found in awaited.items() if name != "MainThread"} == {
        "poll": [pipe, (AwaitedKind.PIPE, "w", "pipe:")],
        "select": [pipe],
        "epoll": [pipe],
        "read": [pipe],
        "write": [(AwaitedKind.PIPE, "w", "pipe:")],
        "recv": [(AwaitedKind.PIPE, "r", "socke")],
        "accept": [(AwaitedKind.FILE, "r", "socke")],
        "sleep": [(AwaitedKind.TIME, "", "")],
        "wait": [(AwaitedKind.CHILD, "", "")],
        "sigwait": [(AwaitedKind.SIGNAL, "", "")],
        "lock": [(AwaitedKind.LOCK, "", "")],
        "semaphore": [(AwaitedKind.SEMAPHORE, "", "share")],
    }
    assert {hang.kind for hang in run.main.hangs} >= {HangKind.SLEEP, HangKind.ROOM}


def test_without_a_reader_the_system_call_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "_py_spy", lambda: "")
    with pytest_proclife.start(TARGET, args=["full_queue"]) as main:
        main.wait_for_output("ready\n")
        until_quiet(main)
        run = main.stacks()
    if sys.version_info >= (3, 14):  # it reads itself
        assert run.main.stacks[0].source is StackSource.REMOTE_DEBUGGING
        expected = SENTENCES["full_queue"].replace("HERE", line_of("full_queue", "HERE"))
        # it knows no names of threads; the kernel has 15 letters of them
        assert sentence(run) == expected.replace("QueueFeederThread", "QueueFeederThre")
        return
    assert run.main.stacks[0].missing is NoStackKind.NO_READER
    words = re.sub(r"'python[\d.]*'", "'python'", sentence(run))
    assert re.sub(r" at \S+:", " at hangs.py:", words) == (
        f"main was in the system call wait4 at {line_of('full_queue', 'HERE')} in full_queue,"
        " waiting for filler (pid N) since T s; filler had finished its code at T s and was in its"
        " exit path, in the system call futex, waiting for another thread; thread 'python' of"
        " filler was in the system call write, writing to a pipe that is full, which main could"
        " read"
    )
    assert "pip install py-spy" in " ".join(hang.block(run).split())


def test_a_reader_that_fails_is_said(tmp_path: Path) -> None:
    program = tmp_path / "py-spy"
    program.write_text("#!/bin/sh\necho 'no such symbol' >&2; exit 1\n")
    program.chmod(0o755)
    (found,) = stacks._by_py_spy(str(program), [(7, os.getpid())])
    assert found == (7, "kernel", "failed", "no such symbol", ())


def test_a_reader_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks, "_py_spy", lambda: "/nowhere/py-spy")
    with pytest_proclife.start(TARGETS / "in_calls.py") as main:
        assert main.stacks().main.stacks[0].missing is NoStackKind.FAILED


def test_what_another_user_runs_is_not_looked_into() -> None:
    reader, writer = os.pipe()
    looked_at = os.getpid()
    pid = os.fork()
    if pid == 0:
        why = None
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setgid(65534)
                os.setuid(65534)
            else:
                looked_at = 1
            why = stacks._refused(looked_at)
        finally:
            os.write(writer, str(why).encode())
            os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 100).decode() == NoStackKind.OTHER_USER
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("scope", "why"),
    [("1", "ptrace_scope"), ("2", "ptrace_scope"), ("0", "refused"), (None, "refused")],
)
def test_a_refusal_names_yama_if_that_is_it(
    scope: str | None, why: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuses(path: Path) -> bytes:
        raise PermissionError(path)

    file = tmp_path / "ptrace_scope"
    if scope is not None:
        file.write_text(f"{scope}\n")
    monkeypatch.setattr(stacks, "_SCOPE", str(file))
    monkeypatch.setattr(Path, "read_bytes", refuses)
    assert stacks._refused(os.getpid()) == why


# --- the command line


def test_the_command_line_says_why_it_timed_out(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    words = ["run", "--timeout", "0.3", "--json", str(file), "--", "sleep", "1000"]
    done = subprocess.run([*PROCLIFE, *words], capture_output=True, text=True, timeout=60)
    assert done.returncode == 124
    run = Run.from_json(file.read_text())
    assert f"main did not end in time: {hang.why(run)}" in done.stderr
    assert hang.stacks(run, 80) in done.stderr
    shown = subprocess.run([*PROCLIFE, "show", str(file)], capture_output=True, text=True)
    assert hang.stacks(run, 80) in shown.stdout


def test_a_sigquit_to_proclife_shows_where_the_run_stands() -> None:
    command = [*PROCLIFE, "run", "--", "sh", "-c", "echo $$; read line; exit 3"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        until_waits(int(process.stdout.readline()))
        process.send_signal(signal.SIGQUIT)
        lines = [process.stderr.readline() for _ in range(5)]
        process.stdin.write("\n")
        process.stdin.close()
        assert process.wait(timeout=60) == 3
    assert lines[1].startswith("proclife: main was in the system call read, waiting for")
    assert re.fullmatch(r"where each process stood at \d+\.\d\d s:\n", lines[3])
    assert re.match(r"MainProcess \(pid \d+\): waiting in read \(descriptor 0, pipe:", lines[4])


@pytest.mark.slow
def test_in_a_terminal_sigquit_to_proclife_shows_where_the_run_stands() -> None:
    terminal = Terminal(*PROCLIFE, "run", "--", "sh", "-c", "echo $$ ready; read line; exit 3")
    terminal.wait_for(b"ready")
    until_waits(int(terminal.seen.split()[0]))
    terminal.process.send_signal(signal.SIGQUIT)
    terminal.wait_for(b"waiting in read (descriptor 0, /dev/pts/")
    terminal.type(b"\n")
    assert terminal.finish() == 3


# --- the documentation


PAGE = (Path(__file__).parent.parent / "docs" / "hangs.md").read_text()


def test_the_example_of_the_page_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    subprocess.run([sys.executable, "-W", "error", "-c", block], check=True, timeout=60)


def test_the_page_has_each_reason_for_having_no_frames() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows[1:] == [kind for kind in map(str, NoStackKind) if kind != "not_python"]
