"""The kind, name and parent of each process of a run, and the order of their starts.

A parent is the process that called `start()`, `fork` or `Popen`. It is certain if the child or the
parent reported it. If a fork server stands between them, only the kernel's parent may be known,
and the process that the server served is inferred.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_proclife import wire
from pytest_proclife.analysis.log import ProcessFacts
from pytest_proclife.records import HELPER_KINDS, KINDS, MULTIPROCESSING_KINDS, START_METHODS, Role

_NAME_LIMIT = 200  # characters
_NOT_STARTED = -1  # the id of a fork that is no process of the run

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What a process is. `parent` and `forked_from` are numbers of the log; `id` is of the record.

    `forked_from` is the kernel's parent, by the process's own first report. `daemon` is the flag
    as reported, None if it was not. `version` is that of its Python, (0,) if it is not known.
    """

    id: int
    kind: str
    role: Role
    name: str
    parent: int | None
    parent_certain: bool
    forked_from: int | None
    daemon: bool | None
    start_method: str | None
    argv: tuple[str, ...] | None
    version: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The processes of a run: `identities` and `children` by number, `order` by start.

    A fork that could not execute its program is none: posix_spawn, which hides it, starts nothing
    either. It is in its parent's evidence.
    """

    identities: tuple[Identity, ...]
    children: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]

    def id(self, number: int | None) -> int | None:
        return None if number is None else self.identities[number].id

    def parent_id(self, number: int) -> int | None:
        return self.id(self.identities[number].parent)


def identify(processes: Sequence[ProcessFacts]) -> Family:
    """Find out what each process is, and which processes started which."""
    search = _Search(processes)
    started = [process for process in processes if not process.ran_nothing]
    order = sorted(started, key=lambda p: (p.number != 0, p.began, p.number))
    ids = {process.number: index for index, process in enumerate(order)}
    programs = search.inherited(search.parents, _argv)
    versions = search.inherited(search.forked_from, _version)
    children: list[list[int]] = [[] for _ in processes]
    for number, parent in enumerate(search.parents):
        if parent is not None and number in ids:
            children[parent].append(number)
    identities = []
    for process in processes:
        number, kind = process.number, search.kinds[process.number]
        identities.append(
            Identity(
                id=ids.get(number, _NOT_STARTED),
                kind=kind,
                role=_role(kind),
                name=_name(process, kind, programs[number]),
                parent=search.parents[number],
                parent_certain=search.certain[number],
                forked_from=search.forked_from[number],
                daemon=_daemon(process),
                start_method=_start_method(process),
                argv=_argv(process),
                version=versions[number] or (0,),
            )
        )
    return Family(
        identities=tuple(identities),
        children=tuple(map(tuple, children)),
        order=tuple(process.number for process in order),
    )


class _Search:
    """Kinds and parents by number, found in this order because each rests on the ones before."""

    def __init__(self, processes: Sequence[ProcessFacts]) -> None:
        self.processes = processes
        self.by_key = _keys(processes)
        self.forked_from = [self._forked_from(process) for process in processes]
        self.kinds = [self._kind(process) for process in processes]
        self.by_pid: dict[int, list[ProcessFacts]] = {}
        for process in sorted(processes, key=lambda p: p.began):
            self.by_pid.setdefault(process.pid, []).append(process)
        parents = [self._parent(process) for process in processes]
        self.parents = [parent for parent, _ in parents]
        self.certain = [certain for _, certain in parents]
        self._cut_circles()

    def _forked_from(self, process: ProcessFacts) -> int | None:
        """The process whose key it reported as its parent's when it started."""
        hello = process.first(wire.HELLO)
        parent = self.by_key.get(hello.field(1)) if hello is not None else None
        return parent if parent != process.number else None

    def _kind(self, process: ProcessFacts) -> str:
        if process.number == 0:
            return "main"
        run = process.last(wire.RUN)
        reported = [*([] if run is None else [run.field(1)]), *_kinds_at_start(process)]
        kind = next((kind for kind in reported if kind in KINDS and kind != "main"), None)
        if kind == "os_fork" and self._below_server(process):
            return "process"  # a fork server forks nothing else
        if kind is not None:
            return kind
        if process.known_by in ("parent", "fork") and not process.announcements:
            return "os_fork"  # it was ended before it could report anything
        return "subprocess" if process.found_below is not None else "other"

    def _below_server(self, process: ProcessFacts) -> bool:
        parent = self.forked_from[process.number]
        return parent is not None and "forkserver" in _kinds_at_start(self.processes[parent])

    def _parent(self, process: ProcessFacts) -> tuple[int | None, bool]:
        """The parent's number, and whether it is certain."""
        if process.number == 0:
            return None, True
        below = self.forked_from[process.number]
        starters = [by for by, _ in process.announcements if by != process.number]
        if starters:
            return (below, True) if below in starters else (starters[0], True)
        if below is not None and not self._below_server(process):
            return below, True
        if below is None:
            # killed before its first report
            looked = [r.by for r in process.sent if r.to_child and isinstance(r.by, int)]
            found = process.found_below
            found = found if found is not None else next(iter(looked), None)
            is_server = found is not None and self.kinds[found] == "forkserver"
            return found, found is not None and not is_server
        run = process.last(wire.RUN)
        parents = self.by_pid.get(run.number(0) or 0, ()) if run is not None else ()
        for other in reversed(parents):
            if other.began < process.began and other.number != process.number:
                return other.number, True
        server = self.processes[below]
        if server.announcements:
            return server.announcements[0][0], False
        return self.forked_from[below], False

    def _cut_circles(self) -> None:
        """A process cannot descend from itself, whatever processes report of each other."""
        sound = {0}
        for start in range(len(self.parents)):
            path: dict[int, None] = {}
            number: int | None = start
            while number is not None and number not in sound:
                if number in path:
                    self.parents[number], self.certain[number] = None, False
                    break
                path[number] = None
                number = self.parents[number]
            sound.update(path)

    def inherited(
        self,
        links: Sequence[int | None],
        own: Callable[[ProcessFacts], tuple[T, ...] | None],
    ) -> dict[int, tuple[T, ...] | None]:
        """A value of each process: its own, or else that of the nearest process above it."""
        found: dict[int, tuple[T, ...] | None] = {}
        for start in range(len(links)):
            path: dict[int, None] = {}
            number: int | None = start
            value = None
            while number is not None and number not in path:
                value = found[number] if number in found else own(self.processes[number])
                path[number] = None
                if value is not None or number in found:
                    break
                number = links[number]
            found.update(dict.fromkeys(path, value))
        return found


