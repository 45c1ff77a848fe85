"""Owners that take turns, each with a list of deeds: `python guard_deeds.py LISTS`, in JSON.

Prints how many processes the guard found to be left by each.
"""

from __future__ import annotations

import ctypes
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

from pytest_proclife.guard import cleanup
from pytest_proclife.guard.owners import NOBODY, of_this_process

FORK = multiprocessing.get_context("fork")
LIBC = ctypes.CDLL(None)
kept: list[subprocess.Popen[bytes]] = []


def joins() -> None:
    process = FORK.Process(target=len, args=("",))
    process.start()
    process.join()


def joins_in_a_thread() -> None:
    thread = threading.Thread(target=joins)
    thread.start()
    thread.join()


def forks_and_waits() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def runs() -> None:
    subprocess.run(["true"], check=True)


def leaves_a_process() -> None:
    FORK.Process(target=time.sleep, args=(600,)).start()


def leaves_a_zombie() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def leaves_a_fork() -> None:
    if os.fork() == 0:
        signal.pause()


def leaves_a_program() -> None:
    kept.append(subprocess.Popen(["sleep", "600"]))


def joins_what_leaves_a_fork() -> None:
    process = FORK.Process(target=leaves_a_fork)
    process.start()
    process.join()


def joins_what_leaves_a_program() -> None:
    process = FORK.Process(target=lambda: (subprocess.Popen(["sleep", "600"]), os._exit(0)))
    process.start()
    process.join()


def runs_what_leaves_a_program() -> None:
    subprocess.run("sleep 600 >&- 2>&- &", shell=True, check=True)


def forks_by_c() -> None:
    if LIBC.fork() == 0:
        os.execv("/bin/sleep", ["sleep", "600"])


def forks_by_c_what_leaves_a_program() -> None:
    pid = LIBC.fork()
    if pid == 0:
        subprocess.Popen(["sleep", "600"])
        os._exit(0)
    os.waitpid(pid, 0)


# How many processes each deed leaves.
LEFT = {
    joins: 0,
    joins_in_a_thread: 0,
    forks_and_waits: 0,
    runs: 0,
    leaves_a_process: 1,
    leaves_a_zombie: 1,
    leaves_a_fork: 1,
    leaves_a_program: 1,
    joins_what_leaves_a_fork: 1,
    joins_what_leaves_a_program: 1,
    runs_what_leaves_a_program: 1,
    forks_by_c: 1,
    forks_by_c_what_leaves_a_program: 1,
}


def reap_all() -> None:
    for child in multiprocessing.active_children():
        child.join()
    for process in kept:
        process.wait()
    kept.clear()
    with suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def main() -> None:
    deeds = {deed.__name__: deed for deed in LEFT}
    ownership, found = of_this_process(), []
    for number, names in enumerate(json.loads(sys.argv[1])):
        test: Any = SimpleNamespace(nodeid=str(number))
        ownership.begin_test(test)
        for name in names:
            deeds[name]()
        if ownership.end_if_clean():
            found.append(0)
            continue
        ownership.update()
        owner = ownership.current
        left = ownership.register.left_by([owner])
        found.append(len(left))
        cleanup.kill(ownership, left)
        for process in left:
            process.is_reported = True
        ownership.replace_by(NOBODY)
        owner.is_over = True
        reap_all()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
