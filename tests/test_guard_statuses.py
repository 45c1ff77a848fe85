"""The guard takes no wait status, with strace as the witness."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from guarding import SUITES

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
]


def waits(folder: Path, *options: str) -> set[str]:
    """The system calls of pytest's process that concern its children."""
    log = folder / "log"
    command = ["strace", "-f", "-qq", "-e", "trace=wait4,waitid,rt_sigaction,prctl", "-o", str(log)]
    command += [
        sys.executable,
        *["-m", "pytest", "-q", "-p", "pytest_proclife.plugin", "-W", "ignore"],
    ]
    command += options
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert "7 passed" in done.stdout, done.stdout + done.stderr
    assert ("5 leaked" in done.stdout) == bool(options)
    lines = [line.split(maxsplit=1) for line in log.read_text().splitlines()]
    first = lines[0][0]
    own = [text for pid, text in lines if pid == first and "resumed>" not in text]
    calls = [
        re.sub(r"(?<=wait4\()\d+|(?<=P_PID, )\d+", "pid", text)
        for text in own
        if text.startswith(("wait", "prctl(PR_SET_CHILD_SUBREAPER", "rt_sigaction(SIGCHLD, {"))
    ]
    # the rest of a call depends on whether it had to block
    return {re.sub(r"(wait4\(pid|waitid\(P_PID, pid).*", r"\1", call) for call in calls}


def test_pytests_process_waits_for_no_child_but_by_its_pid_and_handles_no_sigchld(
    tmp_path: Path,
) -> None:
    shutil.copy(SUITES / "guard_five_leaks.py", tmp_path / "test_suite.py")
    # the last test of the suite finds all statuses: so the guard has waited for none of these
    guarded = waits(tmp_path, "--proclife-guard", "--proclife-guard-wait=0")
    assert waits(tmp_path) == guarded == {"wait4(pid", "waitid(P_PID, pid"}
