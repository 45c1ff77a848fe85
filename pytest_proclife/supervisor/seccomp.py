"""The second witness's way to the kernel: a filter that has it hold certain system calls for us.

Main installs the filter in itself just before it executes its program, and everything below it
inherits that. A held call waits until the supervisor has looked, and returns what it would have
returned without that. Source: seccomp_unotify(2), linux/seccomp.h.
"""

import errno
import fcntl
import posix
import sys
from _struct import Struct, pack  # struct.py adds nothing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Numbers of the calls that are held: on x86-64, its 32-bit programs, aarch64, its 32-bit programs.
# None: the architecture has no such call. Sources: arch/x86/entry/syscalls/syscall_64.tbl and
# syscall_32.tbl, include/uapi/asm-generic/unistd.h, arch/arm/tools/syscall.tbl.
_NUMBERS: "dict[str, tuple[int | None, ...]]" = {
    "kill": (62, 37, 129, 37),
    "tkill": (200, 238, 130, 238),
    "tgkill": (234, 270, 131, 268),
    "rt_sigqueueinfo": (129, 178, 138, 178),
    "rt_tgsigqueueinfo": (297, 335, 240, 363),
    "pidfd_send_signal": (424, 424, 424, 424),
    "wait4": (61, 114, 260, 114),
    "waitpid": (None, 7, None, None),
    "waitid": (247, 284, 95, 280),
    "set_robust_list": (273, 311, 99, 338),
    "set_tid_address": (218, 258, 96, 256),
    "prctl": (157, 172, 167, 172),
    "alarm": (37, 27, None, None),
    "setitimer": (38, 104, 103, 104),
}
# AUDIT_ARCH_... of linux/audit.h, and the number of seccomp(2), for each machine
_X86_64, _I386, _AARCH64, _ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
_ARCHITECTURES = {"x86_64": (_X86_64, _I386), "aarch64": (_AARCH64, _ARM)}
_COLUMNS = (_X86_64, _I386, _AARCH64, _ARM)
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_X32 = 0x40000000  # in the number of a call of an x32 program: __X32_SYSCALL_BIT
FOREIGN = "x32"  # stands for each call of such a program, which are all held

SIGNALLING = {  # the place of the signal among the arguments
    "kill": 1,
    "tkill": 1,
    "tgkill": 2,
    "rt_sigqueueinfo": 1,
    "rt_tgsigqueueinfo": 2,
    "pidfd_send_signal": 1,
}
WAITING = ("wait4", "waitpid", "waitid")
# A C library's first calls in a new process and in a new program: nobody looks at what they
# return. Neither fork(2) nor exit_group(2) are held: a signal whose handler does not restart calls
# would have them fail with EINTR, which no program expects. Shells then say "Cannot fork", and
# glibc ends the process by SIGSEGV or SIGTRAP (2.43: sysdeps/unix/sysv/linux/_exit.c).
BEGINNING = ("set_robust_list", "set_tid_address")
PR_SET_PDEATHSIG = 1

# Berkeley packet filter, linux/bpf_common.h: load a word, compare it and skip, return
_LOAD, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x15, 0x35, 0x06
_ALLOW, _HOLD = 0x7FFF0000, 0x7FC00000  # SECCOMP_RET_ALLOW, SECCOMP_RET_USER_NOTIF
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16  # bytes in struct seccomp_data

_SET_MODE_FILTER = 1
_NEW_LISTENER, _SPEC_ALLOW, _KILLABLE = 1 << 3, 1 << 2, 1 << 5  # SECCOMP_FILTER_FLAG_...
_PR_SET_NO_NEW_PRIVS = 38

_RECEIVE = 0xC0502100  # SECCOMP_IOCTL_NOTIF_RECV, of 80 bytes
_ANSWER = 0xC0182101  # SECCOMP_IOCTL_NOTIF_SEND, of 24 bytes
# Not SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP (Linux 6.6): 200 forks take 1.21 times as long with it,
# 1.14 without, since main and the supervisor then share a processor.
_CONTINUE = 1  # SECCOMP_USER_NOTIF_FLAG_CONTINUE
_NOTIFICATION = Struct("=QIIiIQ6Q")  # struct seccomp_notif
_RESPONSE = Struct("=QqiI")  # struct seccomp_notif_resp


class Unavailable(Exception):
    """There is no second witness here; the message says why."""


def lacking(machine: str) -> str:
    """Why there can be none on this machine, whatever the kernel is; "" if there can be."""
    if sys.maxsize < 1 << 32 or machine not in _ARCHITECTURES:
        return f"the system calls of 64-bit x86-64 and aarch64 are known, not those of {machine}"
    return ""


# --- the filter


def program(machine: str) -> bytes:
    """The filter for a machine: an array of struct sock_filter."""
    found = [_instruction(_LOAD, _ARCHITECTURE_AT)]
    for architecture in _ARCHITECTURES[machine]:
        calls = [_instruction(_LOAD, _NUMBER_AT), *_calls(architecture)]
        calls.append(_instruction(_RETURN, _ALLOW))
        found += [_instruction(_EQUAL, architecture, 0, len(calls)), *calls]
    found.append(_instruction(_RETURN, _ALLOW))
    return b"".join(found)


def _calls(architecture: int) -> "Iterator[bytes]":
    if architecture == _X86_64:
        yield _instruction(_AT_LEAST, _X32, 0, 1)
        yield _instruction(_RETURN, _HOLD)
    for number, name in names(architecture).items():
        body = _body(name)
        yield _instruction(_EQUAL, number, 0, len(body))
        yield from body


