"""The ledger of what is started, and the tag that all of it inherits.

The guarded process keeps its own notes in a list. The ledger is a file in memory that its forks
append theirs to: nobody has to read along, so nobody is kept waiting. What is started inherits
one descriptor of it, the tag, whose position says which start it came from: by that an orphan is
known whose parents are all gone.
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

# Kinds of note, each with its fields; before those stands the thread that notes.
FORKING = "f"  # tag, where: a fork follows
SYSTEM = "y"  # tag, where: a shell follows, which system(3) starts and waits for
FORKED = "h"  # tag: this process, of which the header has the pid, is that fork
STARTED = "s"  # child's pid, tag, kind, name, start method, where, maker, argv...
THREAD, FORKING_TAG = 0, 1  # the places of these among the fields
CHILD, STARTED_TAG, NAME, METHOD, MAKER = 1, 2, 4, 5, 7
MADE = "m"  # maker, where: something that will have workers

# In the ledger each stands as `wire.pack` writes it, after its length in LENGTH bytes.
LENGTH = 4

_NUMBERS = (961, 241, 49, 21)  # what programs do not count on; the first that the limit allows
_COUNT_BITS = 20  # of a tag; the pid of who starts stands above

_clock = time.clock_gettime_ns  # which libraries that freeze time leave alone


class Note:
    """`at` is monotonic ns, `pid` that of who notes; the kinds above say what the fields are."""

    __slots__ = "at", "fields", "kind", "pid"

    def __init__(self, kind: str, pid: int, at: int, fields: "list[str]") -> None:
        self.kind = kind
        self.pid = pid
        self.at = at
        self.fields = fields


notes: "list[Note]" = []  # the guarded process's own, that nobody has read
news: "Any" = b"\0"  # memory that forks share: not 0 where one of them has noted something
tag = -1
ledger = -1
link = ""  # what the tag is a link to in /proc
_pid = 0  # of the guarded process
_identity = (-1, -1)
_path = ""  # of the tag's file, to open it anew
_count = 0
_position = 0  # of the tag, as it was set last


def begin() -> None:
    """Make the ledger and its tag: this process is the guarded one."""
    global tag, ledger, link, news, _pid, _identity, _path, _position
    if _pid != posix.getpid():
        _pid = posix.getpid()
        notes.clear()  # a fork's begin with what its parent had not read
        news = borrow("mmap").mmap(-1, 1)
    file = posix.memfd_create("proclife-%d-%s" % (posix.getpid(), posix.urandom(8).hex()))
    flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CLOEXEC
    ledger = raised(posix.open("/proc/self/fd/%d" % file, flags))
    tag = raised(file, inherited=True)
    _path = "/proc/self/fd/%d" % tag
    link = posix.readlink(_path)
    status = posix.fstat(tag)
    _identity = status.st_dev, status.st_ino
    _position = posix.lseek(tag, _pid << _COUNT_BITS, 0)


def raised(file: int, inherited: bool = False) -> int:
    """The same file by a number that programs do not count on; the one it had is free."""
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


def current() -> int:
    """Which start this process came from, as long as it has started nothing itself."""
    return posix.lseek(tag, 0, 1) if _is_ours(tag) else 0


def _is_ours(number: int) -> bool:
    try:
        status = posix.fstat(number)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == _identity


def now() -> int:
    """Monotonic ns."""
    return _clock(time.CLOCK_MONOTONIC)


def note(kind: str, *fields: str) -> None:
    add(begun(kind, *fields))


def begun(kind: str, *fields: str) -> Note:
    """A note that is to be added later, which gives it its time."""
    return Note(kind, posix.getpid(), 0, [str(_thread.get_native_id()), *fields])


def add(note: Note) -> None:
    """Note it as of now."""
    note.at = _clock(time.CLOCK_MONOTONIC)
    if note.pid == _pid:
        notes.append(note)
        return
    if _is_ours(ledger):
        data = packed(note)
        posix.write(ledger, len(data).to_bytes(LENGTH, "little") + data)
    news[0] = 1  # after the note; and where that is lost, so that this is noticed


def packed(note: Note) -> bytes:
    """The note as it stands in the ledger: in UTF-8, whatever a test has called its own."""
    return wire.pack(note.kind, 0, note.pid, note.at, tuple(map(wire.clip, note.fields)))


def new_tag() -> int:
    """From here on what is started has a tag of its own; its number, 0 where that cannot be.

    All in one: after a fork each function that runs and each object that is made costs the copy
    of its page. So the tag is known by its position, which no other file has by chance.
    """
    global _count, _position
    try:
        if posix.lseek(tag, 0, 1) != _position and not _is_ours(tag):
            return 0
        fresh = posix.open(_path, posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            _count += 1
            number = posix.getpid() << _COUNT_BITS | _count & (1 << _COUNT_BITS) - 1
            posix.lseek(fresh, number, 0)
            posix.dup2(fresh, tag)
            _position = number
        finally:
            posix.close(fresh)
        return number
    except Exception as error:
        if not is_ours(error):
            raise
        return 0
