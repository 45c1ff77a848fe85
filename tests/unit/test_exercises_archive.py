"""Submissions are kept as they were handed in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_proclife.exercises import archive as archive_module
from pytest_proclife.exercises.archive import Archive, Unreadable
from pytest_proclife.exercises.intake import HandedIn


def archived(path: Path, name: str = "ada", problem: str = "") -> tuple[Archive, str]:
    archive = Archive()
    digest = archive.add(name, HandedIn(path=path, origin=path, problem=problem))
    archive.seal()
    return archive, digest


def write(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("as it was")


def test_a_copy_is_what_was_handed_in(tmp_path: Path) -> None:
    write(tmp_path, "ada/main.py", "ada/deep/er.py", "ada/__pycache__/x.pyc")
    (tmp_path / "ada/main.py").chmod(0o755)
    (tmp_path / "ada/link").symlink_to("deep/er.py")
    os.mkfifo(tmp_path / "ada/pipe")
    archive, _ = archived(tmp_path / "ada")
    (tmp_path / "ada/main.py").write_text("changed")
    copy = archive.write_to(tmp_path / "place", "ada")
    assert copy == tmp_path / "place/ada"
    assert sorted(str(path.relative_to(copy)) for path in copy.rglob("*")) == [
        "deep",
        "deep/er.py",
        "link",
        "main.py",
    ]
    assert (copy / "main.py").read_text() == "as it was"
    assert os.access(copy / "main.py", os.X_OK)
    assert archive.is_as_written(tmp_path / "place", "ada")
    (copy / "new.txt").write_text("output")
    assert archive.is_as_written(tmp_path / "place", "ada")
    (copy / "deep/er.py").write_text("changed")
    assert not archive.is_as_written(tmp_path / "place", "ada")


def test_a_program_has_the_suffix_that_python_knows(tmp_path: Path) -> None:
    write(tmp_path, "exam.PY")
    archive, _ = archived(tmp_path / "exam.PY")
    assert archive.write_to(tmp_path / "place", "ada") == tmp_path / "place/exam.py"
    assert archive.is_as_written(tmp_path / "place", "ada")


def test_nobody_can_write_to_what_is_sealed(tmp_path: Path) -> None:
    write(tmp_path, "exam.py")
    archive, _ = archived(tmp_path / "exam.py")
    with open(f"/proc/self/fd/{archive._file}", "r+b", buffering=0) as file:
        with pytest.raises(PermissionError):
            file.write(b"x")
        with pytest.raises(PermissionError):
            file.truncate(0)
    with pytest.raises(PermissionError):
        archive.add("bob", HandedIn(path=tmp_path / "exam.py", origin=tmp_path))


def test_what_is_too_large_for_memory_is_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_module, "_IN_MEMORY", 300)
    archive = Archive()
    for number in range(5):
        path = tmp_path / f"{number}.py"
        path.write_bytes(os.urandom(100))
        archive.add(str(number), HandedIn(path=path, origin=path))
    archive.seal()
    for number in range(5):
        copy = archive.write_to(tmp_path / f"place{number}", str(number))
        assert copy.read_bytes() == (tmp_path / f"{number}.py").read_bytes()
    os.pwrite(archive._file, b"x" * 50, 0)
    with pytest.raises(Unreadable, match="was changed while others were being graded"):
        archive.write_to(tmp_path / "again", "0")


def test_a_hash_is_that_of_all_files(tmp_path: Path) -> None:
    write(tmp_path, "ada/main.py", "ada/deep/er.py")
    _, before = archived(tmp_path / "ada")
    assert archived(tmp_path / "ada")[1] == before
    (tmp_path / "ada/deep/er.py").write_text("changed")
    assert archived(tmp_path / "ada")[1] != before


def test_what_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link.py").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "large.py").write_text("x" * 100)
    monkeypatch.setattr(archive_module, "_LARGEST", 99)
    for path, problem, reason in (
        ("link.py", "", "'link.py' cannot be read: No such file or directory"),
        ("pipe.py", "", "'pipe.py' is not a file that can be read"),
        ("large.py", "", "it has more than 0 MB"),
        ("large.py", "it is a riddle", "it is a riddle"),
    ):
        archive, digest = archived(tmp_path / path, problem=problem)
        assert digest
        with pytest.raises(Unreadable) as raised:
            archive.write_to(tmp_path / "place", "ada")
        assert str(raised.value) == reason
