"""Where reports arrive: the socket that main inherits, and one to connect to by address."""

import _socket
import posix
import select

from pytest_proclife import wire
from pytest_proclife.supervisor import kernel

_BUFFER = 100_000  # bytes; wire.pack stays below it
_ANCILLARY = 256


class Report:
    """A datagram, and what the kernel says of its sender."""

    __slots__ = ("data", "handed", "pid", "sender", "user")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pid: int | None = None
        self.user: int | None = None
        self.sender: int | None = None  # a pidfd; None if no descriptor was left for it
        self.handed: list[int] = []  # descriptors that came with it

    def field(self, index: int) -> bytes:
        """A field after the header, counted from 0; empty where there is none."""
        parts = self.data.split(b"\0", index + 2)
        return parts[index + 1] if len(parts) > index + 1 else b""

    def number(self, index: int) -> int | None:
        """A field as a number; None where it is none (a hostile program may write anything)."""
        try:
            return int(self.field(index))
        except ValueError:
            return None

    @property
    def names_own_child(self) -> bool:
        """Whether what it is about was a child of its sender's: who sends a signal says so."""
        if self.data[:1] == wire.KILL_GROUP.encode():
            return self.field(0) in self.field(4).split()
        return self.data[:1] != wire.KILL.encode() or bool(self.field(4))


class Reception:
    """The sockets, all non-blocking, in the supervisor's epoll."""

    def __init__(self, epoll: select.epoll) -> None:
        self.epoll = epoll
        self.address = "proclife-" + posix.urandom(16).hex()
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        receiving, sending = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        for end in (receiving, self.listener):
            end.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
            end.setsockopt(_socket.SOL_SOCKET, kernel.SO_PASSPIDFD, 1)
            end.setblocking(False)
        sending.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1 << 20)
        self.listener.bind("\0" + self.address)
        self.listener.listen(4096)
        self.epoll.register(self.listener.fileno(), select.EPOLLIN)
        self.receiving: dict[int, _socket.socket] = {}
        self._add(receiving)
        self.sending = sending  # main's end

    def _add(self, socket: _socket.socket) -> None:
        self.receiving[socket.fileno()] = socket
        self.epoll.register(socket.fileno(), select.EPOLLIN)

    def accept(self) -> None:
        """Take the connections that wait."""
        while True:
            try:
                descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError:
                return  # no descriptor is left: they wait until one is
            socket = _socket.socket(fileno=descriptor)
            socket.setblocking(False)
            self._add(socket)

    def drain(self) -> list[Report]:
        """All that lies in the sockets now; each socket's reports in their order."""
        self.accept()
        reports = []
        for descriptor, socket in list(self.receiving.items()):
            while True:
                try:
                    data, ancillary, _, _ = socket.recvmsg(_BUFFER, _ANCILLARY)
                except BlockingIOError:
                    break
                except OSError:
                    data, ancillary = b"", []
                if not data:
                    self.epoll.unregister(descriptor)
                    self.receiving.pop(descriptor).close()
                    break
                reports.append(_opened(data, ancillary))
        return reports


def _opened(data: bytes, ancillary: list[tuple[int, int, bytes]]) -> Report:
    report = Report(data)
    for _level, kind, content in ancillary:
        if kind == _socket.SCM_CREDENTIALS:
            report.pid = _integer(content, 0)
            report.user = _integer(content, 4)
        elif kind == kernel.SCM_PIDFD:
            report.sender = _integer(content, 0)
        elif kind == _socket.SCM_RIGHTS:
            report.handed = descriptors(content)
    return report


def descriptors(content: bytes) -> list[int]:
    """The descriptors of an SCM_RIGHTS message: unix(7)."""
    found = [_integer(content, place) for place in range(0, len(content) - 3, 4)]
    for descriptor in found:
        posix.set_inheritable(descriptor, False)  # recvmsg does not
    return found


def _integer(content: bytes, place: int) -> int:
    return int.from_bytes(content[place : place + 4], "little")
