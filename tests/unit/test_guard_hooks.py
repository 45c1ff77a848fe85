"""The modules of the package that the guard knows by their paths."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest_proclife
from pytest_proclife.inside.guard import hooks

PACKAGE = Path(pytest_proclife.__file__).parent
MODULES = {"subprocess", "os", "posix", "_posixsubprocess"}
FUNCTIONS = {"Popen", "run", "call", "check_call", "check_output", "getoutput", "fork_exec"}
FUNCTIONS |= {"posix_spawn", "posix_spawnp", "system", "popen"}


def starts_programs(path: Path) -> bool:
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id in MODULES
        and node.func.attr in FUNCTIONS
        for node in ast.walk(ast.parse(path.read_text()))
    )


def test_the_guard_knows_each_module_that_starts_the_processes_of_a_run() -> None:
    starters = {str(p.relative_to(PACKAGE)) for p in PACKAGE.rglob("*.py") if starts_programs(p)}
    starters.discard("notebook_kernel.py")  # which runs in main
    assert {path for path in starters if not path.startswith(hooks.RUN_STARTERS)} == set()
    for known in hooks.RUN_STARTERS:
        assert any(path.startswith(known) for path in starters), known
