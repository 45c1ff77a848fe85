"""An exercise's folder as it was, and what a private copy shows of changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_proclife.exercises import integrity
from pytest_proclife.exercises.integrity import PrivateCopy, snapshot


def exercise_in(folder: Path) -> Path:
    folder.mkdir()
    (folder / "exercise.py").write_text("import helper")
    (folder / "helper.py").write_text("")
    (folder / "data").mkdir()
    (folder / "data/table.csv").write_text("1")
    return folder / "exercise.py"


def test_a_snapshot_has_the_files_of_the_folder_that_are_the_exercises(tmp_path: Path) -> None:
    exercise = exercise_in(tmp_path / "week")
    for name in (".git/config", "__pycache__/helper.pyc", "answers/group/ada.py", "bob.py"):
        (tmp_path / "week" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "week" / name).write_text("")
    os.mkfifo(tmp_path / "week/pipe")
    others = [tmp_path / "week/answers/group/ada.py", tmp_path / "week/bob.py", tmp_path]
    files = snapshot(exercise, others).files
    assert sorted(files) == ["data/table.csv", "exercise.py", "helper.py"]


def test_a_folder_that_is_too_large_is_a_value_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exercise = exercise_in(tmp_path / "week")
    monkeypatch.setattr(integrity, "_LARGEST", 10)
    with pytest.raises(ValueError, match="has more than 0 MB: move the exercise to a folder"):
        snapshot(exercise)


def test_a_digest_is_that_of_all_files(tmp_path: Path) -> None:
    exercise = exercise_in(tmp_path / "week")
    before = snapshot(exercise)
    assert snapshot(exercise).digest == before.digest
    (tmp_path / "week/data/table.csv").write_text("2")
    (tmp_path / "week/helper.py").unlink()
    (tmp_path / "week/more.csv").write_text("")
    after = snapshot(exercise)
    assert after.digest != before.digest
    assert before.differences(after) == ["data/table.csv", "helper.py", "more.csv"]


def test_a_copy_is_what_the_original_was(tmp_path: Path) -> None:
    exercise = exercise_in(tmp_path / "week")
    (tmp_path / "week/tool").write_text("#!/bin/sh\n")
    (tmp_path / "week/tool").chmod(0o755)
    original = snapshot(exercise)
    exercise.write_text("another")
    copy = PrivateCopy(original, tmp_path / "place")
    assert copy.path == tmp_path / "place/week/exercise.py"
    assert copy.path.read_text() == "import helper"
    assert (copy.root / "data/table.csv").read_text() == "1"
    assert os.access(copy.root / "tool", os.X_OK)
    assert copy.change() is None
    assert copy.in_original(f"{copy.path}: line 1") == f"{exercise}: line 1"


def back_and_forth(root: Path) -> None:
    helper = root / "helper.py"
    before = helper.stat().st_ctime_ns
    while helper.stat().st_ctime_ns == before:  # before Linux 6.13 it advances in steps of 4 ms
        helper.write_text("1 / 0")
        helper.write_text("")
        os.utime(helper, ns=(0, 0))


def put_bytecode(root: Path) -> None:
    (root / "__pycache__").unlink()
    (root / "__pycache__").mkdir()
    (root / "__pycache__/helper.cpython-313.pyc").write_bytes(b"")


def put_pipe(root: Path) -> None:
    (root / "helper.py").unlink()
    os.mkfifo(root / "helper.py")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda root: (root / "data/table.csv").write_text("2"), "data/table.csv"),
        (lambda root: (root / "helper.py").unlink(), "helper.py"),
        (lambda root: (root / "json.py").write_text(""), "json.py"),
        (lambda root: (root / "json").symlink_to(root.parent), "json"),
        (lambda root: (root / "out.txt").write_text("output"), None),
        (back_and_forth, "helper.py"),
        (put_bytecode, "__pycache__"),
        (put_pipe, "helper.py"),
    ],
)
def test_a_change_of_a_copy_is_found(
    change: Callable[[Path], object], name: str | None, tmp_path: Path
) -> None:
    copy = PrivateCopy(snapshot(exercise_in(tmp_path / "week")), tmp_path / "place")
    change(copy.root)
    assert copy.change() == name
