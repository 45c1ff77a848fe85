"""One submission, graded by a process of its own wherever that runs: the unit of a cluster."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

from pytest_proclife.exercises import front
from pytest_proclife.exercises.archive import Archive, Packed
from pytest_proclife.exercises.grading import Grading
from pytest_proclife.exercises.integrity import Snapshot
from pytest_proclife.exercises.results import Mark, Result
from pytest_proclife.exercises.sandbox import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """All that the grading of a submission needs, but for the exercise."""

    name: str
    packed: Packed
    settings: Settings
    tests: tuple[Mark, ...]


def grade(unit: Unit, exercise: Snapshot) -> Result:
    """Grade a submission in another process, which ends with this one. RuntimeError if it fails."""
    reading, lifeline = os.pipe()  # at its end once this process has died
    command = [sys.executable, "-m", "pytest_proclife.exercises.unit", str(reading)]
    try:
        with tempfile.TemporaryFile() as words:
            done = subprocess.run(
                command,
                input=pickle.dumps((unit, exercise)),
                stdout=subprocess.PIPE,
                stderr=words,
                pass_fds=[reading],
                check=False,
            )
            words.seek(0)
            text = words.read().decode(errors="backslashreplace").strip()
    finally:
        os.close(reading)
        os.close(lifeline)
    if done.returncode != 0 or not done.stdout:
        raise RuntimeError(text or f"the grader exited with {done.returncode}")
    result: Result = pickle.loads(done.stdout)
    return result


def main() -> int:
    """Read a unit from standard input, and write its result to standard output."""
    data = sys.stdin.buffer.read()
    answers = os.dup(1)
    os.dup2(2, 1)  # what an exercise prints is no result
    return front.run(lambda: _grade(data, answers), lifeline=int(sys.argv[1]))


def _grade(data: bytes, answers: int) -> int:
    unit: Unit
    exercise: Snapshot
    unit, exercise = pickle.loads(data)
    archive = Archive()
    archive.add_packed(unit.name, unit.packed)
    archive.seal()
    try:
        grading = Grading(exercise, archive, unit.settings, unit.tests)
        (result,) = grading.results([unit.name], 1)
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    answer: Any = pickle.dumps(result)
    with open(answers, "wb") as pipe:
        pipe.write(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
