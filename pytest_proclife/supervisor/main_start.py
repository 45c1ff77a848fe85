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
from pytest_proclife.supervisor import kernel, seccomp
from pytest_proclife.supervisor import limits as own_limits
from pytest_proclife.supervisor.protocol import PAYLOAD, Request, ticket
from pytest_proclife.supervisor.reports import descriptors
from pytest_proclife.supervisor.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Limits = tuple[int, int]

_ALLOW_VFORK = (True,) if sys.version_info < (3, 14) else ()  # always allowed from there on
_INTERRUPTIBLE = b"i"  # is sent with a listener that is
_DESCRIPTORS = (960, 240, 48)  # numbers that programs do not count on, the first that fits


def raise_descriptor_limit() -> Limits:
    """Allow a pidfd for each of very many processes; returns the limits as they were."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        pass  # then more processes than that are recorded by pid alone
    return soft, hard


def start_main(
    request: Request, streams: list[int], limits: Limits, tree: Tree, sending: _socket.socket
) -> seccomp.Listener | int | None:
    """Start main by vfork and exec. Returns the errno if it could not be executed.

    With `request.seccomp` it returns the listener on which main's calls arrive; Unavailable if
    there can be none. `streams` become its 0, 1, 2 and, if there is a fourth, PAYLOAD. This process
    takes on for a moment what main is to inherit: the kernel copies no page, and so no Python runs
    in the child that could set it there.
    """
    failed_reader, failed_writer = posix.pipe2(posix.O_CLOEXEC)
    mask = _signal.pthread_sigmask(_signal.SIG_SETMASK, request.blocked)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    for number in request.ignored:
        # a supervisor that ignores SIGCHLD would lose wait statuses: see `_fork_exec`
        if number != _signal.SIGCHLD:
            _signal.signal(number, _signal.SIG_IGN)
    kept = _hand_down(request, streams, sending.fileno(), tree.reception.address)
    handing, handed = _socket.socketpair() if request.seccomp else (None, None)
    tree.epoch = time.monotonic_ns()
    try:
        pid = _fork_exec(request, streams, kept, handing, failed_reader, failed_writer)
    except OSError as error:
        return error.errno or 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)
        for descriptor in (failed_writer, *kept):
            posix.close(descriptor)
        sending.close()
        if handing is not None:
            handing.close()
    listener = None
    if handed is not None:
        try:
            listener = _receive_listener(handed)
        except seccomp.Unavailable:
            posix.waitpid(pid, 0)
            raise
    tree.add_main(pid, request.observed)
    failure = posix.read(failed_reader, 100)  # nothing, once exec has closed the other end
    posix.close(failed_reader)
    if failure:
        if listener is not None and (call := listener.receive()) is not None:
            listener.let_go_on(call)  # its exit
        posix.waitpid(pid, 0)
        return int(failure.split(b":")[1], 16)  # "OSError:errno:", Modules/_posixsubprocess.c
    return listener


def _receive_listener(handed: _socket.socket) -> seccomp.Listener:
    """Receive the listener that main made before its exec. Unavailable if it could not."""
    reason, ancillary, _, _ = handed.recvmsg(1000, _socket.CMSG_SPACE(4))
    handed.close()
    for _, _, content in ancillary:
        return seccomp.Listener(descriptors(content)[0], reason == _INTERRUPTIBLE)
    raise seccomp.Unavailable(reason.decode("utf-8", "replace"))


def _install_filter(handing: _socket.socket) -> None:
    """In main, before its exec: hand the listener over, or say why there is none."""
    try:
        listener, interruptible = seccomp.install(posix.uname().machine)
    except seccomp.Unavailable as error:
        handing.send(str(error).encode())
        raise
    rights = _socket.SOL_SOCKET, _socket.SCM_RIGHTS, listener.to_bytes(4, sys.byteorder)
    handing.sendmsg([_INTERRUPTIBLE if interruptible else b"."], [rights])
    posix.close(listener)


def _hand_down(request: Request, streams: list[int], sending: int, address: str) -> tuple[int, ...]:
    """The descriptors that main inherits: the payload, and its end of the socket."""
    kept: tuple[int, ...] = ()
    if len(streams) > PAYLOAD:
        posix.dup2(streams[PAYLOAD], PAYLOAD, inheritable=False)
        kept = (PAYLOAD,)
    if request.observed:
        number = _high(sending)
        pending = "" if kernel.PASSPIDFD in kernel.offered else wire.PENDING
        # the kernel's is had by a pidfd alone, which a process may not have been able to send
        statuses = not {kernel.EXIT, kernel.PASSPIDFD} <= kernel.offered
        text = ticket(address, number, request.start_method, pending, statuses, held=request.points)
        request.environment[wire.VARIABLE.encode()] = text
        kept += (number,) if number >= 0 else ()
    return kept


def _fork_exec(
    request: Request,
    streams: list[int],
    kept: tuple[int, ...],
    handing: _socket.socket | None,
    *failed: int,
) -> int:
    ignores_children = _signal.SIGCHLD in request.ignored
    confined = bool(request.limits) or request.user is not None
    # what counts for a write there is who opened it: cgroups(7)
    joining = own_limits.open_group(request.cgroup) if request.cgroup else -1
    uid, gid, groups = request.user or (None, None, None)

    def before_exec() -> None:
        if ignores_children:
            _signal.signal(_signal.SIGCHLD, _signal.SIG_IGN)
        if joining >= 0:
            posix.write(joining, b"0")
        if confined:
            own_limits.apply(request.limits, request.user is not None)
        if handing is not None:
            _install_filter(handing)

    arguments: tuple[Any, ...] = (
        request.arguments,
        [request.executable.encode(sys.getfilesystemencoding(), "surrogateescape")],
        False,  # close_fds: ours are all close-on-exec
        kept,
        request.cwd,
        [b"%b=%b" % item for item in request.environment.items()],
        *(streams[0], -1, -1, streams[1], -1, streams[2]),
        *failed,
        True,  # restore_signals: SIGPIPE and SIGXFSZ, which every Python ignores
        False,
        request.group,
        gid,
        groups,
        uid,
        request.umask,
        # with one it is fork, not vfork
        before_exec if ignores_children or confined or request.seccomp else None,
    )
    try:
        pid: int = _posixsubprocess.fork_exec(*arguments, *_ALLOW_VFORK)
    finally:
        if joining >= 0:
            posix.close(joining)
    return pid


def _high(descriptor: int) -> int:
    """A copy at a high number that main's limit allows; -1 if there is no room."""
    for number in _DESCRIPTORS:
        try:
            return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, number)
        except OSError:
            continue  # above the limit
    return -1
