"""What the kernel says of processes by their pidfds, and the probe of what it offers.

What it says by their pids is in `procfs`.
"""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import errno
import fcntl
import posix
import sys
import time

from pytest_proclife.supervisor import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Iterable

SO_PASSPIDFD = 76  # socket(7); Linux 6.5
_SOL_SOCKET, _SO_PEERPIDFD = 1, 77  # the same
SCM_PIDFD = 4
PIDFD_GET_INFO = 0xC040FF0B  # _IOWR(0xFF, 11, 64 bytes): linux/pidfd.h; Linux 6.13
PIDFD_INFO_PID = 1
PIDFD_INFO_EXIT = 8  # Linux 6.15: the wait status, once the process has been reaped

# What not each kernel offers. Found out by `probe`, never by version numbers. In place of it:
PIDFS = "pidfs"  # Linux 6.9; the pid, compared while a pidfd is held; looks whether it was reaped
PASSPIDFD = "passpidfd"  # Linux 6.5; the credentials, and the pidfd that a process sends of itself
INFO = "info"  # Linux 6.13; fdinfo of the pidfd, and /proc
EXIT = "exit"  # Linux 6.15; a zombie's status in /proc, and what its parent's wait reported
STATUS = "status"  # before Linux 6.1; believed of a zombie only if it has had no other threads
FEATURES = (PIDFS, PASSPIDFD, INFO, EXIT, STATUS)
WITHOUT = "PROCLIFE_WITHOUT"  # environment variable: features not to use, separated by commas

offered: set[str] = set()  # the features that are used: filled by `probe`, inherited by each fork


def used() -> list[str]:
    """The features that are used, in their order."""
    return [name for name in FEATURES if name in offered]


# struct pidfd_info of linux/pidfd.h: its size, and offsets in it, in bytes
_INFO_SIZE, _MASK, _PID, _PARENT, _STATUS = 64, 0, 16, 24, 60
_PF_SIGNALED = 0x400  # linux/sched.h
_CLOCK_BOOTTIME = 7  # linux/time.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_CHILD_SUBREAPER = 1, 4, 36


def prctl(option: int, value: int) -> None:
    """prctl(2); OSError if it is refused."""
    # _ctypes alone: ctypes costs an import of 4 ms, and this is the only call that needs it
    import _ctypes

    library = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]  # the program itself: dlopen(3)
    if _ctypes.call_function(_ctypes.dlsym(library, "prctl"), (option, value, 0, 0, 0)) != 0:
        raise OSError("prctl(%d) was refused" % option)


