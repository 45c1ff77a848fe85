"""The notes of what is started, and the tag that each started process inherits.

The guarded process keeps its own notes in a list. Its forks append theirs to the ledger, a file
in memory, which does not block however late it is read.

Each started process inherits the number of its start: by it an orphan is known even if all its
parents are gone. It inherits the number twice. One descriptor of the ledger, the tag, has it as its
position: programs close descriptors, as `subprocess` does. And the soft limit of RLIMIT_RTTIME has
it: getrlimit(2), inherited by fork and kept by exec. That limits the processor time of processes
with real-time scheduling, in microseconds: the number stands for 146,000 years and more. Nothing
else sets that limit to such a value, no program has to hand it on, and it can be read of a process
of another user. The guarded process has the limit only while it starts something. A program may set
the limit itself, and a guard in a forked process, or a second one in this process, does: the
position tells then.

What runs for each start is in few functions and changes one object: between two forks each page
that is written to is copied. A call writes to the pages of the function and of its code, and the
use of an object to that of its reference count.
"""

import _thread
import posix
import time

from pytest_proclife import wire
from pytest_proclife.inside.builtins import borrow
from pytest_proclife.inside.handlers import is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    # its kind, the pid of the process that makes it, when (monotonic ns), and its fields, which are
    # all text once it has been packed
    Note = tuple[str, int, int, list[str | int]]

# Kinds of note, each with its fields. The first field of all is the thread that makes the note.
# "line" stands for three: the place "file:line" of a test's or a fixture's own code, its function,
# and the line of a library that it has called and that makes the start ("" if there is none).
FORKING = "f"  # tag, kind, line: a fork follows
SYSTEM = "y"  # tag, line: a shell follows, which system(3) starts and waits for
FORKED = "h"  # tag: the process that makes the note is that fork
# child's pid, tag, kind, name, start method, line, maker, argv... A Process that is forked is noted
# before too, when it has neither pid nor name nor method. Both notes have the same list of fields,
# until they are packed: so the first one is complete too, once the process has been started.
STARTED = "s"
MADE = "m"  # maker, line: a Pool or an executor was made
# The places of fields, of all kinds, of FORKING and FORKED, and of STARTED.
THREAD = 0
FORKING_TAG = 1
CHILD, STARTED_TAG, NAME, METHOD, MAKER = 1, 2, 4, 5, 9

# In the ledger each note stands as `wire.pack` makes it, after its length in LENGTH bytes.
LENGTH = 4

_NUMBERS = (961, 241, 49, 21)  # of descriptors, for the first that the limit allows
_COUNT_BITS = 20  # of a tag's number; the bits above are the pid of the process that starts
_COUNTS = (1 << _COUNT_BITS) - 1
_BITS = _COUNT_BITS + 22  # below the mark: a pid has no more (PID_MAX_LIMIT)
RTTIME = 15  # RLIMIT_RTTIME
_UNLIMITED = -1  # as `resource` has it

_clock = time.clock_gettime_ns  # libraries that freeze time do not replace it
_MONOTONIC = time.CLOCK_MONOTONIC
_getpid, _get_native_id = posix.getpid, _thread.get_native_id


class State:
    """What changes with each start. One object: see above."""

    __slots__ = (
        *("fork_noted", "forks", "is_process", "limits", "modules_seen", "number", "pid"),
        *("prlimit", "program_thread"),
    )

    def __init__(self) -> None:
        self.number = 0  # of the last start, which is the tag's position; 0 before the first
        self.pid = 0  # of who started that; a fork begins with its parent's
        self.limits: tuple[int, int] | None = None  # of that process, until they are set again
        self.prlimit: Any = None  # of `resource`; None if the limit cannot carry a number
        self.forks = 0  # that hold the lock: see `hooks`
        self.is_process = False  # whether the fork that runs now is a Process, noted by its parent
        # the thread that starts a program, whose preexec_fn runs in a fork that is not noted
        self.program_thread = 0
        # the number of modules when they were last checked for something to watch
        self.modules_seen = 0
        # memory shared with forks: not 0 if one of them has made a note
        self.fork_noted: Any = b"\0"


state = State()
notes: "list[Note]" = []  # the guarded process's own, until they are read
tag = -1
ledger = -1
link = ""  # the target of the tag's link in /proc
_pid = 0  # of the guarded process
_identity = (-1, -1)  # device and inode of the ledger
_path = ""  # by which the ledger is opened again
_mark = 0  # this guard's own, in the limit's upper bits; 0 if it cannot carry a number


