"""What grading costs: graded submissions against their bare programs, with the same parallel jobs.

Batches of both alternate, so that other load on the machine affects both. With --at-once one
command grades all, and shows after each batch that neither its memory nor the time for a submission
grows with their number.
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
    parser.add_argument("--at-once", action="store_true", help="grade all by one command")
    parser.add_argument("--user", help="grade as this user")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        python = install(folder)
        (folder / "exercise").mkdir()  # without the environment, which would be copied with it
        (folder / "exercise/exercise.py").write_text(EXERCISE)
        if options.at_once:
            _at_once(python, folder, options)
            return
        bare = graded = 0.0
        for first in range(0, options.count, options.batch):
            batch = _batch(folder / str(first), min(options.batch, options.count - first))
            bare += _bare(python, batch, options.jobs)
            graded += _graded(python, folder, batch, options)
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


def _command(
    python: Path, folder: Path, programs: Path, output: Path, options: argparse.Namespace
) -> list[str]:
    command = [str(python), "-m", "pytest_proclife", "grade", str(folder / "exercise/exercise.py")]
    command += [str(programs), "-j", str(options.jobs), "-o", str(output)]
    return [*command, *(["--user", options.user] if options.user else [])]


def _graded(python: Path, folder: Path, programs: list[Path], options: argparse.Namespace) -> float:
    output = programs[0].parent / "out"
    command = _command(python, folder, programs[0].parent, output, options)
    began = time.monotonic()
    subprocess.run(command, stderr=subprocess.DEVNULL, check=True)
    seconds = time.monotonic() - began
    _check(output, len(programs))
    return seconds


def _check(output: Path, count: int) -> None:
    summary = (output / "summary.csv").read_text()
    if summary.count(",graded,3,3,") != count:
        sys.exit(f"not all have all points:\n{summary}")


def _at_once(python: Path, folder: Path, options: argparse.Namespace) -> None:
    _batch(folder / "in", options.count)
    command = _command(python, folder, folder / "in", folder / "out", options)
    done = 0
    began = time.monotonic()
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as grading:
        assert grading.stderr is not None
        for line in grading.stderr:
            done += line.startswith("[")
            if line.startswith("[") and done % options.batch == 0 and done < options.count:
                seconds = time.monotonic() - began
                memory = _memory(grading.pid) / 2**20
                print(
                    f"{done:5} graded: {seconds / options.batch:.3f} s each, {memory:.1f} MiB",
                    flush=True,
                )
                began = time.monotonic()
    _check(folder / "out", options.count)


def _memory(pid: int) -> int:
    """The bytes of the command and of the process that does its work, shared ones by their share.

    Not those of graders, of which there are always a few.
    """
    total = 0
    for process in [pid, *_children(pid)]:
        text = Path(f"/proc/{process}/smaps_rollup").read_text()
        (line,) = (line for line in text.splitlines() if line.startswith("Pss:"))
        total += int(line.split()[1]) << 10
    return total


def _children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


if __name__ == "__main__":
    main()
