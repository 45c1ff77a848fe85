"""Callables that other processes can import by name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from typing import Any


def show(*args: Any, **kwargs: Any) -> None:
    print(sys.argv, __name__, sys.modules["__main__"].__dict__.get("__file__"), args, kwargs)


def start_one(method: str | None = None) -> None:
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=show, args=("child",))
    process.start()
    process.join()
    sys.exit(process.exitcode)


def call(command: list[str]) -> None:
    subprocess.call(command)


class Course:
    @staticmethod
    def lesson() -> None:
        print("a lesson")


def decorated(function: Any) -> Any:
    return lambda: function()


def replaced() -> None:
    pass


original, replaced = replaced, decorated(replaced)


def block_for_ever(ready: str) -> None:
    with open(ready, "w") as pipe:
        pipe.write("ready\n")
    while True:
        signal.pause()


def sleep_in_a_child() -> None:
    process = multiprocessing.get_context("fork").Process(
        target=time.sleep, args=(600,), name="sleeper"
    )
    process.start()


def terminate_a_child() -> None:
    child = multiprocessing.Process(target=time.sleep, args=(60,))
    child.start()
    child.terminate()
    child.join()


def start_what_is_not_there() -> None:
    """A fork finds that there is no such program; posix_spawn would have said so at once."""
    try:
        subprocess.call(["/no/such/program"], start_new_session=True)
    except FileNotFoundError as error:
        print(error)


def fork_and_exit(exitcode: int) -> None:
    os.fork()
    sys.exit(exitcode)


def write_much() -> None:
    os.write(1, b"HEAD")
    for _ in range(300):
        os.write(1, b"x" * 65536)
    os.write(1, b"TAIL")


def leave_a_writer() -> None:
    """A child writes, and outlives main with its standard output."""
    if os.fork() == 0:
        os.write(1, b"orphan")
        signal.pause()
    os._exit(0)


def leave_a_program_of_a_shell() -> None:
    script = "tail -f /dev/null >/dev/null 2>&1 & echo $!"
    done = subprocess.run(["sh", "-c", script], stdout=subprocess.PIPE, text=True)
    while True:  # until it is tail, and no fork of the shell any more
        with open(f"/proc/{done.stdout.strip()}/cmdline", "rb") as file:
            if file.read().startswith(b"tail"):
                break


def ignore_sigchld() -> None:
    """A child exits, and the kernel reaps it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    try:
        while True:
            os.kill(pid, 0)
    except ProcessLookupError:
        pass


def signal_another_and_leave_a_child(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
    if os.fork() == 0:
        signal.pause()


def leave(how: str) -> None:
    match how:
        case "return":
            return
        case "raise":
            raise LookupError("no such lesson")
        case "exit":
            sys.exit(3)
        case "exit with text":
            sys.exit("a reason")
        case "exit with nothing":
            sys.exit()
        case "os._exit":
            os._exit(4)
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        case _:
            raise ValueError(how)
