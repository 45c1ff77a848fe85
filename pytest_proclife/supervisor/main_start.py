"""How main comes into the world: a child of the supervisor's, made what the caller's child is."""

import _posixsubprocess  # subprocess.py costs an import of 8 ms
import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import fcntl
import posix
import resource
import sys
import time

from pytest_proclife.supervisor.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Request = dict[str, object]
Limits = tuple[int, int]

PAYLOAD = 3  # the descriptor of a fourth stream
_ALLOW_VFORK = (True,) if sys.version_info < (3, 14) else ()  # always allowed from there on
_DESCRIPTORS = (960, 240, 48)  # numbers that programs do not count on, the first that fits


def raise_descriptor_limit() -> Limits:
    """Allow a pidfd for each process of a storm; returns the limits as they were."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # then a storm of more processes than that is recorded by pid alone
    return soft, hard


class Birth:
    """What main is to be. The names are those of the request that `runner` writes."""

    def __init__(self, request: Request, streams: list[int], limits: Limits) -> None:
        self.executable: str = request["executable"]  # type: ignore[assignment]
        self.arguments: list[str] = request["arguments"]  # type: ignore[assignment]
        self.environment: dict[bytes, bytes] = request["env"]  # type: ignore[assignment]
        self.ticket: bytes = request["ticket"]  # type: ignore[assignment]
        self.cwd: str = request["cwd"]  # type: ignore[assignment]
        self.umask: int = request["umask"]  # type: ignore[assignment]
        self.group: int = request["group"]  # type: ignore[assignment]
        self.ignored: list[int] = request["ignored"]  # type: ignore[assignment]
        self.mask: list[int] = request["mask"]  # type: ignore[assignment]
        self.observed = bool(request["observed"])
        self.streams = streams  # become 0, 1, 2 and, where there is one, 3
        self.limits = limits

    def start(self, tree: Tree) -> int | None:
        """Start main by vfork and exec; None, or the errno of what could not be executed.

        What main is to inherit is this process's own for the moment: the kernel copies no page
        of ours, and what a fork would set in the child has no Python to set it.
        """
        failed_reader, failed_writer = posix.pipe2(posix.O_CLOEXEC)
        sending = tree.reception.sending
        mask = _signal.pthread_sigmask(_signal.SIG_SETMASK, self.mask)
        limits = self._pose()
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
        tree.add_main(pid, self.observed)
        failure = posix.read(failed_reader, 100)  # nothing, once exec has closed the other end
        posix.close(failed_reader)
        if failure:
            posix.waitpid(pid, 0)
            return int(failure.split(b":")[1], 16)  # "OSError:errno:", Modules/_posixsubprocess.c
        return None

    def _pose(self) -> Limits:
        """Take on main's dispositions and limits; the limits as they were.

        SIGCHLD is left to `_fork_exec`: a supervisor that ignores it would lose wait statuses.
        """
        for number in self.ignored:
            if number != _signal.SIGCHLD:
                _signal.signal(number, _signal.SIG_IGN)
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, self.limits)
        return before

    def _hand_down(self, sending: int, address: str) -> tuple[int, ...]:
        """The descriptors that main inherits: a fourth stream, and its end of the socket."""
        kept: tuple[int, ...] = ()
        if len(self.streams) > PAYLOAD:
            posix.dup2(self.streams[PAYLOAD], PAYLOAD, inheritable=False)
            kept = (PAYLOAD,)
        if self.observed:
            number = _high(sending)
            text = self.environment[self.ticket].replace(b"ADDRESS", address.encode(), 1)
            self.environment[self.ticket] = text.replace(b"FD", b"%d" % number, 1)
            kept += (number,) if number >= 0 else ()
        return kept

    def _fork_exec(self, kept: tuple[int, ...], *failed: int) -> int:
        def ignore_children() -> None:
            _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)

        streams = (self.streams[0], -1, -1, self.streams[1], -1, self.streams[2])
        arguments: tuple[Any, ...] = (
            self.arguments,
            [self.executable.encode(sys.getfilesystemencoding(), "surrogateescape")],
            False,  # close_fds: ours are all close-on-exec
            kept,
            self.cwd,
            [b"%b=%b" % item for item in self.environment.items()],
            *streams,
            *failed,
            True,  # restore_signals: SIGPIPE and SIGXFSZ, which every Python ignores
            False,
            self.group,
            None,
            None,
            None,
            self.umask,
            ignore_children if _signal.SIGCHLD in self.ignored else None,
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
