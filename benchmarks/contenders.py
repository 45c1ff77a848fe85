"""The ways of running a program that are compared, and the programs that they run."""

from __future__ import annotations

import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent
POLLING = 0.01  # s


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A row: a script that exits with 0, and how many children it starts (helpers left out)."""

    name: str
    title: str
    path: Path
    args: tuple[str, ...] = ()
    children: int = 0
    share: float = 1.0  # of the rounds asked for: long programs get fewer


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One execution: how long it took, and the share of children that the observer missed."""

    seconds: float
    missed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """A column. `absent` says why it cannot run here; None where it can."""

    title: str
    absent: str | None
    measure: Callable[[Program, Path], Sample]


class ProgramFailed(RuntimeError):
    """A program did not end as it does bare."""


def programs(folder: Path) -> list[Program]:
    """The rows. The course's program is written into `folder`, with its sleep shortened."""
    printed = (HERE.parent / "examples" / "main_process.py").read_text()
    shortened = printed.replace("time.sleep(2)", "time.sleep(0.02)")
    if shortened == printed:
        raise ProgramFailed("examples/main_process.py has no time.sleep(2) to be shortened")
    course = folder / "main_process.py"
    course.write_text(shortened)
    ours = HERE / "programs"
    return [
        Program(name="empty", title="empty script", path=ours / "empty.py"),
        Program(name="course", title="the course's program", path=course, children=3),
        Program(
            name="forks",
            title="200 forks",
            path=ours / "forks.py",
            args=("200",),
            children=200,
            share=0.7,
        ),
        Program(
            name="spawns",
            title="50 spawned children",
            path=ours / "spawns.py",
            args=("50",),
            children=50,
            share=0.25,
        ),
        storm("storm", "storm of 2,000", 2000, 2000, 0.4),
    ]


def storm(name: str, title: str, count: int, wave: int, share: float) -> Program:
    """`count` children of os.fork that leave at once, no more than `wave` of them at a time."""
    return Program(
        name=name,
        title=title,
        path=HERE / "programs" / "storm.py",
        args=(str(count), str(wave)),
        children=count,
        share=share,
    )


def contenders() -> list[Contender]:
    """The columns, bare first."""
    coverage = _module("coverage")
    return [
        Contender(title="bare", absent=None, measure=bare),
        Contender(title="run()", absent=_module("pytest_proclife"), measure=observed),
        Contender(title="strace -f", absent=_command("strace"), measure=_strace),
        Contender(title="viztracer", absent=_module("viztracer"), measure=_viztracer),
        Contender(title="coverage run", absent=coverage, measure=_coverage),
        Contender(title="psutil, 10 ms", absent=_module("psutil"), measure=_psutil),
    ]


def fallbacks(without: list[str]) -> list[Contender]:
    """Bare, run(), and run() as on a kernel that lacks some features: names with commas."""
    absent = _module("pytest_proclife")
    columns = [Contender(title="bare", absent=None, measure=bare)]
    for names in ("", *without):
        title = f"without {names}" if names else "run()"
        columns.append(Contender(title=title, absent=absent, measure=_Without(names)))
    return columns


def witnesses() -> list[Contender]:
    """Bare, run(), and run() with the second witness."""

    def witnessed(program: Program, folder: Path) -> Sample:
        return observed(program, folder, seccomp=True)

    absent = _module("pytest_proclife")
    return [
        Contender(title="bare", absent=None, measure=bare),
        Contender(title="run()", absent=absent, measure=observed),
        Contender(title="seccomp", absent=absent, measure=witnessed),
    ]


class _Without:
    """run() with a zygote of its own: another set of features would have it start another."""

    def __init__(self, names: str) -> None:
        from pytest_proclife import backend

        self.names = names
        self.zygote = backend._Zygote()

    def __call__(self, program: Program, folder: Path) -> Sample:
        from pytest_proclife import backend
        from pytest_proclife.supervisor import kernel

        backend._zygote = self.zygote
        os.environ[kernel.WITHOUT] = self.names
        return observed(program, folder)


def _module(name: str) -> str | None:
    return None if find_spec(name) is not None else f"{name} is not installed"


def _command(name: str) -> str | None:
    return None if shutil.which(name) is not None else f"{name} is not installed"


def _launched(prefix: list[str], program: Program) -> Sample:
    """Run it as a command with its output captured, as run() does."""
    command = [*prefix, str(program.path), *program.args]
    before = time.perf_counter()
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    seconds = time.perf_counter() - before
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines()
        raise ProgramFailed(f"exit status {done.returncode}: {words[-1] if words else 'no output'}")
    return Sample(seconds=seconds)


def bare(program: Program, folder: Path) -> Sample:
    return _launched([sys.executable], program)


def observed(program: Program, folder: Path, seccomp: bool = False) -> Sample:
    import pytest_proclife

    before = time.perf_counter()
    run = pytest_proclife.run(program.path, program.args, timeout=None, seccomp=seccomp)
    seconds = time.perf_counter() - before
    if run.exitcode != 0:
        raise ProgramFailed(f"exit code {run.exitcode}: {run.stderr}")
    return Sample(seconds=seconds, missed=_missed(len(run.descendants), program))


def _missed(seen: int, program: Program) -> float:
    return 1 - seen / program.children if program.children else 0.0


def _strace(program: Program, folder: Path) -> Sample:
    return _launched(["strace", "-f", "-o", str(folder / "strace"), sys.executable], program)


def _viztracer(program: Program, folder: Path) -> Sample:
    result = str(folder / "viztracer.json")
    return _launched([sys.executable, "-m", "viztracer", "--quiet", "-o", result, "--"], program)


def _coverage(program: Program, folder: Path) -> Sample:
    with tempfile.TemporaryDirectory(dir=folder) as data:
        settings = Path(data) / "settings"
        # In a file, since coverage hands no other way of setting it on to the children.
        settings.write_text(
            f"[run]\nconcurrency = multiprocessing\nparallel = true\ndata_file = {data}/data\n"
        )
        prefix = [sys.executable, "-m", "coverage", "run", f"--rcfile={settings}"]
        return _launched(prefix, program)


def _psutil(program: Program, folder: Path) -> Sample:
    import psutil

    seen: set[tuple[int, float]] = set()
    before = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, str(program.path), *program.args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        handle = os.pidfd_open(process.pid)
        ended = select.poll()
        ended.register(handle, select.POLLIN)
        main = psutil.Process(process.pid)
        while not ended.poll(POLLING * 1000):
            try:
                below = main.children(recursive=True)
                seen.update((child.pid, child.create_time()) for child in below)
            except psutil.Error:
                continue  # it ended while we looked: just what polling misses
        os.close(handle)
    seconds = time.perf_counter() - before
    return Sample(seconds=seconds, missed=max(0.0, _missed(len(seen), program)))
