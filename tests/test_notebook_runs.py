"""Notebooks as real main processes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from notebooks import write_notebook

from pytest_proclife import (
    Cause,
    Notebook,
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
    assert 'exam.ipynb/code cell 3", line 1, in <module>\n    fail()' in (failed.stderr or "")
    assert 'exam.ipynb/code cell 2", line 3, in fail\n    1 / 0' in (failed.stderr or "")


def test_what_was_left_out_is_in_the_evidence_and_in_the_document(tmp_path: Path) -> None:
    path = write_notebook(tmp_path / "exam.ipynb", "!pip install left_out", "print('here')")
    done = run(path, cwd=tmp_path)
    assert str(done.main.evidence[0]) == "left out: code cell 1, line 1: !pip install left_out"
    assert Run.from_json(done.to_json()) == done
    assert done.children == ()


KERNEL = {
    "n = !echo 1; echo {word} $word\nprint(n)": "['1', 'a a']\n",
    "!echo {word}": "a\n",
    "%%bash\necho $((1 + 1))": "2\n",
    "%%script sh\necho 3": "3\n",
    "%%python\nprint(4)": "4\n",
    "word": "'a'\n",
    "word;": "",
    "word = 'b'": "",
    "def f(): return 1\nf()": "1\n",
    "%%capture caught\nprint('quiet')": "",
    "%%capture caught\nprint('quiet')\n%env X": "",
    "%pwd": "{cwd!r}\n",
    "%env WORD=5\nimport os\nprint(os.environ['WORD'])": "env: WORD=5\n5\n",
    "%cd sub\nimport os\nprint(os.path.basename(os.getcwd()))": "{cwd}/sub\nsub\n",
    "%run sub/other.py 7\nprint(made)": "['sub/other.py', '7']\n8\n",
    "%timeit print('once')": "once\n",
    "%%prun\nprint('once')": "once\n",
    "x = %time 2 + 3": "CPU times: user ",
    "%%time\nx = 5": "CPU times: user ",
    "from IPython.display import display, HTML\ndisplay(5)": "5\n",
    "get_ipython().events.register('x', print)": "",
    "%matplotlib inline\nprint(1)": "1\n",
}


@pytest.mark.slow
@pytest.mark.parametrize("cell", KERNEL)
def test_a_cell_does_what_it_does_in_a_kernel(cell: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/other.py").write_text("import sys\nprint(sys.argv)\nmade = 8")
    done = run(write_notebook(tmp_path / "it.ipynb", "word = 'a'", cell), cwd=tmp_path)
    assert done.exitcode == 0, done.stderr
    expected = KERNEL[cell].replace("{cwd!r}", repr(str(tmp_path)))
    expected = expected.replace("{cwd}", str(tmp_path))
    if expected.startswith("CPU"):
        assert "Wall time: " in (done.stdout or "")
        assert (done.stdout or "").startswith(expected)
    else:
        assert done.stdout == expected


def test_a_file_that_a_cell_writes_is_there_and_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "beside.py").write_text("value = 1")
    folder = tmp_path / "folder"
    folder.mkdir()
    cells = (
        "%%writefile written.py\nvalue = 2\n",
        "%%file -a written.py\nvalue += 1\n",
        "%%writefile data.csv\n1,2\n",
        "import beside, written\nprint(beside.value, written.value)\n",
    )
    done = run(write_notebook(tmp_path / "exam.ipynb", *cells), cwd=folder)
    assert done.stdout == ("Writing written.py\nAppending to written.py\nWriting data.csv\n1 3\n")
    assert (folder / "data.csv").read_text() == "1,2\n"


STARTS = """\
if __name__ == "__main__":
    p = multiprocessing.Process(target=work)
    p.start()
    p.join()