def _body(name: str) -> list[bytes]:
    """What is done with a call of this name."""
    hold, allow = _instruction(_RETURN, _HOLD), _instruction(_RETURN, _ALLOW)
    if name in SIGNALLING:  # signal 0 only asks whether there is such a process
        return [_argument(SIGNALLING[name]), _instruction(_EQUAL, 0, 1, 0), hold, allow]
    if name == "prctl":
        return [_argument(0), _instruction(_EQUAL, PR_SET_PDEATHSIG, 0, 1), hold, allow]
    return [hold]


def _argument(index: int) -> bytes:
    return _instruction(_LOAD, _ARGUMENTS_AT + 8 * index)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return pack("=HBBI", code, if_true, if_false, value)


def names(architecture: int) -> "dict[int, str]":
    """The names of the held calls of an architecture, by their numbers."""
    column = _COLUMNS.index(architecture)
    found = ((numbers[column], name) for name, numbers in _NUMBERS.items())
    return {number: name for number, name in found if number is not None}


def install(machine: str) -> tuple[int, bool]:
    """Install the filter in this process; returns its listener, as `Listener` takes it.

    For a process that is about to execute main's program: from here on its calls may be held.
    Unavailable if there can be none here, or the kernel refuses.
    """
    reason = lacking(machine)
    if reason:
        raise Unavailable(reason)
    import _ctypes  # alone, as in `kernel`: ctypes and array import some twenty modules

    class Byte(_ctypes._SimpleCData):  # type: ignore[type-arg]  # as `c_char`
        _type_ = "c"

    instructions = program(machine)
    memory = (Byte * len(instructions)).from_buffer_copy(instructions)
    filter = pack("=HxxxxxxQ", len(instructions) // 8, _ctypes.addressof(memory))
    flags = _NEW_LISTENER | _SPEC_ALLOW
    for flag in (_KILLABLE, 0):  # Linux 5.19: once it is held, only a fatal signal interrupts it
        listener = _seccomp(machine, flags | flag, filter)
        if listener >= 0:
            return listener, flag == 0
        error = _error_of(machine, flags | flag, filter)
        if error == errno.EACCES:  # no CAP_SYS_ADMIN
            _give_up_privileges()
            listener = _seccomp(machine, flags | flag, filter)
            if listener >= 0:
                return listener, flag == 0
            error = _error_of(machine, flags | flag, filter)
        if error != errno.EINVAL:
            break
    raise Unavailable(_reason(error))


def _reason(error: int) -> str:
    if error == errno.EBUSY:
        return "a process above has a listener of its own already (as below another such run)"
    if error == errno.EINVAL:
        return "this kernel cannot hold system calls for another process (Linux 5.5 can)"
    return "seccomp(2) was refused: %s" % posix.strerror(error)


def _seccomp(machine: str, flags: int, filter: bytes) -> int:
    import _ctypes  # as in `kernel`: ctypes costs an import of 4 ms

    library = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]  # the program itself: dlopen(3)
    arguments = (_SECCOMP[machine], _SET_MODE_FILTER, flags, filter)
    found: int = _ctypes.call_function(_ctypes.dlsym(library, "syscall"), arguments)
    return found


def _error_of(machine: str, flags: int, filter: bytes) -> int:
    """The error of a call that was refused, by a second one that keeps it."""
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    library.syscall(_SECCOMP[machine], _SET_MODE_FILTER, flags, filter)
    return ctypes.get_errno()


def _give_up_privileges() -> None:
    import _ctypes

    library = _ctypes.dlopen(None, 2)  # type: ignore[arg-type]  # the program itself: dlopen(3)
    _ctypes.call_function(_ctypes.dlsym(library, "prctl"), (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


# --- the listener


class Call:
    """A system call that is held, by the thread `tid` in our own namespace of pids."""

    __slots__ = ("arguments", "id", "name", "tid")

    def __init__(self, id: int, tid: int, name: str, arguments: tuple[int, ...]) -> None:
        self.id = id
        self.tid = tid
        self.name = name
        self.arguments = arguments

    def integer(self, index: int) -> int:
        """An argument that is an int of C."""
        value = self.arguments[index] & 0xFFFFFFFF
        return value - (1 << 32) if value & 0x80000000 else value


class Listener:
    """The descriptor on which held calls arrive: readable while one waits to be received.

    `interruptible`: a signal with a handler interrupts a call that was received. Else only one
    that ends the process does.
    """

    def __init__(self, descriptor: int, interruptible: bool) -> None:
        self.descriptor = descriptor
        self.interruptible = interruptible
        self._names: dict[int, dict[int, str]] = {a: names(a) for a in _COLUMNS}
        self._buffer = bytearray(_NOTIFICATION.size)

    def fileno(self) -> int:
        return self.descriptor

    def receive(self) -> Call | None:
        """Receive a call, if the listener is readable; None if whoever made it is gone."""
        self._buffer[:] = bytes(_NOTIFICATION.size)  # the kernel insists
        try:
            fcntl.ioctl(self.descriptor, _RECEIVE, self._buffer)
        except (FileNotFoundError, InterruptedError):
            return None
        id, tid, _, number, architecture, _, *arguments = _NOTIFICATION.unpack(self._buffer)
        name = self._names.get(architecture, {}).get(number, FOREIGN)
        return Call(id, tid, name, tuple(arguments))

    def let_go_on(self, call: Call) -> bool:
        """Let a held call go on; False if it was interrupted meanwhile, and so not made."""
        return self._respond(call, 0, _CONTINUE)

    def answer(self, call: Call, value: int) -> bool:
        """Have a held call return a value without being made; False if it was interrupted."""
        return self._respond(call, value, 0)

    def _respond(self, call: Call, value: int, flags: int) -> bool:
        try:
            fcntl.ioctl(self.descriptor, _ANSWER, _RESPONSE.pack(call.id, value, 0, flags))
        except OSError:
            return False
        return True
