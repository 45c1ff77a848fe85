"""The sockets on which reports arrive: one that main inherits, and those connected by address.

Anybody can connect: the address of a socket is listed in /proc/net/unix, and a program may have
changed its user, its folder or its root, so no file's permissions could say who may. A process
may report if the kernel shows it below the supervisor. That of one that has been reaped cannot
be shown any more, so it counts who made the connection, or whose child it says it is: no process
outside of the run knows the key of one inside.
"""

import _socket
import posix
import select

from pytest_proclife import wire
from pytest_proclife.supervisor import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterator

_ABOUT_OTHERS = (wire.STARTED, wire.KILL, wire.KILL_GROUP)
_BUFFER = 100_000  # bytes; wire.pack stays below it
_BACKLOG = 4096  # connections that wait to be accepted: listen(2)
# Bounds on what processes outside of the run can make us keep: connections that nobody is proven
# to have made, and reports by senders of which that is not known.
_UNPROVEN = _HELD = 64
_ERRORS = 1 << 31  # from this unsigned number on, one is of an error


class Source:
    """A connection. It is `proven` if a process of the run made it; then its forks may use it."""

    __slots__ = ("proven", "socket")

    def __init__(self, socket: _socket.socket, proven: bool) -> None:
        self.socket = socket
        self.proven = proven


class Report:
    """A datagram, and what the kernel says about its sender."""

    __slots__ = ("data", "passed", "pid", "sender", "source")

    def __init__(
        self, source: Source, data: bytes, ancillary: list[tuple[int, int, bytes]]
    ) -> None:
        self.source = source
        self.data = data
        self.pid: int | None = None
        self.sender: int | None = None  # a pidfd; None if the kernel has attached none
        self.passed: int | None = None  # a descriptor that it came with
        for _level, kind, content in ancillary:
            if kind == _socket.SCM_CREDENTIALS:
                self.pid = kernel.integer(content, 0) or None
            elif kind == kernel.SCM_PIDFD:
                # no descriptor was left for it; or the sender had been reaped: before Linux 6.16
                # the number of an error is in its place (scm_pidfd_recv of include/net/scm.h)
                found = kernel.integer(content, 0)
                self.sender = found if found < _ERRORS else None
            elif kind == _socket.SCM_RIGHTS:
                for descriptor in descriptors(content):
                    if self.passed is None:
                        self.passed = descriptor
                    else:
                        posix.close(descriptor)  # the recorder passes one at most

    def close(self) -> None:
        """Close its descriptors, if the report is not used."""
        for descriptor in (self.sender, self.passed):
            if descriptor is not None:
                posix.close(descriptor)

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

    @property
    def announcement(self) -> "tuple[int | None, str] | None":
        """Who reports the start of a process, and as what it does so; a process has one of each."""
        if self.kind != wire.STARTED:
            return None
        return self.pid, self.field(1).decode("utf-8", "replace")

    def take_own(self) -> int | None:
        """The pidfd that its sender passed of itself, if it did.

        Beside a report about another process comes a pidfd of that one.
        """
        if self.passed is None or self.kind in _ABOUT_OTHERS:
            return None
        own, self.passed = self.passed, None
        return own

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

    def names_parent(self, keys: "Container[bytes]") -> bool:
        """Whether it is the first of a process whose parent has one of these keys."""
        return self.data[:1] == wire.HELLO.encode() and self.field(1) in keys

    @property
    def own_group(self) -> int | None:
        """The process group that a sender of a signal to one says to be in.

        None if it counts pids in another way, as below another pid namespace.
        """
        header = self.data.split(b"\0", 1)[0].split(b" ")
        alike = len(header) > 1 and header[1] == b"%d" % (self.pid or 0)
        return self.number(7) if alike else None

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
        self.sources: dict[int, Source] = {}  # by descriptor
        self.held: list[Report] = []
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        try:
            self._set_up(self.listener)
            self.listener.bind("\0" + self.address)
            self.listener.listen(_BACKLOG)
        except OSError:
            self.listener.close()
            raise
        self.poll.register(self.listener, select.POLLIN)

    def socket_for_main(self) -> _socket.socket:
        """The sending end of a connection that main will inherit."""
        receiving, sending = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._set_up(receiving)
        sending.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDBUF, 1 << 20)
        self._add(receiving, proven=True)
        return sending

    def _set_up(self, socket: _socket.socket) -> None:
        for option in self.options:
            socket.setsockopt(_socket.SOL_SOCKET, option, 1)
        socket.setblocking(False)

    def _add(self, socket: _socket.socket, proven: bool) -> None:
        if not proven:
            unproven = [d for d, source in self.sources.items() if not source.proven]
            for descriptor in unproven[: 1 - _UNPROVEN]:
                self._close(descriptor)
        self.sources[socket.fileno()] = Source(socket, proven)
        self.poll.register(socket, select.POLLIN)

    def _close(self, descriptor: int) -> None:
        self.poll.unregister(descriptor)
        self.sources.pop(descriptor).socket.close()

    @property
    def is_used(self) -> bool:
        """Whether a process of the run may still send something."""
        return any(source.proven for source in self.sources.values())

    def close(self) -> None:
        for report in self.held:
            report.close()
        for descriptor in list(self.sources):
            self._close(descriptor)
        self.poll.unregister(self.listener)
        self.listener.close()

    def _accept(self, is_of_run: "Callable[[_socket.socket], bool | None]") -> None:
        for _ in range(_BACKLOG + 1):  # all that waits now; a flood of more must not keep us
            try:
                # not in the stubs: accept() without an object for each connection
                descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
            except OSError:
                return  # none waits; or no descriptor is left, and they wait until one is
            socket = _socket.socket(fileno=descriptor)
            answer = is_of_run(socket)
            if answer is False:
                socket.close()
                continue
            socket.setblocking(False)
            self._add(socket, proven=answer is True)

    def receive(self, is_of_run: "Callable[[_socket.socket], bool | None]") -> "Iterator[Report]":
        """All reports that lie in the sockets now; those of each socket in their order.

        `is_of_run`: whether a process of the run made a connection; None if that is not known.
        The receiver may `hold` a report, or `reject` it. What is held is received again, as long
        as that helps.
        """
        self._accept(is_of_run)
        for descriptor, source in list(self.sources.items()):
            while self.sources.get(descriptor) is source:
                try:
                    data, ancillary, _, _ = source.socket.recvmsg(_BUFFER, self.ancillary)
                except BlockingIOError:
                    break
                except OSError:  # reset by its process: as the end of the file
                    data, ancillary = b"", []
                if not data:
                    self._close(descriptor)
                    break
                yield Report(source, data, ancillary)
        before = len(self.held) + 1
        while 0 < len(self.held) < before:
            before = len(self.held)
            again, self.held = self.held, []
            yield from again

    def hold(self, report: Report) -> None:
        """Keep a report of which it is not known yet whether its sender is of the run."""
        self.held.append(report)
        if len(self.held) > _HELD:
            self.held.pop(0).close()

    def reject(self, report: Report) -> None:
        """Drop a report of a process that is not of the run, and its connection."""
        report.close()
        source = report.source
        # a connection of the run may have been passed on, and goes on to be used by others
        if not source.proven and source.socket.fileno() >= 0:
            self._close(source.socket.fileno())


def descriptors(content: bytes) -> list[int]:
    """The descriptors of an SCM_RIGHTS message: unix(7)."""
    found = [kernel.integer(content, place) for place in range(0, len(content) - 3, 4)]
    for descriptor in found:
        posix.set_inheritable(descriptor, False)  # recvmsg does not
    return found
