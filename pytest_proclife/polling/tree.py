"""All processes of one polled run: identity, reports, ends, signals, and the final clean-up.

The log has the form of the supervisor's, so that `analysis` reads both.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import psutil

from pytest_proclife import wire

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


_ROUNDS = 50  # of stopping what was found new, until nothing is
_FALLING_ASLEEP = 0.5  # s at most; one that the kernel holds (in vfork, say) may never do


def end_all(tree: Tree) -> None:
    """One round: stop all that lives, then SIGKILL. Rounds follow until nothing is left.

    Stopped processes start nothing and lose no parent, so that a look at them finds all; and
    one that was seen stopped before its SIGKILL is known to have ended of it.
    """
    for _ in range(_ROUNDS):
        for process in list(tree.living.values()):
            if not process.stopped:
                process.stopped = True
                _send(tree, process, signal.SIGSTOP)
        if not tree.find():
            break
    until = time.monotonic() + _FALLING_ASLEEP
    awake = list(tree.living.values())
    while awake and time.monotonic() < until:
        time.sleep(0.001)  # a stop cannot be waited for by who is not the parent
        awake = [p for p in awake if not p.is_asleep() and not p.has_ended()]
    sleepers = {p.number for p in tree.living.values() if p.is_asleep()}
    for process in reversed(list(tree.living.values())):  # main last
        if process.number not in sleepers and process.has_ended():
            continue
        now = time.monotonic_ns()
        if _send(tree, process, signal.SIGKILL):
            tree.log.append((now, "cleanup", process.number))
            parent = process.parent
            if parent is None or parent.ended_at is not None or parent.number in sleepers:
                process.killed_in_its_sleep |= process.number in sleepers


def _send(tree: Tree, process: Process, number: int) -> bool:
    try:
        return process.send(number)
    except psutil.AccessDenied:  # another user's, by a set-user-id program
        tree.give_up(process)
        return False


def send(tree: Tree, number: int, sig: int, via: str, spared: int | None) -> str:
    """Send a signal to a process, or to its group where one is `spared`: the caller's own.

    Answers "sent", "gone" (it has ended) or "refused".
    """
    tree.look()
    process = tree.living.get(number)
    if process is None:
        return "gone"
    try:
        if spared is not None:
            return _to_group(tree, process, sig, via, spared)
        entries = _request(process, sig, via)
        if not process.send(sig):
            return "gone"
        tree.log += entries
    except ProcessLookupError:
        return "gone"
    except (psutil.AccessDenied, PermissionError):
        return "refused"
    return "sent"


def _to_group(tree: Tree, process: Process, sig: int, via: str, spared: int) -> str:
    group = group_of(process.pid)
    if group is None:
        return "gone"
    if group == spared:
        return "refused"
    members = [p for p in tree.living.values() if group_of(p.pid) == group]
    entries = [entry for member in members for entry in _request(member, sig, via)]
    entries.append((time.monotonic_ns(), "asked group", process.number, sig, via))
    os.killpg(group, sig)
    tree.log += entries
    return "sent"


def _request(process: Process, sig: int, via: str) -> list[tuple[object, ...]]:
    entries: list[tuple[object, ...]] = [(time.monotonic_ns(), "asked", process.number, sig, via)]
    if sig != signal.SIGKILL:
        state = signal_state(process.pid, sig)
        entries.append((time.monotonic_ns(), "state", process.number, sig, state))
    return entries
