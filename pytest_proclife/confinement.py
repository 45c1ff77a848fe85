"""How the programs of a grader are confined: as another user, with limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pytest_proclife.errors import LimitExceeded
from pytest_proclife.records import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """A user of the system, as programs run."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """As what user main runs, what it may use, and its environment where that differs.

    The limits are those of `supervisor.limits`.
    """

    user: User | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    cgroup: str = ""  # the folder of the control group that main joins
    environment: Mapping[str, str] = field(default_factory=dict)


_current = [Confinement()]


def current() -> Confinement:
    """The confinement of all runs of this process."""
    return _current[0]


def confine(confinement: Confinement) -> None:
    """Confine the runs of this process from now on."""
    _current[0] = confinement


def check_limits(exceeded: str, limits: Mapping[str, int], run: Run) -> None:
    """LimitExceeded if a run was ended for one of its limits."""
    if exceeded:
        text = _EXCEEDED[exceeded].format(_amount(exceeded, limits[exceeded]))
        raise LimitExceeded(f"the program {text}, so it was ended", run, exceeded)


_EXCEEDED = {
    "memory": "used more than {} of memory",
    "cpu": "used more than {} of processor time",
    "processes": "had more than {} at the same time",
    "output": "printed more than {}",
}


def _amount(kind: str, limit: int) -> str:
    if kind == "cpu":
        return f"{limit} s"
    if kind == "processes":
        return f"{limit} processes"
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)):
        if limit >= size:
            return f"{limit / size:.4g} {unit}"
    return f"{limit} bytes"
