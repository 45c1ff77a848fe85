"""A pytest that is interrupted, cut off or killed leaves no process of what its tests started.

The tree that a test starts stands when it has said so on a named pipe; then the blow comes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import TARGETS, Mark, copy_into, mostly_slow

pytestmark = pytest.mark.once
STUBBORN = str(TARGETS / "stubborn.py")
SOON = 2.0  # s, the promise
LONG = 60.0  # s; a pytest that hangs is a failure

WAYS = mostly_slow(["run", "linger", "start", "wait"])


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """A named pipe on which a test hears that it may go on."""
    path = tmp_path / "go"
    os.mkfifo(path)
    return path


@contextmanager
def suite_under_way(
    suite: pytest.Pytester, mark: Mark, fifo: Path, tests: Sequence[str], *options: str, **env: str
) -> Iterator[subprocess.Popen[str]]:
    """A pytest whose first test has a tree that stands; all of it carries the mark."""
    copy_into(suite, "interrupted.py")
    command = [sys.executable, "-m", "pytest", "-Werror", "-p", "no:cacheprovider", *options]
    command += [f"test_it.py::test_{name}" for name in tests]
    paths = {"STUBBORN": STUBBORN, "FIFO": str(fifo), "GO": str(fifo.with_name("go"))}
    process = subprocess.Popen(
        command,
        cwd=suite.path,
        env={**os.environ, **mark.env, **paths, **env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert fifo.read_text() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def outcome(process: subprocess.Popen[str], mark: Mark) -> tuple[int, str]:
    """Pytest's exit status and output, once it has ended; by then or soon nothing is left."""
    output, _ = process.communicate(timeout=LONG)
    assert mark.gone_within(SOON)
    return process.returncode, output


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_leaves_nothing(
    suite: pytest.Pytester, mark: Mark, fifo: Path, way: str, number: signal.Signals
) -> None:
    with suite_under_way(suite, mark, fifo, [way]) as process:
        os.killpg(process.pid, number)  # as a terminal does: all that is in its foreground
        status, output = outcome(process, mark)
    if number == signal.SIGINT:
        assert status == pytest.ExitCode.INTERRUPTED
        assert "KeyboardInterrupt" in output


def test_the_first_failure_allowed_leaves_nothing(
    suite: pytest.Pytester, mark: Mark, fifo: Path, go: Path
) -> None:
    tests = ["fails_with_a_tree", "fails"]
    with suite_under_way(suite, mark, fifo, tests, "--maxfail=1") as process:
        go.write_text("go on")
        status, output = outcome(process, mark)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed in" in output


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_by_signal_leaves_nothing(
    suite: pytest.Pytester, mark: Mark, fifo: Path, way: str
) -> None:
    pytest.importorskip("pytest_timeout")
    options = ["-p", "timeout", "--timeout=600", "--timeout-method=signal"]
    with suite_under_way(suite, mark, fifo, [way, "passes"], *options) as process:
        os.kill(process.pid, signal.SIGALRM)  # the clock's, but when the tree stands
        status, output = outcome(process, mark)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in output
    assert "Timeout" in output


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_by_thread_leaves_nothing(
    suite: pytest.Pytester, mark: Mark, fifo: Path, go: Path, way: str
) -> None:
    pytest.importorskip("pytest_timeout")
    copy_into(suite, "timer_conftest.py")
    options = ["-p", "timeout", "--timeout=600", "--timeout-method=thread"]
    with suite_under_way(suite, mark, fifo, [way], *options) as process:
        go.write_text("go on")
        status, output = outcome(process, mark)
    assert status == 1
    assert "Timeout" in output


XDIST = ["-p", "xdist", "-n", "2", "--max-worker-restart=0"]


@pytest.mark.parametrize("way", WAYS)
def test_a_killed_worker_of_xdist_leaves_nothing(
    suite: pytest.Pytester, mark: Mark, fifo: Path, go: Path, way: str
) -> None:
    pytest.importorskip("xdist")
    tree = Mark()
    worker = fifo.with_name("worker")
    tests, env = [way, "waits_for_the_blow"], {"WORKER": str(worker), "TREE": tree.value}
    with suite_under_way(suite, mark, fifo, tests, *XDIST, **env) as process:
        assert tree.living()
        os.kill(int(worker.read_text()), signal.SIGKILL)
        assert tree.gone_within(SOON)
        assert process.poll() is None
        go.write_text("go on")
        status, output = outcome(process, mark)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in output
    assert f"crashed while running 'test_it.py::test_{way}'" in output


@pytest.mark.parametrize("number", mostly_slow([signal.SIGKILL, signal.SIGINT]))
def test_a_signal_to_all_beside_xdist_leaves_nothing(
    suite: pytest.Pytester, mark: Mark, fifo: Path, number: signal.Signals
) -> None:
    pytest.importorskip("xdist")
    with suite_under_way(suite, mark, fifo, ["run"], *XDIST) as process:
        os.killpg(process.pid, number)
        outcome(process, mark)
