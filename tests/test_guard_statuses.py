"""That the guard takes no wait status, with strace as the witness."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]

# for whom is waited, and what could take any child's status
_ASKS = re.compile(
    r"wait4\([^,]+|waitid\(\w+, [^,]+|prctl\(PR_SET_CHILD_SUBREAPER|rt_sigaction\(SIGCHLD, {"
)
SUITE = """
import contextlib, multiprocessing, os, pytest, signal, subprocess, threading
kept = []
FORK = multiprocessing.get_context("fork")
def test_tidy():
    assert subprocess.run(["true"]).returncode == 0
    process = FORK.Process(target=len, args=("",))
    process.start()
    process.join()
def test_leaves_a_zombie():
    kept.append(os.fork())
    if not kept[-1]:
        os._exit(7)
    os.waitid(os.P_PID, kept[-1], os.WEXITED | os.WNOWAIT)
def test_leaves_a_process():
    kept.append(FORK.Process(target=threading.Event().wait))
    kept[-1].start()
def test_leaves_a_program():
    kept.append(os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ))
def test_leaves_an_orphan():
    kept.append(int(subprocess.check_output("sleep 600 >/dev/null & echo $!", shell=True)))
@pytest.fixture(scope="module")
def server():
    kept.append(subprocess.Popen(["sleep", "600"]))
def test_has_its_fixture_leave_one(server):
    pass

def test_statuses_are_there():
    # what no guard has ended; those that one has are zombies, but for the orphan
    for pid in (kept[1].pid, kept[2], kept[3], kept[4].pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert os.WEXITSTATUS(os.waitpid(kept[0], 0)[1]) == 7
    kept[1].join()
    assert os.waitpid(kept[2], 0)[1] == 9
    kept[4].wait()
"""


def waits(folder: Path, guard: str) -> list[str]:
    """What pytest's process asked of the kernel, the pids by their order."""
    log = folder / guard
    command = ["strace", "-f", "-qq", "-e", "trace=wait4,waitid,rt_sigaction,prctl", "-o", str(log)]
    command += [sys.executable, "-m", "pytest", "-q", "-W", "ignore"]
    command += ["-p", "no:cacheprovider", "-p", "no:randomly"]
    command += [f"--proclife-guard={guard}", "--proclife-guard-wait=0"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert "7 passed" in done.stdout, done.stdout + done.stderr
    assert ("4 leaked" in done.stdout) == (guard == "error")
    lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    first = lines[0][0]
    own = [text for pid, text in lines if pid == first and "resumed>" not in text]
    found = (_ASKS.match(re.sub(r"(?<=wait4\()\d+|(?<=P_PID, )\d+", "pid", text)) for text in own)
    return [match.group() for match in found if match]


def test_pytests_process_waits_for_nobody_that_the_tests_do_not_wait_for(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    bare, guarded = waits(tmp_path, "off"), waits(tmp_path, "error")
    assert guarded == bare
    assert len(guarded) >= 6
    assert set(guarded) == {"wait4(pid", "waitid(P_PID, pid"}
