"""What grading costs: graded submissions against their bare programs, with the same parallel jobs.

Batches of both alternate, so that other load on the machine affects both.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wheel import CHECKOUT, install

EXERCISE = """
import pytest
from pytest_proclife import assert_abandoned, assert_daemon, assert_not_held_up


@pytest.mark.proclife_points(1)
def test_the_session_is_a_daemon(submission):
    assert_daemon(submission.run().children)


@pytest.mark.proclife_points(1)
def test_the_exam_ends_on_time(submission):
    assert_not_held_up(submission.run().main)


@pytest.mark.proclife_points(1)
def test_the_session_is_cut_off(submission):
    assert_abandoned(submission.run().children)
"""


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="submissions in all (200)")
    parser.add_argument("--batch", type=int, default=50, help="submissions in a batch (50)")
    parser.add_argument("--jobs", type=int, default=2, help="parallel jobs (2)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = install(folder)
        (folder / "exercise.py").write_text(EXERCISE)
        bare = graded = 0.0
        for first in range(0, options.count, options.batch):
            batch = _batch(folder / str(first), min(options.batch, options.count - first))
            bare += _bare(python, batch, options.jobs)
            graded += _graded(python, folder, batch, options.jobs)
        count, jobs = options.count, options.jobs
        print(
            f"{count} submissions, {jobs} at a time: bare {bare:.1f} s, graded {graded:.1f} s, "
            f"ratio {graded / bare:.3f} (aim: at most 1.15)"
        )


def _batch(folder: Path, count: int) -> list[Path]:
    """Copies of the course's exam with a daemon."""
    folder.mkdir()
    text = (CHECKOUT / "examples" / "exam_daemon.py").read_text()
    paths = [folder / f"{number}.py" for number in range(count)]
    for number, path in enumerate(paths):
        path.write_text(f"{text}# {number}\n")
    return paths


def _bare(python: Path, programs: list[Path], jobs: int) -> float:
    def run(path: Path) -> None:
        subprocess.run([python, path], stdout=subprocess.DEVNULL, check=True)

    began = time.monotonic()
    with ThreadPoolExecutor(jobs) as side_by_side:
        list(side_by_side.map(run, programs))
    return time.monotonic() - began


def _graded(python: Path, folder: Path, programs: list[Path], jobs: int) -> float:
    output = programs[0].parent / "out"
    command = [str(python), "-m", "pytest_proclife", "grade", str(folder / "exercise.py")]
    command += [str(programs[0].parent), "-j", str(jobs), "-o", str(output)]
    began = time.monotonic()
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - began
    summary = (output / "summary.csv").read_text()
    if summary.count(",graded,3,3,") != len(programs):
        sys.exit(f"not all have all points:\n{summary}")
    return seconds


if __name__ == "__main__":
    main()
