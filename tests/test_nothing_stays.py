"""After a run no process of its tree is alive, whatever the tree does and however it ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import importable
import pytest
from conftest import TARGETS, Mark

import pytest_proclife
from pytest_proclife import Cause

STUBBORN = str(TARGETS / "stubborn.py")
SOON = 2.0  # s, the promise


@contextmanager
def caller(mark: Mark, fifo: Path, *args: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that has called run() on a tree which stands by now."""
    command = [sys.executable, str(TARGETS / "caller.py"), STUBBORN, str(fifo), *args]
    process = subprocess.Popen(command, env=mark.env, stderr=subprocess.PIPE)
    try:
        assert fifo.read_text() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def main_of(mark: Mark) -> int:
    """The pid of the main that runs the stubborn tree: the oldest of its processes."""
    lines = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in mark.living()}
    return min(pid for pid, line in lines.items() if line.split(b"\0")[1:2] == [STUBBORN.encode()])


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_a_tree_that_outlives_main_is_ended_after_the_linger(mark: Mark, fifo: Path) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    run = pytest_proclife.run(STUBBORN, [str(fifo), "leave"], linger=0.0, env=mark.env)
    os.close(reader)
    assert mark.living() == []
    assert run.exitcode == 3
    # five were forked; one of these may have left a daemon behind, one more of its kind
    causes = [p.cause for p in run.descendants]
    assert causes.count(Cause.CLEANED_UP) >= 5
    assert set(causes) <= {Cause.CLEANED_UP, Cause.OS_EXIT}


def test_a_tree_is_ended_whole_at_the_timeout(mark: Mark, fifo: Path) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(pytest_proclife.RunTimeout) as caught:
        pytest_proclife.run(STUBBORN, [str(fifo)], timeout=1.0, env=mark.env)
    os.close(reader)
    assert mark.living() == []
    assert caught.value.run.timed_out
    assert caught.value.run.main.cause is Cause.CLEANED_UP
    assert "did not end within 1.0 s" in str(caught.value)


def test_a_tree_is_ended_when_its_caller_is_interrupted(mark: Mark, fifo: Path) -> None:
    with caller(mark, fifo) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert mark.gone_within(SOON)
        assert process.returncode == -signal.SIGINT
        assert b"KeyboardInterrupt" in errors


def test_a_tree_is_ended_when_its_caller_is_killed(mark: Mark, fifo: Path) -> None:
    with caller(mark, fifo) as process:
        process.kill()
        assert mark.gone_within(SOON)


def test_orphans_are_ended_when_the_caller_is_killed_while_they_linger(
    mark: Mark, fifo: Path
) -> None:
    with caller(mark, fifo, "leave") as process:
        process.kill()
        assert mark.gone_within(SOON)


def test_a_tree_is_ended_when_its_supervisor_is_killed(mark: Mark, fifo: Path) -> None:
    with caller(mark, fifo) as process:
        os.kill(parent_of(main_of(mark)), signal.SIGKILL)
        _, errors = process.communicate(timeout=10)
        assert mark.gone_within(SOON)
        assert b"SupervisorLost" in errors


def test_a_tree_is_ended_when_the_supervisor_and_the_caller_are_killed(
    mark: Mark, fifo: Path
) -> None:
    with caller(mark, fifo) as process:
        os.kill(parent_of(main_of(mark)), signal.SIGKILL)
        process.kill()
        assert mark.gone_within(SOON)


def test_the_zygote_ends_with_its_caller() -> None:
    code = "import os, pytest_proclife as p; p.run(p.Code('pass')); print(os.getpid()); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        zygotes = _zygotes_of(pid)
        assert zygotes
        process.communicate("\n")
    for zygote in zygotes:
        with suppress(ProcessLookupError):  # it has ended already
            handle = os.pidfd_open(zygote)
            assert select.select([handle], [], [], SOON)[0]
            os.close(handle)


def test_a_run_after_the_zygote_was_killed_starts_another(mark: Mark) -> None:
    code = pytest_proclife.Code("import os; print(os.getppid())")
    first = pytest_proclife.run(code)
    supervisor_before = int(first.stdout or "")
    assert supervisor_before != os.getpid()
    for pid in _zygotes_of(os.getpid()):
        with suppress(ProcessLookupError):  # a waiting supervisor dies with its zygote
            os.kill(pid, signal.SIGKILL)
    assert pytest_proclife.run(code).exitcode == 0


def _zygotes_of(caller: int) -> list[int]:
    wanted = b"zygote.main("
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                line = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if wanted in line and f", {caller})".encode() in line:
                found.append(int(name))
    return found


def test_the_callers_own_children_are_its_own() -> None:
    pytest_proclife.run(pytest_proclife.Code("pass"))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


@pytest.mark.skipif(sys.platform != "linux", reason="pidfds")
def test_a_process_of_others_that_the_program_signals_is_not_taken_for_its_own() -> None:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as other:
        target = importable.signal_another_and_leave_a_child
        run = pytest_proclife.run(target, (other.pid,), linger=0.1)
        assert other.poll() is None
        assert other.pid not in [process.pid for process in run.processes]
        assert [process.cause for process in run.children] == [Cause.CLEANED_UP]
        other.communicate()
