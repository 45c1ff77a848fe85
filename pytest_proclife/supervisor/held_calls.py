"""What the supervisor looks at while the kernel holds a system call of the run for it.

A call is looked at when it is entered: whoever makes it is alive, its pid cannot become another's,
and what it is about to do has not happened yet. Nobody waits for us longer than that look takes.
"""

import select

from pytest_proclife import wire
from pytest_proclife.supervisor import kernel, procfs, protocol, seccomp
from pytest_proclife.supervisor.held_waits import HeldWaits, wait_of
from pytest_proclife.supervisor.identity import Process
from pytest_proclife.supervisor.protocol import Entry, entry
from pytest_proclife.supervisor.seccomp import Call, Listener
from pytest_proclife.supervisor.signals import group_of
from pytest_proclife.supervisor.tree import Tree

_MOST = 1000  # calls of one round: a storm of them must not keep us from all else
_SIGNALS = range(1, 65)
_CAP_KILL = 1 << 5  # capabilities(7)
_PIDFD_SIGNAL_PROCESS_GROUP = 4  # linux/pidfd.h
_SIGCONT = 18


class HeldCalls:
    """The calls of a run that are held, as they arrive on the listener."""

    def __init__(self, listener: Listener, tree: Tree) -> None:
        self.listener = listener
        self.tree = tree
        self.waits = HeldWaits(listener, tree)
        self.foreign: set[Process] = set()  # their calls cannot be read
        self.poll = select.poll()
        self.poll.register(listener, select.POLLIN)

    def fileno(self) -> int:
        return self.listener.fileno()

    def answer(self) -> bool:
        """Look at each call that is held now, and let it go on; False once there can be no more."""
        for _ in range(_MOST):
            events = self.poll.poll(0)
            if not events:
                return True
            if not events[0][1] & select.POLLIN:
                return False  # no process with the filter is left
            call = self.listener.receive()
            if call is None:
                continue
            process, entries = None, []
            try:
                if call.name in seccomp.BEGINNING:
                    self.tree.look_at_beginning(call.tid)
                    self.listener.let_go_on(call)
                    continue
                process = self.tree.process_of_thread(call.tid)
                if process is not None:
                    entries = self._look(process, call)
                    self._note_point(process, call)
            except OSError:
                # killed meanwhile, so that it cannot go on; or no descriptor is left for the look
                entries = [entry(protocol.UNREADABLE, (process or self.tree.main).number)]
            if process is not None and self._keeps(process, call):
                continue
            # an interrupted call has not been made; if it is made again, it arrives again
            if not self._let_go_on(process, call):
                continue
            if process is None:
                self.tree.log += entries or [entry(protocol.UNREADABLE, self.tree.main.number)]
            else:
                self.tree.log += entries
        return True

    def _look(self, process: Process, call: Call) -> list[Entry]:
        tree = self.tree
        name = call.name
        if name in seccomp.SIGNALLING:
            # what the sender reports of it, it has written before
            tree.receive_reports()
            return self._signal(process, call)
        if name not in seccomp.WAITING:
            return self._request(process, call)
        if process in tree.opaque:
            tree.find_children(process)  # before it collects them
            tree.adopt()  # what those had started, before this one ends too
        return []

    def _keeps(self, process: Process, call: Call) -> bool:
        """Keep a wait held if it would collect a status that only a zombie has; returns whether."""
        if call.name not in seccomp.WAITING or not self.waits.reads_statuses(process):
            return False
        wait = wait_of(
            process,
            call,
            lambda pid: self._seen_from_here(process, pid),
            lambda group: self._group_from_here(process, group),
        )
        return wait is not None and self.waits.keep(wait)

    def _let_go_on(self, process: Process | None, call: Call) -> bool:
        if process is None or call.name not in seccomp.WAITING:
            return self.listener.let_go_on(call)
        return self.waits.let_go_on(process, call)

    def _note_point(self, process: Process, call: Call) -> None:
        """It may be where a process is to be crashed: before the call goes on."""
        if self.tree.points is not None:
            self.tree.points.called(process, call)

    def _request(self, process: Process, call: Call) -> list[Entry]:
        """A signal that it asks the kernel for, or a call of a program of another kind."""
        if call.name == seccomp.FOREIGN:
            if process in self.foreign:
                return []
            self.foreign.add(process)
            return [entry(protocol.UNREADABLE, process.number)]
        argument = call.integer(1 if call.name == "prctl" else 0)
        return [entry(protocol.ASKS, process.number, call.name, argument)]

    # --- signals

    def _signal(self, sender: Process, call: Call) -> list[Entry]:
        signal = call.integer(seccomp.SIGNALLING[call.name])
        if signal not in _SIGNALS:
            return []
        targets = self._targets(sender, call)
        whole = call.name == "kill" and call.integer(0) <= 0
        if call.name == "pidfd_send_signal":
            whole = bool(call.integer(3) & _PIDFD_SIGNAL_PROCESS_GROUP)
        met = []
        for target in targets:
            if target in self.tree.opaque:
                self.tree.find_children(target)  # before they may lose their parent
                self.tree.look_at_program(target)
            status = _status(target)
            if not _may_send(sender, status, signal):
                continue
            met.append((target.number, wire.met(status, signal) if target.has_pid() else "ended"))
        return [entry(protocol.SENDS, sender.number, signal, call.name, whole, tuple(met))]

    def _targets(self, sender: Process, call: Call) -> list[Process]:
        tree = self.tree
        if call.name == "pidfd_send_signal":
            pid = kernel.pid_of_descriptor(call.tid, call.integer(0))
            if pid and call.integer(3) & _PIDFD_SIGNAL_PROCESS_GROUP:
                return self._members(group_of(pid))
            return _one(tree.process_with(pid) if pid else None)
        pid = call.integer(0)
        if call.name != "kill":
            thread = self._seen_from_here(sender, pid)
            return _one(tree.process_of_thread(thread) if thread else None)
        if pid > 0:
            pid = self._seen_from_here(sender, pid) or 0
            return _one(tree.process_with(pid) if pid else None)
        if pid == -1:
            return [target for target in tree.all_running() if target is not sender]
        group = group_of(sender.pid) if pid == 0 else self._group_from_here(sender, -pid)
        return self._members(group)

    def _members(self, group: int | None) -> list[Process]:
        running = self.tree.all_running()
        return [target for target in running if group_of(target.pid) == group]

    def _seen_from_here(self, sender: Process, pid: int) -> int | None:
        """The pid, in our own namespace of pids, of what the sender knows by a pid."""
        depth = _depth(sender.pid)
        if depth == 1:
            return pid
        names = (process.pid for process in self.tree.all_running())
        return next((p for p in names if _named(p, b"NSpid", depth) == pid), None)

    def _group_from_here(self, sender: Process, group: int) -> int | None:
        depth = _depth(sender.pid)
        if depth == 1:
            return group
        running = (process.pid for process in self.tree.all_running())
        member = next((p for p in running if _named(p, b"NSpgid", depth) == group), None)
        return None if member is None else group_of(member)


