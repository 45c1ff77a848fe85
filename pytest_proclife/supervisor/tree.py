"""All processes of one run, by pidfd: identity, reports, signals, ends, clean-up.

The log (see `protocol`) is all that the caller gets of them.
"""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import posix
import select
import time

from pytest_proclife import wire
from pytest_proclife.supervisor import kernel, procfs, protocol, signals
from pytest_proclife.supervisor.identity import Identities, Process, open_reporting
from pytest_proclife.supervisor.protocol import Entry, entry
from pytest_proclife.supervisor.reports import Reception, Report

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterable

    from pytest_proclife.supervisor.points import Points

_FEW = 8  # zombies up to which each wake-up looks whether they have been reaped
_LOOK = 0.01  # s between two looks if there are more
_MOST = 64  # of one look
_HALF = 0.5  # of a wake-up: what its second look has found
_NAME_LENGTH = 15  # TASK_COMM_LEN without the NUL: proc_pid_comm(5)
_YOUNG = 0.5  # s within which a fork gets the processor and reports, on a machine that is busy
_LOOKS = 20  # a bound: a program may start processes faster than they are found
_DOES_NOT_REPORT = b"0"
_NEW = b"new"
_PROGRAMS = (b"subprocess", b"posix_spawn")  # kinds
# the functions of C by which a process may start others unseen; "" for a subinterpreter
_STARTERS = {b""}.union(
    *(s.encode().split() for s in (wire.STARTING, wire.FORKING, wire.EXECUTING, wire.ANYTHING))
)


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
        # True if the kernel holds system calls of the run until we have looked at them
        self.witnessed = False
        self.images: set[tuple[bytes, ...]] = set()  # of the programs that report, if it does
        self.ended_opaque: list[Process] = []  # that were `opaque`, in the order of their ends
        # ended; if the kernel does not tell when they are reaped. In the order of the next looks
        self.zombies: list[Process] = []
        self.next_look = 0.0  # at these, monotonic s
        self.gone: list[Process] = []  # when they became known; their ends are still to be noted
        # starts of programs that were gone when they were reported, until the next look
        self.started_gone: list[tuple[Process, Report]] = []
        self.wakes = 0
        self.cleans_up = False  # from the first SIGKILL on, what happens may be our doing
        self.cleaned_up: set[tuple[str, ...]] = set()  # command lines of what reports, from then on
        self.live = False  # the caller looks at the run before it is over
        self.points: Points | None = None  # at which a process may be crashed

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

    def _made_by_run(self, socket: "_socket.socket") -> bool | None:
        """Whether a process of the run connected a socket; None if it has been reaped."""
        handle = kernel.peer(socket)
        if handle is None:
            return None
        try:
            known = self.identities.of(handle, None)
            return known is not None or kernel.is_below(handle, self._is_above)
        finally:
            posix.close(handle)

    def _is_above(self, pid: int) -> bool:
        """Whether a pid is that of this process, or of one of the run at this moment."""
        if pid == posix.getpid():
            return True
        process = self.living.get(pid)
        if process is None or process is self.main:
            return process is not None  # main keeps its pid until it is reaped here
        # its end may not have been noted yet: then another process can have the pid
        return kernel.pid_and_parent(process.handle)[0] == pid

    def _sender(self, report: Report) -> Process | bool | None:
        """The process that sent a report, which becomes known by that.

        False if it is not of the run, None if that is not known.
        """
        handle, pid = report.sender, report.pid
        if handle is None:  # the kernel attaches none, or no descriptor was left for it
            handle = report.sender = report.take_own()  # kept if the report is held
        if handle is None:
            return False if pid is None else self._sender_by_pid(report, pid)
        process = self.identities.of(handle, pid, report)
        if process is not None:
            if not self._is_certain(process, report):
                return None
            posix.close(handle)
            return process
        if pid is None:
            return False  # it is outside of our namespace of pids: pid_namespaces(7)
        is_below = kernel.is_below(handle, self._is_above)
        if is_below is None and not report.source.proven and not report.names_parent(self.keys):
            return None
        return False if is_below is False else self._add(pid, handle, "report", report=report)

    def _is_certain(self, process: Process, report: Report) -> bool:
        """Whether a process that was found as the sender is not one that had its pid before.

        Then the time that the report says counts, which a stranger may say as well.
        """
        if kernel.PIDFS in kernel.offered or report.source.proven:
            return True
        return report.names_parent(self.keys) or process.has_pid()

    def _sender_by_pid(self, report: Report, pid: int) -> Process | bool | None:
        """The same, if there is no pidfd of the sender."""
        process = self.identities.that_had(pid, report)
        if process is not None:
            return process
        try:
            handle = open_reporting(pid, report)
        except OSError:
            return False  # no descriptor is left, so the kernel cannot show who it is
        if handle is not None:
            is_below = kernel.is_below(handle, self._is_above)
            if is_below:
                return self._add(pid, handle, "report", report=report)
            posix.close(handle)
            if is_below is False:
                return False  # None: it has been reaped since
        if report.kind != wire.HELLO or not report.source.proven:
            return False
        # it is gone: all that is known of it is that it lived, and what it has reported
        process = self._add(pid, -1, "report", report=report)
        process.ended = process.reaped = True
        self.gone.append(process)
        return process

    def _about(self, report: Report, sender: Process) -> Process | None:
        """The process that a report is about, by the pidfd that was passed with it."""
        own = report.take_own()  # its sender's, though the kernel has attached one as well
        if own is not None:
            posix.close(own)
        handle = report.passed
        if handle is None:
            handle = _open_started(report, sender)
        if handle is None:
            return None
        try:
            known = self.identities.of(handle, report.named_pid, report)
            if known is not None:
                posix.close(handle)
                return known
            pid, parent = kernel.pid_and_parent(handle)
            is_below = kernel.is_below(handle, self._is_above)
        except OSError:
            pid, parent, is_below = None, None, False  # not a pidfd
        # a program may send signals to any process of its user
        if not (report.names_own_child if is_below is None else is_below):
            posix.close(handle)
            return None
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
        """Receive all that has been reported, at a wake-up."""
        self.wakes += 1
        before, self.started_gone = self.started_gone, []
        self.receive_reports()
        self._add_gone(before)

    def receive_reports(self) -> None:
        """Receive all that has been reported."""
        for report in self.reception.receive(self._made_by_run):
            process = self._sender(report)
            if process is None:
                self.reception.hold(report)
            elif isinstance(process, bool):
                self.reception.reject(report)
            else:
                report.source.proven = True
                about = self._about(report, process)
                if about is None and _names_gone_program(report):
                    self.started_gone.append((process, report))
                    if self.points is not None:
                        self.points.reported(process, report.data, None)
                    continue
                number = None if about is None else about.number
                self.note(protocol.REPORT, process, report.data, number)
                self._act_on(report, process, about)
                if self.points is not None:
                    self.points.reported(process, report.data, about)

    def _add_gone(self, started: list[tuple[Process, Report]]) -> None:
        """Take up programs that had been reaped before their start was reported.

        A handler of SIGCHLD may do that, or the kernel if that is ignored. What they reported was
        written before, so by now it has been read.
        """
        for parent, report in started:
            pid = report.named_pid or 0
            child = self.identities.child_that_had(pid, report)
            if child is None:
                child = self._add(pid, -1, "parent", report=report)
                child.ended = child.reaped = True
                child.ended_at = child.reaped_at = time.monotonic_ns()
                self.gone.append(child)
                self.adopt()  # what it started has become our child by now
            self.note(protocol.REPORT, parent, report.data, child.number)

    def _act_on(self, report: Report, process: Process, about: Process | None) -> None:
        """Do at once what would be too late later."""
        kind = process.last_kind = report.kind
        process.last_at = min(report.written_at or 0, time.monotonic_ns())
        if kind == wire.HELLO:
            process.key = report.field(0)
            self.keys[process.key] = process
            parent = self.keys.get(report.field(1))
            if parent is not None and parent is not process:
                parent.children.append(process)
            self.opaque.discard(process)
            if report.field(2) == _NEW:
                self._note_limit(process)
                self._note_image(process)
        elif kind == wire.STARTED and about is not None:
            about.announced.add(report.announcement)
            process.children.append(about)
            if report.field(5) == _DOES_NOT_REPORT and not about.ended:
                self.opaque.add(about)
        elif _starts_unseen(kind, report):
            self.opaque.add(process)
        elif kind == wire.EARLY and report.field(0) == b"child":
            self.find_children(process, report=False)  # it started them before it could report
        elif self.witnessed:
            pass  # what a signal meets is seen as it is sent
        elif kind == wire.KILL and about is not None and not about.ended:
            if not report.field(6):  # the sender could not look before it sent the signal
                self.log += signals.states(about, report.number(1))
        elif kind == wire.KILL_GROUP:
            living = list(self.living.values())
            group = signals.group_meant(process, report.number(0), report.own_group)
            self.log += signals.group_members(living, process, group, report.number(1))

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

    def chosen(self, events: dict[int, int]) -> dict[int, int]:
        """Those of pidfds among events that have just been found, by their descriptors."""
        return {handle: event for handle, event in events.items() if handle in self.handles}

    def note_ends(self, events: "Iterable[tuple[int, int]]", at: int, later: bool = False) -> None:
        """Note ends and reaps that a look at this time has found (monotonic ns).

        `later`: none had ended at the first look of this wake-up.
        """
        for handle, event in events:
            process = self.handles.get(handle)
            if process is None:
                continue
            if not process.ended:
                self._ended(process, at, self.wakes + later * _HALF)
            if event & select.EPOLLHUP and not process.reaped:
                self._reaped(process, kernel.exit_status(handle))
        for process in self.gone:
            self.note(protocol.ENDED, process, self.wakes + later * _HALF, ())
            self.note(protocol.REAPED, process, None, False)
        self.gone = []
        self._look_for_reaped()

    def read_statuses(self, handles: "Iterable[int]") -> None:
        """Read the status of each that has just ended, before its parent reaps it.

        Only if the kernel does not keep it for us.
        """
        if kernel.EXIT not in kernel.offered:
            for handle in handles:
                process = self.handles.get(handle)
                if process is not None and process.status is None:
                    process.status = kernel.status_of_zombie(handle)

    def read_statuses_of(self, pids: list[int]) -> bool:
        """Read the statuses of those that have ended; returns whether one of them has."""
        known = [self.living[pid] for pid in pids if pid in self.living]
        running = _running(known)
        ended = [process for process in known if process not in running]
        self.read_statuses(process.handle for process in ended)
        return bool(ended)

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

    def _ended(self, process: Process, at: int, wake: float) -> None:
        process.ended, process.ended_at = True, at
        running = tuple(child.number for child in _running(process.children))
        self.log.append((at, protocol.ENDED, process.number, wake, running))
        if kernel.EXIT not in kernel.offered:
            self.note(protocol.STATUS, process, process.status)
        elif self.live:
            self.note(protocol.STATUS, process, kernel.status_of_zombie(process.handle))
        if kernel.PIDFS not in kernel.offered:
            self.zombies.append(process)
        process.children = []
        if self.points is not None:
            self.points.ended(process)
        if process in self.opaque:
            self.opaque.discard(process)
            if self.witnessed:
                process.last_pid = procfs.last_pid()
                self.ended_opaque.append(process)
            self._look_at_last_program(process)
            self._note_limit(process)
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
                arguments = procfs.command_line(pid)
                process = self._add(pid, posix.pidfd_open(pid), "orphan", arguments)
                parent = self._parent_of_orphan(process.handle, pid)
                if parent is not None:
                    self._is_child(process, parent)
            if not process.ended:
                return True  # its end comes with the next events, in its place among them
            _, status = posix.waitpid(pid, 0)
            self._reaped(process, status, by_us=True)

    # --- processes that do not report

    @property
    def to_look_at(self) -> "set[Process]":
        """The processes that have to be looked at now and then, since nothing else tells."""
        if not self.witnessed:
            return self.opaque
        # a program that its parent's fork executes, if it does not show its beginning
        return {process for process in self.opaque if process.name_before}

    def scan(self) -> None:
        """Look for children of the processes that do not report what they start."""
        for process in list(self.to_look_at):
            self.find_children(process)
            self.look_at_program(process)

    def look_at_program(self, process: Process) -> None:
        """Note which program it runs: it was found, maybe right after its fork."""
        if not process.arguments:
            return
        arguments = procfs.command_line(process.pid)
        # its name alone: in the middle of an exec still that from before, or it is a zombie
        name = process.arguments[0].rpartition("/")[2][:_NAME_LENGTH]
        known = (), process.arguments, (process.name_before,), (name,)
        if arguments not in known and process.has_pid():
            process.arguments, process.name_before = arguments, ""
            self.note(protocol.PROGRAM, process, arguments)

    def _look_at_last_program(self, process: Process) -> None:
        """Note what ran in a process that has ended, if it was seen only as its parent's copy."""
        if process.name_before:
            name = procfs.name(process.pid)
            if not process.has_pid():
                self.note(protocol.PROGRAM, process, ())  # nobody knows
            elif name != process.name_before:
                self.note(protocol.PROGRAM, process, (name,))

    def adopt(self) -> None:
        """Look for orphans that have not been reported: they are children of this process."""
        self.find_children(None)

    def find_children(self, parent: Process | None, report: bool = True) -> None:
        """Take up the children that are not known; if they `report`, young ones may do so yet."""
        for child in procfs.children(posix.getpid() if parent is None else parent.pid):
            known = self.living.get(child)
            if known is not None and (kernel.PIDFS in kernel.offered or known.has_pid()):
                continue
            try:
                handle = posix.pidfd_open(child)
            except OSError:
                continue  # it has ended and was reaped
            arguments = procfs.command_line(child)
            if self.identities.of(handle, child) or not self._is_found(handle, child, parent):
                posix.close(handle)
                continue
            may_report_yet = report and self._may_report_yet(handle, child, arguments, parent)
            self._take_up(child, handle, arguments, parent, may_report_yet)

    def _take_up(
        self,
        pid: int,
        handle: int,
        arguments: tuple[str, ...],
        parent: Process | None,
        may_report_yet: bool = False,
    ) -> Process:
        """A process that was found: a child of `parent`, or an orphan."""
        process = self._add(pid, handle, "fork" if may_report_yet else "found", arguments)
        if parent is None and not self.cleans_up and _running([process]):
            self.note(protocol.ADOPTED, process)
        parent = parent or self._parent_of_orphan(handle, pid)
        if parent is not None:
            self._is_child(process, parent)
        if not may_report_yet:
            process.origin = procfs.origin(pid) if self.witnessed else None
            process.arguments = arguments
            if parent is not None:
                name = procfs.name(parent.pid)
                if arguments in (procfs.command_line(parent.pid), (name,)):
                    process.name_before = name
            self.opaque.add(process)
            self._note_limit(process)
        return process

    # --- processes whose calls are held

    def process_of_thread(self, tid: int) -> Process | None:
        """The process of a thread, which becomes known by that; None if it is gone."""
        process = self.living.get(tid)
        if process is not None and process.has_pid():
            return process
        group = procfs.process_of_thread(tid)
        return None if group is None else self.process_with(group)

    def process_with(self, pid: int) -> Process | None:
        """The process that has a pid, which becomes known by that; None if it is not of the run."""
        process = self.living.get(pid)
        if process is not None and process.has_pid():
            return process
        self.receive_reports()  # it may have introduced itself
        process = self.living.get(pid)
        if process is not None and process.has_pid():
            return process
        try:
            handle = posix.pidfd_open(pid)
        except OSError:
            return None
        its_pid, its_parent = kernel.pid_and_parent(handle)
        known = self.identities.of(handle, pid)
        if known is not None or its_pid is None or not kernel.is_below(handle, self._is_above):
            posix.close(handle)
            return known
        own = posix.getpid()
        parent = None if its_parent in (own, None) else self.process_with(its_parent)
        if parent is not None and kernel.pid_and_parent(handle)[1] != parent.pid:
            parent = None  # it has ended meanwhile
        return self._take_up(pid, handle, procfs.command_line(pid), parent)

    def look_at_beginning(self, tid: int) -> None:
        """Take up the process of a thread that has just begun, or note the program that has.

        Not if it is a fork of one that reports: then it reports itself.
        """
        self.adopt()  # orphans, before another that may have started them ends too
        process = self.living.get(tid)
        if process is not None and process.has_pid():
            if process in self.opaque:
                process.origin = procfs.origin(tid)
                self.look_at_program(process)
            return
        if procfs.process_of_thread(tid) != tid:
            return  # a thread of one that has begun before
        self.receive_reports()  # who forked it may have begun to start processes unseen
        parent_pid = procfs.parent(tid)
        if parent_pid is None:
            return
        if parent_pid == posix.getpid():
            origin = procfs.origin(tid)
            reports = origin is None or origin.image in self.images
        else:
            parent = self.process_with(parent_pid)
            reports = parent is not None and parent not in self.opaque
        if not reports:
            self.process_with(tid)

    def _note_image(self, process: Process) -> None:
        origin = procfs.origin(process.pid) if self.witnessed else None
        if origin is not None and origin.image and process.has_pid():
            self.images.add(origin.image)

    def _parent_of_orphan(self, handle: int, pid: int) -> Process | None:
        """Who had started a process that is a child of ours by now; None if it is not known.

        It does not report and has ended, and the process may be a fork of no other such one.
        """
        if not self.witnessed:
            return None
        began, origin = kernel.started_at(handle), procfs.origin(pid)
        if began is None or origin is None or kernel.pid_of(handle) != pid:
            return None
        running = _running(list(self.opaque))
        ended = [process for process in self.opaque if process not in running]
        for process in reversed(self.ended_opaque):
            if (process.ended_at or began) < began:
                break
            ended.append(process)
        able = [
            p for p in ended if p.origin is not None and origin.is_fork_of(p.origin, p.last_pid)
        ]
        return able[0] if len(able) == 1 else None

    def _may_report_yet(
        self, handle: int, pid: int, arguments: tuple[str, ...], parent: Process | None
    ) -> bool:
        """Whether a process is a fork of one that reports, too young to have reported itself.

        The parent of an orphan is not known: the clean-up may have killed it.
        """
        if parent is None:
            is_fork = arguments in self.cleaned_up
        else:
            is_fork = parent not in self.opaque and arguments == procfs.command_line(parent.pid)
            is_fork = is_fork and parent.has_pid()
        age = procfs.age(pid) if is_fork else None
        return age is not None and age < _YOUNG and kernel.pid_of(handle) == pid

    @staticmethod
    def _is_found(handle: int, child: int, parent: Process | None) -> bool:
        """Whether this is the child that was listed: it, or its parent, may have been reaped."""
        pid, its_parent = kernel.pid_and_parent(handle)
        if pid != child:
            return False
        if its_parent == posix.getpid():  # it may have lost its parent since
            return True
        return parent is not None and its_parent == parent.pid and parent.has_pid()

    def _note_limit(self, process: Process) -> None:
        """Note a limit that nobody reported, as a shell's; a fork inherits its parent's."""
        limit = procfs.cpu_limit(process.pid)
        # if it still has the pid, the file was not that of another process with the same pid
        if limit is not None and process.has_pid():
            self.note(protocol.CPU_LIMIT, process, *limit)

    def _find_below_living(self) -> None:
        for process in list(self.living.values()):
            if not process.ended:
                self.find_children(process)

    # --- clean-up

    def look_at_all(self) -> int:
        """Find all processes, and note which have ended; the time of that look (monotonic ns)."""
        for _ in range(_LOOKS):
            known = len(self.processes)
            self.adopt()
            self._find_below_living()
            ended = _ended(list(self.living.values()))
            at = time.monotonic_ns()
            self.read_reports()  # those of what has ended come before its end
            self.note_ends(ended, at)
            if len(self.processes) == known:
                break
        return at

    def begin_cleanup(self, at: int) -> None:
        """Note what was running at the time of the last look, before anything is killed."""
        self.cleans_up = True
        running = [process for process in self.living.values() if not process.ended]
        for process in running:
            arguments = () if process in self.opaque else procfs.command_line(process.pid)
            if arguments and process.has_pid():
                self.cleaned_up.add(arguments)
        numbers = tuple(process.number for process in running)
        self.log.append((at, protocol.CLEANUP_BEGAN, self.main.number, numbers))

    def kill_all(self) -> None:
        """One round of SIGKILL to all that is left; rounds follow until nothing is."""
        self.adopt()
        self._find_below_living()
        for process in list(self.living.values()):
            if not process.ended and kernel.send(process.handle, _signal.SIGKILL):
                self.note(protocol.CLEANUP, process)


