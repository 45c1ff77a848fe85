"""Crash points of a service with an executor, again and again: how long, and the same each time?

python benchmarks/crash.py --rounds 10
"""

from __future__ import annotations

import argparse
import os
import time
from collections import Counter
from pathlib import Path

from pytest_proclife import crash_points

PROGRAM = str(Path(__file__).parent / "programs" / "service.py")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    arguments = parser.parse_args()
    points, longest = [], 0.0
    for number in range(1, arguments.rounds + 1):
        before = time.monotonic()
        crashes = list(crash_points(PROGRAM, jobs=arguments.jobs))
        took = time.monotonic() - before
        longest = max(longest, took)
        points.append(frozenset(str(crash) for crash in crashes))
        outcomes = Counter(f"{crash.signal} {crash.outcome}" for crash in crashes)
        found = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
        print(f"{number:3}  {took:5.1f} s  {len(crashes)} crashes: {found}", flush=True)
    sets = set(points)
    same = "the same each time" if len(sets) == 1 else f"{len(sets)} sets of points"
    print(f"{same}; {longest:.1f} s at most")
    for text in sorted(frozenset.union(*sets) - frozenset.intersection(*sets)):
        print(f"  not each time: {text}")


if __name__ == "__main__":
    main()
