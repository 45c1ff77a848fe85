"""How the hostile answers find what is above them and beside them: each begins with this text."""

import contextlib
import os
import re
import signal


def read(pid, name):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()
    return b""


def parent(pid):
    return int(read(pid, "stat").rpartition(b")")[2].split()[1])


def pids():
    """The processes of this test alone: others may be graded on the machine."""
    mark = os.environ["PROCLIFE_TEST_MARK"].encode()
    found = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in found if mark in read(pid, "environ")]


def above():
    """This process, and those above it."""
    found = [os.getpid()]
    while found[-1] > 1:
        found.append(parent(found[-1]))
    return found


def is_grading(pid):
    """Whether it is the command, or a grader, which is a fork of it."""
    return b"\0grade\0" in read(pid, "cmdline")


def own_grader():
    return next((pid for pid in above() if is_grading(pid)), os.getpid())


def other_graders():
    return [pid for pid in pids() if is_grading(pid) and pid not in above()]


def other_answers():
    """The processes of other answers."""
    family = set(above())
    found = []
    for pid in pids():
        line = read(pid, "cmdline")
        if b"/answers/" in line and b"_good.py" in line and pid not in family:
            found.append(pid)
    return found


def try_each(action, targets):
    for target in targets:
        with contextlib.suppress(OSError, ValueError):
            action(target)
