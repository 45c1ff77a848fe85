"""Mains that send signals, by each way to send one: WHICH, and its arguments."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any


def wait(ready: Any, exits: str) -> None:
    if exits:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    ready.set()
    time.sleep(60)


def send(pid: int, number: int) -> None:
    signal.pidfd_send_signal(os.pidfd_open(pid), number)


def by_pidfd(method: str, number: str, exits: str, sender: str) -> None:
    """Main or another child signals a child, which may exit in its handler."""
    context: Any = multiprocessing.get_context(method)
    ready = context.Event()
    child = context.Process(target=wait, args=(ready, exits), name="child")
    child.start()
    ready.wait()
    other = context.Process(target=send, args=(child.pid, int(number)), name="other")
    if sender == "other":
        other.start()
        other.join()
    else:
        send(child.pid, int(number))
    child.join()


def to_a_group() -> None:
    group = subprocess.Popen(["sleep", "60"], process_group=0).pid
    subprocess.Popen(["sleep", "60"], process_group=group)
    try:
        signal.pidfd_send_signal(os.pidfd_open(group), 15, None, 4)
    except OSError:  # Linux before 6.9
        os.killpg(group, 15)
    os.wait()
    os.wait()


def to_many_groups() -> None:
    for _ in range(40):
        child = subprocess.Popen(["sleep", "60"], start_new_session=True)
        os.killpg(child.pid, 15)
        child.wait()


def to_themselves() -> None:
    """Children that signal themselves, beside a shell."""
    shell = subprocess.Popen("read line", shell=True, stdin=subprocess.PIPE)
    ways: list[Callable[[], object]] = [
        lambda: os.kill(os.getpid(), 15),
        lambda: signal.pthread_kill(threading.get_ident(), 15),
        lambda: send(os.getpid(), 15),
    ]
    for way in ways:
        if os.fork() == 0:
            way()
            time.sleep(60)
        os.wait()
    shell.communicate()


def refused() -> None:
    """Numbers that are not signals, and what the calls say to them."""
    own = os.pidfd_open(os.getpid())
    calls: list[Callable[[Any], object]] = [
        lambda number: os.kill(os.getpid(), number),
        lambda number: os.killpg(os.getpgid(0), number),
        lambda number: signal.pthread_kill(threading.get_ident(), number),
        lambda number: signal.pidfd_send_signal(own, number),
        lambda number: signal.pidfd_send_signal(own, str(number)),  # type: ignore[arg-type]
        lambda number: signal.pidfd_send_signal(own),  # type: ignore[call-arg]
        lambda number: signal.pidfd_send_signal(0, number),
    ]
    for number in (9999, 65, -1, 0):
        for call in calls:
            try:
                print(call(number))
            except (OSError, TypeError, ValueError) as error:
                print(repr(error))


def to_a_stranger(way: str, pid: str) -> None:
    """A process of another run is signalled, and a child stays."""
    if os.fork() == 0:
        time.sleep(60)
    if way == "kill":
        os.kill(int(pid), signal.SIGCONT)
    elif way == "killpg":
        os.killpg(int(pid), signal.SIGCONT)
    else:
        send(int(pid), signal.SIGCONT)


def left_by_a_handler(how: str) -> None:
    """Main has a handler of SIGHUP that exits, or that lets it go on."""
    reader, writer = os.pipe()

    def leave(number: int, frame: object) -> None:
        if how == "sys.exit":
            sys.exit(5)
        if how == "raise":
            raise SystemExit(5)
        if how == "catches its exit":
            try:
                sys.exit(5)
            except SystemExit:
                os.write(writer, b"1")
        else:
            os.write(writer, b"1")

    signal.signal(signal.SIGHUP, leave)
    print("ready", flush=True)
    os.read(reader, 1)  # until a handler writes or leaves
    sys.exit(6)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
