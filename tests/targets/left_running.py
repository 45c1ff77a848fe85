"""Mains that do not end by themselves: WHICH, and what each says of itself in its docstring.

When proclife ends one of its processes, the others notice, and end in ways of their own. "ready"
on standard output means that all stand.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from typing import NoReturn


def readers() -> None:
    """Forks that exit with 0 as soon as main has ended, and a main that waits for them."""
    reader, writer = os.pipe()
    for _ in range(40):
        if os.fork() == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
    ready()
    os.wait()
    os._exit(5)


def writers() -> None:
    """Forks that die of SIGPIPE as soon as main, which reads from them, has ended."""
    reader, writer = os.pipe()
    for _ in range(20):
        if os.fork() == 0:
            os.close(reader)
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            while True:
                os.write(writer, bytes(4096))
    os.close(writer)
    ready()
    while True:
        os.read(reader, 4096)


def receive(connection: Connection) -> None:
    ours, its = multiprocessing.Pipe()
    below = multiprocessing.Process(target=sleep_or_exit, args=(its,), name="below")
    below.start()
    ours.recv()
    connection.send("ready")
    connection.recv()  # raises EOFError when main has ended


def sleep_or_exit(connection: Connection) -> None:
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(7))
    connection.send("ready")
    while True:
        time.sleep(0.1)


def chain() -> None:
    """Main joins a worker that reads from it, and has a program and a daemon beside it."""
    ours, its = multiprocessing.Pipe()
    worker = multiprocessing.Process(target=receive, args=(its,), name="worker")
    worker.start()
    its.close()
    subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    daemon = multiprocessing.Process(target=time.sleep, args=(1000,), name="daemon", daemon=True)
    daemon.start()
    ours.recv()
    ready()
    worker.join()
    daemon.terminate()
    daemon.join()


def exit_path() -> None:
    """Main's code is done, and its exit path waits for two children."""
    for name in ("first", "second"):
        multiprocessing.Process(target=time.sleep, args=(1000,), name=name).start()
    ready()


def restarts() -> None:
    """Main starts its workers again when they have ended."""
    workers = [start() for _ in range(4)]
    ready()
    for _ in range(100):
        multiprocessing.connection.wait([worker.sentinel for worker in workers])
        for place, worker in enumerate(workers):
            if not worker.is_alive():
                worker.join()
                workers[place] = start()


def start() -> multiprocessing.Process:
    worker = multiprocessing.Process(target=time.sleep, args=(1000,))
    worker.start()
    return worker


def forks() -> None:
    """Main forks children that exit at once, as fast as it can, for ten seconds."""
    ready()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        pids = [os.fork() or os._exit(3) for _ in range(4)]
        for pid in pids:
            os.waitpid(pid, 0)


def orphans() -> None:
    """Main ends, and leaves a child with a child of its own."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        if os.fork():
            os.close(writer)
            os.wait()
        os.close(writer)
        stay()
    os.close(writer)
    os.read(reader, 1)
    ready()
    os._exit(0)


def stay() -> NoReturn:
    while True:
        time.sleep(1000)


def ready() -> None:
    print("ready", flush=True)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
