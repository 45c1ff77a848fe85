"""All processes of one polled run: who they are, what they report, when they were seen ended.

The log has the form of the supervisor's: tuples (monotonic ns, what, process, ...), the
processes numbered in the order in which they became known; main is 0.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable

import psutil

from pytest_proclife import wire
from pytest_proclife.polling.process import (
    Process,
    command_line,
    group_of,
    look_up,
    parent_of,
    signal_state,
)

_FEW = 3  # subtrees up to which psutil's own search is cheaper than a map of all processes

ReadReports = Callable[[], Iterable[tuple[int, bytes]]]


class Tree:
    """The processes of a run, from main on. `own_group`: main leads a process group."""

    def __init__(self, main: int, own_group: bool, read_reports: ReadReports) -> None:
        self.log: list[tuple[object, ...]] = []
        self.living: dict[int, Process] = {}  # number -> one that was not seen ended
        self.main_status: int | None = None
        self._read_reports = read_reports
        self._count = 0
        self._latest: dict[int, Process] = {}  # pid -> the last one that had it
        self._unreaped: list[Process] = []
        self._looks = 0
        self._group = main if own_group else None
        self.main = self._add(main, "main")

    # --- a look at the processes

    def look(self) -> None:
        """Find what is new and what has ended.

        All that this look finds ended share its number: nothing is known of their order. What
        is found alive at the end of it was alive when all of these had ended.
        """
        self._looks += 1
        self.find()
        ended: list[Process] = []
        while True:
            found = [p for p in self.living.values() if self._has_ended(p)]
            if not found:
                break
            for process in found:
                del self.living[process.number]
            ended += found
            self.take_reports()  # their last words lie in the sockets; new processes, too
        running = tuple(self.living)  # when all of these had ended: the last round said so
        for process in ended:
            self._note_end(process, running)
        self._note_reaped()

    def find(self) -> int:
        """Look for descendants that are not known yet; how many there were."""
        before = self._count
        for handle in [*self._descendants(), *self._members()]:
            known = self._latest.get(handle.pid)
            if known is None or known.handle != handle:
                self._add(handle.pid, "found", handle)
        return self._count - before

    def _descendants(self) -> Iterable[psutil.Process]:
        """What psutil finds below the living, each subtree once; parents before children."""
        found: dict[int, psutil.Process] = {}
        roots = 0
        for process in list(self.living.values()):
            if process.pid in found or process.handle is None:
                continue
            roots += 1
            if roots > _FEW:
                return _below({p.pid for p in self.living.values()})
            try:
                below = process.handle.children(recursive=True)
            except psutil.Error:
                continue  # it has ended
            found.update((child.pid, child) for child in below)
        return found.values()

    def _members(self) -> list[psutil.Process]:
        """Who is in main's process group: also one that lost its parent between two looks."""
        if self._group is None:
            return []
        pids = [pid for pid in psutil.pids() if group_of(pid) == self._group]
        if not pids and self.main.ended_at is not None:
            self._group = None  # nobody can enter an empty group; its number may be given anew
        known = {process.pid for process in self.living.values()}
        return [handle for pid in pids if pid not in known and (handle := look_up(pid))]

    def _has_ended(self, process: Process) -> bool:
        if process is not self.main:
            return process.has_ended()
        try:
            pid, status = os.waitpid(process.pid, os.WNOHANG)
        except ChildProcessError:  # the caller's own wait took its status
            return process.has_ended()
        if pid:
            self.main_status = status
        return bool(pid)

    def _note_end(self, process: Process, running: tuple[int, ...]) -> None:
        now = process.ended_at = time.monotonic_ns()
        self.log.append((now, "end", process.number, self._looks, running))
        if process is self.main:
            if self.main_status is not None:
                self.log.append((now, "reaped", process.number, self.main_status, True))
        elif process.killed_in_its_sleep:
            # its parent slept too, or had ended: it was not the one that reaped it
            self.log.append((now, "reaped", process.number, 9, True))
        elif process.parent is not None:
            self._unreaped.append(process)

    def _note_reaped(self) -> None:
        """Whose status was taken: it is gone, and its parent, who alone could, is alive."""
        still = []
        for process in self._unreaped:
            parent = process.parent
            if parent is None or parent.ended_at is not None:
                continue
            if not process.was_reaped():
                still.append(process)
            elif not parent.has_ended():
                self.log.append((time.monotonic_ns(), "reaped", process.number, None, False))
        self._unreaped = still

    # --- who it is

    def _add(self, pid: int, how: str, handle: psutil.Process | None = None) -> Process:
        handle = handle or look_up(pid)
        process = Process(self._count, pid, handle)
        self._count += 1
        arguments = () if handle is None or how != "found" else command_line(handle)
        self.log.append((time.monotonic_ns(), "new", process.number, pid, how, arguments))
        parent = None if handle is None or how == "main" else parent_of(handle)
        above = None if parent is None else self._latest.get(parent)
        if above is not None and above.ended_at is None:
            process.parent = above
            self.log.append((time.monotonic_ns(), "child", process.number, above.number))
        self.living[process.number] = process
        self._latest[pid] = process
        return process

    # --- what it reports

    def take_reports(self) -> None:
        for pid, data in self._read_reports():
            parts = wire.unpack(data)
            if parts is not None:
                kind, _, _, at, fields = parts
                self._take(pid, kind, at, fields, data)

    def _take(self, pid: int, kind: str, at: int, fields: list[str], data: bytes) -> None:
        process = self._sender(pid, kind, at, fields)
        numbers = [_number(text) for text in fields[:2]]
        about = None
        if kind == wire.STARTED and numbers:
            about = self._announced(numbers[0])
        elif kind == wire.KILL and numbers:
            about = self._addressee(numbers[0], at)
        about_number = None if about is None else about.number
        self.log.append((time.monotonic_ns(), "said", process.number, data, about_number))
        if len(numbers) < 2 or numbers[0] is None or numbers[1] is None:
            return
        if about is not None and kind == wire.KILL:
            self._note_state(about, numbers[1])
        elif kind == wire.KILL_GROUP:
            self._note_group(process, numbers[0], numbers[1])

    def _sender(self, pid: int, kind: str, at: int, fields: list[str]) -> Process:
        """The process that a report came from; a new one opens its record."""
        process = self._latest.get(pid)
        forked = kind == wire.HELLO and fields[2:3] == ["fork"]
        if (
            process is None
            or (process.ended_at is not None and at > process.ended_at)
            or (forked and process.greeted)  # its first words: the pid means another by now
        ):
            process = self._add(pid, "report")
        process.greeted = process.greeted or kind == wire.HELLO
        return process

    def _announced(self, pid: int | None) -> Process | None:
        """The child that a parent tells of. It may have ended before, but is told of once."""
        if pid is None or pid <= 0:
            return None
        process = self._latest.get(pid)
        if process is None or (process.ended_at is not None and process.announced):
            process = self._add(pid, "parent")
        process.announced = True
        return process

    def _addressee(self, pid: int | None, at: int) -> Process | None:
        """The process that a signal is sent to, if it is one of the run and alive."""
        if pid is None or pid <= 0:
            return None
        process = self._latest.get(pid)
        if process is not None:
            return process if process.ended_at is None or at <= process.ended_at else None
        handle = look_up(pid)
        above = None if handle is None else self._latest.get(parent_of(handle) or 0)
        if above is None or above.ended_at is not None:
            return None  # not of the run, or gone without a trace
        return self._add(pid, "found", handle)

    def _note_state(self, process: Process, number: int) -> None:
        """What a signal that is on its way will meet."""
        if process.ended_at is None:
            state = signal_state(process.pid, number)
            self.log.append((time.monotonic_ns(), "state", process.number, number, state))

    def _note_group(self, sender: Process, group: int, number: int) -> None:
        """Who is in the process group that a signal goes to; 0 is the sender's, 1 is everybody."""
        wanted = group or group_of(sender.pid)
        if wanted is None:
            return  # the sender is gone, and its group cannot be asked for
        self.find()
        members = [p for p in self.living.values() if wanted in (1, group_of(p.pid))]
        for process in members:
            self._note_state(process, number)
        numbers = tuple(process.number for process in members)
        self.log.append((time.monotonic_ns(), "group", sender.number, number, numbers))

    def give_up(self, process: Process) -> None:
        """Watch one no longer that cannot be ended: its record stays one of a running process."""
        self.living.pop(process.number, None)


def _below(pids: set[int]) -> list[psutil.Process]:
    """All descendants of many processes, by one map of all there are."""
    children: dict[int | None, list[psutil.Process]] = {}
    for handle in psutil.process_iter(["ppid"]):
        children.setdefault(handle.info["ppid"], []).append(handle)
    found: list[psutil.Process] = []
    waiting = list(pids)
    while waiting:
        below = children.pop(waiting.pop(), [])
        found += below
        waiting += [handle.pid for handle in below]
    return found


def _number(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:
        return None