"""


def test_children_that_import_main_do_not_repeat_commands(tmp_path: Path) -> None:
    cells = (
        "!echo shell; mkdir sub\n%cd sub",
        "%%writefile -a log.txt\nline\n",
        "%%bash\necho bash",
        "'shown'",
        "n = !echo 3",
        "import multiprocessing\ndef work(): print('work', n)",
        STARTS,
    )
    path = write_notebook(tmp_path / "exam.ipynb", *cells)
    done = run(path, start_method="spawn", cwd=tmp_path)
    lines = (done.stdout or "").splitlines()
    assert lines == [
        "shell",
        f"{tmp_path}/sub",
        "Writing log.txt",
        "bash",
        "'shown'",
        "work ['3']",
    ]
    (child,) = done.find(kind="process")
    assert_returned(child)


def test_a_command_was_started_at_its_line_in_the_cell(tmp_path: Path) -> None:
    done = run(write_notebook(tmp_path / "exam.ipynb", "x = 1\n!true"))
    (child,) = done.children
    assert any("exam.ipynb/code cell 1:2" in str(fact) for fact in child.evidence)


def test_a_cell_of_prose_spoils_only_itself(tmp_path: Path) -> None:
    done = run(write_notebook(tmp_path / "exam.ipynb", "x = 1", "Some prose here.", "print(x)"))
    assert (done.stdout, done.exitcode) == ("1\n", 0)
    assert (done.stderr or "").endswith("SyntaxError: invalid syntax\n")
    assert "left out: code cell 2, line 1: a syntax error: invalid syntax" in map(
        str, done.main.evidence
    )


def test_a_notebook_without_a_cell_of_python_raises(tmp_path: Path) -> None:
    done = run(write_notebook(tmp_path / "exam.ipynb", "x = (", "Some prose here."))
    assert done.main.cause is Cause.RAISED
    assert done.exitcode == 1


def test_tags_skip_a_cell_or_let_it_raise(tmp_path: Path) -> None:
    cells, tags = ("print(1)", "1 / 0", "print(3)"), (["skip-execution"], ["raises-exception"])
    done = run(write_notebook(tmp_path / "exam.ipynb", *cells, tags=tags))
    assert (done.stdout, done.exitcode, done.main.cause) == ("3\n", 0, Cause.RETURNED)
    assert (done.stderr or "").endswith("ZeroDivisionError: division by zero\n")


def test_to_keep_going_runs_the_other_cells_and_ends_with_the_first_exception(
    tmp_path: Path,
) -> None:
    path = write_notebook(tmp_path / "exam.ipynb", "1 / 0", "print(2)", "{}['x']", "print(4)")
    done = run(Notebook(path, keep_going=True))
    assert (done.stdout, done.exitcode) == ("2\n4\n", 1)
    assert done.main.exception is not None
    assert done.main.exception.type == "ZeroDivisionError"
    errors = [line for line in (done.stderr or "").splitlines() if "Error" in line]
    assert errors == ["ZeroDivisionError: division by zero", "KeyError: 'x'"]
    assert run(path).stdout == ""
    ended = run(Notebook(write_notebook(tmp_path / "x.ipynb", "exit(3)", "1"), keep_going=True))
    assert (ended.exitcode, ended.stdout) == (3, "")
    with pytest.raises(TargetError, match=r"a Notebook is a file that ends in .ipynb, not 'x.py'"):
        run(Notebook("x.py"))


def test_no_frame_of_ours_is_in_a_traceback(tmp_path: Path) -> None:
    cells = (
        "import asyncio, traceback\nasync def fail(): 1 / 0",
        "try:\n    await fail()\nexcept ZeroDivisionError:\n    traceback.print_exc()",
        "def work():\n    {}['x']\n%time work()",
    )
    done = run(write_notebook(tmp_path / "exam.ipynb", *cells))
    files = re.findall(r'File "([^"]+)"', done.stderr or "")
    assert {os.path.basename(file) for file in files} == {
        *("code cell 1", "code cell 2", "code cell 3", "<timed>")
    }
    assert done.main.exception is not None
    assert "notebook_" not in done.main.exception.traceback


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
    assert 'exam.ipynb/code cell 1", line 2' in main.exception.traceback


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
    assert done.stderr.endswith("left out: code cell 1, line 1: %matplotlib inline\n")


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
