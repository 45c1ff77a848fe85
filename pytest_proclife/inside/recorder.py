"""Identity of this process in the run, its connection, and its reports.

A report is one write, at once. Reports are numbered, so that a lost one leaves a gap.
"""

import posix
import sys
import time

from pytest_proclife import wire
from pytest_proclife.inside import handlers
from pytest_proclife.inside.builtins import borrow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Names that the last report needs: it is written when the names of `builtins` and of C modules
# have been cleared. Modules of C that the program has imported too are kept by value.
_write, _fstat, _close, _now = posix.write, posix.fstat, posix.close, time.monotonic_ns
_getpid = posix.getpid
_pidfd_open: "Any" = getattr(posix, "pidfd_open", None)
_BYTE_ORDER = sys.byteorder
_Exception, _BaseException, _OSError = Exception, BaseException, OSError
# these come with prepare()
_socket: "Any" = None
_fcntl: "Any" = None
_kind: "tuple[int, int]" = (0, 0)
_rights: "tuple[int, int]" = (0, 0)
_duplicate = 0

# The first that the program's limit of descriptors allows; a program does not count on them, if
# it does not look through all of its descriptors, as two tests of CPython's test_subprocess do.
_NUMBERS = (960, 240, 48, 20)

# States of a connection, each with what enters it: has the supervisor accepted it?
_ACCEPTED = "accepted"  # join_run(), with a descriptor that is not marked wire.PENDING
# perhaps not, or the kernel names no senders, and this process has not reported on it yet:
# join_run(), with a descriptor that is marked; _connect(); after_fork(), from _USED
_UNUSED = "unused"
_USED = "used"  # perhaps not, but this process's pidfd is on the way: the first report after that


class _Identity:
    """Which process of the run this is: set by join_run(), and anew in a fork by after_fork()."""

    __slots__ = (
        *("address", "introduced", "is_held", "key", "number", "parent_key", "pid"),
        *("tells_statuses", "unseen_fork", "will_exec"),
    )

    def __init__(self) -> None:
        self.address = ""  # abstract name of the supervisor's listening socket
        self.key = ""  # name of this process, which its children get as their parent's
        self.parent_key = ""
        self.pid = 0
        self.is_held = False  # after each report until that has been read: from the ticket
        self.tells_statuses = False  # reports each wait status that it collects: from the ticket
        # of the next report. Read and set in one line without a call: the program's handlers and
        # other threads run at calls (eval breaker, Python/ceval.c), its trace functions at lines
        self.number = 0
        # False from after_fork() until the fork's first report, which is its HELLO
        self.introduced = True
        # True while fork_exec runs, set and cleared in the parent by `programs`: the fork executes
        # a program in a moment, which introduces itself. So the fork does it only if it has to
        # report something else before, as a preexec_fn may bring about
        self.will_exec = False
        # what a fork is to do that the interpreter did not see: set once the program has taken
        # the fork of C (`foreign`)
        self.unseen_fork: Callable[[], object] | None = None


class _Connection:
    """The socket to the supervisor."""

    __slots__ = ("descriptor", "device", "inode", "is_lost", "state")

    def __init__(self) -> None:
        self.descriptor = -1
        self.device = self.inode = -1  # the program may close the descriptor or use its number
        self.state = _ACCEPTED
        # a report failed, and so did a new connection: set by report(), never cleared; forks
        # inherit it
        self.is_lost = False


identity = _Identity()
connection = _Connection()


def join_run(address: str, handed_down: str, parent_key: str) -> None:
    """Take up the connection: the descriptor handed down, or a new one by address."""
    connection.state = _UNUSED if handed_down.endswith(wire.PENDING) else _ACCEPTED
    inherited = int(handed_down.removesuffix(wire.PENDING))
    identity.address, identity.parent_key = address, parent_key
    identity.pid = posix.getpid()
    identity.key = f"{identity.pid}.{time.monotonic_ns()}"
    if inherited >= 0:
        try:
            if posix.fstat(inherited).st_mode & 0o170000 == 0o140000:  # S_IFSOCK
                posix.set_inheritable(inherited, False)
                _use(inherited)
                return
        except OSError:
            pass  # it was closed on the way here
    _connect()


