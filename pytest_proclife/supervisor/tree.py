"""All processes of one run, by pidfd: who they are, what they report, when and how they end.

The log is the run's only account: tuples (monotonic ns, what, process, ...), the processes
numbered in the order in which they became known; main is 0.
"""

import _socket
import os
import select
import time

from pytest_proclife import wire
from pytest_proclife.supervisor import kernel

_BUFFER = 100_000  # bytes; wire.pack stays below it
_ANCILLARY = 256
_HELLO, _STARTED, _KILL = (letter.encode() for letter in (wire.HELLO, wire.STARTED, wire.KILL))
_KILL_GROUP = wire.KILL_GROUP.encode()
_UNSEEN, _EXEC = wire.UNSEEN.encode(), wire.EXEC.encode()


class Process:
    __slots__ = ("children", "ended", "handle", "number", "pid", "reaped")

    def __init__(self, number, pid, handle):
        self.number = number
        self.pid = pid
        self.handle = handle
        self.ended = self.reaped = False
        self.children = []


class Tree:
    def __init__(self, epoll):
        self.epoll = epoll
        self.log = []
        self.processes = []
        self.handles = {}  # pidfd -> Process, until it is reaped
        self.identities = {}  # inode of the pidfd -> Process, for the whole run
        self.living = {}  # pid -> Process that has not been reaped
        self.keys = {}  # a process's name for itself -> Process
        self.opaque = set()  # living processes whose children do not report
        self.epoch = 0
        self.main_pid = 0
        self.main_ended = False
        self.wakes = 0
        self.receiving = {}  # descriptor -> socket that reports arrive on
        self.listener = None

    # --- the way in for reports

    def open_channel(self, address):
        receiving, sending = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        for end in (receiving, self.listener):
            end.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
            end.setsockopt(_socket.SOL_SOCKET, kernel.SO_PASSPIDFD, 1)
            end.setblocking(False)
        sending.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1 << 20)
        self.listener.bind("\0" + address)
        self.listener.listen(4096)
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)
        self.epoll.register(receiving.fileno(), select.EPOLLIN)
        self.receiving[receiving.fileno()] = receiving
        self.sending = sending
        self.sending_end = sending.fileno()

    def close_sending_end(self):
        self.sending.close()

    def read_reports(self):
        """Take all that lies in the sockets."""
        self.wakes += 1
        self._accept()
        for descriptor, socket in list(self.receiving.items()):
            while True:
                try:
                    data, ancillary, flags, _ = socket.recvmsg(_BUFFER, _ANCILLARY)
                except BlockingIOError:
                    break
                except OSError:
                    data = b""
                if not data:
                    self.epoll.unregister(descriptor)
                    self.receiving.pop(descriptor).close()
                    break
                self._take(data, ancillary)

    def _accept(self):
        while True:
            try:
                descriptor, _ = self.listener._accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            socket = _socket.socket(fileno=descriptor)
            socket.setblocking(False)
            self.receiving[descriptor] = socket
            self.epoll.register(descriptor, select.EPOLLIN)

    def _take(self, data, ancillary):
        pid = user = None
        sender = about = None
        handed = []
        for _level, kind, content in ancillary:
            if kind == _socket.SCM_CREDENTIALS:
                pid = int.from_bytes(content[:4], "little")
                user = int.from_bytes(content[4:8], "little")
            elif kind == kernel.SCM_PIDFD:
                sender = int.from_bytes(content[:4], "little")
            elif kind == _socket.SCM_RIGHTS:
                handed = [
                    int.from_bytes(content[i : i + 4], "little")
                    for i in range(0, len(content), 4)
                ]
        process = self._known(sender, pid, user)
        for descriptor in handed:
            about = self._handed(descriptor, about, data)
        if process is not None:
            self._said(process, data, about)

    def _known(self, handle, pid, user):
        """The process that a report came from; a new one opens its record."""
        if handle is None:  # no descriptor was left for it
            return self.living.get(pid)
        identity = os.fstat(handle).st_ino
        process = self.identities.get(identity)
        if process is not None:
            os.close(handle)
            return process
        if user not in (os.getuid(), 0) and os.getuid() != 0:
            os.close(handle)
            return None  # a stranger that found the address
        return self._add(pid, handle, identity, "report")

    def _handed(self, handle, about, data):
        """The process that a report is about, by the pidfd that came with it."""
        identity = os.fstat(handle).st_ino
        process = self.identities.get(identity)
        if process is not None or about is not None:
            os.close(handle)
            return about or process
        try:
            # one that has been reaped already has no pid any more, but the report names it
            pid, parent = kernel.pid_and_parent(handle)
            pid = pid or int(data.split(b"\0", 2)[1])
        except (OSError, ValueError, IndexError):
            os.close(handle)  # no pidfd at all, or no report
            return None
        process = self._add(pid, handle, identity, "parent")
        if parent in self.living:
            self._is_child(process, self.living[parent].number)
        return process

    def _add(self, pid, handle, identity, how, arguments=()):
        process = Process(len(self.processes), pid, handle)
        self.processes.append(process)
        self.identities[identity] = process
        self.handles[handle] = process
        self.living[pid] = process
        self.log.append((time.monotonic_ns(), "new", process.number, pid, how, arguments))
        # edge-triggered: one event when it ends, one when it is reaped
        self.epoll.register(handle, select.EPOLLIN | select.EPOLLET)
        return process

    def add_main(self, pid, observed):
        self.main_pid = pid
        handle = os.pidfd_open(pid)
        process = self._add(pid, handle, os.fstat(handle).st_ino, "main")
        if not observed:
            self.opaque.add(process)

    def _said(self, process, data, about):
        self.log.append(
            (
                time.monotonic_ns(),
                "said",
                process.number,
                data,
                None if about is None else about.number,
            )
        )
        kind = data[:1]
        if kind == _HELLO:
            fields = data.split(b"\0", 3)
            self.keys[fields[1]] = process
            parent = self.keys.get(fields[2])
            if parent is not None and parent is not process:
                parent.children.append(process)
            self.opaque.discard(process)
        elif kind == _STARTED and about is not None:
            process.children.append(about)
            if data.split(b"\0", 7)[6:7] == [b"0"] and not about.ended:
                self.opaque.add(about)
        elif kind == _UNSEEN or (kind == _EXEC and data.split(b"\0", 2)[1] == b"0"):
            self.opaque.add(process)
        elif kind == _KILL and about is not None and not about.ended:
            self._note_state(about, int(data.split(b"\0", 3)[2]))
        elif kind == _KILL_GROUP:
            group, number = map(int, data.split(b"\0", 3)[1:3])
            self._note_group(process, group, number)

    def _note_state(self, process, number):
        """What a signal that is on its way will meet."""
        if number != 9:
            state = kernel.signal_state(process.pid, number)
            self.log.append((time.monotonic_ns(), "state", process.number, number, state))

    def _note_group(self, sender, group, number):
        """Who is in the process group that a signal goes to; 0 is the sender's, 1 is everybody."""
        members = []
        try:
            group = group or os.getpgid(sender.pid)
        except OSError:
            return  # the sender is gone, and its group cannot be asked for
        for process in list(self.living.values()):
            try:
                if group == 1 or os.getpgid(process.pid) == group:
                    members.append(process.number)
                    self._note_state(process, number)
            except OSError:
                continue  # it is gone
        self.log.append((time.monotonic_ns(), "group", sender.number, number, tuple(members)))

    # --- ends

    def note_ends(self, events):
        """Stamp the ends and the reaps that the kernel has told of."""
        for handle, event in events:
            process = self.handles.get(handle)
            if process is None:
                continue
            if not process.ended:
                self._ended(process)
            if event & select.EPOLLHUP and not process.reaped:
                self._reaped(process, kernel.exit_status(handle))

    def _ended(self, process):
        process.ended = True
        now = time.monotonic_ns()
        running = tuple(child.number for child in self._running(process.children))
        self.log.append((now, "end", process.number, self.wakes, running))
        process.children = []
        if process.number == 0:
            self.main_ended = True
        if process in self.opaque:
            self.opaque.discard(process)
            self.adopt()  # what it started has become our child by now

    def _running(self, processes):
        """Which of these still run at this moment: their pidfds are not readable."""
        poll, asked = select.poll(), []
        for process in processes:
            if not process.ended:
                poll.register(process.handle, select.POLLIN)
                asked.append(process)
        if not asked:
            return []
        ended = {handle for handle, _ in poll.poll(0)}
        return [process for process in asked if process.handle not in ended]

    def _reaped(self, process, status, by_us=False):
        process.reaped = True
        self.log.append((time.monotonic_ns(), "reaped", process.number, status, by_us))
        if self.living.get(process.pid) is process:
            del self.living[process.pid]
        self.epoll.unregister(process.handle)
        del self.handles[process.handle]
        os.close(process.handle)

    def reap(self):
        """Collect our own children, main and orphans; False when there is none left."""
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if found is None:
                return True
            pid = found.si_pid
            process = self.living.get(pid)
            if process is None:
                handle = os.pidfd_open(pid)
                identity = os.fstat(handle).st_ino
                process = self._add(pid, handle, identity, "orphan", kernel.command_line(pid))
            if not process.ended:
                return True  # its end comes with the next events, in its place among them
            _, status = os.waitpid(pid, 0)
            self._reaped(process, status, by_us=True)

    # --- those that do not report

    def scan(self):
        """Look for children of the processes that do not report what they start."""
        for process in list(self.opaque):
            self._find_children(process.pid, process.number)

    def adopt(self):
        """Look for orphans that nobody has reported."""
        self._find_children(os.getpid(), None)

    def _find_children(self, pid, parent):
        for child in kernel.children(pid):
            if child in self.living:
                continue
            try:
                handle = os.pidfd_open(child)
            except OSError:
                continue  # it has ended and was reaped
            identity = os.fstat(handle).st_ino
            if identity in self.identities:
                os.close(handle)
                continue
            arguments = kernel.command_line(child)
            process = self._add(child, handle, identity, "found", arguments)
            if parent is not None:
                self._is_child(process, parent)
            self.opaque.add(process)

    def _is_child(self, process, parent):
        """The kernel says whose child a process is that nobody has reported."""
        self.log.append((time.monotonic_ns(), "child", process.number, parent))
        self.processes[parent].children.append(process)

    # --- the end of everything

    def kill_all(self):
        """One round of SIGKILL to all that is left; rounds follow until nothing is."""
        self.adopt()
        for process in list(self.living.values()):
            if not process.ended:
                self._find_children(process.pid, process.number)
        for process in list(self.living.values()):
            if not process.ended and kernel.kill(process.handle):
                self.log.append((time.monotonic_ns(), "cleanup", process.number))

    def ask(self, pid, number, group):
        """Send a signal for the test; the processes that it went to."""
        process = self.living.get(pid)
        if process is None or process.ended:
            return False
        targets = [process]
        if group:
            leader = os.getpgid(pid)
            targets = [p for p in self.living.values() if _group_of(p.pid) == leader]
        for target in targets:
            self.log.append((time.monotonic_ns(), "asked", target.number, number))
            self._note_state(target, number)
        if not group:
            return kernel.send(process.handle, number)
        try:
            os.killpg(leader, number)
        except OSError:
            return False
        return True


def _group_of(pid):
    try:
        return os.getpgid(pid)
    except OSError:
        return None  # it is gone
