"""Where each thread of a process stands: the system call that it is in, and what that waits for.

All is read from /proc and changes nothing: proc_pid_syscall(5), proc_pid_fd(5), proc_pid_fdinfo(5),
proc_pid_maps(5); and from sock_diag(7). The kernel shows a thread's call to who may trace it:
ptrace(2). A supervisor is an ancestor of all processes of its run, so Yama's ptrace_scope 1 does
not keep it from that.
"""

import _socket
import _stat
import posix
from _struct import Struct  # struct.py adds nothing

from pytest_proclife.supervisor import kernel, procfs, protocol
from pytest_proclife.supervisor.protocol import entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pytest_proclife.supervisor.signals import Process, Tree

    Awaited = tuple[str, int, str, str]
    TimedAwaited = tuple[str, int, str, str, bool]
    Thread = tuple[int, str, str, str, str, tuple[TimedAwaited, ...]]

# Numbers on x86-64 and aarch64; None: the machine has no such call. Sources: syscall_64.tbl,
# include/uapi/asm-generic/unistd.h.
_NUMBERS: "dict[str, tuple[int | None, int | None]]" = {
    "read": (0, 63),
    "write": (1, 64),
    "poll": (7, None),
    "ioctl": (16, 29),
    "pread64": (17, 67),
    "pwrite64": (18, 68),
    "readv": (19, 65),
    "writev": (20, 66),
    "select": (23, None),
    "pause": (34, None),
    "nanosleep": (35, 101),
    "sendfile": (40, 71),
    "connect": (42, 203),
    "accept": (43, 202),
    "sendto": (44, 206),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "recvmsg": (47, 212),
    "wait4": (61, 260),
    "semop": (65, 193),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "fcntl": (72, 25),
    "flock": (73, 32),
    "rt_sigtimedwait": (128, 137),
    "rt_sigsuspend": (130, 133),
    "futex": (202, 98),
    "restart_syscall": (219, 128),
    "semtimedop": (220, 192),
    "clock_nanosleep": (230, 115),
    "epoll_wait": (232, None),
    "waitid": (247, 95),
    "openat": (257, 56),
    "pselect6": (270, 72),
    "ppoll": (271, 73),
    "splice": (275, 76),
    "epoll_pwait": (281, 22),
    "accept4": (288, 242),
    "io_uring_enter": (426, 426),
    "epoll_pwait2": (441, 441),
    "futex_waitv": (449, 449),
}
_MACHINES = {"x86_64": 0, "aarch64": 1}
_READING = (
    "read",
    "pread64",
    "readv",
    "recvfrom",
    "recvmsg",
    "accept",
    "accept4",
    "fcntl",
    "flock",
)
_WRITING = ("write", "pwrite64", "writev", "sendto", "sendmsg", "connect")
_POLLING = ("poll", "ppoll")
_SELECTING = ("select", "pselect6")
_EPOLLING = ("epoll_wait", "epoll_pwait", "epoll_pwait2")
_SLEEPING = ("nanosleep", "clock_nanosleep")
_SIGNALS = ("pause", "rt_sigtimedwait", "rt_sigsuspend")
# the argument that limits the time
_LIMITS_IN_MS = {"poll": 2, "epoll_wait": 3, "epoll_pwait": 3}
_LIMITS = {"futex": 3, "ppoll": 2, "select": 4, "pselect6": 4, "epoll_pwait2": 3}
_FUTEX_PRIVATE = 128  # linux/futex.h
_P_PID = 1
_POLLIN, _POLLOUT = 1, 4
_POLLFD, _WORD = 8, 8  # bytes of struct pollfd, and of a word of fd_set
_SOCKET, _SHARED = "socket:[", "shared:["  # the names of these begin so
# linux/netlink.h, sock_diag.h, unix_diag.h: a request, and where its answer has the peer
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST = 4, 20, 1
_UDIAG_SHOW_PEER, _UNIX_DIAG_PEER, _ALL = 4, 2, 0xFFFFFFFF
_PEER_OF = Struct("=IHHIIBBHIIIII")  # struct nlmsghdr, struct unix_diag_req
_HEADER, _UNIX_DIAG_MSG = 16, 16  # bytes
_32_BIT = 1  # EI_CLASS of an ELF file: elf(5)

