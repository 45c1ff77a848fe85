"""The kind, name and parent of each process of a run, and the order of their starts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from pytest_proclife import wire
from pytest_proclife.analysis.log import Report, Sighting
from pytest_proclife.records import HELPER_KINDS, KINDS, MULTIPROCESSING_KINDS, START_METHODS, Role

_NAME_LIMIT = 200  # characters

T = TypeVar("T")


class Family:
    """The processes of a run by their number in the log, and what they are to each other.

    A parent is who called `start()`, `fork` or `Popen`. It is certain where the child or the
    parent said so; where a fork server stands between them, only the kernel's parent may be
    known, and whom that served is a guess.
    """

    def __init__(self, sightings: list[Sighting]) -> None:
        self.sightings = sightings
        self.by_key = _keys(sightings)
        self.forked_from = {one.number: self._forked_from(one) for one in sightings}
        self.kinds: dict[int, str] = {}
        for one in sightings:
            self.kinds[one.number] = self._kind(one)
        self._by_pid: dict[int, list[Sighting]] = {}
        for one in sorted(sightings, key=lambda s: s.began):
            self._by_pid.setdefault(one.pid, []).append(one)
        self.parents: dict[int, int | None] = {}
        self.certain: dict[int, bool] = {}
        for one in sightings:
            self.parents[one.number], self.certain[one.number] = self._parent(one)
        self._cut_circles()
        self.children: dict[int, list[int]] = {one.number: [] for one in sightings}
        for number, parent in self.parents.items():
            if parent is not None:
                self.children[parent].append(number)
        self.order = sorted(sightings, key=lambda s: (s.number != 0, s.began, s.number))
        self.ids = {one.number: index for index, one in enumerate(self.order)}
        self._versions = self._inherited(self.forked_from, _version)
        self._programs = self._inherited(self.parents, self.argv)
        self.names = {one.number: self._name(one) for one in self.order}

    def parent_id(self, one: Sighting) -> int | None:
        parent = self.parents[one.number]
        return None if parent is None else self.ids[parent]

    def role(self, one: Sighting) -> Role:
        if one.number == 0:
            return Role.MAIN
        return Role.HELPER if self.kinds[one.number] in HELPER_KINDS else Role.CHILD

    def daemon(self, one: Sighting) -> bool | None:
        """The flag; None where it is not known, or where there is none."""
        run = one.last(wire.RUN)
        if run is not None and run.flag(3) is not None:
            return run.flag(3)
        return one.told[0][1].flag(3) if one.told else None

    def start_method(self, one: Sighting) -> str | None:
        run = one.last(wire.RUN)
        candidates = [run] if run is not None else []
        candidates += [report for _, report in one.told]
        return next((r.field(4) for r in candidates if r.field(4) in START_METHODS), None)

    def version(self, one: Sighting) -> tuple[int, ...]:
        """The version of the Python that it runs; (0,) where that is not known."""
        return self._versions.get(one.number) or (0,)

    def argv(self, one: Sighting) -> tuple[str, ...] | None:
        for report in reversed(one.reports):
            if report.kind == wire.EXEC and len(report.fields) > 1:
                return _arguments(report.fields[1:])
            if report.kind == wire.HELLO and report.field(2) == "new":
                return _arguments(report.fields[6:])
        if one.told and len(one.told[0][1].fields) > 7:
            return _arguments(one.told[0][1].fields[7:])
        return one.argv or None

    # ---

    def _forked_from(self, one: Sighting) -> int | None:
        """The process of whose key it said at its start that it is the parent's."""
        hello = one.first(wire.HELLO)
        parent = self.by_key.get(hello.field(1)) if hello is not None else None
        return parent if parent != one.number else None

    def _kind(self, one: Sighting) -> str:
        if one.number == 0:
            return "main"
        run, hello = one.last(wire.RUN), one.first(wire.HELLO)
        said = [run.field(1)] if run is not None else []
        said += [report.field(1) for _, report in one.told]
        if hello is not None:
            said.append(hello.field(3))
        kind = next((kind for kind in said if kind in KINDS and kind != "main"), None)
        if kind == "os_fork" and self._below_server(one):
            return "process"  # a fork server forks nothing else
        if kind is not None:
            return kind
        if one.known_by == "parent" and not one.told:
            return "os_fork"  # ended by its parent before it could say a word
        return "subprocess" if one.found_below is not None else "other"

    def _below_server(self, one: Sighting) -> bool:
        parent = self.forked_from[one.number]
        if parent is None:
            return False
        above = self.sightings[parent]
        told = [report.field(1) for _, report in above.told]
        hello = above.first(wire.HELLO)
        return "forkserver" in (*told, hello.field(3) if hello is not None else "")

    def _parent(self, one: Sighting) -> tuple[int | None, bool]:
        """The parent's number, and whether it is certain."""
        if one.number == 0:
            return None, True
        below = self.forked_from[one.number]
        if one.told:
            tellers = [by for by, _ in one.told if by != one.number]
            if tellers:
                return (below, True) if below in tellers else (tellers[0], True)
        if below is not None and not self._below_server(one):
            return below, True
        if below is None:
            # one that was killed before it could say a word: only its parent can look at it
            looked = [r.by for r in one.asked if r.alive is not None and isinstance(r.by, int)]
            found = one.found_below if one.found_below is not None else next(iter(looked), None)
            is_server = found is not None and self.kinds[found] == "forkserver"
            return found, found is not None and not is_server
        run = one.last(wire.RUN)
        for other in reversed(self._by_pid.get(run.number(0) or 0, ()) if run is not None else ()):
            if other.began < one.began and other.number != one.number:
                return other.number, True
        server = self.sightings[below]
        return (server.told[0][0] if server.told else self.forked_from[below]), False

    def _cut_circles(self) -> None:
        """A process cannot descend from itself, whatever processes say of each other."""
        sound = {0}
        for start in self.parents:
            path: dict[int, None] = {}
            number: int | None = start
            while number is not None and number not in sound:
                if number in path:
                    self.parents[number], self.certain[number] = None, False
                    break
                path[number] = None
                number = self.parents[number]
            sound.update(path)

    def _inherited(
        self,
        links: dict[int, int | None],
        own: Callable[[Sighting], tuple[T, ...] | None],
    ) -> dict[int, tuple[T, ...] | None]:
        """What a process has of its own, or else of the nearest process above it."""
        found: dict[int, tuple[T, ...] | None] = {}
        for start in links:
            path: dict[int, None] = {}
            number: int | None = start
            value = None
            while number is not None and number not in path:
                value = found[number] if number in found else own(self.sightings[number])
                path[number] = None
                if value is not None or number in found:
                    break
                number = links[number]
            found.update(dict.fromkeys(path, value))
        return found

    def _name(self, one: Sighting) -> str:
        kind = self.kinds[one.number]
        if kind == "main":
            return "MainProcess"
        if kind in HELPER_KINDS:
            return kind
        run: Report | None = one.last(wire.RUN)
        if run is not None and run.field(2):
            return wire.clip(run.field(2), _NAME_LIMIT)
        if one.told and kind in MULTIPROCESSING_KINDS and one.told[0][1].field(2):
            return wire.clip(one.told[0][1].field(2), _NAME_LIMIT)
        # a fork runs its parent's program
        argv = self._programs[one.number] if kind == "os_fork" else self.argv(one)
        name = argv[0].rsplit("/", 1)[-1] if argv else ""
        return wire.clip(name, _NAME_LIMIT) or kind


def _keys(sightings: list[Sighting]) -> dict[str, int]:
    """The names that processes have for themselves. They begin with the pid, which is true."""
    return {
        report.field(0): one.number
        for one in sightings
        for report in one.reports
        if report.kind == wire.HELLO and report.field(0).startswith(f"{one.pid}.")
    }


def _version(one: Sighting) -> tuple[int, ...] | None:
    for report in reversed(one.reports):
        if report.kind == wire.HELLO and report.field(4):
            parts = report.field(4).split(".")
            return tuple(int(p) for p in parts if p.isdecimal() and len(p) < 5) or None
    return None


def _arguments(fields: tuple[str, ...]) -> tuple[str, ...] | None:
    return tuple(wire.clip(text, 1000) for text in fields[: wire.ARGV_LIMIT]) or None
