"""How main's own code ended is known for each way to run it, and each way that it can end."""

from __future__ import annotations

import py_compile
import sys
from pathlib import Path

import pytest

import pytest_proclife
from pytest_proclife import Cause

ENDS = {
    "x = 1": (Cause.RETURNED, 0),
    "import sys\nsys.exit(0)": (Cause.SYS_EXIT, 0),
    "import sys\nsys.exit('in words')": (Cause.SYS_EXIT, 1),
    "raise SystemExit": (Cause.SYS_EXIT, 0),
    "1/0": (Cause.RAISED, 1),
    "raise KeyboardInterrupt": (Cause.RAISED, -2),
    "import os\nos._exit(4)": (Cause.OS_EXIT, 4),
    "import os\nos.kill(os.getpid(), 9)": (Cause.SIGNALED, -9),
    "import os\nif os.fork(): os._exit(os.waitstatus_to_exitcode(os.wait()[1]))\n1/0": (
        Cause.OS_EXIT,
        1,
    ),
    "import atexit, os\natexit.register(os._exit, 5)": (Cause.RETURNED, 5),
    "import atexit\natexit.register(atexit._clear)": (Cause.RETURNED, 0),
}


@pytest.mark.parametrize("text", ENDS)
@pytest.mark.parametrize("way", ["script", "-c", "-m", "-", "folder", "pyc", "-I", "-S"])
def test_the_end_of_main_is_known(way: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(text)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(text)
    compiled = str(tmp_path / "program.pyc")
    py_compile.compile(str(tmp_path / "program.py"), compiled)
    arguments: dict[str, list[str]] = {
        "script": ["program.py"],
        "-c": ["-c", text],
        "-m": ["-m", "program"],
        "folder": ["folder"],
        "pyc": [compiled],
        "-I": ["-I", "program.py"],
        "-S": ["-S", "-c", text],
        "-": ["-"],
    }
    given = text if way == "-" else None
    run = pytest_proclife.run([sys.executable, *arguments[way]], cwd=tmp_path, input=given)
    assert (run.main.cause, run.exitcode) == ENDS[text], str(run)
    assert run.main.target_ran
    assert run.witness.complete


@pytest.mark.parametrize("arguments", [["-m", "no.such.module"], ["-c", "x = ("], ["-Ic", "x = ("]])
def test_a_main_that_never_began_has_its_cause(arguments: list[str]) -> None:
    run = pytest_proclife.run([sys.executable, *arguments])
    assert run.main.cause is (Cause.SYS_EXIT if "-m" in arguments else Cause.RAISED)
    assert not run.main.target_ran