def open_ledger() -> None:
    """Make the ledger and its tag. This process is the guarded one."""
    global tag, ledger, link, _pid, _identity, _path
    if _pid != posix.getpid():
        _pid = posix.getpid()
        notes.clear()  # a fork has inherited what its parent had not read
        state.fork_noted = borrow("mmap").mmap(-1, 1)
        _find_limit()
    file = posix.memfd_create("proclife-%d-%s" % (posix.getpid(), posix.urandom(8).hex()))
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CLOEXEC
    ledger = moved_up(posix.open("/proc/self/fd/%d" % file, flags))
    tag = moved_up(file, inherited=True)
    _path = "/proc/self/fd/%d" % tag
    link = posix.readlink(_path)
    status = posix.fstat(tag)
    _identity = status.st_dev, status.st_ino
    state.number = posix.lseek(tag, _mark | _pid << _COUNT_BITS, 0)  # that of no start


def _find_limit() -> None:
    """Find out whether the limit can carry numbers: not if something has set it."""
    global _mark
    state.prlimit, _mark = None, 0
    try:
        resource = borrow("resource")
        if resource.getrlimit(RTTIME)[1] == _UNLIMITED:
            _mark = 1 << 62 | int.from_bytes(posix.urandom(2), "little") << _BITS
            state.prlimit = resource.prlimit
    except Exception as error:
        if not is_ours(error):
            raise


def moved_up(file: int, inherited: bool = False) -> int:
    """The same file under a number that programs do not use; its old number is free again."""
    fcntl = borrow("fcntl")
    command = fcntl.F_DUPFD if inherited else fcntl.F_DUPFD_CLOEXEC
    for number in _NUMBERS:
        try:
            found: int = fcntl.fcntl(file, command, number)
        except OSError as error:
            if not is_ours(error):
                raise
            continue  # above the limit
        posix.close(file)
        return found
    raise OSError("no descriptor is left for the guard")


def inherited_number() -> int:
    """The number of this process's own start, until it starts something itself."""
    return posix.lseek(tag, 0, 1) if is_ledger(tag) else 0


def is_ledger(number: int) -> bool:
    """Whether this descriptor is still one of the ledger, and not closed or replaced."""
    try:
        status = posix.fstat(number)
    except OSError as error:
        if not is_ours(error):
            raise
        return False
    return (status.st_dev, status.st_ino) == _identity


def note(kind: str, *fields: "str | int") -> None:
    add(kind, [_get_native_id(), *fields])


def add(kind: str, fields: "list[str | int]") -> None:
    """Make a note now. The first of its fields is the thread that makes it."""
    pid = _getpid()
    made = kind, pid, _clock(_MONOTONIC), fields
    if pid == _pid:
        notes.append(made)
        return
    if is_ledger(ledger):
        data = packed(made)
        posix.write(ledger, len(data).to_bytes(LENGTH, "little") + data)
    state.fork_noted[0] = 1  # after the note; without a ledger too, so that the loss is noticed


def packed(note: "Note") -> bytes:
    """The note as it stands in the ledger: in UTF-8, whatever names a test has chosen."""
    kind, pid, at, fields = note
    return wire.pack(kind, 0, pid, at, tuple([wire.clip(str(f)) for f in fields]))


def new_number() -> int:
    """Give the tag and the limit a new number, for the next start. The number; 0 if that failed.

    The position alone is checked first: no other file has this one by chance.
    """
    try:
        if posix.lseek(tag, 0, 1) != state.number and not is_ledger(tag):
            return 0
        fresh = posix.open(_path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            pid, number = _getpid(), state.number + 1
            if state.pid != pid:
                state.pid, state.limits = pid, None
                number = _mark | pid << _COUNT_BITS | 1
            elif not number & _COUNTS:
                number -= 1 << _COUNT_BITS  # the counts are used up: begin again
            posix.lseek(fresh, number, 0)
            posix.dup2(fresh, tag)
            state.number = number
        finally:
            posix.close(fresh)
        if state.prlimit is not None:
            try:
                before = state.prlimit(0, RTTIME, (number, _UNLIMITED))
            except (OSError, ValueError) as error:
                if not is_ours(error):
                    raise
                return number  # the program has lowered its hard limit
            if state.limits is None:
                state.limits = before
        return number
    except Exception as error:
        if not is_ours(error):
            raise
        return 0


def end_start() -> None:
    """Give the process that has started something its own limit back."""
    limits = state.limits
    if limits is None or state.pid != _getpid():
        return
    state.limits = None
    try:
        state.prlimit(0, RTTIME, limits)
    except Exception as error:
        if not is_ours(error):
            raise


def number_in_limit(soft: int) -> int:
    """The number that the soft limit carries; 0 if none."""
    return soft if _mark and soft >> _BITS == _mark >> _BITS else 0
