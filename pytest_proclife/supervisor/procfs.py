"""What /proc shows of a process, by its pid: one function for each question."""

import posix
import time

from pytest_proclife import wire

_PF_FORKNOEXEC = 0x40  # linux/sched.h
_FEW_PIDS = 10_000  # two that lie further apart may lie on both sides of the highest


def contents(path: str) -> bytes:
    """The contents of a file in /proc; OSError if it cannot be read.

    By system calls, since a test may have put something in place of `open`.
    """
    file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        found = part = posix.read(file, 1 << 16)
        while part:
            part = posix.read(file, 1 << 16)
            found += part
        return found
    finally:
        posix.close(file)


def stat(pid: int) -> list[bytes]:
    """The fields after the name: proc_pid_stat(5); none if there is no such process."""
    try:
        return contents("/proc/%d/stat" % pid).rpartition(b") ")[2].split()
    except OSError:
        return []


def _line(pid: int, name: bytes) -> bytes:
    """The value in a line of /proc/PID/status; empty if there is none: proc_pid_status(5)."""
    try:
        text = contents("/proc/%d/status" % pid)
    except OSError:
        return b""
    return text.partition(b"\n" + name + b":\t")[2].partition(b"\n")[0].strip()


def command_line(pid: int) -> tuple[str, ...]:
    """The arguments of a process, as text; its name alone if it has none."""
    try:
        parts = contents("/proc/%d/cmdline" % pid).split(b"\0")[:-1]
        if not parts:
            parts = [contents("/proc/%d/comm" % pid).strip()]
    except OSError:
        return ()
    return tuple(part.decode("utf-8", "backslashreplace") for part in parts[:64])


def name(pid: int) -> str:
    """The name of a process, also of a zombie: proc_pid_comm(5). Empty if there is none."""
    try:
        return contents("/proc/%d/comm" % pid).decode("utf-8", "backslashreplace").strip()
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    """The pids of the children of every thread of a process: proc_pid_task_children(5)."""
    found: list[int] = []
    try:
        threads = posix.listdir("/proc/%d/task" % pid)
    except OSError:
        return found
    for thread in threads:
        try:
            found += map(int, contents("/proc/%d/task/%s/children" % (pid, thread)).split())
        except OSError:
            continue  # the thread has ended
    return found


def parent(pid: int) -> int | None:
    """The pid of a process's parent; None if there is no such process."""
    fields = stat(pid)
    return int(fields[1]) if fields else None


def process_of_thread(tid: int) -> int | None:
    """The pid of the process that a thread is of; None if there is no such thread."""
    try:
        text = contents("/proc/%d/status" % tid)
    except OSError:
        return None
    return int(text.partition(b"\nTgid:\t")[2].split(b"\n", 1)[0] or 0) or None


def is_pid_below(pid: int, ancestor: int) -> bool:
    """Whether the process that has a pid descends from another, or is it; by pids alone."""
    above: int | None = pid
    while above is not None and above > 1:
        if above == ancestor:
            return True
        above = parent(above)
    return False


def state(pid: int) -> str:
    """The letter of a process's state: proc_pid_stat(5); empty if there is no such process."""
    return b"".join(stat(pid)[:1]).decode()


def stopped_by(pid: int) -> int:
    """The pid of the tracer that keeps a process stopped at this moment; 0 if there is none."""
    if stat(pid)[:1] != [b"t"]:
        return 0
    return int(_line(pid, b"TracerPid") or b"0")


def has_signal(tid: int) -> bool:
    """Whether a thread has a signal to handle or to die of at this moment: proc_pid_status(5)."""
    pending, shared, blocked = (
        int(_line(tid, name) or b"0", 16) for name in (b"SigPnd", b"ShdPnd", b"SigBlk")
    )
    return bool((pending | shared) & ~blocked)


def signal_state(pid: int, signal: int) -> str | None:
    """What a process would do with a signal now: caught, ignored, blocked, default, or None."""
    try:
        text = contents("/proc/%d/status" % pid)
    except OSError:
        return None
    met = wire.met(text, signal)
    return None if met in ("ended", "") else met


def end_signal(pid: int) -> int:
    """The signal that a process sends to its parent as it ends; 0 for none: proc_pid_stat(5)."""
    fields = stat(pid)
    return int(fields[35]) if len(fields) > 35 else 0


def executable(pid: int) -> str:
    """The name of the file that a process executes; empty if that is not shown: proc_pid_exe(5)."""
    try:
        return posix.readlink("/proc/%d/exe" % pid).rpartition("/")[2]
    except OSError:
        return ""


def cpu_limit(pid: int) -> tuple[str, str] | None:
    """The soft and the hard RLIMIT_CPU of a process, "" for none; None if it has neither.

    Source: proc_pid_limits(5).
    """
    try:
        words = contents("/proc/%d/limits" % pid).partition(b"\nMax cpu time")[2].split(None, 2)
    except OSError:
        return None
    soft, hard = ("" if word == b"unlimited" else word.decode() for word in (words + [b""] * 2)[:2])
    return (soft, hard) if soft or hard else None


def cpu_ticks(pid: int) -> tuple[int, ...]:
    """Ticks on the processor: user and system, of a process and of the children that it reaped."""
    return tuple(map(int, stat(pid)[11:15]))


def memory(pid: int) -> int:
    """The bytes of memory that a process uses, without those of files; 0 if there is none."""
    return _kilobytes("/proc/%d/status" % pid, (b"RssAnon:", b"RssShmem:"))


def share_of_memory(pid: int) -> int:
    """The same, of which it gets a share only if others share it: proc_pid_smaps(5)."""
    return _kilobytes("/proc/%d/smaps_rollup" % pid, (b"Pss_Anon:", b"Pss_Shmem:"))


def _kilobytes(path: str, names: tuple[bytes, ...]) -> int:
    try:
        lines = contents(path).splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(names))


def age(pid: int) -> float | None:
    """Seconds since a process was started, in steps of 0.01; None if there is no such process."""
    fields = stat(pid)
    if not fields:
        return None
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / posix.sysconf("SC_CLK_TCK")


def last_pid() -> int:
    """The pid that was given last: proc_loadavg(5); 0 if that cannot be read."""
    try:
        return int(contents("/proc/loadavg").split()[4])
    except (OSError, IndexError):
        return 0


def origin(pid: int) -> "Origin | None":
    """The origin of a process; None if there is no such process."""
    fields = stat(pid)
    return Origin(pid, fields) if len(fields) > 45 else None


class Origin:
    """What shows whether a process was forked from another: proc_pid_stat(5)."""

    __slots__ = ("forked", "image", "pid", "ticks")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.ticks = int(fields[19])  # when it was started, in steps of 0.01 s
        # where its stack and its arguments begin, which is by chance for each program that is
        # executed; () if we may not see it
        places = (fields[25], fields[45])
        self.image = () if b"0" in places else places
        self.forked = bool(int(fields[6]) & _PF_FORKNOEXEC)  # and has executed nothing since

    def is_fork_of(self, parent: "Origin", last_pid: int) -> bool:
        """Whether it may have been forked by another, and has executed nothing since.

        `last_pid` was given, to whatever process, when that other had ended; 0 if not known.
        """
        if not self.forked or not self.image or self.image != parent.image:
            return False
        if self.ticks < parent.ticks:
            return False
        if self.ticks == parent.ticks and _is_later(parent.pid, self.pid):
            return False
        return not last_pid or not _is_later(self.pid, last_pid)


def _is_later(pid: int, other: int) -> bool:
    """Whether a pid was surely given after another one: they are given in order."""
    return 0 < pid - other < _FEW_PIDS
