"""The frozen account of a run: who lived, how long, why each process ended, and the evidence."""

from __future__ import annotations

import enum
import signal as signals
from collections.abc import Iterator
from dataclasses import dataclass, field


class Cause(enum.StrEnum):
    """Why a process ended; asked in this order, the first that holds is the cause."""

    CLEANED_UP = "cleaned_up"
    ABANDONED = "abandoned"
    KILLED = "killed"
    TERMINATED = "terminated"
    RETURNED = "returned"
    RAISED = "raised"
    SYS_EXIT = "sys_exit"
    OS_EXIT = "os_exit"
    SIGNALED = "signaled"
    EXITED = "exited"
    UNKNOWN = "unknown"


class Ending(enum.StrEnum):
    """How a process ended, apart from why; `RUNNING` only in a snapshot."""

    RETURNED = "returned"
    RAISED = "raised"
    SYS_EXIT = "sys_exit"
    OS_EXIT = "os_exit"
    EXITED = "exited"
    SIGNALED = "signaled"
    RUNNING = "running"


class Joined(enum.StrEnum):
    """Whose wait collected a process's status."""

    EXPLICIT = "explicit"
    IMPLICIT = "implicit"
    LIBRARY = "library"


class Role(enum.StrEnum):
    MAIN = "main"
    CHILD = "child"
    HELPER = "helper"


_NAMES_TOLD = 20  # of the processes that there are, where one was asked for that is not

KINDS = (
    *("main", "process", "pool_worker", "executor_worker", "manager"),
    *("subprocess", "os_fork", "posix_spawn", "other", "resource_tracker", "forkserver"),
)
START_METHODS = ("fork", "spawn", "forkserver")
HELPER_KINDS = frozenset({"resource_tracker", "forkserver"})
MULTIPROCESSING_KINDS = frozenset({"process", "pool_worker", "executor_worker", "manager"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One fact: when (seconds since main's start, or None), who says so, and what."""

    at: float | None
    source: str
    fact: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A signal that somebody sent to a process. `by` is a process's id, "test" or "proclife"."""

    at: float
    by: int | str
    signal: str
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionInfo:
    """The exception that left a target, as text."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What could be seen of a run: the backend, and what it may have missed."""

    backend: str
    complete: bool
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """What was run, in the words of the JSON document."""

    kind: str
    text: str
    args: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process of a run. Times are seconds since main's start, on the monotonic clock.

    `finished_at` is when its own code was done (what follows is its exit path), `ended_at`
    when the process ended. `exitcode` is as in `multiprocessing.Process.exitcode`: negative
    where a signal ended it. A value of None says that the notion does not apply, or that it
    is not known; the evidence says which.
    """

    id: int
    pid: int
    parent_id: int | None
    role: Role
    kind: str
    name: str
    argv: tuple[str, ...] | None
    daemon: bool | None
    start_method: str | None
    started_at: float
    finished_at: float | None
    ended_at: float | None
    exitcode: int | None
    signal: str | None
    cause: Cause | None
    ending: Ending | None
    ended_by: int | str | None
    requests: tuple[Request, ...]
    joined: Joined | None
    joined_at: float | None
    orphaned: bool | None
    target_ran: bool | None
    exception: ExceptionInfo | None
    evidence: tuple[Evidence, ...]
    run: Run = field(init=False, compare=False, repr=False, hash=False)

    @property
    def parent(self) -> ProcessRecord | None:
        """Who started it; None for main, and where that was not seen."""
        return None if self.parent_id is None else self.run.processes[self.parent_id]

    @property
    def children(self) -> tuple[ProcessRecord, ...]:
        """The processes that it started, helpers left out, in start order."""
        return self.run._children.get(self.id, ())

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    def __repr__(self) -> str:
        """Short: test runners show it in the midst of their own words."""
        ended = "running" if self.cause is None else f"{self.cause}, exitcode={self.exitcode}"
        return f"<{self.kind} {self.name!r} pid={self.pid}: {ended}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One main with everything that it started, from its start until nothing of it is left.

    `duration` is in seconds, linger included; `started_at` is Unix time. `str(run)` is the
    timeline.
    """

    target: TargetInfo
    python: str
    platform: str
    start_method: str | None
    witness: Witness
    started_at: float
    duration: float
    timed_out: bool
    stdout: str | None
    stderr: str | None
    output_truncated: bool
    processes: tuple[ProcessRecord, ...]
    # by parent, so that asking each of many processes for its children is not quadratic
    _children: dict[int | None, tuple[ProcessRecord, ...]] = field(
        init=False, compare=False, repr=False, hash=False
    )

    def __post_init__(self) -> None:
        children: dict[int | None, list[ProcessRecord]] = {}
        for process in self.processes:
            object.__setattr__(process, "run", self)
            if process.role is Role.CHILD:
                children.setdefault(process.parent_id, []).append(process)
        object.__setattr__(self, "_children", {k: tuple(v) for k, v in children.items()})

    @property
    def main(self) -> ProcessRecord:
        """The process that ran the target as its `__main__`."""
        return self.processes[0]

    @property
    def children(self) -> tuple[ProcessRecord, ...]:
        """Main's own children, helpers left out."""
        return self.main.children

    @property
    def descendants(self) -> tuple[ProcessRecord, ...]:
        """All processes but main and the helpers."""
        return tuple(p for p in self.processes if p.role is Role.CHILD)

    @property
    def helpers(self) -> tuple[ProcessRecord, ...]:
        """`multiprocessing`'s own service processes: resource tracker, fork server."""
        return tuple(p for p in self.processes if p.role is Role.HELPER)

    @property
    def orphans(self) -> tuple[ProcessRecord, ...]:
        """The processes that were still running when their parent had ended; no helpers."""
        return tuple(p for p in self.descendants if p.orphaned)

    @property
    def exitcode(self) -> int | None:
        """Main's exit code: negative where a signal ended it."""
        return self.main.exitcode

    def __getitem__(self, name: str) -> ProcessRecord:
        """The process of that name; KeyError where there is none, or more than one."""
        found = [p for p in self.processes if p.name == name]
        if len(found) == 1:
            return found[0]
        if not found:
            names = ", ".join(repr(p.name) for p in self.processes[:_NAMES_TOLD])
            if len(self.processes) > _NAMES_TOLD:
                names += f", and {len(self.processes) - _NAMES_TOLD} more"
            raise KeyError(f"no process is named {name!r}; there are {names}")
        pids = ", ".join(str(p.pid) for p in found[:_NAMES_TOLD])
        if len(found) > _NAMES_TOLD:
            pids += ", ..."
        raise KeyError(f"{len(found)} processes are named {name!r} (pids {pids})")

    def __iter__(self) -> Iterator[ProcessRecord]:
        return iter(self.processes)

    def __repr__(self) -> str:
        """Short, as that of its processes; `str()` is the whole timeline."""
        text = f"{self.target.text[:40]!r}{'...' if len(self.target.text) > 40 else ''}"
        return f"<Run of {self.target.kind} {text}: {len(self.processes)} processes>"

    def __str__(self) -> str:
        from pytest_proclife.render.timeline import render

        return render(self)

    def to_json(self) -> str:
        """The JSON document, as text; `schema.json` in this package describes it."""
        from pytest_proclife.run_json import to_text

        return to_text(self)

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read a document that `to_json` wrote. ValueError where it is none, or a later version."""
        from pytest_proclife.run_json import from_text

        return from_text(text)


def signal_name(number: int) -> str:
    """SIGTERM for 15; `signal 40` where it has no name."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"
