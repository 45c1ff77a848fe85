"""Reports of observed processes, if the platform has a socket that names the sender."""

from __future__ import annotations

import _socket
import select

from pytest_proclife.supervisor import kernel
from pytest_proclife.supervisor.reports import Reception

_CREDENTIALS = 12  # bytes: struct ucred of pid, uid and gid; unix(7)


class Reports(Reception):
    """The connections that processes make by address. OSError if the platform has none.

    The kernel adds the sender's pid to each report (SO_PASSCRED, Linux), so that no process can
    report for another. Descriptors that come with a report are closed: there is no room for them.
    """

    def __init__(self, poll: select.poll) -> None:
        if not hasattr(_socket, "SO_PASSCRED"):
            raise OSError("no SO_PASSCRED")
        super().__init__(poll, (_socket.SO_PASSCRED,), _socket.CMSG_SPACE(_CREDENTIALS))


def peer(socket: _socket.socket) -> int | None:
    """The pid of the process that connected a socket; None if it is not in our namespace."""
    credentials = socket.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS)
    return kernel.integer(credentials, 0) or None
