"""The start of main: a child of the supervisor that is as a child of the caller would be."""

import _posixsubprocess  # subprocess.py costs an import of 8 ms
import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import _socket
import fcntl
import posix
import resource
import sys
import time

from pytest_proclife import wire
from pytest_proclife.supervisor.protocol import PAYLOAD, Request, ticket
from pytest_proclife.supervisor.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Limits = tuple[int, int]

_ALLOW_VFORK = (True,) if sys.version_info < (3, 14) else ()  # always allowed from there on
_DESCRIPTORS = (960, 240, 48)  # numbers that programs do not count on, the first that fits


def raise_descriptor_limit() -> Limits:
    """Allow a pidfd for each of very many processes; returns the limits as they were."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # then more processes than that are recorded by pid alone
    return soft, hard


class MainStart:
    """`streams` become main's 0, 1, 2 and, if there is a fourth, PAYLOAD."""

    def __init__(self, request: Request, streams: list[int], limits: Limits) -> None:
        self.request = request
        self.streams = streams
        self.limits = limits

    def start(self, tree: Tree, sending: _socket.socket) -> int | None:
        """Start main by vfork and exec; None, or the errno if it could not be executed.

        This process takes on for a moment what main is to inherit: the kernel copies no page,
        and so no Python runs in the child that could set it there.
        """
        failed_reader, failed_writer = posix.pipe2(posix.O_CLOEXEC)
        mask = _signal.pthread_sigmask(_signal.SIG_SETMASK, self.request.blocked)
        limits = self._take_on()
        kept = self._hand_down(sending.fileno(), tree.reception.address)
        tree.epoch = time.monotonic_ns()
        try:
            pid = self._fork_exec(kept, failed_reader, failed_writer)
        except OSError as error:
            return error.errno or 0
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
            for descriptor in (failed_writer, *kept):
                posix.close(descriptor)
            sending.close()
        tree.add_main(pid, self.request.observed)
        failure = posix.read(failed_reader, 100)  # nothing, once exec has closed the other end
        posix.close(failed_reader)
        if failure:
            posix.waitpid(pid, 0)
            return int(failure.split(b":")[1], 16)  # "OSError:errno:", Modules/_posixsubprocess.c
        return None

    def _take_on(self) -> Limits:
        """Take on main's dispositions and limits; returns the limits as they were.

        SIGCHLD is left to `_fork_exec`: a supervisor that ignores it would lose wait statuses.
        """
        for number in self.request.ignored:
            if number != _signal.SIGCHLD:
                _signal.signal(number, _signal.SIG_IGN)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)
        return before

    def _hand_down(self, sending: int, address: str) -> tuple[int, ...]:
        """The descriptors that main inherits: the payload, and its end of the socket."""
        kept: tuple[int, ...] = ()
        if len(self.streams) > PAYLOAD:
            posix.dup2(self.streams[PAYLOAD], PAYLOAD, inheritable=False)
            kept = (PAYLOAD,)
        if self.request.observed:
            number = _high(sending)
            text = ticket(address, number, self.request.start_method)
            self.request.environment[wire.VARIABLE.encode()] = text
            kept += (number,) if number >= 0 else ()
        return kept

    def _fork_exec(self, kept: tuple[int, ...], *failed: int) -> int:
        def ignore_children() -> None:
            _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)

        request = self.request
        streams = (self.streams[0], -1, -1, self.streams[1], -1, self.streams[2])
        arguments: tuple[Any, ...] = (
            request.arguments,
            [request.executable.encode(sys.getfilesystemencoding(), "surrogateescape")],
            False,  # close_fds: ours are all close-on-exec
            kept,
            request.cwd,
            [b"%b=%b" % item for item in request.environment.items()],
            *streams,
            *failed,
            True,  # restore_signals: SIGPIPE and SIGXFSZ, which every Python ignores
            False,
            request.group,
            None,
            None,
            None,
            request.umask,
            ignore_children if _signal.SIGCHLD in request.ignored else None,
        )
        pid: int = _posixsubprocess.fork_exec(*arguments, *_ALLOW_VFORK)
        return pid


def _high(descriptor: int) -> int:
    """A copy at a high number that main's limit allows; -1 if there is no room."""
    for number in _DESCRIPTORS:
        try:
            return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, number)
        except OSError:
            continue  # above the limit
    return -1