def _keys(processes: Sequence[ProcessFacts]) -> dict[str, int]:
    """The keys that processes have for themselves. They begin with the pid, which is true."""
    return {
        report.field(0): process.number
        for process in processes
        for report in process.reports
        if report.kind == wire.HELLO and report.field(0).startswith(f"{process.pid}.")
    }


def _kinds_at_start(process: ProcessFacts) -> list[str]:
    """The kinds by which its parent and then it itself reported its start."""
    reported = [report.field(1) for _, report in process.announcements]
    hello = process.first(wire.HELLO)
    return reported if hello is None else [*reported, hello.field(3)]


def _role(kind: str) -> Role:
    return Role.MAIN if kind == "main" else Role.HELPER if kind in HELPER_KINDS else Role.CHILD


def _name(process: ProcessFacts, kind: str, program: tuple[str, ...] | None) -> str:
    """`program` is the command line of the program that it runs; a fork runs its parent's."""
    if kind == "main":
        return "MainProcess"
    if kind in HELPER_KINDS:
        return kind
    run = process.last(wire.RUN)
    if run is not None and run.field(2):
        return wire.clip(run.field(2), _NAME_LIMIT)
    announced = process.announcements[0][1].field(2) if process.announcements else ""
    if announced and kind in MULTIPROCESSING_KINDS:
        return wire.clip(announced, _NAME_LIMIT)
    argv = program if kind == "os_fork" else _argv(process)
    name = argv[0].rsplit("/", 1)[-1] if argv else ""
    return wire.clip(name, _NAME_LIMIT) or kind


def _daemon(process: ProcessFacts) -> bool | None:
    run = process.last(wire.RUN)
    if run is not None and run.flag(3) is not None:
        return run.flag(3)
    return process.announcements[0][1].flag(3) if process.announcements else None


def _start_method(process: ProcessFacts) -> str | None:
    run = process.last(wire.RUN)
    reports = [*([] if run is None else [run]), *(report for _, report in process.announcements)]
    return next((r.field(4) for r in reports if r.field(4) in START_METHODS), None)


def _argv(process: ProcessFacts) -> tuple[str, ...] | None:
    for report in reversed(process.reports):
        if report.kind == wire.EXEC and len(report.fields) > 1:
            return _arguments(report.fields[1:])
        if report.kind == wire.HELLO and report.field(2) == "new":
            return _arguments(report.fields[6:])
    if process.announcements and len(process.announcements[0][1].fields) > 7:
        return _arguments(process.announcements[0][1].fields[7:])
    return process.argv or None


def _arguments(fields: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(wire.clip(text, 1000) for text in fields[: wire.ARGV_LIMIT]) or None


def _version(process: ProcessFacts) -> tuple[int, ...] | None:
    for report in reversed(process.reports):
        if report.kind == wire.HELLO and report.field(4):
            parts = report.field(4).split(".")
            return tuple(int(p) for p in parts if p.isdecimal() and len(p) < 5) or None
    return None
