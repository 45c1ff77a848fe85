"""Which submissions there are, and what of one is its program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from notebooks import write_notebook

from pytest_proclife.exercises.submission import (
    Ungradable,
    find,
    fingerprint,
    private_copy,
    program,
)


def names(tmp_path: Path, *paths: str) -> dict[str, str]:
    submissions = find([str(tmp_path / path) for path in paths])
    return {name: str(found.relative_to(tmp_path)) for name, found in submissions.items()}


def write(tmp_path: Path, *paths: str) -> None:
    for path in paths:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("pass")


def test_a_file_is_a_submission_whatever_it_is(tmp_path: Path) -> None:
    write(tmp_path, "ada.py", "bob.ipynb", "eve.txt")
    assert names(tmp_path, "ada.py", "bob.ipynb", "eve.txt") == {
        "ada": "ada.py",
        "bob": "bob.ipynb",
        "eve.txt": "eve.txt",
    }


def test_a_folder_of_folders_has_a_submission_in_each(tmp_path: Path) -> None:
    write(tmp_path, "in/ada/x.py", "in/bob/x.ipynb", "in/.git/x.py", "in/__pycache__/x.py")
    (tmp_path / "in/eve").mkdir()
    assert names(tmp_path, "in") == {"ada": "in/ada", "bob": "in/bob", "eve": "in/eve"}


def test_a_folder_of_programs_has_a_submission_in_each_file(tmp_path: Path) -> None:
    write(tmp_path, "in/ada.py", "in/bob.ipynb", "in/notes.txt")
    assert names(tmp_path, "in") == {"ada": "in/ada.py", "bob": "in/bob.ipynb"}


def test_a_folder_with_a_main_or_one_program_is_one_submission(tmp_path: Path) -> None:
    write(tmp_path, "ada/main.py", "ada/other.py", "ada/package/module.py", "bob/exam.py")
    assert names(tmp_path, "ada", "bob") == {"ada": "ada", "bob": "bob"}


def test_equal_names_get_their_folders_and_equal_paths_are_one_submission(tmp_path: Path) -> None:
    write(tmp_path, "x/exam.py", "y/exam.py", "z.py")
    found = names(tmp_path, "x/exam.py", "y/exam.py", "z.py", "z.py")
    assert found == {"x-exam.py": "x/exam.py", "y-exam.py": "y/exam.py", "z": "z.py"}


def test_names_that_stay_equal_are_distinguished(tmp_path: Path) -> None:
    write(tmp_path, "a-b/c.py", "a/b-c.py", "a/b/c.py")
    assert len(names(tmp_path, "a-b/c.py", "a/b-c.py", "a/b/c.py")) == 3


@pytest.mark.parametrize("path", ["missing", "missing.py"])
def test_a_missing_path_is_a_value_error(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"no such submission: '.*{path}'"):
        names(tmp_path, path)


def test_the_program_of_a_notebook_is_its_cells(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "exam.ipynb", "%matplotlib inline", "x = 1")
    assert program(path) == (path, "None\n\nx = 1")


def test_the_program_of_a_folder_is_its_main_or_its_only_file(tmp_path: Path) -> None:
    write(tmp_path, "ada/main.py", "ada/other.py", "bob/exam.py", "bob/._exam.py", "bob/data.txt")
    assert program(tmp_path / "ada")[0] == tmp_path / "ada/main.py"
    assert program(tmp_path / "bob")[0] == tmp_path / "bob/exam.py"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "'exam.py' is empty"),
        (b" \n\t\n", "'exam.py' is empty"),
        (b"\xff\xfe\x00", "'exam.py' is not text that Python can read"),
        (b"# coding: klingon\n", "'exam.py' is not text that Python can read"),
        (b"x = 1\nx = (", "'exam.py', line 2: a syntax error: '(' was never closed"),
        (b"return 1", "'exam.py', line 1: a syntax error: 'return' outside function"),
        (b"x = '\0'", "'exam.py'"),
        (b"x = " + b"-" * 50_000 + b"1", "'exam.py'"),
    ],
)
def test_a_file_that_is_not_a_program_is_ungradable(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "exam.py"
    path.write_bytes(content)
    with pytest.raises(Ungradable) as raised:
        program(path)
    assert str(raised.value).startswith(reason)


def test_a_syntax_error_in_a_notebook_has_its_cell(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "exam.ipynb", "", "y = 2\nz = (")
    with pytest.raises(Ungradable, match=r"code cell 2 of 'exam.ipynb', line 2: a syntax error"):
        program(path)


def test_a_cell_of_prose_spoils_only_itself(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "exam.ipynb", "x = 1", "Some prose.", "y = 2")
    assert program(path)[1] == "x = 1\n\ny = 2"


def test_a_cell_may_await_and_a_script_may_not(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "exam.ipynb", "async def f(): pass", "await f()")
    assert program(path)[1].endswith("await f()")
    (tmp_path / "exam.py").write_text("async def f(): pass\nawait f()")
    with pytest.raises(Ungradable, match="line 2: a syntax error: 'await' outside function"):
        program(tmp_path / "exam.py")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ([], "there is no program"),
        (["notes.txt"], "there is no program"),
        (["a.py", "b.py"], "which file is the program? There are a.py, b.py"),
    ],
)
def test_a_folder_without_one_program_is_ungradable(
    files: list[str], reason: str, tmp_path: Path
) -> None:
    folder = tmp_path / "ada"
    folder.mkdir()
    write(folder, *files)
    with pytest.raises(Ungradable) as raised:
        program(folder)
    assert str(raised.value).startswith(reason)


def test_a_fingerprint_is_that_of_all_files(tmp_path: Path) -> None:
    write(tmp_path, "ada/main.py", "ada/deep/er.py")
    before = fingerprint(tmp_path / "ada")
    assert fingerprint(tmp_path / "ada") == before
    (tmp_path / "ada/deep/er.py").write_text("changed")
    assert fingerprint(tmp_path / "ada") != before


@pytest.mark.parametrize("path", ["ada", "ada/main.py"])
def test_a_copy_has_the_program_and_its_source(path: str, tmp_path: Path) -> None:
    write(tmp_path, "ada/main.py")
    file, source = private_copy(tmp_path / path, tmp_path / "place")
    assert (file.relative_to(tmp_path / "place").name, source) == ("main.py", "pass")
    assert file.read_text() == "pass"


def test_a_submission_that_cannot_be_copied_is_ungradable(tmp_path: Path) -> None:
    write(tmp_path, "ada/main.py")
    os.mkfifo(tmp_path / "ada/pipe")
    with pytest.raises(Ungradable, match=r"it cannot be copied: .* is a named pipe"):
        private_copy(tmp_path / "ada", tmp_path / "place")
