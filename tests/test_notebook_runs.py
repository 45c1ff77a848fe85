"""Notebooks as real main processes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from notebooks import write_notebook

from pytest_proclife import (
    Cause,
    Run,
    TargetError,
    assert_abandoned,
    assert_held_up_by,
    assert_joined,
    assert_returned,
    notebook,
    run,
    start,
)

EXAMPLES = Path(__file__).parent.parent / "examples"
EXAM = (
    "import os, sys, multiprocessing",
    "def session(ready):\n    ready.set()\n    multiprocessing.Event().wait()",
    """\
if __name__ == "__main__":
    ready = multiprocessing.Event()
    process = multiprocessing.Process(target=session, args=(ready,), daemon=True)
    process.start()
    ready.wait()
    print("the exam is over", sys.argv[1:])
""",
)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_notebook_is_a_main_whose_children_find_their_functions(
    method: str, tmp_path: Path
) -> None:
    exam = run(write_notebook(tmp_path / "exam.ipynb", *EXAM), ["first"], start_method=method)
    assert exam.stdout == "the exam is over ['first']\n"
    assert exam.exitcode == 0
    assert (exam.target.kind, exam.target.args) == ("notebook", ("first",))
    assert_abandoned(exam.children)


def test_a_traceback_names_the_cell_and_the_line(tmp_path: Path) -> None:
    path = write_notebook(
        tmp_path / "exam.ipynb", "x = 1", "%cd ..\ndef fail():\n    1 / 0", "fail()"
    )
    failed = run(path)
    assert failed.main.cause is Cause.RAISED
    assert 'exam.ipynb/cell 3", line 1, in <module>\n    fail()' in (failed.stderr or "")
    assert 'exam.ipynb/cell 2", line 3, in fail\n    1 / 0' in (failed.stderr or "")


def test_what_was_left_out_is_in_the_evidence_and_in_the_document(tmp_path: Path) -> None:
    done = run(
        write_notebook(tmp_path / "exam.ipynb", "!touch made", "print('here')"), cwd=tmp_path
    )
    assert str(done.main.evidence[0]) == "left out: cell 1, line 1: !touch made"
    assert Run.from_json(done.to_json()) == done
    assert not (tmp_path / "made").exists()


def test_modules_beside_the_notebook_and_those_that_it_writes_are_found(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("value = 1")
    cells = ("%%writefile written.py\nvalue = 2", "import beside, written\nprint(beside, written)")
    done = run(write_notebook(tmp_path / "exam.ipynb", *cells), cwd="/")
    assert "module 'beside'" in (done.stdout or "")
    assert "module 'written'" in (done.stdout or "")
    assert not (tmp_path / "written.py").exists()


def test_a_future_import_holds_for_the_cells(tmp_path: Path) -> None:
    cells = ("from __future__ import annotations", "def f(x: missing): pass\nprint('fine')")
    assert run(write_notebook(tmp_path / "exam.ipynb", *cells)).stdout == "fine\n"


def test_a_cell_may_await_as_in_a_kernel_and_all_have_the_same_loop(tmp_path: Path) -> None:
    cells = (
        "import asyncio\nasync def double(n): return 2 * n",
        "print(await double(2))",
        "loop = asyncio.get_running_loop()\nawait asyncio.sleep(0)",
        "async with asyncio.timeout(60):\n    print(asyncio.get_running_loop() is loop)",
        "print('no loop needed')",
    )
    assert run(write_notebook(tmp_path / "exam.ipynb", *cells)).stdout == (
        "4\nTrue\nno loop needed\n"
    )


def test_an_error_of_what_a_cell_awaits_has_its_cell_and_line(tmp_path: Path) -> None:
    cells = ("async def f():\n    1 / 0", "await f()")
    main = run(write_notebook(tmp_path / "exam.ipynb", *cells)).main
    assert main.exception is not None
    assert main.exception.type == "ZeroDivisionError"
    assert 'exam.ipynb/cell 1", line 2' in main.exception.traceback


def test_what_a_kernel_gives_to_every_cell_is_there_where_it_is_asked_for(tmp_path: Path) -> None:
    cells = ("display(1, 'x')\nget_ipython().run_line_magic('matplotlib', 'inline')\nprint('on')",)
    assert run(write_notebook(tmp_path / "exam.ipynb", *cells)).stdout == "1\n'x'\non\n"
    own = ("def display(x): print('own', x)", "display(1)\nprint('get_ipython' in globals())")
    assert run(write_notebook(tmp_path / "exam.ipynb", *own)).stdout == "own 1\nFalse\n"


def test_a_program_that_asks_for_its_names_sees_its_own(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "exam.ipynb", "sys = 1", "print(sorted(globals()))")
    assert "'sys'" in (run(path).stdout or "")
    path = write_notebook(tmp_path / "exam.ipynb", "print('sys' in globals())")
    assert run(path).stdout == "False\n"


def test_nothing_of_the_program_stays_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    path = write_notebook(tmp_path / "exam.ipynb", "import signal", "signal.pause()")
    with start(path) as main:
        assert os.listdir(scratch)
        main.kill()
        main.wait()
    assert os.listdir(scratch) == []


def test_a_wrong_environment_leaves_no_program_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    env: dict[str, str] = {"A": 1}  # type: ignore[dict-item]
    with pytest.raises(TargetError, match="must be a string, not 1"):
        run(write_notebook(tmp_path / "it.ipynb", "pass"), env=env)
    assert os.listdir(scratch) == []


def test_what_is_no_notebook_is_a_target_error(tmp_path: Path) -> None:
    (tmp_path / "exam.ipynb").write_text("print('a script')")
    with pytest.raises(TargetError, match=r"'exam.ipynb' is not a notebook: it is not JSON"):
        run(tmp_path / "exam.ipynb")


def test_the_command_line_runs_notebooks_and_lists_what_was_left_out(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "exam.ipynb", "%matplotlib inline\nprint('ran')")
    command = [sys.executable, "-m", "pytest_proclife", "run", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "ran\n"
    assert "MainProcess" in done.stderr
    assert done.stderr.endswith("left out: cell 1, line 1: %matplotlib inline\n")


def test_the_course_has_the_programs_of_the_examples() -> None:
    cells = notebook.read(EXAMPLES / "course.ipynb").cells
    names = ("main_process", "exam_nondaemon", "exam_daemon")
    programs = [(EXAMPLES / f"{name}.py").read_text().rstrip("\n") for name in names]
    assert [cell.source for cell in cells] == programs


@pytest.mark.slow
@pytest.mark.once
def test_the_course_runs_from_its_notebook() -> None:
    course = run(EXAMPLES / "course.ipynb", start_method="fork")
    workers, (session, daemon) = course.children[:3], course.children[3:]
    assert_joined(workers, "explicit")
    assert_returned(session)
    assert_held_up_by(course.main, session)
    assert_abandoned(daemon)
