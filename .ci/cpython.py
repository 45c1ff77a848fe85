#!/usr/bin/env python3
"""Run CPython's own tests of multiprocessing bare and observed, and hold one against the other.

    python .ci/cpython.py [NAME...]

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
OBSERVED = ["-m", "pytest_proclife", "run", "--linger", "5", "--", sys.executable]


def outcome(*words: str) -> tuple[int, tuple[str, ...]]:
    """The exit status, and what unittest says at the end, without the time that it took."""
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=600, check=False
    )
    lines = re.findall(r"^(?:Ran \d+ tests|OK.*|FAILED.*)", done.stderr, re.MULTILINE)
    return done.returncode, tuple(lines)


def main() -> int:
    different = 0
    for name in sys.argv[1:] or NAMES:
        bare = outcome("-m", "unittest", name)
        observed = outcome(*OBSERVED, "-m", "unittest", name)
        print(f"{name}: {'the same' if bare == observed else 'different'}: {bare} {observed}")
        different += bare != observed
    return int(different > 0)


if __name__ == "__main__":
    sys.exit(main())
