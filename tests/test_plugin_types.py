"""The public names as type checkers see them, in a project that uses them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import INSTALLED, TARGETS

pytestmark = pytest.mark.once
PACKAGE = Path(__file__).parent.parent


@pytest.fixture
def project(tmp_path: Path) -> Path:
    shutil.copy(TARGETS / "typed_use.py", tmp_path / "test_theirs.py")
    return tmp_path


def check(project: Path, *command: str) -> tuple[int, str]:
    """A type checker's exit status and words about the project."""
    env = os.environ if INSTALLED else {**os.environ, "MYPYPATH": str(PACKAGE)}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_mypy_is_content(project: Path) -> None:
    pytest.importorskip("mypy")
    mypy = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "test_theirs.py"]
    status, words = check(project, *mypy)
    assert status == 0, words
    assert words == "Success: no issues found in 1 source file\n"


def test_pyright_is_content(project: Path) -> None:
    pytest.importorskip("basedpyright")
    settings = {
        "typeCheckingMode": "strict",
        "include": ["test_theirs.py"],
        "enableTypeIgnoreComments": False,  # mypy's
        "reportUnnecessaryTypeIgnoreComment": "error",
        # the attribute that is not there is of no type
        "reportUnknownMemberType": False,
        "extraPaths": [] if INSTALLED else [str(PACKAGE)],
    }
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    pyright = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable]
    status, words = check(project, *pyright)
    assert status == 0, words
    assert words.startswith("0 errors, 0 warnings")
