"""The frozen account of a run: who lived, how long, why each process ended, and the evidence."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

FORMAT = "proclife-run"
VERSION = 1


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
        return tuple(
            p for p in self.run.processes if p.parent_id == self.id and p.role is Role.CHILD
        )

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"


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

    def __post_init__(self) -> None:
        for process in self.processes:
            object.__setattr__(process, "run", self)

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
        names = ", ".join(repr(p.name) for p in self.processes)
        if not found:
            raise KeyError(f"no process is named {name!r}; there are {names}")
        pids = ", ".join(str(p.pid) for p in found)
        raise KeyError(f"{len(found)} processes are named {name!r} (pids {pids})")

    def __iter__(self) -> Iterator[ProcessRecord]:
        return iter(self.processes)

    def __str__(self) -> str:
        from pytest_proclife.timeline import render

        return render(self)

    def to_json(self) -> str:
        """The JSON document, as text; `schema.json` in this package describes it."""
        return json.dumps(document(self), indent=1, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read a document that `to_json` wrote. ValueError where it is none, or a later version."""
        return from_document(json.loads(text))


def document(run: Run) -> dict[str, Any]:
    """A run as the plain values of its JSON document."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "target": {
            "kind": run.target.kind,
            "text": run.target.text,
            "args": list(run.target.args),
        },
        "python": run.python,
        "platform": run.platform,
        "start_method": run.start_method,
        "witness": {
            "backend": run.witness.backend,
            "complete": run.witness.complete,
            "missing": list(run.witness.missing),
        },
        "started_at": run.started_at,
        "duration": run.duration,
        "timed_out": run.timed_out,
        "stdout": run.stdout,
        "stderr": run.stderr,
        "output_truncated": run.output_truncated,
        "processes": [_process_document(process) for process in run.processes],
    }


_PLAIN = (
    *("id", "pid", "role", "kind", "name", "daemon", "start_method"),
    *("started_at", "finished_at", "ended_at", "exitcode", "signal", "cause", "ending"),
    *("ended_by", "joined", "joined_at", "orphaned", "target_ran"),
)


def _process_document(process: ProcessRecord) -> dict[str, Any]:
    values = {name: getattr(process, name) for name in _PLAIN}
    values = {k: str(v) if isinstance(v, enum.StrEnum) else v for k, v in values.items()}
    values["parent"] = process.parent_id
    values["argv"] = None if process.argv is None else list(process.argv)
    values["requests"] = [
        {"at": r.at, "by": r.by, "signal": r.signal, "via": r.via} for r in process.requests
    ]
    error = process.exception
    values["exception"] = error and {
        "type": error.type,
        "message": error.message,
        "traceback": error.traceback,
    }
    values["evidence"] = [
        {"at": e.at, "source": e.source, "fact": e.fact} for e in process.evidence
    ]
    return values


def from_document(values: dict[str, Any]) -> Run:
    """A run from the plain values of its JSON document."""
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"not a {FORMAT} document")
    if values.get("version") != VERSION:
        raise ValueError(f"a {FORMAT} document of version {values.get('version')}, not {VERSION}")
    target, witness = values["target"], values["witness"]
    rest = {k: values[k] for k in ("python", "platform", "start_method", "started_at", "duration")}
    output = {k: values[k] for k in ("timed_out", "stdout", "stderr", "output_truncated")}
    return Run(
        target=TargetInfo(kind=target["kind"], text=target["text"], args=tuple(target["args"])),
        witness=Witness(
            backend=witness["backend"],
            complete=witness["complete"],
            missing=tuple(witness["missing"]),
        ),
        processes=tuple(_process_from(p) for p in values["processes"]),
        **rest,
        **output,
    )


def _process_from(values: dict[str, Any]) -> ProcessRecord:
    plain = {name: values[name] for name in _PLAIN}
    closed = {"role": Role, "cause": Cause, "ending": Ending, "joined": Joined}
    for name, kind in closed.items():
        plain[name] = None if plain[name] is None else kind(plain[name])
    error = values["exception"]
    return ProcessRecord(
        parent_id=values["parent"],
        argv=None if values["argv"] is None else tuple(values["argv"]),
        requests=tuple(Request(**r) for r in values["requests"]),
        exception=None if error is None else ExceptionInfo(**error),
        evidence=tuple(Evidence(**e) for e in values["evidence"]),
        **plain,
    )