def _one(process: Process | None) -> list[Process]:
    return [] if process is None else [process]


def _status(process: Process) -> bytes:
    try:
        return procfs.contents("/proc/%d/status" % process.pid)
    except OSError:
        return b""


def _words(status: bytes, name: bytes) -> list[bytes]:
    """The words of a line of /proc/PID/status: proc_pid_status(5)."""
    return status.partition(b"\n" + name + b":\t")[2].partition(b"\n")[0].split()


def _depth(pid: int) -> int:
    """How many namespaces of pids, from ours on, a process is in."""
    try:
        return len(_words(procfs.contents("/proc/%d/status" % pid), b"NSpid")) or 1
    except OSError:
        return 1


def _named(pid: int, line: bytes, depth: int) -> int | None:
    """The number that a process, or its group, has at a depth of namespaces."""
    try:
        words = _words(procfs.contents("/proc/%d/status" % pid), line)
    except OSError:
        return None
    return int(words[depth - 1]) if len(words) >= depth else None


def _may_send(sender: Process, target: bytes, signal: int) -> bool:
    """Whether the kernel lets a process send a signal to one with this status: kill(2)."""
    status = _status(sender)
    users, its = _words(status, b"Uid"), _words(target, b"Uid")
    if len(users) < 3 or len(its) < 3:
        return True  # one of them is gone: then nothing is sent to it, and nothing is said of it
    if {users[0], users[1]} & {its[0], its[2]}:
        return True
    capabilities = _words(status, b"CapEff")
    return bool(capabilities and int(capabilities[0], 16) & _CAP_KILL) or signal == _SIGCONT
