"""Mains that stay until somebody ends them, and say when they stand."""

from __future__ import annotations

import multiprocessing
import os
import signal


def block() -> None:
    print("ready", flush=True)
    while True:
        signal.pause()


def block_in_group(group: int) -> None:
    os.setpgid(0, group)
    block()


def _work() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)  # signal.pause() would sleep over one that comes just before it
    print("at work", flush=True)
    os.read(reader, 1)


def two_workers() -> None:
    """Main starts two children and joins one after the other."""
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=_work, name=name) for name in ("first", "second")]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def two_stubborn_workers() -> None:
    """The same; all three ignore SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    two_workers()


def leave_a_child_uncollected() -> None:
    if os.fork() == 0:
        os._exit(7)
    while True:
        signal.pause()


def two_in_a_group() -> None:
    """A child with a process group of its own, and its child."""
    if os.fork() == 0:
        os.setpgid(0, 0)
        os.fork()
        print("there", flush=True)
    signal.pause()


def say(text: str, fifo: str, then: str = "") -> None:
    """Print a text without an end of line, wait for the named pipe, and print the rest."""
    print(text, end="", flush=True)
    with open(fifo) as pipe:
        pipe.read()
    print(then, flush=True)
    if then:
        signal.pause()


def print_much_and_fork() -> None:
    print("x" * 900_000)
    for _ in range(200):
        if os.fork() == 0:
            os._exit(0)
