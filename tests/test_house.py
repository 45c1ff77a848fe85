"""The walls of the house: who imports whom, what is loaded where, how long a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_proclife

PACKAGE = Path(pytest_proclife.__file__).parent

# From the bottom to the top: a room imports only from rooms that stand before it.
ROOMS = (
    *("wire", "inside", "supervisor"),
    *("records", "document", "heard", "spans", "history", "response", "suspicion", "classify"),
    *("sightings", "gathering", "kinship", "losses", "evidence", "parting", "assemble"),
    *("description", "timeline", "checks", "failure", "assertions"),
    *("notebook", "target", "request", "polling", "supervision", "conversation"),
    *("listener", "awaited", "running", "runner", "exercises", "guard"),
    *("plugin", "grading", "cli", "__main__"),
)
WALLED = {"inside": {"wire", "inside"}, "supervisor": {"wire", "supervisor"}}
# At first use, not at import: what a record can do without being asked for it often.
UPWARDS = {("records", "document"), ("records", "timeline")}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """The rooms that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            parts = node.module.split(".")
            if parts[0] != "pytest_proclife":
                continue
            yield from parts[1:2] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("pytest_proclife."):
                    yield alias.name.split(".")[1]


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_rooms_before_its_own(path: Path) -> None:
    room = room_of(path)
    before = WALLED.get(room) or {*ROOMS[: ROOMS.index(room)], room}
    upwards = {other for other in imports(path) if other not in before}
    assert {other for other in upwards if (room, other) not in UPWARDS} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_is_at_most_three_hundred_lines(path: Path) -> None:
    assert path.read_text().count("\n") <= 300


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_the_plugin_imports_pytest(path: Path) -> None:
    tree = ast.walk(ast.parse(path.read_text()))
    names = [name.name for node in tree if isinstance(node, ast.Import) for name in node.names]
    assert room_of(path) == "plugin" or "pytest" not in names


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


def test_what_runs_inside_imports_little() -> None:
    heavy = {"typing", "dataclasses", "json", "socket", "enum", "re", "ast", "traceback", "ctypes"}
    for room in ("inside", "supervisor"):
        names = [path.stem for path in (PACKAGE / room).glob("*.py") if path.stem != "__init__"]
        modules = loaded_by(f"from pytest_proclife.{room} import {', '.join(names)}")
        assert modules.isdisjoint(heavy | {"pytest", "psutil", "pluggy", "multiprocessing"}), room


def test_importing_the_package_imports_nothing_else() -> None:
    assert loaded_by("import pytest_proclife") == {"pytest_proclife"}
