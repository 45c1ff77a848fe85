"""What the caller of a run asks for, checked once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_proclife import confinement
from pytest_proclife.durations import LINGER, TIMEOUT, check_seconds
from pytest_proclife.records import START_METHODS

if TYPE_CHECKING:
    from pytest_proclife.analysis.assemble import CauseHook
    from pytest_proclife.target import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the caller of a run asks for. ValueError if a value makes no sense.

    The fields without a comment are the arguments of `run()`.
    """

    program: Program  # the other arguments of `run()`
    start_method: str | None = None
    timeout: float | None = TIMEOUT  # of main; of each wait if the run is live
    linger: float = LINGER
    seccomp: bool = False
    allow_timeout: bool = False
    live: bool = False  # the caller looks at the run, and acts on it, while it lasts
    capture: bool = True  # keep the output for the record of the run
    # main's three standard streams; empty: the program's input, and output is only captured
    streams: tuple[int, ...] = ()
    points: bool = False  # note the points at which a process could be crashed, which holds it up
    # have a process sent a signal at a point, as `protocol.Request` has it
    crash: tuple[tuple[str, ...], int, str, int] | None = None
    group: int = 0  # the process group that main joins; 0: one of its own
    confinement: confinement.Confinement = field(default_factory=confinement.current)
    cause_hook: CauseHook | None = None  # called for the final `Run`, not for snapshots

    def __post_init__(self) -> None:
        check_seconds("timeout", self.timeout, or_none=True)
        if self.start_method is not None:
            check_start_method(self.start_method)
        check_seconds("linger", self.linger)
        for name in ("seccomp", "allow_timeout"):
            if not isinstance(value := getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, not {value!r}")


def check_start_method(name: object) -> str:
    """Return `name`. ValueError if it is no start method."""
    if name in START_METHODS:
        return str(name)
    known = ", ".join(START_METHODS)
    raise ValueError(f"unknown start method {name!r}: it must be one of {known}")
