"""Who is there: the processes below this one, and those that carry its tag, from /proc."""

import posix
import time
from collections.abc import Iterable, Iterator

from pytest_proclife.inside.guard import tags
from pytest_proclife.supervisor import kernel

_TICKS = posix.sysconf("SC_CLK_TCK")
_PR_GET_CHILD_SUBREAPER = 37
_FULL_CIRCLE = 1.0  # s in which the kernel cannot have given all pids once around

# Of the helpers of multiprocessing and of debuggers, by a part of their command line: who started
# them may be a program that notes nothing.
_COMMANDS = (
    # billiard's, loky's and multiprocess's too
    ".resource_tracker import main",
    ".semaphore_tracker import main",
    ".forkserver import main",
    "/debugpy/adapter",
    "/pydevd",
)


class Seen:
    """A process that is there. Pid and start name it: a pid alone is used again."""

    __slots__ = "began", "parent", "pid", "state"

    def __init__(self, *, pid: int, parent: int, state: str, began: int) -> None:
        self.pid = pid
        self.parent = parent
        self.state = state  # as in proc_pid_stat(5)
        self.began = began  # clock ticks since the system's start

    @property
    def identity(self) -> tuple[int, int]:
        return self.pid, self.began

    @property
    def is_zombie(self) -> bool:
        return self.state in "ZX"

    @property
    def age(self) -> float:
        """Seconds since its start, to a clock tick."""
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self.began / _TICKS)

    def began_before(self, at: int) -> bool:
        """Whether it had started at a moment (monotonic ns), to a clock tick."""
        ahead = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - tags.now()
        return self.began / _TICKS <= (at + ahead) / 1e9 + 1 / _TICKS


def monotonic() -> float:
    """Seconds, by the clock of the notes."""
    return tags.now() / 1e9


def seen(pid: int) -> Seen | None:
    """A process as it is now; None if there is none with this pid."""
    try:
        fields = kernel.contents(f"/proc/{pid}/stat").rpartition(b") ")[2].split()
    except OSError:
        return None
    return Seen(pid=pid, parent=int(fields[1]), state=fields[0].decode(), began=int(fields[19]))


def adopts(pid: int) -> bool:
    """Whether orphans can become children of this process, of which the pid is given: prctl(2)."""
    from ctypes import CDLL, byref, c_int

    answer = c_int()
    asked = CDLL(None).prctl(_PR_GET_CHILD_SUBREAPER, byref(answer), 0, 0, 0)
    return pid == 1 or asked != 0 or bool(answer.value)


def is_process(pid: int) -> bool:
    """Whether it is no thread of some process: /proc has these by number too."""
    try:
        return b"\nTgid:\t%d\n" % pid in kernel.contents(f"/proc/{pid}/status")
    except OSError:
        return False


def below(pid: int, children: list[int] | None = None) -> Iterator[Seen]:
    """All processes below one, parents before their children."""
    for child in kernel.children(pid) if children is None else children:
        found = seen(child)
        if found is not None and found.parent == pid:
            yield found
            yield from below(child)


def serves(argv: Iterable[str]) -> bool:
    """Whether a command line is that of a helper, which is nobody's leak."""
    line = " ".join(argv)
    return any(command in line for command in _COMMANDS)


class Carriers:
    """Finds who has inherited the tag, wherever it is in the tree of processes."""

    def __init__(self, tag: int, link: str) -> None:
        self.tag = tag
        self.link = link
        # its last word is the pid given last: proc_loadavg(5)
        flags = posix.O_RDONLY | posix.O_CLOEXEC
        self._counter = tags.raised(posix.open("/proc/loadavg", flags))
        # of the last look and of the one before: pids that were given just then may not have
        # been there yet to be seen
        self._last: tuple[float, int] = (float("-inf"), 0)
        self._before = self._last

    def look(self) -> list[int]:
        """The pids of the carriers that have been started since the last look."""
        (then, first), (now, last) = self._before, self._now()
        self._before, self._last = self._last, (now, last)
        if 0 <= now - then < _FULL_CIRCLE and first <= last:
            given: Iterable[int] = range(first + 1, last + 1)
        else:
            given = [int(name) for name in posix.listdir("/proc") if name.isdecimal()]
        return [pid for pid in given if self._carries(pid)]

    def _now(self) -> tuple[float, int]:
        """The time, and the pid that the kernel has given last."""
        try:
            return monotonic(), int(posix.pread(self._counter, 100, 0).split()[4])
        except (OSError, IndexError, ValueError):  # a test closed it, or put something in its place
            return float("-inf"), 0

    def _carries(self, pid: int) -> bool:
        try:
            link = posix.readlink(f"/proc/{pid}/fd/{self.tag}")
        except OSError:
            return False  # it has ended, or is somebody else's
        return link == self.link and is_process(pid)


def position(pid: int, tag: int) -> int:
    """Which start a carrier of the tag came from; 0 where that cannot be seen."""
    try:
        return int(kernel.contents(f"/proc/{pid}/fdinfo/{tag}").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
