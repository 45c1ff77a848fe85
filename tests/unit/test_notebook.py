"""What of a notebook is a program: its code cells, without what only a kernel understands."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from notebooks import write_notebook

from pytest_proclife import notebook


def read_cells(tmp_path: Path, *sources: str) -> notebook.Notebook:
    return notebook.read(write_notebook(tmp_path / "answer.ipynb", *sources))


def test_code_cells_are_numbered_and_text_is_none(tmp_path: Path) -> None:
    found = read_cells(tmp_path, "a = 1", "b = 2\nc = 3")
    assert [(cell.number, cell.source) for cell in found.cells] == [
        (1, "a = 1"),
        (2, "b = 2\nc = 3"),
    ]
    assert found.source == "a = 1\n\nb = 2\nc = 3"


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("%matplotlib inline", "pass"),
        ("    %cd ..", "    pass"),
        ("!pip install numpy", "pass"),
        ("pip install numpy", "pass"),
        ("os.path?", "pass"),
        ("?os", "pass"),
        ("os??", "pass"),
        ("files = !ls", "files = []"),
        ("here = %pwd", "here = None"),
        ("%time work()", "work()"),
    ],
)
def test_what_only_a_kernel_understands_is_made_harmless_and_listed(
    line: str, instead: str, tmp_path: Path
) -> None:
    head = "if True:\n" if line.startswith(" ") else "import os\n"
    (cell,) = read_cells(tmp_path, f"{head}{line}\nlast = 1").cells
    assert cell.source == f"{head}{instead}\nlast = 1"
    assert cell.left_out == (f"cell 1, line 2: {line.strip()}",)


@pytest.mark.parametrize(
    "source",
    [
        "text = '''\n!ls\n%cd\n'''",
        "rest = (10\n% 3)",
        "rest = 10 \\\n% 3",
    ],
)
@pytest.mark.parametrize("ending", ["", "\n%matplotlib inline"])
def test_python_that_looks_like_a_magic_stays(source: str, ending: str, tmp_path: Path) -> None:
    (cell,) = read_cells(tmp_path, source + ending).cells
    assert cell.source == source + ("\npass" if ending else "")


def test_a_shell_line_that_goes_on_is_left_out_whole(tmp_path: Path) -> None:
    (cell,) = read_cells(tmp_path, "!pip install \\\n  numpy\nx = 1").cells
    assert cell.source == "pass\n\nx = 1"


def test_the_body_of_a_timed_cell_is_python_and_that_of_a_shell_cell_is_none(
    tmp_path: Path,
) -> None:
    timed, shell = read_cells(tmp_path, "%%time\nx = 1", "%%bash\nls").cells
    assert (timed.source, timed.left_out) == ("\nx = 1", ("cell 1, line 1: %%time",))
    assert (shell.source, shell.left_out) == ("", ("cell 2, line 1: %%bash",))


def test_a_syntax_error_stays_the_students(tmp_path: Path) -> None:
    (cell,) = read_cells(tmp_path, "def f(:\n  pass").cells
    assert cell.source == "def f(:\n  pass"
    assert cell.left_out == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "it is not JSON"),
        ("print('a script')", "it is not JSON"),
        ("[]", "it has no nbformat"),
        ('{"nbformat": 4}', "it has no list of cells"),
        ('{"nbformat": 4, "cells": [1]}', "a cell has no cell_type"),
        ('{"nbformat": 4, "cells": [{"cell_type": "code"}]}', "a code cell has no source"),
        ('{"nbformat": 4, "cells": [], "metadata": {"language_info": {"name": "R"}}}', "in r, not"),
    ],
)
def test_what_is_no_notebook_is_said(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "answer.ipynb"
    path.write_text(text)
    with pytest.raises(notebook.NotebookError, match=reason):
        notebook.read(path)


def test_bytes_that_are_no_text_are_no_notebook(tmp_path: Path) -> None:
    path = tmp_path / "answer.ipynb"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(notebook.NotebookError, match=r"'answer.ipynb' is not a notebook"):
        notebook.read(path)


def test_an_old_format_asks_for_nbformat_and_is_read_with_it(tmp_path: Path) -> None:
    path = tmp_path / "answer.ipynb"
    cell: dict[str, Any] = {"cell_type": "code", "language": "python", "input": ["x = 1"]}
    cell |= {"outputs": [], "metadata": {}, "collapsed": False, "prompt_number": 1}
    sheet = {"metadata": {}, "cells": [cell]}
    values = {"nbformat": 3, "nbformat_minor": 0, "metadata": {"name": ""}, "worksheets": [sheet]}
    path.write_text(json.dumps(values))
    if importlib.util.find_spec("nbformat") is None:
        with pytest.raises(notebook.NotebookError, match=r"pytest-proclife\[notebook\]"):
            notebook.read(path)
    else:
        assert notebook.read(path).source == "x = 1"
