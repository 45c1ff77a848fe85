"""An observed program sees of itself what it sees bare: names, modules, environment, signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import TARGETS, mostly_slow
from fidelity import STATE, both

from pytest_proclife import Cause, Run

TEXT = Path(STATE).read_text(encoding="utf-8")


def compared(arguments: list[str], **given: Any) -> Run:
    """Hold what STATE prints bare against what it prints observed."""
    bare, observed, run = both(arguments, **given)
    assert observed.exitcode == bare.exitcode == 0, observed.stderr
    assert observed.stderr == bare.stderr
    expected, seen = json.loads(bare.stdout), json.loads(observed.stdout)
    ours = {
        number: what
        for number, what in seen.pop("descriptors").items()
        if number not in expected["descriptors"]
    }
    del expected["descriptors"]
    assert list(ours.values()) == [["socket", 1]]  # FD_CLOEXEC
    assert all(int(number) >= 20 for number in ours)
    for name, value in expected.items():
        assert seen[name] == value, name
    assert run.main.cause is Cause.RETURNED
    # `env` and `grep`, which the program runs, do not report, but it does
    assert len(run.children) == 3
    return run


@pytest.mark.parametrize(
    "flags",
    mostly_slow(
        ["", "-I", "-S", "-ISE", "-IX dev", "-W error", "-E", "-s", "-P", "-B", "-u", "-O", "-OO"],
        5,
    ),
)
def test_a_script_sees_itself(flags: str) -> None:
    compared([*flags.split(), STATE, "an argument", "-x"])


@pytest.mark.parametrize("flags", mostly_slow(["", "-I", "-S", "-X dev", "-E -W error"], 3))
def test_the_text_of_c_sees_itself(flags: str) -> None:
    compared([*flags.split(), "-c", TEXT, "an argument"])


@pytest.mark.parametrize("flags", ["", "-I", "-S"])
def test_a_program_from_standard_input_sees_itself(flags: str) -> None:
    compared([*flags.split(), "-", "an argument"], input=TEXT)


@pytest.mark.parametrize("flags", ["", "-S"])
def test_a_module_sees_itself(flags: str) -> None:
    compared([*flags.split(), "-m", "fidelity_state", "-x"], cwd=TARGETS)


@pytest.mark.parametrize(
    "path", mostly_slow([f"{TARGETS}:", "", ".", ":", "/no/such:/nor/this"], 2)
)
def test_the_search_path_is_what_pythonpath_says(path: str) -> None:
    compared([STATE], env={**os.environ, "PYTHONPATH": path})


@pytest.mark.parametrize("flags", ["-S", "-ES"])
def test_the_folder_for_bytecode_is_the_users(flags: str, tmp_path: Path) -> None:
    env = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path / "cache")}
    compared([flags, STATE], env=env)


def test_what_the_program_reads_and_inherits_is_its_own() -> None:
    env = {"PATH": os.environ["PATH"], "EMPTY": "", "BYTES": os.fsdecode(b"\xff")}
    compared([STATE], env=env, input="some input")


def test_the_programs_own_sitecustomize_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys; print(sorted(sys.modules), __name__, __file__, sys.path, file=sys.stderr)"
    )
    run = compared([STATE], env={**os.environ, "PYTHONPATH": str(tmp_path)})
    assert run.stderr is not None
    assert "sitecustomize" in run.stderr


def test_an_error_in_the_programs_own_sitecustomize_is_shown(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("1/0")
    compared([STATE], env={**os.environ, "PYTHONPATH": str(tmp_path)})


def test_a_program_may_import_the_package_itself() -> None:
    text = "import pytest_proclife, sys; print(pytest_proclife.__spec__, sys.modules.keys())"
    bare, observed, _ = both(["-c", text])
    assert observed == bare


@pytest.mark.parametrize("ignored", [[], [1, 2, 10, 15, 22], [int(signal.SIGCHLD), 13]])
def test_main_ignores_and_blocks_the_signals_that_its_caller_does(ignored: list[int]) -> None:
    caller = [sys.executable, str(TARGETS / "ignoring_caller.py"), *map(str, ignored)]
    done = subprocess.run(caller, capture_output=True, text=True, timeout=60, process_group=0)
    assert done.returncode == 0, done.stderr


def test_children_inherit_what_putenv_and_unsetenv_changed() -> None:
    bare, observed, run = both([str(TARGETS / "inherited.py")])
    assert observed == bare
    assert {p.cause for p in run.processes} == {Cause.RETURNED, Cause.EXITED}


def _older_pythons() -> list[str]:
    """Pythons that the recorder does not know, as far as this machine has any."""
    folders = [Path(folder) for folder in os.get_exec_path()]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)
        folders += Path(root.stdout.strip()).glob("versions/*/bin")
    names = ("python2.7", "python3.6", "python3.10")
    paths = [folder / name for folder in folders for name in names]
    found = {path.name: path for path in paths if os.access(path, os.X_OK)}
    runs = [subprocess.run([path, "-c", ""], check=False).returncode for path in found.values()]
    return [str(path) for path, status in zip(found.values(), runs, strict=True) if status == 0]


def test_an_older_python_is_let_through() -> None:
    text = "import os, sys; print(sorted(os.environ), sys.path, sorted(sys.modules))"
    for python in _older_pythons() or [sys.executable]:  # then it shows nothing new
        command = f"import subprocess; subprocess.run([{python!r}, '-c', {text!r}])"
        bare, observed, _ = both(["-c", command])
        assert observed == bare, python


def test_the_arguments_show_no_way_in() -> None:
    text = (
        "import multiprocessing.util as util, sys\n"
        "print(sys.orig_argv, util._args_from_interpreter_flags())\n"
    )
    for flags in ([], ["-I"], ["-S"], ["-E", "-X", "dev"], ["-IXpycache_prefix=/no/such"]):
        bare, observed, _ = both([*flags, "-c", text])
        assert observed == bare
