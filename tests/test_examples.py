"""The examples that are tests pass, each file in a pytest of its own, as a user would run it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import INSTALLED

import pytest_proclife

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("test_*.py"))
LONG = {"test_exams", "test_executor", "test_main_process", "test_pool", "test_proper_exit"} | {
    *("test_background_daemons", "test_daemon_rules", "test_exit_paths", "test_stopped_service"),
    "test_synchronization",
}


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] * (path.stem in LONG))
        for path in EXAMPLES
    ],
)
def test_an_example_passes(path: Path, tmp_path: Path) -> None:
    settings = str(ROOT / "pyproject.toml")
    command = [sys.executable, "-m", "pytest", "-c", settings, "-q", str(path), "--proclife-guard"]
    command += ["-p", "no:cacheprovider", *([] if INSTALLED else ["-p", "pytest_proclife.plugin"])]
    package = str(Path(pytest_proclife.__file__).parent.parent)
    done = subprocess.run(
        command,
        cwd=tmp_path,  # the sources beside the examples are not to be taken for what is installed
        env=os.environ if INSTALLED else {**os.environ, "PYTHONPATH": package},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_each_lesson_has_its_example() -> None:
    lessons = {"main_process", "exams", "background_daemons", "pool", "executor"}
    lessons |= {"synchronization", "failing_main", "daemon_rules", "exit_paths"}
    lessons |= {"stopped_service", "proper_exit", "guarded_suite", "hang", "crash_points"}
    assert {path.stem.removeprefix("test_") for path in EXAMPLES} == lessons