def _use(descriptor: int) -> None:
    status = _fstat(descriptor)
    connection.descriptor = descriptor
    connection.device, connection.inode = status.st_dev, status.st_ino


def prepare() -> None:
    """Load the modules that a new connection and a pidfd in a report need.

    Before a child's start, which it must not delay, and before anything that can come after a
    fork: a daemon closes all descriptors, and at its end an interpreter cannot load a module.
    """
    global _socket, _fcntl, _kind, _rights, _duplicate
    if _socket is None:
        sockets: Any = borrow("_socket")
        fcntl: Any = borrow("fcntl")
        _kind = sockets.AF_UNIX, sockets.SOCK_SEQPACKET
        _rights = sockets.SOL_SOCKET, sockets.SCM_RIGHTS
        _fcntl, _duplicate = fcntl.fcntl, fcntl.F_DUPFD_CLOEXEC
        _socket = sockets.socket


def _connect() -> None:
    prepare()
    # a bare _socket.socket: the class in socket.py costs an import of 3 ms
    new = _socket(*_kind)
    new.connect("\0" + identity.address)
    low = number = new.detach()
    try:
        for wanted in _NUMBERS:
            try:
                number = _fcntl(low, _duplicate, wanted)
                break
            except _OSError as error:
                if not handlers.is_ours(error):
                    raise
                continue  # above the limit
    finally:
        if number != low:
            _close(low)
    _use(number)
    connection.state = _UNUSED


def usable_descriptor() -> int:
    """The number of our socket; a new one if the program closed or replaced it."""
    try:
        status = _fstat(connection.descriptor)
        if status.st_ino == connection.inode and status.st_dev == connection.device:
            return connection.descriptor
    except _OSError as error:
        if not handlers.is_ours(error):
            raise
    _connect()
    return connection.descriptor


def to_hand_down() -> str:
    """The descriptor as `join_run` takes it, for a program that inherits it."""
    return f"{connection.descriptor}{'' if connection.state == _ACCEPTED else wire.PENDING}"


def report(kind: str, *fields: str, pidfd: int = -1, at: int = 0) -> None:
    """Write one report at once, with a pidfd of the process that it is about if one is given.

    `at` is when it happened (monotonic ns), if that was not just now. Errors are swallowed: the
    program must not see them.
    """
    if connection.is_lost:
        return
    if identity.unseen_fork is not None:
        notice_fork()
    number = -1
    try:
        if not identity.introduced:
            _introduce_fork()
        number, identity.number = identity.number, identity.number + 1
        data = wire.pack(kind, number, identity.pid, at or _now(), fields)
        descriptor = usable_descriptor()
        if pidfd >= 0:
            _send(descriptor, data, pidfd)
        elif connection.state == _UNUSED and _pidfd_open is not None:
            _send_with_own_pidfd(descriptor, data)
        else:
            _write(descriptor, data)
    except _BaseException as error:
        if not handlers.is_ours(error):
            # the handler of a signal interrupted it: the reader drops a second copy
            handlers.guarded(_write_again, kind, number, at, fields)
            raise
        # The number was used up, so the reader sees the gap. If the supervisor is gone, no
        # further report tries to connect: each attempt would cost time.
        if pidfd < 0:  # else the pidfd may be the cause
            _connect_again()
    if identity.is_held:
        _wait_until_read()


def _write_again(kind: str, number: int, at: int, fields: tuple[str, ...]) -> None:
    if number < 0:
        number, identity.number = identity.number, identity.number + 1
    data = wire.pack(kind, number, identity.pid, at or _now(), fields)
    _write(usable_descriptor(), data)


