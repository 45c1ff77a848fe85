"""What a test or a fixture has left: the facts of each process, and how they are said."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pytest_proclife.guard.owners import Known, Owner
from pytest_proclife.guard.starts import Start
from pytest_proclife.records import MULTIPROCESSING_KINDS
from pytest_proclife.render.text import plain
from pytest_proclife.supervisor import kernel

IN_BASELINE = "in the baseline"  # an excuse, which is no reason
RUNNING, ZOMBIE, UNJOINED = "running", "zombie", "unjoined"

_LINE = 160  # characters of a command line that are shown

_ADVICE = {
    "process": "join() it, or end it and join() it",
    "pool_worker": "close() or terminate() the Pool, then join() it",
    "executor_worker": "shutdown() the executor, or use it as a context",
    "manager": "shutdown() the manager, or use it as a context",
    "subprocess": "wait() for it, or end it and wait() for it",
    "posix_spawn": "os.waitpid() it, or end it and do so",
    "os_fork": "os.waitpid() it, or end it and do so",
    "other": "end it with the process that started it",
}
_WHERE_ENDED = {**dict.fromkeys(MULTIPROCESSING_KINDS, "join() it"), "subprocess": "wait() for it"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A process that is there when its owner is over. `age` is in seconds."""

    owner: str  # the test's id, or the fixture
    pid: int
    kind: str
    name: str
    argv: tuple[str, ...]
    state: str  # running, zombie, unjoined
    age: float
    where: str  # "file:line in function"; empty where it is not known
    through: str = ""  # the ancestor that was started there, where it is not the process itself
    of_fixture: bool = False
    excuse: str = ""  # why it is no error: the marker's reason, or the baseline

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "argv": list(self.argv)}

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> Leak:
        return cls(**{**document, "argv": tuple(document["argv"])})

    @property
    def is_allowed(self) -> bool:
        """Whether a marker lets it be; what a baseline knows of is still to be ended."""
        return bool(self.excuse) and self.excuse != IN_BASELINE

    @property
    def command(self) -> str:
        """Its command line, as a shell would take it."""
        return shlex.join(self.argv)

    def __str__(self) -> str:
        """One line of it: what, who, in which state, from where."""
        return f"{self._headline()}, started {self._where()}"

    def _headline(self) -> str:
        state = {
            RUNNING: f"running for {self.age:.1f} s",
            ZOMBIE: "ended, never waited for",
            UNJOINED: "ended, never joined",
        }[self.state]
        return f"{plain(self.name)} ({self.kind}, pid {self.pid}), {state}"

    def _where(self) -> str:
        place = f"at {plain(self.where)}" if self.where else "by a line that is not known"
        return f"by {plain(self.through)}, which was started {place}" if self.through else place

    def lines(self) -> list[str]:
        """The whole account, the first line for what it is."""
        lines = [self._headline(), f"    started {self._where()}"]
        if self.argv:
            lines.append(f"    command line: {plain(self.command)[:_LINE]}")
        advice = _ADVICE.get(self.kind, _ADVICE["other"])
        if self.state != RUNNING:
            advice = _WHERE_ENDED.get(self.kind, "os.waitpid() it")
        lines.append(f"    {advice}, before {self._deadline()}")
        return lines

    def _deadline(self) -> str:
        return "the fixture is over" if self.of_fixture else "the test is over"


def of_process(known: Known) -> Leak:
    """The account of a process that is there."""
    one, start = known.seen, known.start
    argv = kernel.command_line(one.pid) if not one.is_zombie else ()
    own = start if known.exact else None
    kind = own.kind if own is not None else "other"
    if own is not None and own.argv and not argv:
        argv = own.argv
    program = argv[0].rsplit("/", 1)[-1] if argv else ""
    name = own.name if own is not None and kind in MULTIPROCESSING_KINDS else program
    through = ""
    if start is not None and own is None:
        through = start.name or (f"a fork (pid {start.pid})" if start.pid else "a fork")
    return Leak(
        owner=known.owner.name,
        pid=one.pid,
        kind=kind,
        name=name or (own.name if own is not None else "") or "a fork",
        argv=argv,
        state=ZOMBIE if one.is_zombie else RUNNING,
        age=round(one.age, 2),
        where=start.where if start is not None else "",
        through=through,
        of_fixture=known.owner.is_fixture,
    )


def of_start(start: Start, owner: Owner) -> Leak:
    """The account of a process whose end nobody has asked for, though it is gone."""
    return Leak(
        owner=owner.name,
        pid=start.pid,
        kind=start.kind,
        name=start.name,
        argv=(),
        state=UNJOINED,
        age=0.0,
        where=start.where,
        of_fixture=owner.is_fixture,
    )


def in_words(leaks: Sequence[Leak]) -> str:
    """What is left, in one sentence, and each process of it."""
    owner = leaks[0].owner if leaks else ""
    number = f"{len(leaks)} process{'es' if len(leaks) > 1 else ''}"
    lines = [f"{owner} left {number} behind:"]
    for leak in leaks:
        first, *rest = leak.lines()
        lines += ["", f"  {first}", *(f"  {line}" for line in rest)]
    return "\n".join(lines)
