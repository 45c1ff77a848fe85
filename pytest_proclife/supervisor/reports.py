"""The sockets on which reports arrive: one that main inherits, and those connected by address."""

import _socket
import posix
import select

from pytest_proclife import wire
from pytest_proclife.supervisor import kernel

_ABOUT_OTHERS = (wire.STARTED, wire.KILL, wire.KILL_GROUP)
_BUFFER = 100_000  # bytes; wire.pack stays below it


class Report:
    """A datagram, and what the kernel says about its sender."""

    __slots__ = ("data", "passed", "pid", "sender", "user")

    def __init__(self, data: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        self.data = data
        self.pid: int | None = None
        self.user: int | None = None
        self.sender: int | None = None  # a pidfd; None if no descriptor was left for it
        self.passed: list[int] = []  # descriptors that it came with
        for _level, kind, content in ancillary:
            if kind == _socket.SCM_CREDENTIALS:
                self.pid, self.user = kernel.integer(content, 0), kernel.integer(content, 4)
            elif kind == kernel.SCM_PIDFD:
                self.sender = kernel.integer(content, 0)
            elif kind == _socket.SCM_RIGHTS:
                self.passed = descriptors(content)

    @property
    def kind(self) -> str:
        return self.data[:1].decode("latin-1")

    @property
    def written_at(self) -> int | None:
        """When it was written, in monotonic ns; None if it does not say so."""
        try:
            return int(self.data.split(b"\0", 1)[0].split(b" ")[2])
        except (ValueError, IndexError):
            return None

    @property
    def named_pid(self) -> int | None:
        """The pid of the process that it is about, if its sender and we count pids alike."""
        header = self.data.split(b"\0", 1)[0].split(b" ")
        alike = len(header) > 1 and header[1] == b"%d" % (self.pid or 0)
        return self.number(0) if alike else None

    def take_own(self) -> int | None:
        """The pidfd that its sender passed of itself, if it did.

        Beside a report about another process comes a pidfd of that one.
        """
        if self.passed and self.kind not in _ABOUT_OTHERS:
            return self.passed.pop(0)
        return None

    def field(self, index: int) -> bytes:
        """A field after the header, counted from 0; empty if there is none."""
        parts = self.data.split(b"\0", index + 2)
        return parts[index + 1] if len(parts) > index + 1 else b""

    def number(self, index: int) -> int | None:
        """A field as a number; None if it is not one (a hostile program may write anything)."""
        try:
            return int(self.field(index))
        except ValueError:
            return None

    @property
    def names_own_child(self) -> bool:
        """Whether it is about a child of its sender; the sender of a signal says that."""
        if self.data[:1] == wire.KILL_GROUP.encode():
            return self.field(0) in self.field(4).split()
        return self.data[:1] != wire.KILL.encode() or bool(self.field(4))


class Reception:
    """The sockets, all non-blocking, registered in `poll` (an epoll or a poll).

    `options` have the kernel say who sent a report: socket(7).
    """

    def __init__(
        self, poll: "select.epoll | select.poll", options: tuple[int, ...], ancillary: int
    ) -> None:
        self.poll = poll
        self.options = options
        self.ancillary = ancillary  # bytes; too few for descriptors and they are closed: unix(7)
        self.address = "proclife-" + posix.urandom(16).hex()
        self.connections: dict[int, _socket.socket] = {}
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            self._set_up(self.listener)
            self.listener.bind("\0" + self.address)
            self.listener.listen(4096)
        except OSError:
            self.listener.close()
            raise
        self.poll.register(self.listener, select.POLLIN)

    def socket_for_main(self) -> _socket.socket:
        """The sending end of a connection that main will inherit."""
        receiving, sending = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._set_up(receiving)
        sending.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1 << 20)
        self._add(receiving)
        return sending

    def _set_up(self, socket: _socket.socket) -> None:
        for option in self.options:
            socket.setsockopt(_socket.SOL_SOCKET, option, 1)
        socket.setblocking(False)

    def _add(self, socket: _socket.socket) -> None:
        self.connections[socket.fileno()] = socket
        self.poll.register(socket, select.POLLIN)

    def _drop(self, descriptor: int) -> None:
        self.poll.unregister(descriptor)
        self.connections.pop(descriptor).close()

    def close(self) -> None:
        for descriptor in list(self.connections):
            self._drop(descriptor)
        self.poll.unregister(self.listener)
        self.listener.close()

    def _accept(self) -> None:
        while True:
            try:
                # not in the stubs: accept() without an object for each connection
                descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
            except OSError:
                return  # none waits; or no descriptor is left, and they wait until one is
            socket = _socket.socket(fileno=descriptor)
            socket.setblocking(False)
            self._add(socket)

    def receive(self) -> list[Report]:
        """All reports that lie in the sockets now; those of each socket in their order."""
        self._accept()
        reports = []
        for descriptor, socket in list(self.connections.items()):
            while True:
                try:
                    data, ancillary, _, _ = socket.recvmsg(_BUFFER, self.ancillary)
                except BlockingIOError:
                    break
                except OSError:  # reset by its process: as the end of the file
                    data, ancillary = b"", []
                if not data:
                    self._drop(descriptor)
                    break
                reports.append(Report(data, ancillary))
        return reports


def descriptors(content: bytes) -> list[int]:
    """The descriptors of an SCM_RIGHTS message: unix(7)."""
    found = [kernel.integer(content, place) for place in range(0, len(content) - 3, 4)]
    for descriptor in found:
        posix.set_inheritable(descriptor, False)  # recvmsg does not
    return found