def _connect_again() -> None:
    try:
        _connect()
    except _Exception as error:
        if not handlers.is_ours(error):
            raise
        connection.is_lost = True


def _wait_until_read() -> None:
    """Wait until the supervisor has read what this process has reported, and acted on it.

    It closes the connection then. A signal's handler may run meanwhile, and what it raises goes on
    to the program; whatever else happens, nobody waits for longer than the supervisor lives.
    """
    try:
        barrier = _socket(*_kind)
    except _OSError as error:
        if not handlers.is_ours(error):
            raise
        return  # no descriptor is left
    try:
        barrier.connect("\0" + identity.address + wire.BARRIER)
        barrier.recv(1)
    except _OSError as error:
        if not handlers.is_ours(error):
            raise
    finally:
        barrier.close()


def notice_fork() -> None:
    """See whether this process has been forked by a function of C that ran no hook for it."""
    if identity.unseen_fork is not None and _getpid() != identity.pid:
        identity.unseen_fork()


def _send_with_own_pidfd(descriptor: int, data: bytes) -> None:
    """A process's first report on a connection that may not be accepted yet.

    The kernel makes the sender's pidfd when a report is sent, but on such a connection only when
    it is received; older kernels make none. If the process has been reaped by then, only a pidfd
    from before that gives its wait status, and tells it from others that had its pid.
    """
    connection.state = _USED
    pidfd = -1
    try:
        pidfd = _pidfd_open(identity.pid)
        _send(descriptor, data, pidfd)
    except _OSError as error:
        if not handlers.is_ours(error):
            raise
        # the program has no descriptor left, or its user too many on their way
        _write(descriptor, data)
    finally:
        if pidfd >= 0:
            _close(pidfd)


def _send(descriptor: int, data: bytes, pidfd: int) -> None:
    prepare()
    borrowed = _socket(*_kind, 0, descriptor)
    try:
        rights = pidfd.to_bytes(4, _BYTE_ORDER)
        borrowed.sendmsg([data], [(*_rights, rights)])
    finally:
        borrowed.detach()


def report_about(kind: str, pid: int, *fields: str, at: int = 0) -> None:
    """Write a report with a pidfd of the process that it is about, if there still is one."""
    at = at or _now()  # before the pidfd: at that time the process had not been reaped
    try:
        pidfd = _pidfd_open(pid)
    except BaseException as error:  # the process is gone, the kernel has no pidfds, or a handler's
        report(kind, *fields, at=at)
        if not handlers.is_ours(error):
            raise
        return
    try:
        report(kind, *fields, pidfd=pidfd, at=at)
    finally:
        _close(pidfd)


def error_text(error: BaseException) -> str:
    """An exception as "type: message", for a report."""
    try:
        return wire.clip(f"{type(error).__name__}: {error}", 1000)
    except Exception as raised:
        if not handlers.is_ours(raised):
            raise
        return f"{type(error).__name__}: (its __str__ raised)"


def introduce(kind: str) -> None:
    """Announce this interpreter: its first report, before anything else can happen to it."""
    arguments = [wire.clip(text, 1000) for text in sys.orig_argv[: wire.ARGV_LIMIT]]
    version = f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"
    known = identity.key, identity.parent_key, "new", kind, version, sys.executable or ""
    report(wire.HELLO, *known, *arguments)


def after_fork() -> None:
    """In a forked child: a new identity, one write, and nothing else."""
    identity.parent_key = identity.key
    identity.pid = _getpid()
    identity.key = f"{identity.pid}.{_now()}"
    identity.number = 0
    identity.introduced = False
    if connection.state == _USED:
        connection.state = _UNUSED
    if not identity.will_exec:
        _introduce_fork()


def _introduce_fork() -> None:
    identity.introduced = True
    report(wire.HELLO, identity.key, identity.parent_key, "fork", "os_fork", "", "")
