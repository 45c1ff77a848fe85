"""What is loaded in which process: nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pytest_proclife

PACKAGE = Path(pytest_proclife.__file__).parent


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter has after a statement and had not before."""
    code = f"import sys; before = set(sys.modules); {statement}; print(*set(sys.modules) - before)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent
    )
    return set(done.stdout.split())


def test_an_observed_program_has_no_module_of_ours_nor_of_pytest() -> None:
    code = pytest_proclife.Code("import sys; print(*sys.modules)")
    run = pytest_proclife.run(code)
    modules = {name.partition(".")[0] for name in (run.stdout or "").split()}
    assert modules.isdisjoint({"pytest_proclife", "pytest", "_pytest", "psutil", "pluggy"})


@pytest.mark.parametrize("room", ["inside", "inside.guard", "supervisor"])
def test_what_runs_inside_imports_little(room: str) -> None:
    heavy = {"typing", "dataclasses", "json", "socket", "enum", "re", "ast", "traceback", "ctypes"}
    folder = PACKAGE.joinpath(*room.split("."))
    names = [path.stem for path in folder.glob("*.py") if path.stem != "__init__"]
    modules = loaded_by(f"from pytest_proclife.{room} import {', '.join(sorted(names))}")
    assert modules.isdisjoint(heavy | {"pytest", "psutil", "pluggy", "multiprocessing"})


def test_importing_the_package_imports_nothing_else() -> None:
    assert loaded_by("import pytest_proclife") == {"pytest_proclife"}


def test_polling_is_imported_without_what_only_linux_has() -> None:
    code = (
        "import _socket, select; del select.epoll, _socket.SO_PASSCRED, _socket.MSG_NOSIGNAL; "
        "import pytest_proclife.polling.loop"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
