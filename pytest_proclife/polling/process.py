"""One process as polling sees it: its identity, whether it has ended, and how it is ended."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil

_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


class Process:
    """A process of the run. psutil's handle is its identity: the pid and when it was created."""

    __slots__ = (
        "announced",
        "ended_at",
        "greeted",
        "handle",
        "killed_in_its_sleep",
        "number",
        "parent",
        "pid",
        "stopped",
    )

    def __init__(self, number: int, pid: int, handle: psutil.Process | None) -> None:
        self.number = number
        self.pid = pid
        self.handle = handle  # None where it was gone at the first look
        self.parent: Process | None = None  # the kernel's, when it became known
        self.greeted = False  # it has introduced itself
        self.announced = False  # its parent has told of it
        self.ended_at: int | None = None  # monotonic ns of the look that found it ended
        self.stopped = False  # SIGSTOP was sent
        self.killed_in_its_sleep = False  # it was seen stopped, then SIGKILL was sent

    def has_ended(self) -> bool:
        """Whether it is a zombie, or gone."""
        if self.handle is None:
            return True
        try:
            return self.handle.status() in _ENDED or not self.handle.is_running()
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return not self.handle.is_running()

    def was_reaped(self) -> bool:
        """Whether nothing of it is left, not even a zombie."""
        return self.handle is None or not self.handle.is_running()

    def is_asleep(self) -> bool:
        """Whether it is stopped: it cannot do anything before it is continued."""
        try:
            return self.handle is not None and self.handle.status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False

    def send(self, number: int) -> bool:
        """Send a signal to this very process; False where it is gone. Raises AccessDenied."""
        if self.handle is None:
            return False
        try:
            self.handle.send_signal(number)  # it refuses a pid that means another process now
        except psutil.NoSuchProcess:
            return False
        return True


def look_up(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def parent_of(handle: psutil.Process) -> int | None:
    try:
        return handle.ppid()
    except psutil.Error:
        return None


def command_line(handle: psutil.Process) -> tuple[str, ...]:
    """Its arguments; its name alone where it has none, nothing where it is gone."""
    try:
        texts = handle.cmdline()[:64] or [handle.name()]
    except psutil.Error:
        return ()
    return tuple(os.fsencode(text).decode("utf-8", "backslashreplace") for text in texts)


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except OSError:
        return None  # it is gone


def signal_state(pid: int, number: int) -> str | None:
    """What it would do with a signal: caught, ignored, blocked, default; None if not known.

    Source: proc_pid_status(5), so it is known on Linux alone.
    """
    if number == signal.SIGKILL or not 0 < number < signal.NSIG:
        return None
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    if fields.get("State", "Z")[0] in "ZX":
        return None  # its dispositions are gone
    for name, word in (("SigBlk", "blocked"), ("SigIgn", "ignored"), ("SigCgt", "caught")):
        if int(fields.get(name, "0"), 16) >> (number - 1) & 1:
            return word
    return "default"
