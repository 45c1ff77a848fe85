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
from pytest_proclife.inside.borrow import borrow
from pytest_proclife.inside.handlers import is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Kinds of note, written as `wire.pack` does; in the ledger each after its length in LENGTH bytes.
FORKING = "f"  # tag, where, thread: a fork follows
SYSTEM = "y"  # tag, where, thread: a shell follows, which system(3) starts and waits for
FORKED = "h"  # tag: this process, of which the header has the pid, is that fork
# child's pid, tag, kind, name, daemon, start method, where, thread, maker, argv...
STARTED = "s"
TAG, METHOD = 1, 5  # the places of these among the fields of STARTED
MADE = "m"  # maker, where, thread: something that will have workers
LENGTH = 4

_NUMBERS = (961, 241, 49, 21)  # what programs do not count on; the first that the limit allows
_COUNT_BITS = 20  # of a tag; the pid of who starts stands above

notes: "list[bytes]" = []  # the guarded process's own, that nobody has read
news: "Any" = b"\0"  # memory that forks share: not 0 where one of them has noted something
tag = -1
ledger = -1
link = ""  # what the tag is a link to in /proc
_pid = 0  # of the guarded process
_identity = (-1, -1)
_count = 0


def begin() -> None:
    """Make the ledger and its tag: this process is the guarded one."""
    global tag, ledger, link, news, _pid, _identity
    if _pid != posix.getpid():
        _pid = posix.getpid()
        notes.clear()  # a fork's begin with what its parent had not read
        news = borrow("mmap").mmap(-1, 1)
    file = posix.memfd_create("proclife-%d-%s" % (posix.getpid(), posix.urandom(8).hex()))
    ledger = raised(_opened(file, posix.O_WRONLY | posix.O_APPEND))
    tag = raised(file, inherited=True)
    link = posix.readlink("/proc/self/fd/%d" % tag)
    status = posix.fstat(tag)
    _identity = status.st_dev, status.st_ino
    _retag()


def thread() -> str:
    """Which thread runs now, by the kernel's number for it."""
    return str(_thread.get_native_id())


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


def _opened(file: int, flags: int) -> int:
    return posix.open("/proc/self/fd/%d" % file, flags | posix.O_CLOEXEC)


def _is_ours(number: int) -> bool:
    try:
        status = posix.fstat(number)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == _identity


def now() -> int:
    """Monotonic ns, by a clock that libraries which freeze time leave alone."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def note(kind: str, *fields: str) -> None:
    pid = posix.getpid()
    data = wire.pack(kind, 0, pid, now(), fields)
    if pid == _pid:
        notes.append(data)
        return
    if _is_ours(ledger):
        posix.write(ledger, len(data).to_bytes(LENGTH, "little") + data)
    news[0] = 1  # after the note; and where that is lost, so that this is noticed


def _retag() -> int:
    """From here on what is started has a tag of its own; its number."""
    global _count
    _count += 1
    number = posix.getpid() << _COUNT_BITS | _count & (1 << _COUNT_BITS) - 1
    fresh = _opened(tag, posix.O_RDONLY)
    try:
        posix.lseek(fresh, number, 0)
        posix.dup2(fresh, tag)
    finally:
        posix.close(fresh)
    return number


def new_tag() -> int:
    """As `_retag`, for the stand-ins: 0 where that cannot be."""
    try:
        return _retag() if _is_ours(tag) else 0
    except Exception as error:
        if not is_ours(error):
            raise
        return 0
