"""What a guard must not do: take a wait status, set a handler, adopt orphans."""

import ctypes
import os
import signal
import subprocess

PR_GET_CHILD_SUBREAPER = 37
kept = []


def test_leaves():
    kept.append(subprocess.Popen(["sh", "-c", "exit 7"], stdout=subprocess.PIPE))
    kept[0].stdout.read()
    kept[0].stdout.close()
    kept.append(os.fork())
    if kept[1] == 0:
        signal.pause()


def test_statuses_are_there():
    assert kept[0].wait() == 7
    assert os.waitpid(kept[1], 0) == (kept[1], 9)
    assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
    is_reaper = ctypes.c_int()
    get = (PR_GET_CHILD_SUBREAPER, ctypes.byref(is_reaper), 0, 0, 0)
    assert ctypes.CDLL(None).prctl(*get) == 0
    assert is_reaper.value == 0
