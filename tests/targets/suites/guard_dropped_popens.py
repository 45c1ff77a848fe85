"""Popens that are deleted while their processes run, of which one exits before the test is over."""

import os
import subprocess


def test_has_exited():
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    writer = os.dup(process.stdin.fileno())
    process.stdin.close()
    pid = process.pid
    del process
    os.close(writer)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def test_runs():
    subprocess.Popen(["sleep", "600"])
