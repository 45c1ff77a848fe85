"""Reports of observed processes, if the platform has a socket that names the sender."""

from __future__ import annotations

import _socket
import os
import select

from pytest_proclife.supervisor.reports import Reception, Report

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

    def receive(self) -> list[Report]:
        """All that lies in the sockets, if the kernel names the sender and its user is ours."""
        users = (os.getuid(), 0)
        return [
            report
            for report in super().receive()
            if report.pid and (report.user in users or os.getuid() == 0)
        ]
