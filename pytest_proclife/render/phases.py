"""The phases of a process's life, and what happened to it in them: what all pictures show.

A phase or an event whose time is not known is not there.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from pytest_proclife import records
from pytest_proclife.records import Cause, ProcessRecord, Run
from pytest_proclife.render.process import join_words
from pytest_proclife.render.text import plain, shortened


class PhaseKind(enum.StrEnum):
    """What a process was doing."""

    CODE = "code"  # its own
    EXIT_PATH = "exit_path"
    ZOMBIE = "zombie"  # it had ended, and nobody had collected its status


class EventKind(enum.StrEnum):
    """What happened to a process at one moment."""

    SIGNAL = "signal"
    JOINED = "joined"


class Group(enum.StrEnum):
    """The causes that have a colour in common."""

    RETURNED = "returned"
    LEFT = "left"  # by an exit of its own: sys_exit, os_exit, exited
    FAILED = "failed"  # raised, signaled
    ASKED = "asked"  # abandoned, terminated, killed
    CLEANED_UP = "cleaned_up"
    UNKNOWN = "unknown"
    RUNNING = "running"


PHASE_WORDS = {
    PhaseKind.CODE: "own code",
    PhaseKind.EXIT_PATH: "exit path",
    PhaseKind.ZOMBIE: "zombie",
}
EVENT_WORDS = {EventKind.SIGNAL: "signal", EventKind.JOINED: "joined"}

GROUPS: dict[Cause | None, Group] = {
    Cause.RETURNED: Group.RETURNED,
    Cause.SYS_EXIT: Group.LEFT,
    Cause.OS_EXIT: Group.LEFT,
    Cause.EXITED: Group.LEFT,
    Cause.RAISED: Group.FAILED,
    Cause.SIGNALED: Group.FAILED,
    Cause.ABANDONED: Group.ASKED,
    Cause.TERMINATED: Group.ASKED,
    Cause.KILLED: Group.ASKED,
    Cause.CLEANED_UP: Group.CLEANED_UP,
    Cause.UNKNOWN: Group.UNKNOWN,
    None: Group.RUNNING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Times are in seconds since main's start."""

    kind: PhaseKind
    begin: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """`at` is in seconds since main's start; `words` say what it was."""

    kind: EventKind
    at: float
    words: str


def phases_of(process: ProcessRecord) -> tuple[Phase, ...]:
    """The phases of a process in order of time. Its own code is always one, even of no length."""
    begin = process.started_at
    running = process.ended_at is None
    end = max(begin, process.run.duration if process.ended_at is None else process.ended_at)
    done = end if process.finished_at is None else min(max(begin, process.finished_at), end)
    found = [Phase(kind=PhaseKind.CODE, begin=begin, end=done)]
    if done < end:
        found.append(Phase(kind=PhaseKind.EXIT_PATH, begin=done, end=end))
    reaped = None if running else reaped_at(process)
    if reaped is not None and reaped > end:
        found.append(Phase(kind=PhaseKind.ZOMBIE, begin=end, end=reaped))
    return tuple(found)


def reaped_at(process: ProcessRecord) -> float | None:
    """When its status was collected; None if that was not seen."""
    kinds = (records.Collected, records.Reaped)
    return next((fact.at for fact in process.evidence if isinstance(fact, kinds)), None)


def events_of(process: ProcessRecord) -> tuple[Event, ...]:
    """What happened to a process, in the order of the times."""
    found = [
        Event(
            kind=EventKind.SIGNAL,
            at=request.at,
            words=f"{plain(request.signal)} by {_who(request.by, process.run)} "
            f"({plain(request.via)})",
        )
        for request in process.requests
    ]
    if process.joined is not None and process.joined_at is not None:
        words = join_words(process, process.joined)
        found.append(Event(kind=EventKind.JOINED, at=process.joined_at, words=words))
    return tuple(sorted(found, key=lambda event: event.at))


def group_of(process: ProcessRecord) -> Group:
    """The group of its cause."""
    return GROUPS[process.cause]


def _who(by: int | str, run: Run) -> str:
    if isinstance(by, int):
        return shortened(run.processes[by].name)
    return "the test" if by == "test" else by
