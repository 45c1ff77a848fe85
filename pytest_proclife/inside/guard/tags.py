"""The notes of what is started, and the tag that each started process inherits.

The guarded process keeps its own notes in a list. Its forks append theirs to the ledger, a file
in memory, which does not block however late it is read.

Each started process inherits the number of its start: by it an orphan is known even if all its
parents are gone. It inherits the number twice. One descriptor of the ledger, the tag, has it as its
position: programs close descriptors, as `subprocess` does. And the soft limit of RLIMIT_RTTIME has
it, above a mark: getrlimit(2), inherited by fork and kept by exec. That limits the processor time
of processes with real-time scheduling, in microseconds: the mark stands for 146,000 years. Nothing
else sets that limit to such a value, no program has to hand it on, and it can be read of a process
of another user. The guarded process has the limit only while it starts something.
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

# Kinds of note, each with its fields. The first field of all is the thread that makes the note.
# "line" stands for three: the place "file:line" of a test's or a fixture's own code, its function,
# and the line of a library that it has called and that makes the start ("" if there is none).
FORKING = "f"  # tag, kind, line: a fork follows
SYSTEM = "y"  # tag, line: a shell follows, which system(3) starts and waits for
FORKED = "h"  # tag: the process that makes the note is that fork
STARTED = "s"  # child's pid, tag, kind, name, start method, line, maker, argv...
MADE = "m"  # maker, line: a Pool or an executor was made
# The places of fields, of all kinds, of FORKING and FORKED, and of STARTED.
THREAD = 0
FORKING_TAG = 1
CHILD, STARTED_TAG, NAME, METHOD, MAKER = 1, 2, 4, 5, 9

# In the ledger each note stands as `wire.pack` makes it, after its length in LENGTH bytes.
LENGTH = 4

_NUMBERS = (961, 241, 49, 21)  # of descriptors, for the first that the limit allows
_COUNT_BITS = 20  # of a tag's number; the bits above are the pid of the process that starts
_BITS = _COUNT_BITS + 22  # of the number: a pid has no more (PID_MAX_LIMIT)
_RTTIME = 15  # RLIMIT_RTTIME
_UNLIMITED = -1  # as `resource` has it

_clock = time.clock_gettime_ns  # libraries that freeze time do not replace it


class Note:
    """`at` is monotonic ns, `pid` that of the process that makes the note."""

    __slots__ = "at", "fields", "kind", "pid"

    def __init__(self, kind: str, pid: int, at: int, fields: "list[str]") -> None:
        self.kind = kind
        self.pid = pid
        self.at = at
        self.fields = fields


notes: "list[Note]" = []  # the guarded process's own, until they are read
fork_noted: "Any" = b"\0"  # memory shared with forks: not 0 if one of them has made a note
tag = -1
ledger = -1
link = ""  # the target of the tag's link in /proc
_pid = 0  # of the guarded process
_identity = (-1, -1)  # device and inode of the ledger
_path = ""  # by which the ledger is opened again
_count = 0
_position = 0  # of the tag, as set last
_prlimit: "Any" = None  # of `resource`; None if the limit cannot carry a number
_setrlimit: "Any" = None
_mark = 0  # this guard's own, in the limit's upper bits; 0 if it cannot carry a number
_before_start: "Any" = None  # during a start: the pid of who starts, and its limits before


def open_ledger() -> None:
    """Make the ledger and its tag. This process is the guarded one."""
    global tag, ledger, link, fork_noted, _pid, _identity, _path, _position
    if _pid != posix.getpid():
        _pid = posix.getpid()
        notes.clear()  # a fork has inherited what its parent had not read
        fork_noted = borrow("mmap").mmap(-1, 1)
        _find_limit()
    file = posix.memfd_create("proclife-%d-%s" % (posix.getpid(), posix.urandom(8).hex()))
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CLOEXEC
    ledger = moved_up(posix.open("/proc/self/fd/%d" % file, flags))
    tag = moved_up(file, inherited=True)
    _path = "/proc/self/fd/%d" % tag
    link = posix.readlink(_path)
    status = posix.fstat(tag)
    _identity = status.st_dev, status.st_ino
    _position = posix.lseek(tag, _pid << _COUNT_BITS, 0)


def _find_limit() -> None:
    """Find out whether the limit can carry numbers: not if something has set it."""
    global _prlimit, _setrlimit, _mark
    _prlimit, _mark = None, 0
    try:
        resource = borrow("resource")
        if resource.getrlimit(_RTTIME)[1] == _UNLIMITED:
            _mark = 1 << 62 | int.from_bytes(posix.urandom(2), "little") << _BITS
            _prlimit, _setrlimit = resource.prlimit, resource.setrlimit
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
        except OSError:
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
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == _identity


def note(kind: str, *fields: str) -> None:
    add(new_note(kind, *fields))


def new_note(kind: str, *fields: str) -> Note:
    """A note without its time, which it gets when it is added."""
    return Note(kind, posix.getpid(), 0, [str(_thread.get_native_id()), *fields])


def add(note: Note) -> None:
    note.at = _clock(time.CLOCK_MONOTONIC)
    if note.pid == _pid:
        notes.append(note)
        return
    if is_ledger(ledger):
        data = packed(note)
        posix.write(ledger, len(data).to_bytes(LENGTH, "little") + data)
    fork_noted[0] = 1  # after the note; without a ledger too, so that the loss is noticed


def packed(note: Note) -> bytes:
    """The note as it stands in the ledger: in UTF-8, whatever names a test has chosen."""
    return wire.pack(note.kind, 0, note.pid, note.at, tuple(map(wire.clip, note.fields)))


def new_tag() -> int:
    """Give the tag a new number, for the next start. The number; 0 if it failed.

    In one function: after a fork each function that runs and each object that is made costs the
    copy of its page. That is also why the position alone is checked first: no other file has this
    one by chance.
    """
    global _count, _position, _before_start
    try:
        if posix.lseek(tag, 0, 1) != _position and not is_ledger(tag):
            return 0
        fresh = posix.open(_path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            _count += 1
            pid = posix.getpid()
            number = pid << _COUNT_BITS | _count & (1 << _COUNT_BITS) - 1
            posix.lseek(fresh, number, 0)
            posix.dup2(fresh, tag)
            _position = number
        finally:
            posix.close(fresh)
        if _prlimit is not None:
            try:
                before = _prlimit(0, _RTTIME, (_mark | number, _UNLIMITED))
            except (OSError, ValueError):
                return number  # the program has lowered its hard limit
            if _before_start is None or _before_start[0] != pid:
                _before_start = pid, before
        return number
    except Exception as error:
        if not is_ours(error):
            raise
        return 0


def end_start() -> None:
    """Give the process that has started something its own limit back."""
    global _before_start
    before = _before_start
    if before is None or before[0] != posix.getpid():
        return
    _before_start = None
    try:
        _setrlimit(_RTTIME, before[1])
    except Exception as error:
        if not is_ours(error):
            raise


def number_in_limit(soft: int) -> int:
    """The number that the soft limit carries; 0 if none."""
    return soft - _mark if _mark and _mark <= soft < _mark + (1 << _BITS) else 0
