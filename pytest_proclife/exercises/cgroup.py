"""Control groups of the kernel, version 2, which hold an answer to its limits of memory."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_proclife.supervisor.limits import MEMORY, PROCESSES

_CONTROLLERS = "+memory +pids"
_MORE = (
    2  # times as many processes as the supervisor allows, which ends the run: a bound for storms
)


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """A group in which groups for answers can be made."""

    path: Path

    def make(self, place: Path, limits: Mapping[str, int]) -> Path:
        """A group for the answer in a folder, with its limits. OSError if it cannot be made."""
        group = self._of(place)
        group.mkdir()
        if MEMORY in limits:
            (group / "memory.max").write_text(str(limits[MEMORY]))
            for name, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
                with contextlib.suppress(OSError):  # without swap; before Linux 4.19
                    (group / name).write_text(value)
        if PROCESSES in limits:
            (group / "pids.max").write_text(str(limits[PROCESSES] * _MORE))
        return group

    def remove(self, place: Path) -> None:
        """Remove the group of a folder, if it has one that is empty."""
        with contextlib.suppress(OSError):
            self._of(place).rmdir()

    def remove_left(self) -> None:
        """Remove the groups of gradings that were killed: their folders are gone."""
        for group in self.path.glob("proclife-grade-*"):
            name = group.name.rpartition("-")[0]
            if not (Path(tempfile.gettempdir()) / name).exists():
                with contextlib.suppress(OSError):
                    group.rmdir()

    def _of(self, place: Path) -> Path:
        return self.path / f"{place.parent.parent.name}-{place.name}"


def find() -> ControlGroup | None:
    """A group that this process may make others in; None if there is none.

    It is this process's own, or the topmost that it sees: in another, processes and groups cannot
    lie side by side.
    """
    for candidate in _candidates():
        try:
            offered = (candidate / "cgroup.controllers").read_text().split()
            if not {"memory", "pids"} <= set(offered):
                continue
            (candidate / "cgroup.subtree_control").write_text(_CONTROLLERS)
            tried = candidate / f"proclife-try-{os.getpid()}"
            tried.mkdir()
            usable = (tried / "memory.max").exists() and (tried / "pids.max").exists()
            tried.rmdir()
        except OSError:
            continue
        if usable:
            return ControlGroup(candidate)
    return None


def _candidates() -> Iterator[Path]:
    try:
        mounts = Path("/proc/self/mountinfo").read_text().splitlines()
        own = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    places = [
        Path(line.split()[4]) for line in mounts if line.partition(" - ")[2].startswith("cgroup2 ")
    ]
    for place in places:
        for line in own:
            if line.startswith("0::/"):
                yield place / line[4:]
        yield place
