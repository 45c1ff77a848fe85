"""What the guard costs: the same suite with it and without, in alternation.

    python benchmarks/guard.py [--rounds N] [--python PATH] [--within | --instructions | --faults]

Two suites: 1,000 trivial tests, and 200 tests that each start a process and join it. The times
include the start of pytest, as in real life. If other programs run on the machine, these times
vary by more than the guard costs. With --within the guard is turned off and on every few tests of
one run (from Python 3.12 on), and what it adds to a test and to the start is related to the time of
the whole suite without it. With --instructions valgrind counts the instructions outside of the
kernel. With --faults the page faults are counted, of pytest and its forks: most are pages that are
copied after a fork. They depend on where objects lie, which varies by a hundredth and more from
version to version: so each round has another hash seed, and objects that take up room before.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUITES = {
    "1,000 trivial tests": (
        "import pytest\n\n"
        "@pytest.mark.parametrize('n', range(1000))\n"
        "def test_trivial(n):\n    assert n >= 0\n"
    ),
    "200 tests that start and join a process": (
        "import multiprocessing, pytest\n\n"
        "FORK = multiprocessing.get_context('fork')\n\n"
        "@pytest.mark.parametrize('n', range(200))\n"
        "def test_process(n):\n"
        "    process = FORK.Process(target=len, args=('',))\n"
        "    process.start()\n    process.join()\n    assert process.exitcode == 0\n"
    ),
}
MODES = {"bare": "--no-proclife-guard", "guard": "--proclife-guard"}
COUNTING = ("valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null")


def pytest_in(
    folder: str, python: str, mode: str, *before: str, program: str = "pytest", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run pytest on the suite in a folder; `before` is a command that runs it."""
    command = [python, "-m", program, "-q", "-p", "no:cacheprovider", mode]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONHASHSEED": "0"}
    env["PYTEST_PLUGINS"] = "pytest_proclife.plugin"
    paths = [os.environ.get("PYTHONPATH", str(ROOT)), str(ROOT / "benchmarks")]
    env["PYTHONPATH"] = os.pathsep.join(paths)
    env.update(more)
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    done = subprocess.run(
        [*before, *command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done


def within(python: str, text: str, rounds: int) -> None:
    """Print what the guard adds to a test and to the start, and the ratio for the whole suite."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_suite.py").write_text(text)
        more = {"PYTEST_PLUGINS": "switched,pytest_proclife.plugin", "SWITCHED": f"{folder}/times"}
        for _ in range(rounds):
            pytest_in(folder, python, MODES["guard"], **more)
            found.append([float(word) for word in Path(folder, "times").read_text().split()])
            found[-1].append(measure_once(python, folder, MODES["bare"])[0])
    columns = [statistics.median(column) for column in zip(*found, strict=True)]
    start, low_off, off, low_on, on, bare = columns
    tests = int(re.findall(r"range\((\d+)\)", text)[0])
    for what, added in (("median", on - off), ("lower quartile", low_on - low_off)):
        print(
            f"  by a test's {what}: {added * 1e6:+.0f} us for each, {start * 1e3:+.1f} ms for the "
            f"start: {1 + (start + added * tests) / bare:.4f} times {bare:.2f} s"
        )


def instructions(python: str, text: str) -> dict[str, int]:
    """The instructions of pytest's process, by mode; without those of its forks."""
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_suite.py").write_text(text)
        for name, mode in MODES.items():
            pytest_in(folder, python, mode)  # the first writes bytecode
            printed = pytest_in(folder, python, mode, *COUNTING).stderr
            *_, last = re.findall(r"I +refs: +([\d,]+)", printed)  # forks exit, and print, before
            counts[name] = int(last.replace(",", ""))
    return counts


def faults(python: str, text: str, rounds: int) -> list[tuple[int, int]]:
    """The page faults of pytest and its forks, bare and with the guard, of each round."""
    counts = []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_suite.py").write_text(text)
        for mode in MODES.values():
            pytest_in(folder, python, mode)  # the first writes bytecode
        for seed in range(rounds):
            pair = []
            for mode in MODES.values():
                before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt
                more = {"PYTHONHASHSEED": str(seed), "PADDED": str(seed)}
                pytest_in(folder, python, mode, program="padded", **more)
                pair.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt - before)
            counts.append((pair[0], pair[1]))
    return counts


def measure_once(python: str, folder: str, mode: str) -> tuple[float, float]:
    """Seconds from the start to the exit of pytest, and processor time in seconds."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    pytest_in(folder, python, mode)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, spent


def measure(python: str, text: str, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """The times of a suite, by mode, round by round."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in MODES}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_suite.py").write_text(text)
        for number in range(rounds + 1):
            for name in list(MODES) if number % 2 else list(reversed(MODES)):
                both = measure_once(python, folder, MODES[name])
                if number:  # the first writes bytecode
                    times[name].append(both)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description="What the guard costs")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--within", action="store_true", help="turn it off and on in one run")
    parser.add_argument("--instructions", action="store_true", help="count them, by valgrind")
    parser.add_argument("--faults", action="store_true", help="count the page faults")
    options = parser.parse_args()
    for title, text in SUITES.items():
        if options.within:
            print(title)
            within(options.python, text, options.rounds)
            continue
        if options.instructions:
            counts = instructions(options.python, text)
            ratio = counts["guard"] / counts["bare"]
            print(
                f"{title}: {counts['bare']:,} instructions bare; with the guard {ratio:.4f} times"
            )
            continue
        if options.faults:
            pairs = faults(options.python, text, options.rounds)
            low, middle, high = statistics.quantiles([g / b for b, g in pairs], n=4)
            usual = round(statistics.median(b for b, _ in pairs))
            print(
                f"{title}: {usual:,} page faults bare; with the guard {middle:.4f} times "
                f"({low:.4f} to {high:.4f})"
            )
            continue
        times = measure(options.python, text, options.rounds)
        print(title)
        for place, what in enumerate(("time", "processor time")):
            bare, guard = ([pair[place] for pair in times[name]] for name in MODES)
            ratios = [g / b for g, b in zip(guard, bare, strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            print(
                f"  {what}: bare {statistics.median(bare):.2f} s; with the guard "
                f"{middle:.3f} times ({low:.3f} to {high:.3f}; least by least "
                f"{min(guard) / min(bare):.3f})"
            )


if __name__ == "__main__":
    main()
