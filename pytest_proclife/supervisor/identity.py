"""Which process of the run a pidfd stands for, or a pid that the kernel attached to a report.

Pids are used again. If the kernel numbers pidfds (`kernel.PIDFS`), that number is the identity of
a process. Else two pidfds are compared by the pid: both have it now, so both are of one process,
since a pid is not used again before its process has been reaped. A pidfd of a process that was
reaped before we looked says nothing any more; then it counts when the reports were written.
"""

import posix

from pytest_proclife import wire
from pytest_proclife.supervisor import kernel, procfs
from pytest_proclife.supervisor.reports import Report

_NEW_PROGRAM = b"new"


class Process:
    __slots__ = (
        "after",
        "announced",
        "arguments",
        "began",
        "children",
        "ended",
        "ended_at",
        "handle",
        "key",
        "last_at",
        "last_kind",
        "last_pid",
        "name_before",
        "number",
        "origin",
        "pid",
        "reaped",
        "reaped_at",
        "since",
        "status",
    )

    def __init__(self, number: int, pid: int, handle: int) -> None:
        self.number = number
        self.pid = pid
        self.handle = handle
        self.ended = self.reaped = False
        self.children: list[Process] = []
        self.arguments: tuple[str, ...] = ()  # if it was found, not reported
        # its parent's name, if it was found with the command line of that: it may have been just
        # before an exec, which changes both
        self.name_before = ""
        self.status: int | None = None  # of the zombie, if the kernel does not keep it for us
        # of a run whose calls the kernel holds for us
        self.last_pid = 0  # that was given by the time at which its end was seen
        self.origin: procfs.Origin | None = None  # of a process that does not report
        # the rest serves the comparison by pid, in monotonic ns
        self.after = 0  # it was not started before that: until then, another had its pid
        self.began = 0  # it reports nothing before that
        self.since = 0  # it gets no signal before that
        self.announced: set[tuple[int | None, str] | None] = set()  # by whom, and as what
        self.ended_at: int | None = None  # it reports nothing after that
        self.reaped_at: int | None = None  # it does not have the pid after that
        self.key = b""  # its name for itself
        self.last_kind = ""  # of its reports
        self.last_at = 0  # when the last of these was written

    def has_pid(self) -> bool:
        """Whether it still has its pid: then it has had it all the time, and nobody else has."""
        return not self.reaped and kernel.pid_of(self.handle) == self.pid


class Identities:
    """All processes that are known, for the whole run."""

    def __init__(self) -> None:
        self.by_inode: dict[int, Process] = {}
        self.by_pid: dict[int, list[Process]] = {}  # in the order in which they became known

    def add(self, process: Process, report: "Report | None") -> None:
        """Take up a process, which may have become known by its own report."""
        inode = kernel.identity(process.handle) if process.handle >= 0 else None
        if inode is not None:
            self.by_inode[inode] = process
        had_pid = self.by_pid.setdefault(process.pid, [])
        if inode is None or kernel.PASSPIDFD not in kernel.offered:
            began = None if process.handle < 0 else kernel.started_at(process.handle)
            process.after = had_pid[-1].last_at if had_pid else 0
            # its parent may have sent it a signal before its own first report was written
            process.since = began or process.after
            process.began = began or (report.written_at if report else None) or process.after
        had_pid.append(process)

    def of(self, handle: int, pid: int | None, report: "Report | None" = None) -> Process | None:
        """The known process of a pidfd; None if it is none of these.

        `pid` is what it is known to have had, and `report` is of that time; both count only once
        it has been reaped.
        """
        inode = kernel.identity(handle)
        if inode is not None:
            known_by_inode = self.by_inode.get(inode)
            if known_by_inode is None and pid is not None and report is not None:
                known_by_inode = self._known_by_pid_alone(handle, pid, report)
                if known_by_inode is not None:
                    self.by_inode[inode] = known_by_inode
            return known_by_inode
        has_now = kernel.pid_of(handle)
        if has_now is not None:
            known = self.by_pid.get(has_now)
            # in this order: if this one still has the pid, it had it when the other was looked at
            if known and known[-1].has_pid():
                return known[-1]
            if not known or kernel.pid_of(handle) is not None:
                return None
            pid = has_now  # it may have been the same, and was reaped between the two looks
        if pid is None or report is None:
            return None
        process = self.that_had(pid, report)
        return None if process is None or process.has_pid() else process

    def _known_by_pid_alone(self, handle: int, pid: int, report: "Report") -> Process | None:
        """The process of a pidfd if it was reaped before its own first report was read.

        The kernel did not say then whose report that was: before Linux 6.16.
        """
        process = self.that_had(pid, report)
        if process is None or process.handle >= 0 or kernel.pid_of(handle) is not None:
            return None
        return process

    def that_had(self, pid: int, report: "Report") -> Process | None:
        """The known process that had a pid when something was reported; None if it is another."""
        at = report.written_at
        is_sender = pid == report.pid
        unless_another: Process | None = None  # if that had the pid then: it is known for longer
        for process in reversed(self.by_pid.get(pid, ())):
            if at is None:
                return process
            # a zombie has its pid still, but reports nothing
            until = process.ended_at if is_sender else process.reaped_at
            if until is not None and at > until:
                break
            # Its own first report may be earlier than that of its start, and later than what
            # that says: a parent can lose the processor in the middle of it, or start a program.
            if at >= (process.after if report.kind == wire.STARTED else process.began):
                if is_sender:
                    return None if _is_another(process, report) else process
                return None if report.announcement in process.announced else process
            if not is_sender and at >= process.since and unless_another is None:
                unless_another = process
        return unless_another

    def child_that_had(self, pid: int, start: "Report") -> Process | None:
        """The known process that had a pid after a start had begun; None if it is another."""
        process = next(reversed(self.by_pid.get(pid, ())), None)
        at = start.written_at
        if process is None or at is None or process.reaped_at is None or process.reaped_at > at:
            return process
        return None


def _is_another(process: Process, report: "Report") -> bool:
    """Whether a process introduces itself that cannot be the one which is known."""
    if report.kind != wire.HELLO or not process.last_kind or report.field(0) == process.key:
        return False
    # a new program goes on as the process that has executed it
    return report.field(2) != _NEW_PROGRAM or process.last_kind == wire.EXITING


def open_reporting(pid: int, report: "Report") -> int | None:
    """A pidfd of the process that had a pid when it reported something; None if it is gone.

    OSError if there is no descriptor left for it.
    """
    try:
        handle = kernel.open_pidfd(pid)
    except ProcessLookupError:
        return None
    began = kernel.started_at(handle)
    if began is None or report.written_at is None or began > report.written_at:
        posix.close(handle)
        return None
    return handle
