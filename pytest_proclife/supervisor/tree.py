"""All processes of one run, by pidfd: identity, reports, signals, ends, clean-up.

The log (see `protocol`) is all that the caller gets of them.
"""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import posix
import select
import time

from pytest_proclife import wire
from pytest_proclife.supervisor import kernel, protocol, signals
from pytest_proclife.supervisor.identity import Identities, Process, open_reporting
from pytest_proclife.supervisor.protocol import Entry, entry
from pytest_proclife.supervisor.reports import Reception, Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_FEW = 8  # zombies up to which each wake-up looks whether they have been reaped
_LOOK = 0.01  # s between two looks if there are more
_MOST = 64  # of one look
_HALF = 0.5  # of a wake-up: what its second look has found
_DOES_NOT_REPORT = b"0"


class Tree:
    def __init__(self, epoll: select.epoll, reception: Reception) -> None:
        self.epoll = epoll
        self.reception = reception
        self.epoch = 0  # main's start, monotonic ns
        self.log: list[Entry] = []
        self.processes: list[Process] = []
        self.handles: dict[int, Process] = {}  # by pidfd, until it is reaped
        self.identities = Identities()
        self.living: dict[int, Process] = {}  # by pid, until it is reaped
        self.keys: dict[bytes, Process] = {}  # by a process's own name for itself
        self.opaque: set[Process] = set()  # living; they do not report what they start
        # ended; if the kernel does not tell when they are reaped. In the order of the next looks
        self.zombies: list[Process] = []
        self.next_look = 0.0  # at these, monotonic s
        self.gone: list[Process] = []  # when they became known; their ends are still to be noted
        self.wakes = 0
        self.live = False  # the caller looks at the run before it is over

    @property
    def main(self) -> Process:
        return self.processes[0]

    def note(self, kind: str, process: Process, *fields: object) -> None:
        self.log.append(entry(kind, process.number, *fields))

    # --- identity

    def add_main(self, pid: int, observed: bool) -> None:
        process = self._add(pid, posix.pidfd_open(pid), "main")
        if not observed:
            self.opaque.add(process)

    def _add(
        self,
        pid: int,
        handle: int,
        source: str,
        arguments: tuple[str, ...] = (),
        report: Report | None = None,
    ) -> Process:
        process = Process(len(self.processes), pid, handle)
        self.processes.append(process)
        self.identities.add(process, report)
        self.note(protocol.NEW, process, pid, source, arguments)
        if handle >= 0:
            self.handles[handle] = process
            self.living[pid] = process
            # edge-triggered: one event when it ends, one when it is reaped
            self.epoll.register(handle, select.EPOLLIN | select.EPOLLET)
        return process

    def _sender(self, report: Report) -> Process | None:
        """The process that sent a report; it becomes known by that."""
        handle, pid = report.sender, report.pid
        if handle is None:  # the kernel attaches none, or no descriptor was left for it
            handle = report.take_own()
        if pid is None or handle is None:
            return None if pid is None else self._sender_by_pid(report, pid)
        process = self.identities.of(handle, pid, report)
        foreign = report.user != posix.getuid() and posix.getuid() != 0
        if process is not None or foreign:
            posix.close(handle)
            return process
        return self._add(pid, handle, "report", report=report)

    def _sender_by_pid(self, report: Report, pid: int) -> Process | None:
        process = self.identities.that_had(pid, report)
        foreign = report.user != posix.getuid() and posix.getuid() != 0
        if process is not None or foreign:
            return process
        handle = open_reporting(pid, report)
        if handle is not None:
            return self._add(pid, handle, "report", report=report)
        if report.kind != wire.HELLO:
            return None
        # it is gone: all that is known of it is that it lived, and what it has reported
        process = self._add(pid, -1, "report", report=report)
        process.ended = process.reaped = True
        self.gone.append(process)
        return process

    def _about(self, report: Report) -> Process | None:
        """The process that a report is about, by the pidfd that was passed with it."""
        about = None
        for handle in report.passed:
            try:
                known = about or self.identities.of(handle, report.named_pid, report)
                pid, parent = (None, None) if known else kernel.pid_and_parent(handle)
            except OSError:
                posix.close(handle)  # not a pidfd
                continue
            if known is not None:
                posix.close(handle)
                about = known
                continue
            own = {*self.living, posix.getpid()}
            if not (kernel.is_below(parent, own) if pid else report.names_own_child):
                posix.close(handle)  # a program may send signals to any process of its user
                continue
            # a process that has been reaped has no pid any more, but the report names it
            about = self._add(pid or report.number(0) or 0, handle, "parent")
            if parent in self.living:
                self._is_child(about, self.living[parent])
        return about

    def _is_child(self, process: Process, parent: Process) -> None:
        """Note whose child a process is, as the kernel says."""
        self.note(protocol.CHILD, process, parent.number)
        parent.children.append(process)

    # --- reports

    def read_reports(self) -> None:
        """Receive all that has been reported."""
        self.wakes += 1
        for report in self.reception.receive():
            process = self._sender(report)
            about = self._about(report)
            if process is not None:
                number = None if about is None else about.number
                self.note(protocol.REPORT, process, report.data, number)
                self._act_on(report, process, about)

    def _act_on(self, report: Report, process: Process, about: Process | None) -> None:
        """Do at once what would be too late later."""
        kind = process.last_kind = report.kind
        if kind == wire.HELLO:
            process.key = report.field(0)
            self.keys[process.key] = process
            parent = self.keys.get(report.field(1))
            if parent is not None and parent is not process:
                parent.children.append(process)
            self.opaque.discard(process)
        elif kind == wire.STARTED and about is not None:
            process.children.append(about)
            if report.field(5) == _DOES_NOT_REPORT and not about.ended:
                self.opaque.add(about)
        elif kind == wire.UNSEEN or (kind == wire.EXEC and report.field(0) == _DOES_NOT_REPORT):
            self.opaque.add(process)
        elif kind == wire.KILL and about is not None and not about.ended:
            self.log += signals.states(about, report.number(1))
        elif kind == wire.KILL_GROUP:
            living = list(self.living.values())
            group, signal = report.number(0), report.number(1)
            self.log += signals.group_members(living, process, group, signal)

    # --- signals of the caller

    def running(self, number: int) -> Process | None:
        """The process of that number; None if it has ended at this moment."""
        process = self.processes[number]
        return process if _running([process]) else None

    def all_running(self) -> list[Process]:
        """All that run at this moment: a child that has not reported yet gets a signal too."""
        self._find_below_living()
        return _running(list(self.living.values()))

    def send(self, number: int, signal: int) -> None:
        _signal.pidfd_send_signal(self.processes[number].handle, signal)

    # --- ends

    def note_ends(self, events: list[tuple[int, int]], later: bool = False) -> None:
        """Note ends and reaps; `later`: none had ended at the first look of this wake-up."""
        for handle, event in events:
            process = self.handles.get(handle)
            if process is None:
                continue
            if not process.ended:
                self._ended(process, self.wakes + later * _HALF)
            if event & select.EPOLLHUP and not process.reaped:
                self._reaped(process, kernel.exit_status(handle))
        for process in self.gone:
            self.note(protocol.ENDED, process, self.wakes + later * _HALF, ())
            self.note(protocol.REAPED, process, None, False)
        self.gone = []
        self._look_for_reaped()

    def read_statuses(self, events: "Iterable[int]") -> None:
        """Read the status of each that has just ended, before its parent reaps it.

        Only if the kernel does not keep it for us.
        """
        if kernel.EXIT not in kernel.offered:
            for handle in events:
                process = self.handles.get(handle)
                if process is not None and process.status is None:
                    process.status = kernel.status_of_zombie(handle)

    def _look_for_reaped(self) -> None:
        """Look which of the ended ones have been reaped, if the kernel does not tell."""
        if not self.zombies:
            return
        now = time.monotonic()
        if len(self.zombies) > _FEW and now < self.next_look:
            return
        self.next_look = now + _LOOK
        looked_at, self.zombies = self.zombies[:_MOST], self.zombies[_MOST:]
        for process in looked_at:
            if process.reaped:
                continue  # by us
            if process.has_pid():
                self.zombies.append(process)
            else:
                self._reaped(process, kernel.exit_status(process.handle))

    def _ended(self, process: Process, wake: float) -> None:
        process.ended, process.ended_at = True, time.monotonic_ns()
        running = tuple(child.number for child in _running(process.children))
        self.note(protocol.ENDED, process, wake, running)
        if kernel.EXIT not in kernel.offered:
            self.note(protocol.STATUS, process, process.status)
        elif self.live:
            self.note(protocol.STATUS, process, kernel.status_of_zombie(process.handle))
        if kernel.PIDFS not in kernel.offered:
            self.zombies.append(process)
        process.children = []
        if process in self.opaque:
            self.opaque.discard(process)
            self.adopt()  # what it started has become our child by now

    def _reaped(self, process: Process, status: int | None, by_us: bool = False) -> None:
        process.reaped, process.reaped_at = True, time.monotonic_ns()
        self.note(protocol.REAPED, process, status, by_us)
        if self.living.get(process.pid) is process:
            del self.living[process.pid]
        self.epoll.unregister(process.handle)
        del self.handles[process.handle]
        posix.close(process.handle)

    def reap(self) -> bool:
        """Reap our own children, main and orphans; False if none is left."""
        while True:
            try:
                found = posix.waitid(posix.P_ALL, 0, posix.WEXITED | posix.WNOHANG | posix.WNOWAIT)
            except ChildProcessError:
                return False
            if found is None:
                return True
            pid = found.si_pid
            process = self.living.get(pid)
            if process is None or not process.has_pid():
                # the pid stays its own until we reap it, below
                arguments = kernel.command_line(pid)
                process = self._add(pid, posix.pidfd_open(pid), "orphan", arguments)
            if not process.ended:
                return True  # its end comes with the next events, in its place among them
            _, status = posix.waitpid(pid, 0)
            self._reaped(process, status, by_us=True)

    # --- processes that do not report

    def scan(self) -> None:
        """Look for children of the processes that do not report what they start."""
        for process in list(self.opaque):
            self._find_children(process)
            if not process.arguments:
                continue
            # it was found, maybe right after its fork, and may run another program by now
            arguments = kernel.command_line(process.pid)
            if arguments and arguments != process.arguments and process.has_pid():
                process.arguments = arguments
                self.note(protocol.PROGRAM, process, arguments)

    def adopt(self) -> None:
        """Look for orphans that have not been reported: they are children of this process."""
        self._find_children(None)

    def _find_children(self, parent: Process | None) -> None:
        for child in kernel.children(posix.getpid() if parent is None else parent.pid):
            known = self.living.get(child)
            if known is not None and (kernel.PIDFS in kernel.offered or known.has_pid()):
                continue
            try:
                handle = posix.pidfd_open(child)
            except OSError:
                continue  # it has ended and was reaped
            arguments = kernel.command_line(child)
            if self.identities.of(handle, child) or not self._is_found(handle, child, parent):
                posix.close(handle)
                continue
            process = self._add(child, handle, "found", arguments)
            process.arguments = arguments
            if parent is not None:
                self._is_child(process, parent)
            elif _running([process]):
                self.note(protocol.ADOPTED, process)
            self.opaque.add(process)

    @staticmethod
    def _is_found(handle: int, child: int, parent: Process | None) -> bool:
        """Whether this is the child that was listed: it, or its parent, may have been reaped."""
        pid, its_parent = kernel.pid_and_parent(handle)
        if pid != child:
            return False
        if its_parent == posix.getpid():  # it may have lost its parent since
            return True
        return parent is not None and its_parent == parent.pid and parent.has_pid()

    def _find_below_living(self) -> None:
        for process in list(self.living.values()):
            if not process.ended:
                self._find_children(process)

    # --- clean-up

    def kill_all(self) -> None:
        """One round of SIGKILL to all that is left; rounds follow until nothing is."""
        self.adopt()
        self._find_below_living()
        for process in list(self.living.values()):
            if not process.ended and kernel.send(process.handle, _signal.SIGKILL):
                self.note(protocol.CLEANUP, process)


def _running(processes: list[Process]) -> list[Process]:
    """Which of these run at this moment: their pidfds are not readable."""
    poll, candidates = select.poll(), []
    for process in processes:
        if not process.ended:
            poll.register(process.handle, select.POLLIN)
            candidates.append(process)
    if not candidates:
        return []
    ended = {handle for handle, _ in poll.poll(0)}
    return [process for process in candidates if process.handle not in ended]
