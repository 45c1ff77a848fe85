"""What a ratio does not show: the first run, the cost per child, the caller's memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

from contenders import HERE, ProgramFailed, bare, observed, storm

LATER = 5  # runs that the first one is compared with
WAVE = 10  # children at a time, however many there are: only their number is to grow
RECORDED = 2000  # processes of the run whose record is weighed


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Median and quartiles of some figures."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, figures: list[float]) -> Spread:
        if len(figures) < 2:
            return cls(median=figures[0], low=figures[0], high=figures[0])
        low, median, high = statistics.quantiles(figures, n=4, method="inclusive")
        return cls(median=median, low=low, high=high)

    def __format__(self, form: str) -> str:
        return f"{self.median:{form}} ({self.low:{form}} to {self.high:{form}})"


def settle() -> None:
    """Let what the last execution left behind end (a supervisor, pages being freed)."""
    time.sleep(0.02)


def _in_fresh_python(what: str, *args: str) -> dict[str, float]:
    """One of the measurements below `measure`, in a Python that has not run anything."""
    command = [sys.executable, str(Path(__file__)), what, *args]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode != 0:
        raise ProgramFailed(done.stderr.strip().splitlines()[-1])
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def first_run(rounds: int) -> tuple[Spread, Spread]:
    """How much dearer a process's first run is than its later ones; what importing costs; in ms."""
    samples = [_in_fresh_python("first") for _ in range(rounds)]
    dearer = [(s["first"] - s["later"]) * 1000 for s in samples]
    return Spread.of(dearer), Spread.of([s["import"] * 1000 for s in samples])


def per_child(counts: list[int], rounds: int) -> list[tuple[int, Spread, Spread]]:
    """For each count: a child's cost in microseconds, bare and what run() adds.

    What the same program takes without a child is taken off, round by round.
    """
    found = []
    for count in counts:
        alone, added = [], []
        for _ in range(max(3, min(rounds, 20_000 // count))):
            empty_bare, empty_run = _both(0)
            full_bare, full_run = _both(count)
            alone.append((full_bare - empty_bare) / count * 1e6)
            added.append(((full_run - full_bare) - (empty_run - empty_bare)) / count * 1e6)
        found.append((count, Spread.of(alone), Spread.of(added)))
    return found


def _both(count: int) -> tuple[float, float]:
    """Seconds of the storm in small waves, bare and under run()."""
    program = storm("", "", count, WAVE, 1.0)
    without = bare(program, HERE).seconds
    settle()
    within = observed(program, HERE).seconds
    settle()
    return without, within


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """kB of the caller's for each recorded process: held by the `Run`, and its peak before."""

    title: str
    held: float
    peak: float
    resident: float


def memory() -> list[Memory]:
    """The growth of the caller for a run of 2,000 processes, by kind of child."""
    kinds = {"os.fork": "storm.py", "multiprocessing.Process": "forks.py"}
    found = []
    for title, script in kinds.items():
        traced = _in_fresh_python("memory", script, "traced")
        resident = _in_fresh_python("memory", script, "resident")
        found.append(
            Memory(
                title=title,
                held=traced["held"],
                peak=traced["peak"],
                resident=resident["resident"],
            )
        )
    return found


def _measure_first() -> dict[str, float]:
    before = time.perf_counter()
    from pytest_proclife import run

    imported = time.perf_counter() - before
    seconds = []
    for _ in range(1 + LATER):
        before = time.perf_counter()
        run(HERE / "programs" / "empty.py")
        seconds.append(time.perf_counter() - before)
    return {"import": imported, "first": seconds[0], "later": statistics.median(seconds[1:])}


def _measure_memory(script: str, how: str) -> dict[str, float]:
    from pytest_proclife import run

    path = HERE / "programs" / script
    args = (str(RECORDED), str(WAVE)) if script == "storm.py" else (str(RECORDED),)
    run(path, ("10", *args[1:]))  # what is imported or cached once is no cost of a process
    if how == "traced":
        tracemalloc.start()
    resident = _resident()
    before, _ = tracemalloc.get_traced_memory()
    account = run(path, args, timeout=None)
    held, peak = tracemalloc.get_traced_memory()
    grown = _resident() - resident
    scale = 1000 * len(account.processes)
    return {
        "held": (held - before) / scale,
        "peak": (peak - before) / scale,
        "resident": grown / scale,
    }


def _resident() -> int:
    """The memory of this process that is in use, in bytes: proc_pid_statm(5)."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def measure(what: str, *args: str) -> dict[str, float]:
    return _measure_first() if what == "first" else _measure_memory(*args)


if __name__ == "__main__":
    print(json.dumps(measure(*sys.argv[1:])))