# Bounds on what a program can make us read.
_PROCESSES, _THREADS, _AWAITED, _DESCRIPTORS = 256, 64, 64, 4096


def note(tree: "Tree") -> "tuple[tuple[int, int, bool], ...]":
    """Note in the log where each process stands.

    Returns the number and the pid of each, and whether it is a Python.
    """
    found, seen = [], []
    wanted: dict[str, str] = {}  # what is waited for, and how that which waits has it open
    for process in list(tree.all_running())[:_PROCESSES]:
        threads = tuple(_threads(process.pid))
        state, python = procfs.state(process.pid), is_python(process.pid)
        if not process.has_pid():
            continue  # what was read may be of another process
        tree.log.append(entry(protocol.THREADS, process.number, state, python, threads))
        found.append((process.number, process.pid, python))
        seen.append(process)
        for *_, awaited in threads:
            wanted.update((name, way) for _, _, way, name, _ in awaited if name)
    names = _names_of_ends(wanted)
    for process in seen if names else ():
        opened = _opened(process, names)
        if opened and process.has_pid():
            tree.log.append(entry(protocol.OPEN, process.number, opened))
    return tuple(found)


def is_python(pid: int) -> bool:
    """Whether a process is a CPython: by its program, or by the library that it has loaded."""
    try:
        name = posix.readlink("/proc/%d/exe" % pid).rpartition("/")[2]
        return name.startswith("python") or b"/libpython" in procfs.contents("/proc/%d/maps" % pid)
    except OSError:
        return False


# --- a thread


def _threads(pid: int) -> "Iterator[Thread]":
    """Its threads, the first one first: (tid, name, state, call, wchan, what it waits for)."""
    try:
        tids = sorted(map(int, posix.listdir("/proc/%d/task" % pid)), key=lambda tid: tid != pid)
    except OSError:
        return
    call_names = _call_names(pid)
    for tid in tids[:_THREADS]:
        place = "/proc/%d/task/%d/" % (pid, tid)
        try:
            text = procfs.contents(place + "stat")
        except OSError:
            continue  # it has ended
        name = text.partition(b"(")[2].rpartition(b")")[0].decode("utf-8", "backslashreplace")
        state = text.rpartition(b") ")[2][:1].decode()
        call, arguments = _call(place, call_names)
        timed = bool(arguments) and _is_timed(call, arguments)
        awaited = tuple([(*item, timed) for item in _awaited(pid, call, arguments)])
        yield tid, name, state, call, _wchan(place), awaited


