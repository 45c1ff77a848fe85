"""All processes of one polled run: identity, looks, reports, signals, clean-up.

The log (see `supervisor.protocol`) is that of a supervisor, so that `analysis` reads both.
"""

from __future__ import annotations

import _socket
import os
import signal
import time
from collections.abc import Iterable

import psutil

from pytest_proclife import wire
from pytest_proclife.polling.reports import Reports, peer
from pytest_proclife.supervisor import protocol, signals
from pytest_proclife.supervisor.protocol import Entry, entry
from pytest_proclife.supervisor.reports import Report

_ENDED = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
_ARGUMENTS = 64  # kept of a command line
_FEW = 3  # subtrees up to which psutil's own search is cheaper than a map of all processes
_ROUNDS = 50  # of stopping processes, until no new one is found
_STOPPING = 0.5  # s at most; a process that the kernel holds (in vfork, say) may never stop


class Process:
    """A process of the run. psutil's handle is its identity: the pid and when it was created."""

    def __init__(self, number: int, pid: int, handle: psutil.Process | None) -> None:
        self.number = number
        self.pid = pid
        self.handle = handle  # None if it was gone at the first look
        self.parent: Process | None = None  # the kernel's, when it became known
        self.introduced = False  # it has sent its HELLO
        self.announced = False  # its parent has reported its start
        self.ended_at: int | None = None  # monotonic ns of the look that found it ended
        self.stopped = False  # SIGSTOP was sent
        self.killed_while_stopped = False  # it was seen stopped, then SIGKILL was sent

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

    def has_pid(self) -> bool:
        """Whether the pid is still its own, and not that of a later process."""
        return not self.was_reaped()

    def is_stopped(self) -> bool:
        try:
            return self.handle is not None and self.handle.status() == psutil.STATUS_STOPPED
        except psutil.Error:
            return False  # it is gone, or another user's