def _open_started(report: Report, sender: Process) -> int | None:
    """A pidfd of the child that a process has started, if no descriptor was left there for one."""
    pid = report.named_pid if report.kind == wire.STARTED else None
    if pid is None:
        return None
    try:
        handle = posix.pidfd_open(pid)
    except OSError:
        return None  # it has been reaped
    if kernel.pid_and_parent(handle) == (pid, sender.pid):
        return handle
    posix.close(handle)
    return None


def _names_gone_program(report: Report) -> bool:
    """Whether it is of the start of a program which was gone by then.

    A child of multiprocessing has reported itself, or it was killed before it could.
    """
    is_start = report.kind == wire.STARTED and report.passed is None
    return is_start and report.field(1) in _PROGRAMS and bool(report.named_pid)


def _starts_unseen(kind: str, report: Report) -> bool:
    """Whether the sender may start processes from here on that nobody reports."""
    if kind == wire.EXEC:
        return report.field(0) == _DOES_NOT_REPORT
    return kind == wire.UNSEEN or (kind == wire.FOREIGN and report.field(1) in _STARTERS)


def _running(processes: list[Process]) -> list[Process]:
    """Which of these run at this moment: their pidfds are not readable."""
    candidates = [process for process in processes if not process.ended]
    ended = {handle for handle, _ in _ended(candidates)} if candidates else ()
    return [process for process in candidates if process.handle not in ended]


def _ended(processes: list[Process]) -> list[tuple[int, int]]:
    """The pidfds of those that have ended, with their events, by one look at them all."""
    poll = select.poll()
    for process in processes:
        poll.register(process.handle, select.POLLIN)
    return poll.poll(0)
