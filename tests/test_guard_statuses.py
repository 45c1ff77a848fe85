"""That the guard takes no wait status, with strace as the witness."""

from __future__ import annotations

import os
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

SUITE = """
import multiprocessing, os, pytest, signal, subprocess, threading
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
    reader, kept_open = os.pipe()  # without the guard it ends with pytest
    orphan = "exec 3<&0; cat <&3 >/dev/null 2>&1 &"
    subprocess.run(orphan, shell=True, stdin=reader)
@pytest.fixture(scope="class")
def server():
    kept.append(subprocess.Popen(["sleep", "600"]))
class TestIt:
    def test_has_its_fixture_leave_one(self, server):
        pass
def test_statuses_are_there():
    for pid in (kept[1].pid, kept[2], kept[3].pid):
        os.kill(pid, signal.SIGKILL)
    assert os.WEXITSTATUS(os.waitpid(kept[0], 0)[1]) == 7
    kept[1].join()
    assert os.waitpid(kept[2], 0)[1] == 9
    kept[3].wait()
"""


def waits(folder: Path, guard: str) -> set[str]:
    """What pytest's process asked of the kernel about its children."""
    log = folder / guard
    command = ["strace", "-f", "-qq", "-e", "trace=wait4,waitid,rt_sigaction,prctl", "-o", str(log)]
    command += [
        sys.executable,
        *["-m", "pytest", "-q", "-p", "pytest_proclife.plugin", "-W", "ignore"],
    ]
    command += [f"--proclife-guard={guard}", "--proclife-guard-wait=0"]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert "7 passed" in done.stdout, done.stdout + done.stderr
    assert ("5 leaked" in done.stdout) == (guard == "error")
    lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    first = lines[0][0]
    own = [text for pid, text in lines if pid == first and "resumed>" not in text]
    calls = [
        re.sub(r"(?<=wait4\()\d+|(?<=P_PID, )\d+", "pid", text)
        for text in own
        if text.startswith(("wait", "prctl(PR_SET_CHILD_SUBREAPER", "rt_sigaction(SIGCHLD, {"))
    ]
    # what follows is whether it had to block
    return {re.sub(r"(wait4\(pid|waitid\(P_PID, pid).*", r"\1", call) for call in calls}


def test_pytests_process_waits_for_no_child_but_by_its_pid_and_handles_no_sigchld(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    # that it waits for none of these itself is shown by the last test, which finds all statuses
    assert waits(tmp_path, "off") == waits(tmp_path, "error") == {"wait4(pid", "waitid(P_PID, pid"}
