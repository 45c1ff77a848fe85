#!/usr/bin/env python3
"""Run CPython's own tests of multiprocessing bare and observed, and hold one against the other.

    python .ci/cpython.py [--seccomp] [NAME...]

With --seccomp it is observed in either case, and the second time with the second witness.
Run it with the interpreter that pytest_proclife is installed in; it needs that interpreter's
package `test`. Exit status: 0 where each outcome and exit status is the same, 1 elsewhere.
"""

from __future__ import annotations

import re
import subprocess
import sys

NAMES = (
    "test.test_multiprocessing_fork.test_misc",
    "test.test_multiprocessing_fork.test_processes",
    "test.test_multiprocessing_main_handling",
)
WITNESSED = (
    *("test.test_multiprocessing_fork.test_processes", "test.test_subprocess"),
    *("test.test_posix", "test.test_signal"),
)


def outcome(command: list[str]) -> tuple[int, tuple[str, ...]]:
    """The exit status, and what unittest says at the end, without the time that it took."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    lines = re.findall(r"^(?:Ran \d+ tests|OK.*|FAILED.*)", done.stderr, re.MULTILINE)
    return done.returncode, tuple(lines)


def main() -> int:
    different = 0
    names = sys.argv[1:]
    seccomp = "--seccomp" in names
    names = [name for name in names if name != "--seccomp"]
    for name in names or (WITNESSED if seccomp else NAMES):
        test = [sys.executable, "-m", "unittest", name]
        observed = [sys.executable, "-m", "pytest_proclife", "run", "--linger", "5"]
        if seccomp:
            first = outcome([*observed, "--", *test])
            second = outcome([*observed, "--seccomp", "--", *test])
        else:
            first, second = outcome(test), outcome([*observed, "--", *test])
        print(f"{name}: {'the same' if first == second else 'different'}: {first} {second}")
        different += first != second
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
