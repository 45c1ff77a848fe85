"""Before Linux 6.15 a wait of what does not report is held until the status has been read.

Nothing about it differs for the program: see `tests/targets/in_c/waits.c`, which checks that.
"""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from conftest import TARGETS

import pytest_proclife
from pytest_proclife import Cause, Code, Run
from pytest_proclife.supervisor import kernel

pytestmark = pytest.mark.once
SOURCE = TARGETS / "in_c" / "waits.c"
KILLED = -9
CODES = {  # of main's descendants
    "timer": [KILLED, 3],
    "handler": [n % 7 + 1 for n in range(30)],
    "other": [4, 5],
    "stopped": [6],
    "subreaper": [KILLED, 9, 8],
    "chosen": [KILLED, 10, 11, 12, 13],
    "stops": [14],
}
ONE_BY_ONE = """
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (exit $i); done
sh -c 'exit 21'; x=$(exit 22); sleep 0.02 & wait $!; sh -c 'exit 23' & wait; kill -9 $$
"""
TOGETHER = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do (exit $i) & done; wait"


@pytest.fixture(autouse=True)
def without_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do as on a kernel that keeps no status."""
    monkeypatch.setenv(kernel.WITHOUT, kernel.EXIT)


@pytest.fixture(scope="module")
def waits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no compiler of C is here")
    program = tmp_path_factory.mktemp("in_c") / "waits"
    subprocess.run([compiler, "-O1", "-pthread", "-o", program, SOURCE], check=True)
    return program


def witnessed(*command: str | Path) -> Run:
    run = pytest_proclife.run(list(map(str, command)), seccomp=True, timeout=50)
    assert kernel.EXIT not in run.witness.features
    return run


def codes(run: Run) -> list[int | None]:
    return [process.exitcode for process in run.descendants]


@pytest.mark.parametrize("word", CODES)
def test_a_wait_returns_what_it_would_return_and_the_status_is_known(
    waits: Path, word: str
) -> None:
    run = witnessed(waits, word)
    assert (run.exitcode, run.stderr) == (0, "")
    assert Counter(codes(run)) == Counter(CODES[word])


def test_threads_that_wait_have_each_its_own_child(waits: Path) -> None:
    run = witnessed(waits, "threads")
    assert (run.exitcode, run.stderr) == (0, "")
    assert Counter(codes(run)) == Counter([21, 22, 23, 24])


def test_a_parent_that_ignores_its_children_waits_until_they_are_gone(waits: Path) -> None:
    run = witnessed(waits, "ignored")  # the kernel reaps them, and keeps nothing
    assert (run.exitcode, run.stderr) == (0, "")
    assert set(codes(run)) <= {None, 7}


def test_a_child_that_sends_no_signal_is_not_waited_for(waits: Path) -> None:
    run = witnessed(waits, "cloned")
    assert (run.exitcode, run.stderr) == (0, "")
    assert set(codes(run)) <= {None, KILLED}  # a wait with __WALL is not held


def test_a_tracer_gets_the_stops_of_what_it_traces(waits: Path) -> None:
    run = witnessed(waits, "traced")  # from its first stop on its waits are not held
    assert (run.exitcode, run.stderr) == (0, "")
    assert set(codes(run)) <= {None, KILLED}


def test_a_signal_that_dumps_core_ends_one_that_waits(waits: Path) -> None:
    run = witnessed(waits, "quits")
    assert (run.exitcode, run.stderr) == (0, "")
    ended, left = run.descendants
    assert (ended.exitcode, ended.cause, left.cause) == (-3, Cause.TERMINATED, Cause.CLEANED_UP)


@pytest.fixture(params=["dash", "bash"])
def shell(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"no {name} is here")
    return name


def test_no_short_child_of_a_shell_loses_its_status(shell: str) -> None:
    run = witnessed(shell, "-c", ONE_BY_ONE)
    assert codes(run) == [*range(1, 23), 0, 23]
    assert run.main.exitcode == KILLED
    assert not any(process.cause is Cause.UNKNOWN for process in run)


def test_of_children_that_end_together_hardly_any_status_is_lost(shell: str) -> None:
    run = witnessed(shell, "-c", TOGETHER)
    known = Counter(codes(run))
    # a wait that goes on may collect one that has ended since: without held waits it is half
    assert known.pop(None, 0) <= 4
    assert known <= Counter(range(1, 21))


def test_a_trap_runs_while_a_shell_waits() -> None:
    script = "trap 'echo caught; exit 4' USR1; sleep 60 & (sleep 0.2; kill -USR1 $$) & wait"
    with pytest_proclife.start(["sh", "-c", script], seccomp=True) as service:
        run = service.wait(timeout=30)
    assert (run.exitcode, run.stdout) == (4, "caught\n")


def test_a_signal_ends_a_shell_that_waits() -> None:
    code = "import subprocess; subprocess.run(['sh', '-c', 'sleep 60; true'])"
    with pytest_proclife.start(Code(code), seccomp=True, linger=0) as service:
        run = service.wait_for(lambda look: len(look.processes) == 3, timeout=30)
        service.send_signal("SIGTERM", process=run.processes[1])
        run = service.wait(timeout=30)
    shell, slept = run.descendants
    assert (run.exitcode, shell.exitcode, slept.cause) == (0, -15, Cause.CLEANED_UP)
