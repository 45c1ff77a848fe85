"""What of a notebook is a program: its code cells, without what only a kernel understands."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from notebooks import write_notebook

from pytest_proclife import notebook


def read_cells(tmp_path: Path, *sources: str) -> notebook.Notebook:
    return notebook.read(write_notebook(tmp_path / "answer.ipynb", *sources))


def test_code_cells_have_a_number_among_themselves_and_text_is_none(tmp_path: Path) -> None:
    found = read_cells(tmp_path, "a = 1", "b = 2\nc = 3")
    assert [(cell.label, cell.source) for cell in found.cells] == [
        ("code cell 1", "a = 1"),
        ("code cell 2", "b = 2\nc = 3"),
    ]
    assert found.source == "a = 1\n\nb = 2\nc = 3"


def test_a_number_that_the_notebook_shows_is_the_cells_if_no_other_has_it(tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "it.ipynb", "a = 1", "b = 1", "c = 1", "d = 1", counts=(12, None, 4, 4)
    )
    labels = [cell.label for cell in notebook.read(path).cells]
    assert labels == ["cell [12]", "code cell 2", "code cell 3", "code cell 4"]


LEFT_OUT = ["%matplotlib inline", "%load_ext autoreload", "!pip install numpy", "os.path?", "?os"]
LEFT_OUT += ["os??", "    %config X = 1", "!python -m pip install x", "!sudo apt-get install x"]
LEFT_OUT += ["!{sys.executable} -m pip install x", "%run other.ipynb", "%pip install numpy"]


@pytest.mark.parametrize("line", LEFT_OUT)
def test_what_is_only_for_a_kernel_is_left_out_and_listed(line: str, tmp_path: Path) -> None:
    head = "if True:\n" if line.startswith(" ") else "import os\n"
    (cell,) = read_cells(tmp_path, f"{head}{line}\nlast = 1").cells
    indent = line[: len(line) - len(line.lstrip())]
    assert cell.source == f"{head}{indent}None\nlast = 1"
    assert cell.left_out == (f"code cell 1, line 2: {line.strip()}",)


@pytest.mark.parametrize(
    ("line", "instead"),
    [
        ("files = !ls", "files = get_ipython().getoutput('ls')"),
        ("!ls", "get_ipython().system('ls')"),
        ("here = %pwd", "here = get_ipython().run_line_magic('pwd', '')"),
        ("%cd ..", "get_ipython().run_line_magic('cd', '..')"),
        ("a, b = %time work()", "a, b = get_ipython().run_line_magic('time', 'work()')"),
    ],
)
def test_what_can_be_done_is_a_call_and_is_not_listed(
    line: str, instead: str, tmp_path: Path
) -> None:
    (cell,) = read_cells(tmp_path, f"import os\n{line}\nlast = 1").cells
    assert (cell.source, cell.left_out) == (f"import os\n{instead}\nlast = 1", ())


def test_a_call_of_the_kernel_that_does_nothing_here_is_listed_too(tmp_path: Path) -> None:
    source = "get_ipython().run_line_magic('matplotlib', 'inline'); x = 1"
    (cell,) = read_cells(tmp_path, f"!ls\n{source}").cells
    assert cell.source.splitlines()[1] == "None; x = 1"
    assert cell.left_out == (f"code cell 1, line 2: {source}",)


def test_a_measurement_that_would_run_it_often_runs_it_once_and_is_listed(tmp_path: Path) -> None:
    line, whole = read_cells(tmp_path, "%timeit f()", "%%timeit -n 5\nf()").cells
    assert line.left_out == ("code cell 1, line 1: %timeit f() (it was run once)",)
    assert whole.left_out == ("code cell 2, line 1: %%timeit -n 5 (the cell was run once)",)


@pytest.mark.parametrize("alone", ["pip install numpy", "conda install x"])
def test_an_installation_without_a_sign_is_one_if_it_is_all_of_a_cell(
    alone: str, tmp_path: Path
) -> None:
    first, second = read_cells(tmp_path, alone, f"{alone}\nx = 1").cells
    assert (first.source, first.left_out) == ("None", (f"code cell 1, line 1: {alone}",))
    assert second.broken.startswith("line 1: a syntax error")  # as in a kernel


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
    assert cell.source == source + ("\nNone" if ending else "")


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("!pip install \\\n  numpy \\\n  dask\nx = 1", 4),
        ("\n\n%cd ..\nx = 1", 4),
        ("%%time\n\n%cd ..\nx = 1", 4),
        ("\n%%time\n!ls \\\n  -l\nx = 1", 5),
    ],
)
def test_each_line_keeps_its_number(source: str, line: int, tmp_path: Path) -> None:
    (cell,) = read_cells(tmp_path, source).cells
    assert cell.source.splitlines()[line - 1] == "x = 1"


def test_the_rest_of_a_timed_cell_is_python_and_that_of_a_shell_cell_is_not(
    tmp_path: Path,
) -> None:
    timed, shell, html = read_cells(tmp_path, "%%time\nx = 1", "%%bash\nls", "%%html\n<p>").cells
    assert (timed.source, timed.magic, timed.left_out) == ("\nx = 1", "time", ())
    assert (shell.source.strip(), shell.left_out) == (
        "get_ipython().run_cell_magic('bash', '', 'ls\\n')",
        (),
    )
    assert (html.source.strip(), html.left_out) == ("None", ("code cell 3, line 1: %%html",))


def test_tags_skip_a_cell_and_let_it_raise(tmp_path: Path) -> None:
    tags = (("skip-execution",), ("raises-exception", "other"))
    path = write_notebook(tmp_path / "it.ipynb", "x = 1", "1 / 0", tags=tags)
    first, second = notebook.read(path).cells
    assert (first.source, first.left_out) == ("", ("code cell 1: it has the tag skip-execution",))
    assert (second.source, second.may_raise) == ("1 / 0", True)


def test_a_cell_of_prose_spoils_only_itself(tmp_path: Path) -> None:
    found = read_cells(tmp_path, "x = 1", "This is an explanation.", "y = 2")
    (cell,) = found.broken
    assert cell.broken == "line 1: a syntax error: invalid syntax"
    assert found.left_out == ("code cell 2, line 1: a syntax error: invalid syntax",)
    assert found.source == "x = 1\n\ny = 2"
    assert not found.is_broken


def test_a_notebook_whose_cells_are_all_broken_is_broken(tmp_path: Path) -> None:
    found = read_cells(tmp_path, "def f(:\n  pass", "")
    assert found.is_broken
    assert found.cells[0].text == "def f(:\n  pass"
    assert not read_cells(tmp_path, "", "").is_broken


def test_without_ipython_a_notebook_of_python_is_read_and_magics_ask_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "IPython.core.inputtransformer2", None)
    assert read_cells(tmp_path, "x = 1").source == "x = 1"
    assert read_cells(tmp_path, "x = 1", "some prose").broken
    message = (
        "code cell 2 of 'answer.ipynb' is for IPython (line 1: a syntax error: invalid syntax): "
        "install pytest-proclife[notebook], which translates it"
    )
    with pytest.raises(notebook.NotebookError) as caught:
        read_cells(tmp_path, "x = 1", "!ls")
    assert str(caught.value) == message


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
