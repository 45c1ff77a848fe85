"""How main's own code ended is known for each way to run it, and each way that it can end."""

from __future__ import annotations

import py_compile
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TARGETS
from fidelity import both

import pytest_proclife
from pytest_proclife import Cause, Code

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


# where its code is done, and what runs then ends the process
AFTERWARDS = {
    "exit handler": "atexit.register(os._exit, 7)",
    "exit handler of python's": "atexit.register(lambda: os._exit(7))",
    "finalizer": "class Thing: pass\nthing = Thing()\nweakref.finalize(thing, os._exit, 7)",
    "thread": (
        "def leave():\n"
        "    threading.main_thread().join()\n"
        "    os._exit(7)\n"
        "threading.Thread(target=leave).start()"
    ),
    "signal": "atexit.register(os.kill, os.getpid(), 9)",
    "signal by pidfd": ("atexit.register(signal.pidfd_send_signal, os.pidfd_open(os.getpid()), 9)"),
    "signal to a thread": "atexit.register(signal.pthread_kill, threading.get_ident(), 9)",
}
IMPORTS = "import atexit, os, signal, sys, threading, weakref\n"


@pytest.mark.parametrize("end", [("", "returned"), ("sys.exit(2)", "sys_exit"), ("1/0", "raised")])
@pytest.mark.parametrize("what", AFTERWARDS)
def test_what_ends_the_process_when_its_code_is_done_is_not_the_cause(
    what: str, end: tuple[str, str], script: Callable[[str], str]
) -> None:
    text, cause = end
    run = pytest_proclife.run(script(f"{IMPORTS}{AFTERWARDS[what]}\n{text}\n"))
    assert run.main.cause == cause
    assert run.main.ending == ("signaled" if "signal" in what else "os_exit")
    assert run.exitcode == (-9 if "signal" in what else 7)
    assert run.witness.complete


@pytest.mark.parametrize(
    "call",
    [
        "list(map(os._exit, [7]))",
        "functools.partial(os._exit, status=7)()",
        "sorted([7], key=os._exit)",
        "_thread.start_new_thread(os._exit, (7,)); time.sleep(60)",
        "threading.Timer(0, os._exit, [7]).start(); time.sleep(60)",
        "thing = type('Thing', (), {})(); weakref.finalize(thing, os._exit, 7); del thing",
        "sys.setprofile(lambda *_: os._exit(7)); len('')",
    ],
)
def test_code_that_leaves_by_os_exit_is_not_done_whoever_calls_it(call: str) -> None:
    imports = "import _thread, functools, os, sys, threading, time, weakref\n"
    run = pytest_proclife.run(Code(imports + call))
    assert (run.main.cause, run.exitcode) == (Cause.OS_EXIT, 7)
    assert run.witness.complete


def test_a_status_is_asked_for_its_number_once() -> None:
    bare, observed, run = both([str(TARGETS / "statuses.py")])
    assert observed == bare
    assert (run.main.cause, run.exitcode) == ("os_exit", 3)
    assert run.witness.complete


def test_an_exit_handler_of_a_fork_that_leaves_by_os_exit_is_its_own() -> None:
    program = str(TARGETS / "forks_at_exit.py")
    run = pytest_proclife.run([sys.executable, "-W", "ignore", program])
    assert (run.main.cause, run.exitcode) == (Cause.SYS_EXIT, 3)
    # 3.12 forks none from an exit handler
    assert {(p.cause, p.exitcode) for p in run.children} == {(Cause.OS_EXIT, 5)}


@pytest.mark.parametrize("names", ["__file__", "__name__", "__cached__ __file__ __name__"])
def test_a_program_that_takes_names_out_of_its_main_is_not_mistaken(
    names: str,
) -> None:
    ended = {}
    program = str(TARGETS / "nameless.py")
    for end in ("returns", "exits"):
        ended[end] = pytest_proclife.run(program, [end, *names.split()]).main.cause
    assert ended["returns"] in (Cause.RETURNED, Cause.UNKNOWN)
    assert ended["exits"] in (Cause.SYS_EXIT, Cause.UNKNOWN)
    if names == "__file__" or sys.version_info >= (3, 12):
        assert list(ended.values()) == [Cause.RETURNED, Cause.SYS_EXIT]


def test_an_exit_that_an_interactive_session_follows_is_one(
    script: Callable[[str], str],
) -> None:
    path = script("raise SystemExit(3)")
    run = pytest_proclife.run([sys.executable, "-i", path], input="print(4)\n")
    assert (run.main.cause, run.exitcode, run.stdout) == (Cause.SYS_EXIT, 0, "4\n")


@pytest.mark.parametrize("arguments", [["-m", "no.such.module"], ["-c", "x = ("], ["-Ic", "x = ("]])
def test_a_main_that_never_began_has_its_cause(arguments: list[str]) -> None:
    run = pytest_proclife.run([sys.executable, *arguments])
    assert run.main.cause is (Cause.SYS_EXIT if "-m" in arguments else Cause.RAISED)
    assert not run.main.target_ran
