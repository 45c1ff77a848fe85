"""Storms: every process is recorded once, with its own end; a second witness says the same."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from conftest import TARGETS

import pytest_proclife
from pytest_proclife import Cause, Joined, Run

pytestmark = pytest.mark.slow
STORM = str(TARGETS / "storm.py")
PROCESSES = str(TARGETS / "processes.py")
EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.once
def test_two_thousand_children_that_exit_at_once_are_recorded_each_with_its_exit_code() -> None:
    run = pytest_proclife.run(STORM, ["2000"], timeout=120)
    assert run.exitcode == 0
    assert len({p.pid for p in run.descendants}) == len(run.descendants) == 2000
    assert Counter(p.exitcode for p in run.descendants) == Counter(n % 7 for n in range(2000))
    assert {p.cause for p in run.descendants} == {Cause.OS_EXIT}
    assert {p.parent for p in run.descendants} == {run.main}
    assert run.witness.complete


@pytest.mark.parametrize("reaped_by", ["true", "ignored"])
def test_programs_that_are_reaped_before_their_start_has_returned_are_recorded(
    reaped_by: str,
) -> None:
    run = pytest_proclife.run(STORM, ["200", reaped_by], timeout=120)
    assert run.exitcode == 0, run.stderr
    assert [p.name for p in run.descendants] == ["true"] * 200
    assert len({p.pid for p in run.descendants}) == 200
    known = {0} if reaped_by == "true" else {0, None}  # the kernel reaps it, and it may be gone
    assert {p.exitcode for p in run.descendants} <= known
    assert {p.joined for p in run.descendants} <= {None, "explicit"}  # wait() may come first
    assert {p.orphaned for p in run.descendants} == {False}
    assert {p.parent for p in run.descendants} == {run.main}


@pytest.mark.parametrize(
    ("method", "count", "width"),
    [
        # fewer, since each starts an interpreter and imports its program
        pytest.param("spawn", 60, 10, marks=pytest.mark.once),
        ("forkserver", 200, 20),
        ("fork", 200, 50),
    ],
)
def test_many_processes_are_recorded_each_under_its_name(
    method: str, count: int, width: int
) -> None:
    run = pytest_proclife.run(PROCESSES, [method, str(count), str(width)], timeout=180)
    assert run.exitcode == 0, run.stderr
    ends = {p.name: (p.exitcode, p.cause, p.joined) for p in run.children}
    assert len(run.descendants) == count
    assert ends == {f"child-{n}": (n, Cause.SYS_EXIT, Joined.EXPLICIT) for n in range(count)}
    assert {p.start_method for p in run.children} == {method}
    assert run.witness.complete


def test_four_hundred_tasks_of_a_pool_have_a_process_each() -> None:
    run = pytest_proclife.run(str(TARGETS / "pool.py"), ["400"], timeout=120)
    pids = {int(word) for word in (run.stdout or "").split()}
    assert len(pids) == 400
    recorded = {p.pid: p for p in run.descendants}
    assert pids <= set(recorded)
    assert len(recorded) == len(run.descendants) <= 404  # and the idle ones at the end
    assert {recorded[pid].cause for pid in pids} == {Cause.RETURNED}
    assert {p.kind for p in run.descendants} == {"pool_worker"}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver", "os.fork"])
def test_children_killed_right_after_their_start_are_recorded(method: str) -> None:
    run = pytest_proclife.run(str(TARGETS / "killed_at_birth.py"), [method, "50"], timeout=120)
    assert run.exitcode == 0, run.stderr
    assert len(run.descendants) == 50
    assert {p.exitcode for p in run.descendants} == {-9}
    assert {p.cause for p in run.descendants} == {Cause.KILLED}
    assert {p.ended_by for p in run.descendants} == {run.main.id}
    assert {p.parent for p in run.descendants} == {run.main}
    assert run.witness.complete


def witnessed(command: list[str], trace: Path) -> Counter[str]:
    """How the processes of a command ended, by `strace -f`: "exited 3", "killed SIGKILL"."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace, the second witness, is not installed")
    subprocess.run(
        [strace, "-f", "-q", "-e", "trace=none", "-o", str(trace), *command],
        stdout=subprocess.DEVNULL,
        timeout=170,
        check=False,
    )
    ends: dict[str, str] = {}
    for line in trace.read_text().splitlines():
        found = re.match(r"(\d+) +\+\+\+ (exited with (\d+)|killed by (\w+))", line)
        if found:
            ends[found[1]] = f"exited {found[3]}" if found[3] else f"killed {found[4]}"
    return Counter(ends.values())


def recorded(run: Run) -> Counter[str]:
    return Counter(
        f"killed {p.signal}" if p.signal else f"exited {p.exitcode}" for p in run.processes
    )


@pytest.mark.once
@pytest.mark.parametrize("name", ["main_process.py", "exam_daemon.py"])
def test_a_second_witness_counts_the_same_ends_in_the_examples(name: str, tmp_path: Path) -> None:
    script = str(EXAMPLES / name)
    run = pytest_proclife.run(script)
    assert recorded(run) == witnessed([sys.executable, script], tmp_path / "trace")


@pytest.mark.once
@pytest.mark.parametrize(
    "command",
    [[STORM, "500"], [PROCESSES, "spawn", "20", "5"], [PROCESSES, "forkserver", "20", "5"]],
)
def test_a_second_witness_counts_the_same_ends_in_storms(
    command: list[str], tmp_path: Path
) -> None:
    run = pytest_proclife.run(command[0], command[1:], timeout=120)
    assert recorded(run) == witnessed([sys.executable, *command], tmp_path / "trace")
