"""What an answer may do while it is graded: its user, its limits, its network."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pytest_proclife.confinement import Confinement, User, confine
from pytest_proclife.exercises import cgroup
from pytest_proclife.exercises.cgroup import ControlGroup
from pytest_proclife.exercises.namespaces import Walls, first_hidden, refusal, user_named
from pytest_proclife.supervisor.limits import CPU, FILE_SIZE, MEMORY, OUTPUT, PROCESSES

# Of an answer that runs as another user, unless the teacher says otherwise.
_DEFAULTS = {
    MEMORY: 1 << 30,
    CPU: 300,
    PROCESSES: 200,
    FILE_SIZE: 1 << 28,
    OUTPUT: 1 << 28,
}
_SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|_KEY|^SSH_|^AWS_|^GPG_", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """How answers are confined. `walls` are none if the kernel refuses them here."""

    user: User | None
    limits: Mapping[str, int]
    network: bool
    walls: Walls | None
    groups: ControlGroup | None = None  # none if they may not be made here

    @property
    def is_crowded(self) -> bool:
        """Whether two answers at a time could reach each other, as processes of the same user."""
        return self.user is not None and self.walls is None

    @property
    def key(self) -> str:
        """What a result depends on; "" if nothing is confined."""
        found = [f"{kind}={value}" for kind, value in sorted(self.limits.items())]
        found += [] if self.user is None else [f"user={self.user.name}"]
        found += [] if self.network else ["no-network"]
        return ",".join(found)

    def enter(self, kept: list[Path]) -> None:
        """Confine this grader. What it starts later is confined further by `let_in`."""
        if self.walls is not None:
            self.walls.enter(kept)
        if self.user is not None:
            for name in filter(_SECRET.search, list(os.environ)):
                del os.environ[name]

    def let_in(self, place: Path) -> None:
        """Confine what this grader runs from now on, and give it the folder `place`."""
        group = ""
        if self.groups is not None:
            with contextlib.suppress(OSError):  # then the supervisor's looks have to do
                group = str(self.groups.make(place, self.limits))
        if self.user is None:
            confine(Confinement(limits=self.limits, cgroup=group))
            return
        for folder, folders, files in os.walk(place):
            for name in (".", *folders, *files):
                path = os.path.join(folder, name)
                os.chown(path, self.user.uid, self.user.gid, follow_symlinks=False)
        place.chmod(0o700)
        environment = {"HOME": str(place), "USER": self.user.name, "LOGNAME": self.user.name}
        environment["TMPDIR"] = str(place) if self.walls is None else "/tmp"
        confine(
            Confinement(user=self.user, limits=self.limits, cgroup=group, environment=environment)
        )

    def forget(self, place: Path) -> None:
        """Remove what `let_in` has made. No process of the answer may be left by then."""
        if self.groups is not None:
            self.groups.remove(place)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a teacher asks for, as it crosses to other machines."""

    exercise: str  # as it was named
    deadline: float  # s
    seccomp: bool
    user: str | None
    limits: Mapping[str, int]
    network: bool


def settings_of(options: argparse.Namespace) -> Settings:
    """The settings that the options ask for."""
    asked = {
        MEMORY: options.memory,
        CPU: options.cpu,
        PROCESSES: options.processes,
        FILE_SIZE: options.file_size,
        OUTPUT: options.max_output,
    }
    limits = {} if options.user is None else dict(_DEFAULTS)
    limits |= {kind: int(value) for kind, value in asked.items() if value is not None}
    return Settings(
        exercise=options.exercise,
        deadline=options.deadline,
        seccomp=options.seccomp,
        user=options.user,
        limits=limits,
        network=not options.no_network,
    )


def sandbox_of(settings: Settings) -> Sandbox:
    """The sandbox that the settings ask for. ValueError if it cannot be had here."""
    user = None
    if settings.user is not None:
        if os.geteuid() != 0:
            raise ValueError("--user: only root can run answers as another user")
        user = user_named(settings.user)
    if not settings.network and (reason := refusal(Walls(network=False))):
        raise ValueError(f"--no-network cannot be had here: {reason}")
    walls: Walls | None = None
    if user is not None or not settings.network:
        walls = Walls(user=user, network=settings.network)
        if user is not None and refusal(walls):
            walls = None if settings.network else Walls(network=False)
            if closed := first_hidden(user):
                text = f"--user: {user.name!r} may not enter {closed!r}, where Python is"
                raise ValueError(text)
    groups = None
    if {MEMORY, PROCESSES} & settings.limits.keys() and (groups := cgroup.find()) is not None:
        groups.remove_left()
    return Sandbox(
        user=user, limits=settings.limits, network=settings.network, walls=walls, groups=groups
    )
