"""What of a submission is its program."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebooks import write_notebook

from pytest_proclife.exercises.submission import Ungradable, program


def write(tmp_path: Path, *paths: str) -> None:
    for path in paths:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("pass")


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