class Tree:
    """The processes of a run, from main on. `own_group`: main leads a process group."""

    def __init__(self, main: int, own_group: bool, reports: Reports | None) -> None:
        self.log: list[Entry] = []
        self.living: dict[int, Process] = {}  # by number, until a look finds it ended
        self.main_status: int | None = None
        self._reports = reports
        self._count = 0
        self._latest: dict[int, Process] = {}  # pid -> the last process that had it
        self._keys: set[bytes] = set()  # processes' own names for themselves
        self._unreaped: list[Process] = []
        self._looks = 0
        self._group = main if own_group else None
        self.main = self._add(main, "main", _look_up(main))

    def _note(self, kind: str, process: Process, *fields: object) -> None:
        self.log.append(entry(kind, process.number, *fields))

    # --- identity

    def _add(self, pid: int, source: str, handle: psutil.Process | None) -> Process:
        process = Process(self._count, pid, handle)
        self._count += 1
        arguments = () if handle is None or source != "found" else _command_line(handle)
        self._note(protocol.NEW, process, pid, source, arguments)
        parent = None if handle is None or source == "main" else self._parent_of(handle)
        if parent is not None:
            process.parent = parent
            self._note(protocol.CHILD, process, parent.number)
        self.living[process.number] = process
        self._latest[pid] = process
        return process

    def _parent_of(self, handle: psutil.Process) -> Process | None:
        """The kernel's parent of a process, if it is one of the run that has not ended."""
        try:
            parent = self._latest.get(handle.ppid())
        except psutil.Error:
            return None
        return parent if parent is not None and parent.ended_at is None else None

    def _made_by_run(self, socket: _socket.socket) -> bool | None:
        """Whether a process of the run connected a socket; None if that is not known."""
        pid = peer(socket)
        return False if pid is None else self._is_of_run(pid)

    def _is_of_run(self, pid: int) -> bool | None:
        """Whether a process is one of the run; None if not, as a new orphan of it is not."""
        handle = _look_up(pid)
        try:
            while handle is not None:
                known = self._latest.get(handle.pid)
                if known is not None and not known.was_reaped():
                    return True
                handle = handle.parent()
        except psutil.Error:
            pass  # it has ended
        return None

    def _sender(self, report: Report, kind: str, at: int) -> Process:
        """The process that sent a report; it may become known by that."""
        pid = report.pid or 0
        process = self._latest.get(pid)
        forked = kind == wire.HELLO and report.field(2) == b"fork"
        if (
            process is None
            or (process.ended_at is not None and at > process.ended_at)
            or (forked and process.introduced)  # a second HELLO: another process has the pid now
        ):
            process = self._add(pid, "report", _look_up(pid))
        if kind == wire.HELLO:
            process.introduced = True
            self._keys.add(report.field(0))
        return process

    def _started(self, pid: int) -> Process:
        """The child whose start its parent reports, once; it may have ended before."""
        process = self._latest.get(pid)
        if process is None or (process.ended_at is not None and process.announced):
            process = self._add(pid, "parent", _look_up(pid))
        process.announced = True
        return process

    def _receiver(self, pid: int, at: int) -> Process | None:
        """The process that a signal is sent to, if it is one of the run and alive."""
        process = self._latest.get(pid)
        if process is not None:
            return process if process.ended_at is None or at <= process.ended_at else None
        handle = _look_up(pid)
        if handle is None or self._parent_of(handle) is None:
            return None  # not of the run, or gone without a trace
        return self._add(pid, "found", handle)

    # --- looks

    def look(self) -> None:
        """Find new processes, and those that have ended.

        All that a look finds ended have its number: their order is not known. The processes that
        it finds alive at the end were alive when all of these had ended.
        """
        self._looks += 1
        self._find()
        ended: list[Process] = []
        while found := [p for p in self.living.values() if self._has_ended(p)]:
            for process in found:
                del self.living[process.number]
            ended += found
            self.read_reports()  # their last ones lie in the sockets; new processes, too
        running = tuple(self.living)  # when all of these had ended: the last round said so
        for process in ended:
            self._note_end(process, running)
        self._note_reaped()

    def _find(self) -> int:
        """Look for descendants that are not known yet; returns how many there were."""
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
        """The members of main's process group: one may have lost its parent between two looks."""
        if self._group is None:
            return []
        pids = [pid for pid in psutil.pids() if signals.group_of(pid) == self._group]
        if not pids and self.main.ended_at is not None:
            self._group = None  # no process can enter an empty group; its number may be used again
        known = {process.pid for process in self.living.values()}
        return [handle for pid in pids if pid not in known and (handle := _look_up(pid))]

    def _has_ended(self, process: Process) -> bool:
        if process is not self.main or not hasattr(os, "waitid"):  # macOS before Python 3.13
            return process.has_ended()
        try:
            # main's last reports are still to be read, of which only its pid tells that it wrote
            # them: so it is not to be reaped yet
            end = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # the caller's own wait took its status
            return process.has_ended()
        return end is not None

    def _reap_main(self) -> None:
        try:
            pid, status = os.waitpid(self.main.pid, os.WNOHANG)
        except ChildProcessError:
            return  # the caller's own wait took its status, which nobody here knows then
        if pid:
            self.main_status = status

    def _note_end(self, process: Process, running: tuple[int, ...]) -> None:
        process.ended_at = time.monotonic_ns()
        self._note(protocol.ENDED, process, self._looks, running)
        if process is self.main:
            self._reap_main()
            if self.main_status is not None:
                self._note(protocol.REAPED, process, self.main_status, True)
        elif process.killed_while_stopped:
            # its parent was stopped too, or had ended: so it was not reaped by its parent
            self._note(protocol.REAPED, process, int(signal.SIGKILL), True)
        elif process.parent is not None:
            self._unreaped.append(process)

    def _note_reaped(self) -> None:
        """Note which are gone while their parents, the only ones that could reap them, live."""
        unreaped = []
        for process in self._unreaped:
            parent = process.parent
            if parent is None or parent.ended_at is not None:
                continue
            if not process.was_reaped():
                unreaped.append(process)
            elif not parent.has_ended():
                self._note(protocol.REAPED, process, None, False)
        self._unreaped = unreaped

    # --- reports

    def read_reports(self) -> None:
        if self._reports is None:
            return
        for report in self._reports.receive(self._made_by_run):
            if report.pid is None:
                self._reports.reject(report)
            elif (
                report.source.proven
                or report.names_parent(self._keys)
                or self._is_of_run(report.pid)
            ):
                report.source.proven = True
                parts = wire.unpack(report.data)
                if parts is not None:
                    self._read_report(report, kind=parts[0], at=parts[3])
            elif report.data[:1] == wire.HELLO.encode():
                self._reports.hold(report)  # its parent may not have reported yet
            else:
                self._reports.reject(report)  # to look its sender up again and again costs too much

    def _read_report(self, report: Report, kind: str, at: int) -> None:
        process = self._sender(report, kind, at)
        target, signal = report.number(0), report.number(1)
        about = None
        if target is not None and target > 0:
            if kind == wire.STARTED:
                about = self._started(target)
            elif kind == wire.KILL:
                about = self._receiver(target, at)
        number = None if about is None else about.number
        self._note(protocol.REPORT, process, report.data, number)
        if kind == wire.KILL and about is not None and about.ended_at is None:
            if not report.field(6):  # the sender could not look before it sent the signal
                self.log += signals.states(about, signal)
        elif kind == wire.KILL_GROUP:
            group = signals.group_meant(process, target, report.own_group)
            self._find()
            living = list(self.living.values())
            self.log += signals.group_members(living, process, group, signal)

    # --- signals of the caller

    def running(self, number: int) -> Process | None:
        """The process of that number; None if it has ended at this moment."""
        self.look()
        return self.living.get(number)

    def all_running(self) -> list[Process]:
        """All that the last look has found alive."""
        return list(self.living.values())

    def send(self, number: int, signal: int) -> None:
        handle = self.living[number].handle
        try:
            if handle is None:
                raise ProcessLookupError
            handle.send_signal(signal)  # it refuses a pid that means another process now
        except psutil.NoSuchProcess:
            raise ProcessLookupError from None
        except psutil.AccessDenied:
            raise PermissionError from None

    # --- clean-up

    def begin_cleanup(self) -> None:
        """Note what the last look has found running, before anything is killed."""
        self._note(protocol.CLEANUP_BEGAN, self.main, tuple(self.living))

    def kill_all(self) -> None:
        """One round: stop all that lives, then SIGKILL. Rounds follow until nothing is left.

        Stopped processes start nothing and reap nothing, so a look at them finds all; and one
        that was seen stopped before its SIGKILL is known to have ended by it.
        """
        self._stop_all()
        stopped = {p.number for p in self.living.values() if p.is_stopped()}
        for process in reversed(list(self.living.values())):  # main last
            if process.number not in stopped and process.has_ended():
                continue
            cleanup = entry(protocol.CLEANUP, process.number)
            if self._send(process, signal.SIGKILL):
                self.log.append(cleanup)
                parent = process.parent
                if parent is None or parent.ended_at is not None or parent.number in stopped:
                    process.killed_while_stopped |= process.number in stopped

    def _stop_all(self) -> None:
        for _ in range(_ROUNDS):
            for process in list(self.living.values()):
                if not process.stopped:
                    process.stopped = True
                    self._send(process, signal.SIGSTOP)
            if not self._find():
                break
        until = time.monotonic() + _STOPPING
        awake = list(self.living.values())
        while awake and time.monotonic() < until:
            time.sleep(0.001)  # only the parent of a process can wait for its stop
            awake = [p for p in awake if not p.is_stopped() and not p.has_ended()]

    def _send(self, process: Process, sig: int) -> bool:
        try:
            self.send(process.number, sig)
        except PermissionError:  # another user's, by a set-user-id program: it stays running
            self.living.pop(process.number, None)
            return False
        except ProcessLookupError:
            return False
        return True


def _look_up(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.Error:
        return None


def _command_line(handle: psutil.Process) -> tuple[str, ...]:
    """Its arguments; its name alone if it has none, nothing if it is gone."""
    try:
        texts = handle.cmdline()[:_ARGUMENTS] or [handle.name()]
    except psutil.Error:
        return ()
    return tuple(os.fsencode(text).decode("utf-8", "backslashreplace") for text in texts)


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
