"""Who this process is in the run, and its reports: one write each, numbered, never kept back."""

import posix
import sys
import time

from pytest_proclife import wire
from pytest_proclife.inside import handlers
from pytest_proclife.inside.builtins import borrow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

address = ""  # abstract name of the supervisor's listening socket
key = ""  # this process's name for itself, told to its children
parent_key = ""
pid = 0
descriptor = -1
_device = _inode = -1  # of our socket, to notice that the program took its number
_lost = False
_queues = False  # the connection was made by address, and waits to be accepted at first
_fresh = False  # so it is, and this process has sent nothing on it yet
_unsaid = False  # a forked child has not introduced itself
becomes_program = False  # what is forked now is a program in a moment, which introduces itself
# what a new connection needs, by value: a module that the program has imported too is emptied
# at the interpreter's end
_socket: "Any" = None
_fcntl: "Any" = None
_kind: "tuple[int, int]" = (0, 0)
_rights: "tuple[int, int]" = (0, 0)
_duplicate = 0
_count = borrow("itertools").count
_number = _count().__next__

# The last report is written when the modules of C and the builtin names are gone already.
_write, _fstat, _close, _now = posix.write, posix.fstat, posix.close, time.monotonic_ns
_pidfd_open: "Any" = getattr(posix, "pidfd_open", None)
_BYTE_ORDER = sys.byteorder
_errors = Exception

_QUEUES = "q"  # behind the number of a descriptor that is handed down

# the first that the program's limit of descriptors allows; a program does not count on them
_NUMBERS = (960, 240, 48, 20)


def join_run(run_address: str, handed_down: str, parent: str) -> None:
    """Take up the connection: the descriptor handed down, or a new one by address."""
    global address, parent_key, pid, key, _queues, _fresh
    address, parent_key = run_address, parent
    _queues = _fresh = handed_down.endswith(_QUEUES)
    inherited = int(handed_down.removesuffix(_QUEUES))
    pid = posix.getpid()
    key = f"{pid}.{time.monotonic_ns()}"
    if inherited >= 0:
        try:
            if posix.fstat(inherited).st_mode & 0o170000 == 0o140000:
                posix.set_inheritable(inherited, False)
                _use(inherited)
                return
        except OSError:
            pass  # it was closed on the way here
    _connect()


def _use(number: int) -> None:
    global descriptor, _device, _inode
    status = _fstat(number)
    descriptor, _device, _inode = number, status.st_dev, status.st_ino


def prepare() -> None:
    """Load what a new connection and a pidfd in a report need.

    Before a child's start, whose race it could change, and before what may come after a fork:
    a daemon closes all descriptors, and at the end of an interpreter nothing can be loaded.
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
    global _fresh, _queues
    prepare()
    # a bare _socket.socket: the class in socket.py costs an import of 3 ms
    connection = _socket(*_kind)
    connection.connect("\0" + address)
    low = number = connection.detach()
    try:
        for wanted in _NUMBERS:
            try:
                number = _fcntl(low, _duplicate, wanted)
                break
            except _errors:
                continue  # above the limit
    finally:
        if number != low:
            _close(low)
    _use(number)
    _fresh = _queues = True


def usable_descriptor() -> int:
    """The number of our socket; a new one where the program closed or replaced it."""
    try:
        status = _fstat(descriptor)
        if status.st_ino == _inode and status.st_dev == _device:
            return descriptor
    except _errors:
        pass
    _connect()
    return descriptor


def to_hand_down() -> str:
    """What `join_run` needs to know of the descriptor in a program that inherits it."""
    return f"{descriptor}{_QUEUES if _queues else ''}"


def report(kind: str, *fields: str) -> None:
    """Write one report at once. Errors are swallowed: the program must not see them."""
    global _lost
    if _lost:
        return
    if _unsaid:
        _introduce_fork()
    number = -1
    try:
        number = _number()
        data = wire.pack(kind, number, pid, _now(), fields)
        socket = usable_descriptor()
        if _fresh and _pidfd_open is not None:
            _send_with_own_pidfd(data)
        else:
            _write(socket, data)
    except _errors as error:
        if not handlers.is_ours(error):
            _again(kind, number, fields)
            raise
        # The number was used up, so the reader sees the gap. A channel that is gone
        # (the supervisor was killed) is not asked again: connecting would cost each time.
        _lost = not _reachable()
    except BaseException:
        _again(kind, number, fields)
        raise


def _again(kind: str, number: int, fields: "tuple[str, ...]") -> None:
    """A signal's handler raised while a report was written: it may have got out, or not."""
    if number < 0:
        number = _number()
    _write(usable_descriptor(), wire.pack(kind, number, pid, _now(), fields))


def _send_with_own_pidfd(data: bytes) -> None:
    """A process's first report on a connection that may still wait to be accepted.

    The kernel makes the sender's pidfd when it sends, but there when the report is received.
    When a process is reaped that nobody has a pidfd of, only the reaper gets its wait status.
    """
    global _fresh
    _fresh = False
    handle = _pidfd_open(pid)
    try:
        _send(data, handle)
    finally:
        _close(handle)


def _send(data: bytes, handle: int) -> None:
    prepare()
    connection = _socket(*_kind, 0, usable_descriptor())
    try:
        rights = handle.to_bytes(4, _BYTE_ORDER)
        connection.sendmsg([data], [(*_rights, rights)])
    finally:
        connection.detach()


def report_about(kind: str, child: int, *fields: str) -> None:
    """Write a report with a pidfd of the process it is about, if that can still be had."""
    try:
        handle = _pidfd_open(child)
    except (OSError, TypeError):  # it is gone, or there are none here
        report(kind, *fields)
        return
    except BaseException:  # a handler's
        report(kind, *fields)
        raise
    try:
        report_with(kind, handle, *fields)
    finally:
        _close(handle)


def report_with(kind: str, handle: int, *fields: str) -> None:
    """Write a report with a pidfd that is there."""
    number = -1
    try:
        if _unsaid:
            _introduce_fork()
        number = _number()
        _send(wire.pack(kind, number, pid, _now(), fields), handle)
    except Exception as error:
        if not handlers.is_ours(error):
            _again(kind, number, fields)
            raise
        # as in report(): the gap in the numbers tells
    except BaseException:
        _again(kind, number, fields)
        raise


def _reachable() -> bool:
    try:
        _connect()
    except Exception:
        return False
    return True


def introduce(kind: str) -> None:
    """Announce this interpreter: its first report, before anything else can happen to it."""
    arguments = [wire.clip(text, 1000) for text in sys.orig_argv[: wire.ARGV_LIMIT]]
    version = f"{sys.version_info[0]}.{sys.version_info[1]}.{sys.version_info[2]}"
    executable = sys.executable or ""
    report(wire.HELLO, key, parent_key, "new", kind, version, executable, *arguments)


def after_fork() -> None:
    """In a forked child: a name of its own, one write, and nothing else."""
    global key, parent_key, pid, _number, _unsaid, _fresh
    parent_key = key
    pid = posix.getpid()
    key = f"{pid}.{_now()}"
    _number = _count().__next__
    _unsaid = True
    _fresh = _queues
    if not becomes_program:
        _introduce_fork()


def _introduce_fork() -> None:
    global _unsaid
    _unsaid = False
    report(wire.HELLO, key, parent_key, "fork", "os_fork", "", "")