def _call_names(pid: int) -> "dict[int, str]":
    """The calls by their numbers, as the program of a process has them; none if not known."""
    column = _MACHINES.get(posix.uname().machine)
    try:
        file = posix.open("/proc/%d/exe" % pid, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return {}
    try:
        is_32_bit = posix.read(file, 5)[4:] == b"%c" % _32_BIT
    except OSError:
        is_32_bit = True
    finally:
        posix.close(file)
    if column is None or is_32_bit:
        return {}
    numbers = {name: numbers[column] for name, numbers in _NUMBERS.items()}
    return {number: name for name, number in numbers.items() if number is not None}


def _call(place: str, names: "dict[int, str]") -> "tuple[str, list[int]]":
    """The call that a thread is in, and its arguments; protocol.RUNS, REFUSED, or "" for none."""
    try:
        words = procfs.contents(place + "syscall").split()
    except PermissionError:
        return protocol.NOT_SHOWN, []
    except OSError:
        return "", []  # it has ended, or the kernel does not show it
    if not words or words[0] in (b"running", b"-1"):
        return "", []
    number = int(words[0])
    name = names.get(number, "system call %d" % number)
    return name, [int(word, 16) for word in words[1:7]]


def _wchan(place: str) -> str:
    """The function of the kernel in which it waits; empty if it does not, or if not shown."""
    try:
        text = procfs.contents(place + "wchan").decode("ascii", "replace")
    except OSError:
        return ""
    return "" if text == "0" else text


def _is_timed(call: str, arguments: "list[int]") -> bool:
    """Whether a call waits for a limited time: by its argument, in ms or a pointer to a time."""
    if call in _LIMITS_IN_MS:
        return _signed(arguments[_LIMITS_IN_MS[call]]) >= 0
    return call in _LIMITS and arguments[_LIMITS[call]] != 0


# --- what it waits for: (kind, number, direction, name); see protocol.THREADS


def _awaited(pid: int, call: str, arguments: "list[int]") -> "list[Awaited]":
    if not arguments:
        return []
    first, second = arguments[0], arguments[1]
    if call in _READING:
        return [_file(pid, first, "r")]
    if call in _WRITING:
        return [_file(pid, first, "w")]
    if call == "futex":
        return [_futex(pid, first, second)]
    if call == "wait4":
        return [(protocol.CHILD_ENDS, max(_signed(first), 0), "", "")]
    if call == "waitid":
        return [(protocol.CHILD_ENDS, _signed(second) if first == _P_PID else 0, "", "")]
    if call in (*_SLEEPING, *_SIGNALS):
        return [(protocol.TIME if call in _SLEEPING else protocol.ANY_SIGNAL, 0, "", "")]
    if call in _EPOLLING:
        return [_file(pid, n, "r") for n in _of_epoll(pid, first)[:_AWAITED]]
    if call in (*_POLLING, *_SELECTING):
        polled = _polled(pid, call, arguments)[:_AWAITED]
        # the old way to sleep looks at none
        return [_file(pid, *item) for item in polled] or [(protocol.TIME, 0, "", "")]
    return []


def _signed(value: int) -> int:
    """An int of C, of which the kernel shows 64 bits."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _file(pid: int, number: int, way: str) -> "Awaited":
    number = _signed(number)
    path = "/proc/%d/fd/%d" % (pid, number)
    try:
        name = posix.readlink(path)
        is_pipe = _stat.S_ISFIFO(posix.stat(path).st_mode) or _peer(name) is not None
    except OSError:
        name, is_pipe = "", False
    return protocol.PIPE if is_pipe else protocol.FILE, number, way, name


def _peer(name: str) -> "str | None":
    """The name of the other one of a pair of connected sockets of one machine: sock_diag(7)."""
    if not name.startswith(_SOCKET):
        return None
    request = _PEER_OF.pack(
        *(_PEER_OF.size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0),
        *(_socket.AF_UNIX, 0, 0, _ALL, int(name[len(_SOCKET) : -1]), _UDIAG_SHOW_PEER, _ALL, _ALL),
    )
    try:
        netlink = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW, _NETLINK_SOCK_DIAG)
    except (OSError, AttributeError):
        return None
    try:
        netlink.sendto(request, (0, 0))
        answer = netlink.recv(4096, _socket.MSG_DONTWAIT)
    except OSError:
        return None
    finally:
        netlink.close()
    # struct nlmsghdr, struct unix_diag_msg, then struct rtattr with its value, one after the other
    if kernel.integer(answer, 4, 2) != _SOCK_DIAG_BY_FAMILY:
        return None  # an error: it is of another family, say
    place = _HEADER + _UNIX_DIAG_MSG
    while place + 8 <= len(answer):
        size = kernel.integer(answer, place, 2)
        if kernel.integer(answer, place + 2, 2) == _UNIX_DIAG_PEER:
            return "%s%d]" % (_SOCKET, kernel.integer(answer, place + 4))
        place += max(size + 3 & ~3, 4)
    return None


def _futex(pid: int, address: int, operation: int) -> "Awaited":
    """A lock: of the process itself, or in memory that it shares with others."""
    if operation & _FUTEX_PRIVATE:
        return protocol.LOCK, 0, "", ""
    for begin, end, name in _mapped(pid):
        if begin <= address < end:
            return protocol.SEMAPHORE, 0, "", name
    return protocol.LOCK, 0, "", ""


def _mapped(pid: int) -> "Iterator[tuple[int, int, str]]":
    """The files that a process has mapped shared: first and last address, and device and inode."""
    try:
        lines = procfs.contents("/proc/%d/maps" % pid).split(b"\n")
    except OSError:
        return
    for line in lines:
        words = line.split(None, 5)
        if len(words) > 5 and words[1].endswith(b"s"):
            begin, _, end = words[0].partition(b"-")
            yield (
                int(begin, 16),
                int(end, 16),
                "%s%s:%s]" % (_SHARED, *_decoded(words[3], words[4])),
            )


def _decoded(*words: bytes) -> "tuple[str, ...]":
    return tuple(word.decode("ascii", "replace") for word in words)


def _of_epoll(pid: int, epoll: int) -> "list[int]":
    """The descriptors that an epoll looks at, while the process has them under these numbers."""
    try:
        text = procfs.contents("/proc/%d/fdinfo/%d" % (pid, _signed(epoll)))
    except OSError:
        return []
    lines = [line.split() for line in text.split(b"\n") if line.startswith(b"tfd:")]
    return [int(words[1]) for words in lines if len(words) > 1]


def _polled(pid: int, call: str, arguments: "list[int]") -> "list[tuple[int, str]]":
    """What poll(2) or select(2) looks at: each descriptor, and "r" or "w"."""
    if call in _SELECTING:
        count, reads, writes = arguments[:3]
        return [(n, "r") for n in _of_set(pid, count, reads)] + [
            (n, "w") for n in _of_set(pid, count, writes)
        ]
    found = []
    address, count = arguments[0], min(arguments[1] & 0xFFFFFFFF, _AWAITED)
    data = _memory(pid, address, count * _POLLFD)
    for start in range(0, len(data) - _POLLFD + 1, _POLLFD):
        number = _signed(kernel.integer(data, start))
        events = kernel.integer(data, start + 4, 2)
        if number >= 0:
            found.append((number, "w" if events & _POLLOUT and not events & _POLLIN else "r"))
    return found


def _of_set(pid: int, count: int, address: int) -> "list[int]":
    """The descriptors of a set of select(2)."""
    if not address:
        return []
    count = min(count & 0xFFFFFFFF, 1024)  # FD_SETSIZE
    data = _memory(pid, address, (count + 63) // 64 * _WORD)
    bits = int.from_bytes(data, "little")
    return [number for number in range(count) if bits >> number & 1]


def _memory(pid: int, address: int, size: int) -> bytes:
    """A part of its memory; empty if it cannot be read."""
    try:
        file = posix.open("/proc/%d/mem" % pid, posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return posix.pread(file, size, address)
    except (OSError, OverflowError):
        return b""
    finally:
        posix.close(file)


# --- who else has it open


def _names_of_ends(wanted: "dict[str, str]") -> "dict[str, list[tuple[str, str]]]":
    """By the name of a link in /proc/PID/fd: what that is an end of, and its way, "" to look."""
    names: dict[str, list[tuple[str, str]]] = {}
    for name, way in wanted.items():
        peer = _peer(name)
        names.setdefault(name, []).append((name, "" if peer is None else way))
        if peer is not None:
            names.setdefault(peer, []).append((name, "r" if way == "w" else "w"))
    return names


def _opened(
    process: "Process", names: "dict[str, list[tuple[str, str]]]"
) -> "tuple[tuple[str, int, str], ...]":
    """What a process has open of what is waited for: (name, descriptor or -1, "r", "w" or "rw")."""
    found: list[tuple[str, int, str]] = []
    place = "/proc/%d/" % process.pid
    try:
        numbers = posix.listdir(place + "fd")[:_DESCRIPTORS]
    except OSError:
        numbers = []
    for number in numbers:
        try:
            for name, way in names.get(posix.readlink(place + "fd/" + number), ()):
                found.append((name, int(number), way or _way(place + "fdinfo/" + number)))
        except OSError:
            continue  # it was closed meanwhile
    if any(name.startswith(_SHARED) for name in names):
        mapped = {name for _, _, name in _mapped(process.pid)}
        found += [(name, -1, "rw") for name in sorted(mapped & names.keys())]
    return tuple(sorted(found))


def _way(path: str) -> str:
    """Whether a descriptor reads, writes, or both: the access mode of open(2)."""
    flags = procfs.contents(path).partition(b"flags:")[2].split()
    return ("r", "w", "rw", "rw")[int(flags[0], 8) & 3] if flags else "rw"
