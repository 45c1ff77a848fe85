"""A pytest that is interrupted, cut off or killed leaves no process of what its tests started.

The tree that a test starts stands when it has said so on a named pipe; then the blow comes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import TARGETS, Mark

pytestmark = pytest.mark.once
STUBBORN = str(TARGETS / "stubborn.py")
SOON = 2.0  # s, the promise
LONG = 60.0  # s; a pytest that hangs is a failure

BLOCK = "os.read(os.pipe()[0], 1)"
WAYS = {
    "run": "proclife.run(STUBBORN, [FIFO], timeout=None)",
    "linger": "proclife.run(STUBBORN, [FIFO, 'leave'], linger=600.0)",
    "start": f"proclife.start(STUBBORN, [FIFO]); {BLOCK}",
    "wait": "proclife.start(STUBBORN, [FIFO]).wait(timeout=None)",
}


@pytest.fixture
def go(tmp_path: Path) -> Path:
    """A named pipe on which a test hears that it may go on."""
    path = tmp_path / "go"
    os.mkfifo(path)
    return path


def write_tests(suite: pytest.Pytester, fifo: Path, **bodies: str) -> None:
    names = {"STUBBORN": STUBBORN, "FIFO": str(fifo), "GO": str(fifo.with_name("go"))}
    lines = [
        "import os",
        "from pathlib import Path",
        *(f"{name} = {value!r}" for name, value in names.items()),
    ]
    for name, body in bodies.items():
        lines += ["", f"def test_{name}(proclife):", f"    {body}"]
    suite.makepyfile(test_it="\n".join(lines))


@contextmanager
def suite_under_way(
    suite: pytest.Pytester, mark: Mark, fifo: Path, *options: str
) -> Iterator[subprocess.Popen[str]]:
    """A pytest whose first test has a tree that stands; all of it carries the mark."""
    command = [sys.executable, "-m", "pytest", "-Werror", "-p", "no:cacheprovider", *options]
    process = subprocess.Popen(
        command,
        cwd=suite.path,
        env={**os.environ, **mark.env},
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
    write_tests(suite, fifo, it=WAYS[way])
    with suite_under_way(suite, mark, fifo) as process:
        os.killpg(process.pid, number)  # as a terminal does: all that is in its foreground
        status, output = outcome(process, mark)
    if number == signal.SIGINT:
        assert status == pytest.ExitCode.INTERRUPTED
        assert "KeyboardInterrupt" in output


def test_the_first_failure_allowed_leaves_nothing(
    suite: pytest.Pytester, mark: Mark, fifo: Path, go: Path
) -> None:
    write_tests(
        suite,
        fifo,
        it="proclife.start(STUBBORN, [FIFO]); Path(GO).read_text(); assert False",
        later="assert False",
    )
    with suite_under_way(suite, mark, fifo, "--maxfail=1") as process:
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
    write_tests(suite, fifo, it=WAYS[way], later="pass")
    with suite_under_way(suite, mark, fifo, *options) as process:
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
    suite.makeconftest(f"""
        import threading

        class Timer(threading.Timer):
            def run(self):  # the time is over when the tree stands
                open({str(go)!r}).read()
                self.function(*self.args, **self.kwargs)

        threading.Timer = Timer
    """)
    options = ["-p", "timeout", "--timeout=600", "--timeout-method=thread"]
    write_tests(suite, fifo, it=WAYS[way])
    with suite_under_way(suite, mark, fifo, *options) as process:
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
    write_tests(
        suite,
        fifo,
        it=f"Path({str(worker)!r}).write_text(str(os.getpid())); "
        f"os.environ['PROCLIFE_TEST_MARK'] = {tree.value!r}; {WAYS[way]}",
        other="Path(GO).read_text()",
    )
    with suite_under_way(suite, mark, fifo, *XDIST) as process:
        assert tree.living()
        os.kill(int(worker.read_text()), signal.SIGKILL)
        assert tree.gone_within(SOON)
        assert process.poll() is None
        go.write_text("go on")
        status, output = outcome(process, mark)
    assert status == pytest.ExitCode.TESTS_FAILED
    assert "1 failed, 1 passed" in output
    assert "crashed while running 'test_it.py::test_it'" in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_signal_to_all_beside_xdist_leaves_nothing(
    suite: pytest.Pytester, mark: Mark, fifo: Path, number: signal.Signals
) -> None:
    pytest.importorskip("xdist")
    write_tests(suite, fifo, it=WAYS["run"])
    with suite_under_way(suite, mark, fifo, *XDIST) as process:
        os.killpg(process.pid, number)
        outcome(process, mark)
