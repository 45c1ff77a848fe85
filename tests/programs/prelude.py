"""What every drawn program imports: gates, readiness, reactions to signals. Copied beside it.

A gate is a named pipe that the tool keeps open: a byte written there waits for its reader. So
no program depends on speed, and a process that waits for something is released by an event.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

PLACE = os.environ.get("DRAWN_PLACE", ".")
ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
wakeup = -1


class Asked(Exception):
    """Raised by a handler."""


def born(name: str, pid: int | None = None) -> None:
    """Write down which process has this name, and give it signals as at an interpreter's start."""
    record = os.open(f"{PLACE}/pids", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
    os.write(record, f"{name} {pid or os.getpid()}\n".encode())
    os.close(record)
    if pid is None:
        signal.set_wakeup_fd(-1)
        for number in (*ASKING, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ASKING)


def tell(gate: str) -> None:
    end = os.open(f"{PLACE}/{gate}", os.O_WRONLY | os.O_CLOEXEC)
    os.write(end, b".")
    os.close(end)


def wait_for(gate: str) -> None:
    end = os.open(f"{PLACE}/{gate}", os.O_RDONLY | os.O_CLOEXEC)
    os.read(end, 1)
    os.close(end)


def wait_until_ended(pid: int) -> None:
    """Wait for the end of a process without collecting its status."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # collected already, by a fork server
    select.select([handle], [], [])
    os.close(handle)


def wait_until_finished(process: Any) -> None:
    """Wait for the end of a Process, and until a fork server has passed its status on."""
    from multiprocessing.connection import wait

    wait_until_ended(process.pid)
    wait([process.sentinel])


def send_by_pidfd(pid: int, number: int) -> None:
    handle = os.pidfd_open(pid)
    signal.pidfd_send_signal(handle, number)
    os.close(handle)


def send_belatedly(pid: int, number: int) -> None:
    """Send a signal to a process that has ended."""
    wait_until_ended(pid)
    with suppress(ProcessLookupError):  # a fork server has collected it
        os.kill(pid, number)


def in_thread(call: Callable[..., Any], *arguments: Any) -> None:
    thread = threading.Thread(target=call, args=arguments)
    thread.start()
    thread.join()


def at_exit(gate: str) -> None:
    """Open a gate once multiprocessing's exit function has begun."""
    from multiprocessing.util import Finalize

    Finalize(None, tell, args=(gate,), exitpriority=0)


def ready(name: str, **reactions: str) -> None:
    """Set up for the signals that will come, then say so."""
    global wakeup
    wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for signal_name, how in reactions.items():
        number = signal.Signals[signal_name]
        if how == "ignored":
            signal.signal(number, signal.SIG_IGN)
        elif how == "blocked":
            signal.pthread_sigmask(signal.SIG_BLOCK, [number])
        elif how != "default":
            signal.signal(number, HANDLERS[how])
    tell(f"ready.{name}")


def asked(gate: str) -> None:
    """Wait until a handler has run, or until the sender says that it has sent."""
    end = os.open(f"{PLACE}/{gate}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    select.select([wakeup, end], [], [])
    os.close(end)
    _forget_wakeups()


class catching:  # noqa: N801
    """Catch what a handler raises, from the moment that a signal may come."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> bool:
        _forget_wakeups()
        return isinstance(error, Asked)


def _forget_wakeups() -> None:
    """So that the next request has to wake it again."""
    with suppress(BlockingIOError):  # nothing was caught
        os.read(wakeup, 100)


def again(number: int) -> None:
    """Die of the signal that was caught, as servers do when they have cleaned up."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def exit_in_c(code: int) -> None:
    import ctypes

    ctypes.CDLL(None)._exit(code)


def _note(number: int, frame: FrameType | None) -> None:
    noted.append(number)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(5)


def _raise(number: int, frame: FrameType | None) -> None:
    raise Asked(number)


def _os_exit(number: int, frame: FrameType | None) -> None:
    os._exit(4)


def _abort(number: int, frame: FrameType | None) -> None:
    os.abort()


def _kill_itself(number: int, frame: FrameType | None) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _ignore_and_leave(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)
    sys.exit(6)


def _again(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def collect_all(number: int, frame: FrameType | None) -> None:
    """A handler of SIGCHLD."""
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        collected.append(pid)


def watch_children() -> None:
    """Collect children in a handler of SIGCHLD."""
    global wakeup
    wakeup, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, collect_all)


def wait_until_collected(pid: int) -> None:
    while pid not in collected:
        select.select([wakeup], [], [])
        _forget_wakeups()


noted: list[int] = []
collected: list[int] = []
HANDLERS: dict[str, Callable[[int, FrameType | None], Any]] = {
    "note": _note,
    "nothing": lambda number, frame: None,
    "leave": _leave,
    "raise": _raise,
    "caught": _raise,
    "chained": _raise,
    "os_exit": _os_exit,
    "abort": _abort,
    "kill_itself": _kill_itself,
    "ignore_and_leave": _ignore_and_leave,
    "again": _again,
    "note_then_again": _note,
}


def exit_on_sigterm() -> None:
    """The initializer of a Pool's workers."""
    signal.signal(signal.SIGTERM, _leave)


def leave_a_worker() -> None:
    os._exit(3)
