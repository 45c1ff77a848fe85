"""What observed processes report, where the platform has a socket that names the sender."""

from __future__ import annotations

import os
import selectors
import socket
import struct
from collections.abc import Iterator

_BUFFER = 100_000  # bytes; wire.pack stays below it
_CREDENTIALS = struct.Struct("iII")  # struct ucred: pid, uid, gid; unix(7)


class Reports:
    """A listening socket of the abstract namespace, and all connections to it.

    The kernel attaches the sender's pid to each report (SO_PASSCRED; unix(7), Linux), so that
    nobody can report for another. Raises OSError where it cannot be had.
    """

    def __init__(self, address: str, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._connections: dict[int, socket.socket] = {}
        if not hasattr(socket, "SO_PASSCRED"):
            raise OSError("no SO_PASSCRED")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            self._listener.setblocking(False)
            self._listener.bind("\0" + address)
            self._listener.listen(4096)
        except OSError:
            self._listener.close()
            raise
        selector.register(self._listener, selectors.EVENT_READ)

    @property
    def held(self) -> bool:
        """Whether a process holds a connection: then one of the run is alive, known or not."""
        return bool(self._connections)

    def read(self) -> Iterator[tuple[int, bytes]]:
        """All that lies in the sockets: (pid of the sender, report)."""
        self._accept()
        for connection in list(self._connections.values()):
            while (report := _receive(connection)) is not None:
                pid, data = report
                if not data:
                    self._drop(connection)
                    break
                if pid is not None:
                    yield pid, data

    def close(self) -> None:
        for connection in list(self._connections.values()):
            self._drop(connection)
        self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                return  # it was given up, or no descriptor is left: it stays in the queue
            connection.setblocking(False)
            self._connections[connection.fileno()] = connection
            self._selector.register(connection, selectors.EVENT_READ)

    def _drop(self, connection: socket.socket) -> None:
        del self._connections[connection.fileno()]
        self._selector.unregister(connection)
        connection.close()


def _receive(connection: socket.socket) -> tuple[int | None, bytes] | None:
    """One report with its sender's pid, None for a stranger's; None where none is there."""
    try:
        data, ancillary, _, _ = connection.recvmsg(
            # no room for more than the credentials: descriptors that are sent along are closed
            _BUFFER,
            socket.CMSG_SPACE(_CREDENTIALS.size),
        )
    except BlockingIOError:
        return None
    except OSError:
        return None, b""
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
            pid, user, _ = _CREDENTIALS.unpack(content)
            if pid > 0 and (user in (os.getuid(), 0) or os.getuid() == 0):
                return pid, data
    return None, data
