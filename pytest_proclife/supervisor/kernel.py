"""What the kernel says about processes: one function a call, and the probe of what it offers."""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import errno
import fcntl
import posix
import sys
import time

from pytest_proclife import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

SO_PASSPIDFD = 76  # socket(7); Linux 6.5
_SOL_SOCKET, _SO_PEERPIDFD = 1, 77  # the same
SCM_PIDFD = 4
PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, 64 bytes): linux/pidfd.h; Linux 6.13
PIDFD_INFO_PID = 1
PIDFD_INFO_EXIT = 8  # Linux 6.15: the wait status, once the process has been reaped
# struct pidfd_info of linux/pidfd.h: its size, and offsets in it, in bytes
_INFO_SIZE, _MASK, _PID, _PARENT, _STATUS = 64, 0, 16, 24, 60
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def _prctl(option: int, value: int) -> None:
    # _ctypes alone: ctypes costs an import of 4 ms, and this is the only call that needs it
    import _ctypes

    library = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]  # the program itself: dlopen(3)
    if _ctypes.call_function(_ctypes.dlsym(library, "prctl"), (option, value, 0, 0, 0)) != 0:
        raise OSError("prctl(%d) was refused" % option)


def become_subreaper() -> None:
    """Orphans below this process become its children, so that it can reap them: prctl(2)."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signal: int) -> None:
    """Have the kernel send `signal` when the parent ends; 0 cancels that: prctl(2)."""
    _prctl(_PR_SET_PDEATHSIG, signal)


def _info(pidfd: int, mask: int) -> bytearray:
    info = bytearray(_INFO_SIZE)
    info[_MASK : _MASK + 8] = mask.to_bytes(8, sys.byteorder)
    fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    return info


def integer(info: "bytes | bytearray", place: int, size: int = 4) -> int:
    """An integer of a C structure, of `size` bytes from `place` on."""
    return int.from_bytes(info[place : place + size], sys.byteorder)


def pid_and_parent(pidfd: int) -> tuple[int | None, int | None]:
    """(pid, parent's pid) of a process; Nones once it has been reaped; OSError if no pidfd."""
    try:
        info = _info(pidfd, PIDFD_INFO_PID)
    except OSError as error:
        if error.errno == errno.ESRCH:
            return None, None
        raise
    return integer(info, _PID) or None, integer(info, _PARENT) or None


def parent(pid: int) -> int | None:
    """The pid of a process's parent; None if there is no such process."""
    fields = _stat(pid)
    return int(fields[1]) if fields else None


def is_pid_below(pid: int, ancestor: int) -> bool:
    """Whether the process that has a pid descends from another, or is it; by pids alone."""
    above: int | None = pid
    while above is not None and above > 1:
        if above == ancestor:
            return True
        above = parent(above)
    return False


def is_below(handle: int, is_above: "Callable[[int], bool]") -> bool | None:
    """Whether the process of a pidfd descends from one whose pid `is_above` accepts.

    None once it has been reaped: it has no parent then. OSError if it is not a pidfd.
    """
    while True:
        answer = _look_above(handle, is_above)
        # an ancestor that ends leaves its children to another: then look again
        if answer is not None or pid_and_parent(handle)[0] is None:
            return answer


def _look_above(handle: int, is_above: "Callable[[int], bool]") -> bool | None:
    """The answer of `is_below`; None also if an ancestor ended meanwhile."""
    at = handle
    try:
        while True:
            pid, parent = pid_and_parent(at)
            if pid is None:
                return None
            if parent is None:
                return False  # it is the first process of all
            if is_above(parent):
                return True
            try:
                above = posix.pidfd_open(parent)
            except ProcessLookupError:
                return None
            except OSError:
                return False  # no descriptor is left, so the kernel cannot show it
            # if it still is the parent, no other process had its pid when it was opened
            is_parent = pid_and_parent(at)[1] == parent
            if at != handle:
                posix.close(at)
            at = above
            if not is_parent:
                return None
    finally:
        if at != handle:
            posix.close(at)


def peer(socket: "_socket.socket") -> int | None:
    """A pidfd of the process that connected a socket; None if there is none any more: socket(7)."""
    try:
        handle: int = socket.getsockopt(_SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return None
    return handle


def exit_status(pidfd: int) -> int | None:
    """The wait status of a process that another process has reaped; None if it is not known."""
    for _ in range(20):  # a bound: what reaps it may be kept from the processor for long
        try:
            info = _info(pidfd, PIDFD_INFO_EXIT)
        except OSError as error:
            if error.errno != errno.ESRCH:
                return None
            posix.sched_yield()  # it is being reaped, and the status is attached at the end of that
            continue
        return integer(info, _STATUS) if integer(info, _MASK, 8) & PIDFD_INFO_EXIT else None
    return None


def status_of_zombie(pidfd: int) -> int | None:
    """The wait status of a zombie: proc_pid_stat(5); None if it has been reaped."""
    pid = pid_and_parent(pidfd)[0]
    fields = [] if pid is None else _stat(pid)
    # if it still has the pid, the file was not that of another process with the same pid
    is_zombie = fields[:1] == [b"Z"] and pid_and_parent(pidfd)[0] == pid
    return int(fields[49]) if is_zombie else None


def signal_state(pid: int, signal: int) -> str | None:
    """What a process would do with a signal now: caught, ignored, blocked, default, or None."""
    try:
        text = contents("/proc/%d/status" % pid)
    except OSError:
        return None
    met = wire.met(text, signal)
    return None if met in ("ended", "") else met


def cpu_limit(pid: int) -> tuple[str, str] | None:
    """The soft and the hard RLIMIT_CPU of a process, "" for none; None if it has neither.

    Source: proc_pid_limits(5).
    """
    try:
        words = contents("/proc/%d/limits" % pid).partition(b"\nMax cpu time")[2].split(None, 2)
    except OSError:
        return None
    soft, hard = ("" if word == b"unlimited" else word.decode() for word in (words + [b""] * 2)[:2])
    return (soft, hard) if soft or hard else None


def contents(path: str) -> bytes:
    """A file of /proc. By system calls, since a test may have put something in place of `open`."""
    file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        found = part = posix.read(file, 1 << 16)
        while part:
            part = posix.read(file, 1 << 16)
            found += part
        return found
    finally:
        posix.close(file)


def children(pid: int) -> list[int]:
    """The pids of the children of every thread of a process: proc_pid_task_children(5)."""
    found: list[int] = []
    try:
        threads = posix.listdir("/proc/%d/task" % pid)
    except OSError:
        return found
    for thread in threads:
        try:
            found += map(int, contents("/proc/%d/task/%s/children" % (pid, thread)).split())
        except OSError:
            continue  # the thread has ended
    return found


def state(pid: int) -> str:
    """The letter of a process's state: proc_pid_stat(5); empty if there is no such process."""
    return b"".join(_stat(pid)[:1]).decode()


def _stat(pid: int) -> list[bytes]:
    """The fields after the name: proc_pid_stat(5); none if there is no such process."""
    try:
        return contents("/proc/%d/stat" % pid).rpartition(b") ")[2].split()
    except OSError:
        return []


def age(pid: int) -> float | None:
    """Seconds since a process was started, in steps of 0.01; None if there is no such process."""
    fields = _stat(pid)
    if not fields:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / posix.sysconf("SC_CLK_TCK")


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of a process, as text; its name alone if it has none."""
    try:
        parts = contents("/proc/%d/cmdline" % pid).split(b"\0")[:-1]
        if not parts:
            parts = [contents("/proc/%d/comm" % pid).strip()]
    except OSError:
        return ()
    return tuple(part.decode("utf-8", "backslashreplace") for part in parts[:64])


def send(pidfd: int, signal: int) -> bool:
    """Send a signal to the process of a pidfd; returns whether it could be sent."""
    try:
        _signal.pidfd_send_signal(pidfd, signal)
    except OSError:
        return False
    return True


def probe() -> list[str]:
    """What this platform lacks for the supervisors: a list of reasons."""
    import _socket

    try:
        own, init = posix.pidfd_open(posix.getpid()), posix.pidfd_open(posix.getppid())
    except (OSError, AttributeError) as error:
        return ["pidfd_open: %s" % error]
    socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
    missing = []
    if posix.fstat(own).st_ino == posix.fstat(init).st_ino:
        missing.append("pidfds have no inode numbers of their own (Linux 6.9)")
    for name, call, arguments in (
        ("PIDFD_GET_INFO (Linux 6.13)", pid_and_parent, (own,)),
        ("SO_PASSPIDFD (Linux 6.5)", socket.setsockopt, (_socket.SOL_SOCKET, SO_PASSPIDFD, 1)),
        ("PR_SET_CHILD_SUBREAPER", become_subreaper, ()),
    ):
        try:
            call(*arguments)
        except (OSError, ImportError, AttributeError) as error:
            missing.append("%s: %s" % (name, error))
    socket.close()
    posix.close(own)
    posix.close(init)
    if not posix.access("/proc/self/task", posix.F_OK):
        missing.append("/proc is not mounted")
    return missing
