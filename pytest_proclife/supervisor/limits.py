"""What a run may use: limits that the kernel holds for each process, and ours for all together."""

import posix
import resource
import time

from pytest_proclife.supervisor import kernel, procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pytest_proclife.supervisor.output import Output
    from pytest_proclife.supervisor.tree import Tree

# The limits, each with its unit. What exceeds one of the first four ends the run.
MEMORY = "memory"  # bytes, of all processes
CPU = "cpu"  # seconds, of all processes
PROCESSES = "processes"  # at a time
OUTPUT = "output"  # bytes, of standard output and standard error
FILE_SIZE = "file_size"  # bytes, of each file that is written: the write fails

INTERVAL = 0.05  # s between two looks
_TICKS = posix.sysconf("SC_CLK_TCK")
_PR_SET_NO_NEW_PRIVS = 38
_CPU_MORE = 5  # s for a process alone, if we come too late


def apply(values: "Mapping[str, int]", other_user: bool) -> None:
    """In main, before its exec: the limits that the kernel holds for each process alone."""
    kernels = {resource.RLIMIT_CORE: 0}
    if MEMORY in values:
        # not RLIMIT_AS, in which each thread counts with what it might use
        kernels[resource.RLIMIT_DATA] = values[MEMORY]
    if CPU in values:
        kernels[resource.RLIMIT_CPU] = values[CPU] + _CPU_MORE
    if FILE_SIZE in values:
        kernels[resource.RLIMIT_FSIZE] = values[FILE_SIZE]
    for kind, value in kernels.items():
        _, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY or value < hard:
            resource.setrlimit(kind, (value, value))
    if other_user:
        kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)  # as sudo and other programs of root would give


def open_group(folder: str) -> int:
    """A descriptor by which a process joins a control group; -1 if there is none."""
    try:
        return posix.open("%s/cgroup.procs" % folder, posix.O_WRONLY | posix.O_CLOEXEC)
    except OSError:
        return -1


class TreeLimits:
    """The limits of all processes of a run together."""

    def __init__(
        self,
        values: "Mapping[str, int]",
        group: str,
        tree: "Tree",
        outputs: "Iterable[Output]",
    ) -> None:
        self.values = values
        self.group = group  # the folder of the run's control group; "" if it has none
        self.tree = tree
        self.outputs = list(outputs)
        self.next_look = 0.0  # monotonic s

    def exceeded(self) -> str:
        """The limit that is exceeded; "" if none is, or if it is not yet time to look again."""
        now = time.monotonic()
        if now < self.next_look:
            return ""
        pids = [process.pid for process in self.tree.all_running()]
        if MEMORY in self.values and self.has_killed():
            return MEMORY
        for kind in (OUTPUT, PROCESSES, CPU, MEMORY):
            if kind in self.values and self._used(kind, pids) > self.values[kind]:
                return kind
        self.next_look = time.monotonic() + INTERVAL
        return ""

    def has_killed(self) -> bool:
        """Whether the kernel has killed a process of the run's control group for its memory."""
        if not self.group:
            return False
        try:
            lines = procfs.contents("%s/memory.events" % self.group).splitlines()
        except OSError:
            return False
        return any(line.startswith(b"oom_kill ") and line != b"oom_kill 0" for line in lines)

    def _used(self, kind: str, pids: list[int]) -> float:
        if kind == OUTPUT:
            return sum(output.total for output in self.outputs)
        if kind == PROCESSES:
            return len(pids)
        return self._cpu(pids) if kind == CPU else self._memory(pids)

    def _cpu(self, pids: list[int]) -> float:
        """Seconds: of what runs, what that has reaped, and what the supervisor has."""
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        ticks = sum(sum(procfs.cpu_ticks(pid)) for pid in pids)
        return ended.ru_utime + ended.ru_stime + ticks / _TICKS

    def _memory(self, pids: list[int]) -> int:
        """Bytes. Pages that processes share count once, which takes longer to find out."""
        most = sum(procfs.memory(pid) for pid in pids)
        if most <= self.values[MEMORY]:
            return most
        return sum(procfs.share_of_memory(pid) for pid in pids)
