"""All that was seen of one process, as the log of its run says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pytest_proclife import wire
from pytest_proclife.heard import Report
from pytest_proclife.history import Asked

Entry = tuple[Any, ...]


@dataclass(slots=True, kw_only=True)
class Sighting:
    """What the log says of one process; its number is that of the log.

    `reports` are in the order in which they were written; `programs` are the same, for each
    program that it ran, should it have replaced itself by exec.
    """

    number: int
    pid: int
    known_at: int
    known_by: str
    argv: tuple[str, ...] = ()
    found_below: int | None = None
    adopted: bool = False  # found running below the supervisor, to which orphans fall
    reports: list[Report] = field(default_factory=list)
    programs: list[list[Report]] = field(default_factory=list)
    garbled: list[int] = field(default_factory=list)
    astray: list[int] = field(default_factory=list)  # its signals to a group that nobody could ask
    told: list[tuple[int, Report]] = field(default_factory=list)  # (by whom, STARTED)
    asked: list[Asked] = field(default_factory=list)
    cleanups: list[int] = field(default_factory=list)
    end: int | None = None
    end_wake: float | None = None  # a half more where it is known to be after others of the same
    running_then: tuple[int, ...] = ()
    reaped: int | None = None
    reaped_by_us: bool = False
    status: int | None = None
    collected: list[tuple[int, Report]] = field(default_factory=list)  # (by whom, COLLECTED)
    began: int = 0
    let_in: bool = False  # the recorder was put into it, as main's start says

    def first(self, kind: str) -> Report | None:
        return next((r for r in self.reports if r.kind == kind), None)

    def last(self, kind: str) -> Report | None:
        return next((r for r in reversed(self.reports) if r.kind == kind), None)

    def all_latest(self, kind: str) -> list[Report]:
        """The reports of that kind by the program that it ran last, if that one reports."""
        if self.replaced is not None:
            return []
        return [r for r in self.programs[-1] if r.kind == kind]

    def latest(self, kind: str) -> Report | None:
        """The last one of these."""
        found = self.all_latest(kind)
        return found[-1] if found else None

    @property
    def exitcode(self) -> int | None:
        if self.status is not None:
            return -(self.status & 0x7F) if self.status & 0x7F else self.status >> 8 & 0xFF
        if self.collected:
            code = self.collected[0][1].number(1)
            return code if code is not None and -65 < code < 256 else None
        return None

    @property
    def replaced(self) -> int | None:
        """When a program that does not report took its place by exec; None if none did."""
        last = self.reports[-1] if self.reports else None
        if last is None or last.kind != wire.EXEC or last.flag(0) is True:
            return None
        return last.at

    def said_after(self, at: int) -> bool:
        return bool(self.reports) and self.reports[-1].at >= at
