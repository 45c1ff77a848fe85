"""What is known of one process that has ended: the values that its cause is decided from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pytest_proclife.analysis.gaps import NONE, Spans
from pytest_proclife.analysis.log import Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """What a process reported of the end of its own code. `rose_from` is a signal's number."""

    at: int
    how: str
    exception: str | None = None
    rose_from: int | None = None
    handled: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that is known of one process that has ended. Times are monotonic ns.

    `parent_known`: the parent is certain, not inferred. `observed`: it reports from inside, or
    should have. `sees_handlers`: it reports Python's signal handlers as they run (CPython 3.12
    on). `replaced` is when a program that does not report took its place. `cleaned_up` is when
    proclife sent it SIGKILL. `caught` holds (signal, when). `last_word` is how its last report
    said that it leaves (exit, os_exit, launcher), None if there was none. `holes` are when
    reports of its own are missing. `missing`: when reports of others are missing, any of which
    could be a request. `strangers`: when programs ran whose requests nobody reports.
    """

    id: int
    exitcode: int | None
    began: float = -math.inf
    ended: float = math.inf
    parent: int | None = None
    parent_known: bool = True
    daemon: bool | None = None
    observed: bool = True
    sees_handlers: bool = True
    replaced: int | None = None
    cleaned_up: int | None = None
    asked: tuple[Asked, ...] = ()
    caught: tuple[tuple[int, int], ...] = ()
    left: Left | None = None
    last_word: str | None = None
    holes: tuple[tuple[float, float], ...] = ()
    missing: Spans = NONE
    strangers: Spans = NONE

    @property
    def signal(self) -> int | None:
        return -self.exitcode if self.exitcode is not None and self.exitcode < 0 else None

    def has_hole(self, start: float = -math.inf, end: float = math.inf) -> bool:
        """Whether reports of its own are missing that it wrote after `start`, before `end`."""
        return any(low < end and high > start for low, high in self.holes)
