"""The processes that exist, below this one or with its tag, from /proc."""

import posix
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pytest_proclife.inside.guard import tags
from pytest_proclife.supervisor import procfs

_TICKS = posix.sysconf("SC_CLK_TCK")
_PR_GET_CHILD_SUBREAPER = 37
_PASSES = 5  # more of a look for carriers, if something starts processes all the time
_LIMIT = b"Max realtime timeout"  # the row of it in proc_pid_limits(5)
_FULL_CIRCLE = 1.0  # s in which the kernel cannot have given every pid once

# Parts of the command lines of multiprocessing's helpers and of debuggers. A program that starts
# one may note nothing, so there is no other sign of them.
_HELPERS = (
    # billiard's, loky's and multiprocess's too
    ".resource_tracker import main",
    ".semaphore_tracker import main",
    ".forkserver import main",
    "/debugpy/adapter",
    "/pydevd",
)


class Stat(NamedTuple):
    """A process that exists: proc_pid_stat(5). Its pid may be used again later; pid and start
    together identify it.
    """

    pid: int
    parent: int
    state: str
    started: int  # clock ticks since the system's start

    @property
    def identity(self) -> tuple[int, int]:
        return self.pid, self.started

    @property
    def is_zombie(self) -> bool:
        return self.state in "ZX"

    @property
    def age(self) -> float:
        """Seconds since its start, to a clock tick."""
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / _TICKS)

    def started_before(self, at: int) -> bool:
        """Whether it started before a time (monotonic ns), to a clock tick."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        ahead = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now
        return self.started / _TICKS <= (at + ahead) / 1e9 + 1 / _TICKS


def monotonic() -> float:
    """Seconds, by the clock of the notes: libraries that freeze time do not replace it."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e9


def read_stat(pid: int) -> Stat | None:
    """The process with this pid; None if there is none."""
    try:
        fields = procfs.contents(f"/proc/{pid}/stat").rpartition(b") ")[2].split()
    except OSError:
        return None
    return Stat(pid=pid, parent=int(fields[1]), state=fields[0].decode(), started=int(fields[19]))


def adopts_orphans(pid: int) -> bool:
    """Whether orphans can become children of this process, whose pid is given: prctl(2)."""
    from ctypes import CDLL, byref, c_int

    answer = c_int()
    result = CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, byref(answer), 0, 0, 0)
    return pid == 1 or result != 0 or bool(answer.value)


def is_process(pid: int) -> bool:
    """Whether this is the pid of a process; /proc has threads by their number too."""
    try:
        return b"\nTgid:\t%d\n" % pid in procfs.contents(f"/proc/{pid}/status")
    except OSError:
        return False


def descendants(pid: int, children: list[int] | None = None) -> Iterator[Stat]:
    """All processes below one, parents before their children."""
    for child in procfs.children(pid) if children is None else children:
        stat = read_stat(child)
        if stat is not None and stat.parent == pid:
            yield stat
            yield from descendants(child)


def is_helper_command(argv: Iterable[str]) -> bool:
    """Whether this is the command line of a helper, which is never a leak."""
    line = " ".join(argv)
    return any(part in line for part in _HELPERS)


class TagCarriers:
    """Finds the processes that have inherited the tag, whoever their parent is now."""

    def __init__(self) -> None:
        # its last word is the pid given last: proc_loadavg(5)
        flags = posix.O_RDONLY | posix.O_CLOEXEC
        self._loadavg = tags.moved_up(posix.open("/proc/loadavg", flags))
        # (time, last pid) of the last look and of the one before it: a process whose pid was
        # given just before a look may not have been visible yet
        self._last = self._before = float("-inf"), 0

    def find_new(self) -> list[int]:
        """The pids of the carriers that were started since the last look. What is started
        meanwhile too: a process that is not looked at yet may start another, and exit.
        """
        first = now = self._now()
        try:
            found = self._find(self._before, first)
            for _ in range(_PASSES):
                then, now = now, self._now()
                if now[1] == then[1]:
                    break
                found += self._find(then, now)
        except OSError:
            return []  # a test has used up all descriptors: they are found later
        self._before, self._last = self._last, first
        return found

    def _find(self, before: tuple[float, int], after: tuple[float, int]) -> list[int]:
        """The carriers among the pids given between two moments."""
        (then, first), (now, last) = before, after
        if 0 <= now - then < _FULL_CIRCLE and first <= last:
            given: Iterable[int] = range(first + 1, last + 1)
        else:
            given = [int(name) for name in posix.listdir("/proc") if name.isdecimal()]
        return [pid for pid in given if self._carries(pid)]

    def _now(self) -> tuple[float, int]:
        """The time, and the pid that the kernel has given last."""
        try:
            return monotonic(), int(posix.pread(self._loadavg, 100, 0).split()[4])
        except (OSError, IndexError, ValueError):  # a test closed or replaced the descriptor
            return float("-inf"), 0

    def _carries(self, pid: int) -> bool:
        try:
            link = posix.readlink(f"/proc/{pid}/fd/{tags.tag}")
        except OSError:
            link = ""  # it has closed the tag, has exited, or belongs to another user
        return (link == tags.link or number_in_limits(pid) != 0) and is_process(pid)


def read_tag(pid: int) -> int:
    """The number of the start that a process has inherited; 0 if it cannot be read.

    By its limit, if it has that: the tag of a fork that C code made has the number of an earlier
    start.
    """
    number = number_in_limits(pid)
    if number:
        return number
    try:
        return int(procfs.contents(f"/proc/{pid}/fdinfo/{tags.tag}").split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def number_in_limits(pid: int) -> int:
    """The number of the start that a process has inherited in its limit; 0 if there is none."""
    try:
        row = procfs.contents(f"/proc/{pid}/limits").partition(_LIMIT)[2]
        return tags.number_in_limit(int(row.split(None, 1)[0]))
    except (OSError, IndexError, ValueError):
        return 0  # it has exited; or the limit is "unlimited"