def become_subreaper() -> None:
    """Orphans below this process become its children, so that it can reap them: prctl(2)."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(signal: int) -> None:
    """Have the kernel send `signal` when the parent ends; 0 cancels that: prctl(2)."""
    prctl(_PR_SET_PDEATHSIG, signal)


def hide_memory() -> None:
    """Have the kernel show the memory and the descriptors of this process to root alone.

    That holds for its forks, and ends with exec: PR_SET_DUMPABLE of prctl(2).
    """
    prctl(_PR_SET_DUMPABLE, 0)


def _info(pidfd: int, mask: int) -> bytearray:
    info = bytearray(_INFO_SIZE)
    info[_MASK : _MASK + 8] = mask.to_bytes(8, sys.byteorder)
    fcntl.ioctl(pidfd, PIDFD_GET_INFO, info)
    return info


def integer(info: "bytes | bytearray", place: int, size: int = 4) -> int:
    """An integer of a C structure, of `size` bytes from `place` on."""
    return int.from_bytes(info[place : place + size], sys.byteorder)


def open_pidfd(pid: int) -> int:
    """A pidfd of the process that has a pid; ProcessLookupError if none has it: pidfd_open(2).

    Before Linux 6.15 the error is EINVAL if the number is still that of a group or a session.
    """
    try:
        return posix.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.EINVAL:
            raise ProcessLookupError(errno.ESRCH, "only a group has this number") from None
        raise


def pid_and_parent(pidfd: int) -> tuple[int | None, int | None]:
    """(pid, parent's pid) of a process; Nones once it has been reaped; OSError if no pidfd."""
    if INFO not in offered:
        pid = _pid_in_proc(pidfd)
        fields = [] if pid is None else procfs.stat(pid)
        # if it still has the pid, the file was not that of another process with the same pid
        still = bool(fields) and _pid_in_proc(pidfd) == pid
        return (pid, int(fields[1]) or None) if still else (None, None)
    try:
        info = _info(pidfd, PIDFD_INFO_PID)
    except OSError as error:
        if error.errno == errno.ESRCH:
            return None, None
        raise
    return integer(info, _PID) or None, integer(info, _PARENT) or None


def pid_of(pidfd: int) -> int | None:
    """The pid of a process; None once it has been reaped; OSError if it is not a pidfd."""
    return pid_and_parent(pidfd)[0] if INFO in offered else _pid_in_proc(pidfd)


def _pid_in_proc(pidfd: int) -> int | None:
    """The same, from /proc: pidfd_open(2)."""
    return pid_of_descriptor("self", pidfd)


def pid_of_descriptor(process: int | str, pidfd: int) -> int | None:
    """The same, of a pidfd of another process: its pid, or "self"."""
    _, found, rest = procfs.contents("/proc/%s/fdinfo/%d" % (process, pidfd)).partition(b"\nPid:\t")
    if not found:
        raise OSError(errno.EBADF, "not a pidfd")
    pid = int(rest.split(b"\n", 1)[0])
    return pid if pid > 0 else None  # -1: reaped; 0: of a pid namespace that is not below ours


def identity(pidfd: int) -> int | None:
    """What tells a process from all others, whatever its pid; None if there is no such number."""
    return posix.fstat(pidfd).st_ino if PIDFS in offered else None


def started_at(pidfd: int) -> int | None:
    """When a process was started, at the earliest, in monotonic ns; None once it is reaped."""
    pid = pid_of(pidfd)
    fields = [] if pid is None else procfs.stat(pid)
    if not fields or pid_of(pidfd) != pid:
        return None
    ticks = int(fields[19])  # since boot, and so with the time for which the machine slept
    now = time.monotonic_ns()  # before the other, so that the result is too early, if anything
    asleep = time.clock_gettime_ns(_CLOCK_BOOTTIME) - now
    return ticks * 1_000_000_000 // posix.sysconf("SC_CLK_TCK") - asleep


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
                above = open_pidfd(parent)
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
    if PASSPIDFD not in offered:
        return None  # as old as that; the pid alone (SO_PEERCRED) may be another's by now
    try:
        handle: int = socket.getsockopt(_SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return None
    return handle


def exit_status(pidfd: int) -> int | None:
    """The wait status of a process that another process has reaped; None if it is not known."""
    if EXIT not in offered:
        return None
    for attempt in range(500):  # a bound: what reaps it may be kept from the processor for long
        try:
            info = _info(pidfd, PIDFD_INFO_EXIT)
        except OSError as error:
            if error.errno != errno.ESRCH:
                return None
            # it is being reaped, and the status is attached at the end of that
            if attempt < 20:  # on a busy machine a yield alone may not let the other one run
                posix.sched_yield()
            else:
                time.sleep(0.001)
            continue
        return integer(info, _STATUS) if integer(info, _MASK, 8) & PIDFD_INFO_EXIT else None
    return None


def status_of_zombie(pidfd: int) -> int | None:
    """The wait status of a zombie: proc_pid_stat(5); None if it was reaped, or is another user's.

    Its threads have all ended if its pidfd is readable, and only then is this its wait status.
    """
    try:
        pid = pid_of(pidfd)
        fields = [] if pid is None else procfs.stat(pid)
        if pid is None or fields[:1] != [b"Z"]:
            return None
        # The status of a process that we may not trace is shown as 0: ptrace(2), "access mode
        # checking". This link is refused in just these cases.
        posix.readlink("/proc/%d/ns/user" % pid)
        known = STATUS in offered or _is_of_all_threads(pid, fields)
        # if it still has the pid, the files were not those of another process with the same pid
        return int(fields[49]) if known and pid_of(pidfd) == pid else None
    except OSError:
        return None


def _is_of_all_threads(pid: int, fields: list[bytes]) -> bool:
    """Whether the status that older kernels show is surely that of the process.

    It is that of its first thread, which may have exited on its own before the others
    (pthread_exit). It did not if it died of a signal; that, or an exit of another thread, sets
    PF_SIGNALED. Nor did it if there were no others: they would have had page faults of their own,
    or used a processor, which only the account of the whole process has. Times may differ by a tick
    without any: the kernel rounds each account on its own (cputime_adjust, kernel/sched/cputime.c).
    """
    if int(fields[6]) & _PF_SIGNALED:
        return True
    first = procfs.contents("/proc/%d/task/%d/stat" % (pid, pid)).rpartition(b") ")[2].split()
    used, used_by_first = (int(stat[11]) + int(stat[12]) for stat in (fields, first))
    return fields[7:11] == first[7:11] and abs(used - used_by_first) <= 1


def send(pidfd: int, signal: int) -> bool:
    """Send a signal to the process of a pidfd; returns whether it could be sent."""
    try:
        _signal.pidfd_send_signal(pidfd, signal)
    except OSError:
        return False
    return True


def probe(without: "Iterable[str]" = ()) -> list[str]:
    """Find out what this kernel offers; returns what it lacks for the supervisors: reasons.

    `offered` has the features then, except those of `without`.
    """
    import _socket

    try:
        own, parent = posix.pidfd_open(posix.getpid()), posix.pidfd_open(posix.getppid())
    except (OSError, AttributeError) as error:
        return ["pidfd_open: %s" % error]
    missing = _necessities(own)
    if not missing:
        try:
            _find_features(own, parent, _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET))
        except OSError as error:  # no process or no descriptor is left
            missing.append("the kernel cannot be asked: %s" % error)
        offered.difference_update(without)
    posix.close(own)
    posix.close(parent)
    return missing


def lacking_of_proc() -> str:
    """Why /proc does not show the processes here under their pids; "" if it does."""
    try:
        # one of another pid namespace shows other processes under the pids of ours
        own = posix.readlink("/proc/self") == "%d" % posix.getpid()
    except OSError:
        return "/proc is not mounted"
    return "" if own else "/proc is that of another pid namespace"


def _necessities(own: int) -> list[str]:
    missing = []
    for name, call, arguments in (
        ("pidfd_send_signal", _signal.pidfd_send_signal, (own, 0)),
        ("PR_SET_CHILD_SUBREAPER", become_subreaper, ()),
    ):
        try:
            call(*arguments)
        except (OSError, ImportError, AttributeError) as error:
            missing.append("%s: %s" % (name, error))
    lacking = lacking_of_proc()
    try:
        if not lacking and _pid_in_proc(own) != posix.getpid():
            lacking = "/proc does not show what a pidfd stands for"
    except OSError as error:
        lacking = "/proc/self/fdinfo: %s" % error
    return [*missing, lacking] if lacking else missing


def _find_features(own: int, parent: int, socket: "_socket.socket") -> None:
    import _socket

    if posix.fstat(own).st_ino != posix.fstat(parent).st_ino:
        offered.add(PIDFS)
    try:
        socket.setsockopt(_socket.SOL_SOCKET, SO_PASSPIDFD, 1)
        offered.add(PASSPIDFD)
    except OSError:
        pass
    socket.close()
    try:
        _info(own, PIDFD_INFO_PID)
        offered.add(INFO)
    except OSError:
        pass
    _find_features_by_child()


def _find_features_by_child() -> None:
    """Fork a child that stops, and see what is shown of it then, and once it has been reaped."""
    child = posix.fork()
    if child == 0:
        posix.kill(posix.getpid(), _signal.SIGSTOP)
        posix._exit(0)
    try:
        handle = posix.pidfd_open(child)
        posix.waitid(posix.P_PID, child, posix.WSTOPPED | posix.WNOWAIT)
        text = procfs.contents("/proc/%d/stat" % child)
    finally:
        posix.kill(child, _signal.SIGKILL)
        posix.waitpid(child, 0)
    # this field is of the whole process in just those kernels that show the signal that stopped it
    if text.rpartition(b") ")[2].split()[49] == b"%d" % _signal.SIGSTOP:
        offered.add(STATUS)
    offered.add(EXIT)
    if exit_status(handle) is None:
        offered.discard(EXIT)
    posix.close(handle)
