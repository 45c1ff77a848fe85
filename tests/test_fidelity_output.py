"""What an observed program writes is byte for byte what it writes bare, tracebacks included."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import TARGETS, mostly_slow
from fidelity import RAISING, STACKS, both

METHODS = mostly_slow(("fork", "spawn", "forkserver"), 2)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("which", ["starts", "pools"])
def test_failing_starts_and_targets_look_the_same(which: str, method: str) -> None:
    bare, observed, run = both([RAISING, which, method])
    assert observed == bare
    assert "Traceback" in bare.stderr
    assert run.witness.complete


def test_programs_that_cannot_be_started_look_the_same() -> None:
    bare, observed, _ = both([RAISING, "executes", "fork"])
    assert observed == bare
    assert bare.stderr.count("Traceback") >= 40


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("which", ["in_target", "in_thread", "crash"])
def test_the_stack_in_a_child_is_the_programs_own(which: str, method: str) -> None:
    bare, observed, _ = both([STACKS, which, method])
    assert observed == bare


@pytest.mark.parametrize(
    "which",
    [
        "in_fork",
        "in_join",
        "interrupted",
        "interrupted_at_exit",
        "raised_in_join",
        "with_threads",
        "traced",
        "at_exit",
    ],
)
def test_the_stack_in_main_is_the_programs_own(which: str) -> None:
    bare, observed, _ = both([STACKS, which, "fork"])
    assert observed == bare


@pytest.mark.slow
@pytest.mark.parametrize("flags", ["-I", "-S", "-X dev", "-W error"])  # more: test_fidelity_state
def test_flags_change_nothing_in_that(flags: str) -> None:
    for arguments in ([RAISING, "starts", "spawn"], [STACKS, "in_target", "forkserver"]):
        bare, observed, run = both([*flags.split(), *arguments])
        assert observed == bare
        assert run.witness.complete


TEXTS = {
    "syntax error": "x = (1,\nprint(x",
    "error in line 1": "1/0",
    "error in a later line": "def f():\n    return [1][\n        2]\n\n\nf()\n",
    "indented": "    x = 1\n",
    "compound": "for x in (1, 0): 1/x",
    "in words": "import sys\nsys.exit('in words')",
    "a comment at the end": "x = 1  # no more",
    "a string without end": "x = '''no end",
    "a continued line": "x = 1\\",
    "an escape": "print('\\d')",
    "from the future": (
        "from __future__ import annotations\ndef f(x: nothing): raise x\nf(KeyError)"
    ),
    "interrupted": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass",
    "raised by a handler": (
        "import os, signal\n"
        "def handler(number, frame): raise KeyError(number)\n"
        "signal.signal(signal.SIGTERM, handler)\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "while True: pass"
    ),
    "warned": (
        "import warnings\nwarnings.warn('here', stacklevel=1)\nwarnings.warn('up', stacklevel=2)\n"
    ),
    "the stack": "import traceback, sys\ntraceback.print_stack()\nprint(sys._getframe().f_back)",
    "its own excepthook": (
        "import sys, traceback\n"
        "def hook(kind, error, trace):\n"
        "    traceback.print_exception(error); traceback.print_tb(trace); traceback.print_stack()\n"
        "sys.excepthook = hook\n"
        "1/0"
    ),
    "the name of main": "print(__name__, sorted(globals()), __spec__ and __spec__.name)",
}


@pytest.mark.parametrize(
    "flags",
    ["", pytest.param("-I", marks=pytest.mark.slow), pytest.param("-S", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", mostly_slow(TEXTS, 8))
def test_a_text_looks_the_same_as_script_module_c_and_input(
    name: str, flags: str, tmp_path: Path
) -> None:
    text = TEXTS[name]
    (tmp_path / "program.py").write_text(text)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "__main__.py").write_text(text)
    for arguments in (["program.py"], ["-c", text], ["-"], ["-m", "program"], ["folder"]):
        given = text if arguments == ["-"] else ""
        # -B: what the first of the two compiles would be there for the second
        bare, observed, _ = both(["-B", *flags.split(), *arguments], input=given, cwd=tmp_path)
        assert observed == bare, arguments


@pytest.mark.parametrize("arguments", [["-m", "no.such.module"], ["/no/such.py"], ["-Z"], ["-V"]])
def test_what_the_interpreter_itself_refuses_looks_the_same(arguments: list[str]) -> None:
    for flags in ([], ["-I"], ["-S"]):
        bare, observed, _ = both([*flags, *arguments])
        assert observed == bare


def test_an_interrupted_child_and_its_parent_look_the_same() -> None:
    bare, observed, _ = both([str(TARGETS / "interrupted_child.py")])
    assert observed == bare


def test_a_pyc_file_runs_as_it_does_bare(tmp_path: Path) -> None:
    import py_compile

    (tmp_path / "program.py").write_text("import sys, traceback\ntraceback.print_stack()\n1/0\n")
    compiled = tmp_path / "program.pyc"
    py_compile.compile(os.fspath(tmp_path / "program.py"), cfile=os.fspath(compiled))
    bare, observed, run = both([os.fspath(compiled)])
    assert observed == bare
    assert run.main.cause == "raised"
