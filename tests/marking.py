"""What the tests of `proclife grade` share: an exercise, and how to grade with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import TARGETS

EXERCISE = (TARGETS / "exercises" / "session.py").read_text()
DAEMON = (TARGETS / "answers" / "daemon.py").read_text()


def grade(tmp_path: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest_proclife", "grade", *arguments]
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, **options
    )


def graded(
    tmp_path: Path, *arguments: str, exercise: str = EXERCISE, **answers: str
) -> dict[str, Any]:
    """The results of answers, by their names."""
    (tmp_path / "exercise.py").write_text(exercise)
    (tmp_path / "in").mkdir(exist_ok=True)
    for name, text in answers.items():
        (tmp_path / "in" / f"{name}.py").write_text(text)
    (tmp_path / "in" / "main_of_nobody.txt").write_text("not a program")
    files = [f"in/{name}.py" for name in answers]
    done = grade(tmp_path, "exercise.py", *files, "-o", "out", *arguments)
    assert done.returncode == 0, done.stderr
    return results(tmp_path)


def results(tmp_path: Path) -> dict[str, Any]:
    text = (tmp_path / "out/summary.json").read_text()
    return {result["submission"]: result for result in json.loads(text)["results"]}
