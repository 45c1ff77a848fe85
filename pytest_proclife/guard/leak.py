"""A leak: a process that still exists, or was not joined, when its test or fixture is over."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

from pytest_proclife import stacks
from pytest_proclife.analysis.hangs import own_line
from pytest_proclife.analysis.stacks import own_frames
from pytest_proclife.guard.owners import OwnedProcess, Owner
from pytest_proclife.guard.proc import read_stat
from pytest_proclife.guard.starts import Line, Start
from pytest_proclife.records import MULTIPROCESSING_KINDS, Frame
from pytest_proclife.supervisor import procfs
from pytest_proclife.supervisor.system_calls import is_python

_UNNAMED = "a fork"  # its name in baselines and for the marker


class State(StrEnum):
    """What the test or the fixture has left undone."""

    RUNNING = "running"
    ZOMBIE = "zombie"  # it has exited, and nobody has waited for it
    UNJOINED = "unjoined"  # the fork server has reaped it, and nobody has joined it


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    owner: str  # the test's id, or the fixture
    of_fixture: bool = False
    pid: int
    kind: str  # as of `ProcessRecord.kind`
    name: str
    argv: tuple[str, ...]
    state: State
    age: float  # seconds
    # The line of the test or the fixture that started it: "file:line", and the function; and the
    # line of a library that it called, "file:line in function". Empty if there is none.
    place: str
    function: str
    through: str = ""
    # If that is not the start of this process but that of its nearest known ancestor: the name of
    # that, which may be empty, and its pid, or 0.
    ancestor: str | None = None
    ancestor_pid: int = 0
    reason: str = ""  # why a marker allows it; empty if none does
    in_baseline: bool = False
    killed: bool = False  # by the guard
    # the function that it was in, and the line of the program's own code that had called it:
    # "file:line"; empty if it does not run Python, or if that could not be read
    call: str = ""
    line: str = ""

    @property
    def is_excused(self) -> bool:
        """Whether it is not an error."""
        return bool(self.reason) or self.in_baseline

    @property
    def command(self) -> str:
        """Its command line, as for a shell."""
        return shlex.join(self.argv)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, which cross to pytest-xdist's controller."""
        return {**asdict(self), "argv": list(self.argv), "state": self.state.value}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Leak:
        values = {"argv": tuple(document["argv"]), "state": State(document["state"])}
        return cls(**{**document, **values})


def of_process(process: OwnedProcess) -> Leak:
    """The leak of a process that exists."""
    stat, start = process.stat, process.start
    line = Line() if start is None else start.line
    own, ancestor = (start, None) if process.exact else (None, start)
    argv = procfs.command_line(stat.pid) if not stat.is_zombie else ()
    kind, name = "other", ""
    if own is not None:
        argv, kind, name = argv or own.argv, own.kind, own.name
    if argv and kind not in MULTIPROCESSING_KINDS:
        name = argv[0].rsplit("/", 1)[-1] or name
    return Leak(
        owner=process.owner.name,
        of_fixture=process.owner.is_fixture,
        pid=stat.pid,
        kind=kind,
        name=name or _UNNAMED,
        argv=argv,
        state=State.ZOMBIE if stat.is_zombie else State.RUNNING,
        age=round(stat.age, 2),
        place=line.place,
        function=line.function,
        through=line.through,
        ancestor=ancestor.name if ancestor is not None else None,
        ancestor_pid=ancestor.pid if ancestor is not None else 0,
    )


def with_lines(leaks: Sequence[Leak], left: Sequence[OwnedProcess]) -> list[Leak]:
    """The same, with the lines in which those stand that run; `left` are their processes."""
    identities = {process.stat.pid: process.stat.identity for process in left}
    asked = [
        (number, leak.pid, is_python(leak.pid))
        for number, leak in enumerate(leaks)
        if leak.state is State.RUNNING and not leak.is_excused
    ]
    try:
        read = stacks.read(asked) if any(python for _, _, python in asked) else ()
    except Exception:  # noqa: BLE001 - a test may have put something in place of what it uses
        read = ()
    found = list(leaks)
    for number, _, _, _, threads in read:
        frames = next((frames for tid, _, frames in threads if tid == leaks[number].pid), ())
        own = own_line([Frame(file=f, line=n, function=c) for f, n, c in own_frames(frames)])
        stat = read_stat(leaks[number].pid)
        # if it still is the same, what was read by the pid is of no other process
        if own and stat and stat.identity == identities.get(stat.pid):
            line, call = own
            found[number] = replace(found[number], call=call, line=f"{line.file}:{line.line}")
    return found


def of_start(start: Start, owner: Owner) -> Leak:
    """The leak of a process that is gone, and that nobody has joined."""
    return Leak(
        owner=owner.name,
        of_fixture=owner.is_fixture,
        pid=start.pid,
        kind=start.kind,
        name=start.name,
        argv=(),
        state=State.UNJOINED,
        age=0.0,
        place=start.line.place,
        function=start.line.function,
        through=start.line.through,
    )
