"""Observed processes import next to nothing of ours; the loader's list; the marks for 3.11."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pytest_proclife
from pytest_proclife.inside.site import loader

INSIDE = Path(pytest_proclife.__file__).parent / "inside"
FILES = sorted(path for path in INSIDE.rglob("*.py") if "__pycache__" not in path.parts)
# Loaded by every interpreter when it starts, also under -S.
STARTED_WITH = {
    *("_imp", "_signal", "_thread", "_weakref", "builtins", "marshal", "posix", "sys", "time"),
}
# `site` has imported os when it looks for a sitecustomize; the interpreter imports runpy next.
# The guard is loaded into a pytest that runs already.
ALSO = {
    "site/sitecustomize.py": {"os", "sitecustomize"},
    "rewrite.py": {"runpy"},
    "guard/hooks.py": {"_posixsubprocess", "multiprocessing.process"},
}


def imported(tree: ast.AST) -> set[str]:
    """The modules that a file imports when it runs: not those for the type checker alone."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        else:
            found |= imported(node)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(INSIDE)))
def test_a_file_imports_what_is_there_already(path: Path) -> None:
    name = path.relative_to(INSIDE).as_posix()
    foreign = {
        module
        for module in imported(ast.parse(path.read_text(encoding="utf-8")))
        if module.partition(".")[0] != "pytest_proclife"
    }
    assert foreign <= STARTED_WITH | ALSO.get(name, set())


def test_the_loader_knows_each_module_after_those_that_it_imports() -> None:
    modules = [name for name in loader._MODULES if name not in ("wire", "inside")]
    names = {f"inside.{path.stem}" for path in FILES if path.parent == INSIDE}
    by_version = {"inside.monitoring", "inside.rewrite"}  # one of these
    assert names - by_version - {"inside.__init__"} == set(modules) - by_version
    for place, name in enumerate(modules):
        tree = ast.parse((INSIDE / f"{name.removeprefix('inside.')}.py").read_text())
        needed = {
            module.removeprefix("pytest_proclife.")
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module is not None
            for module in (
                [f"{node.module}.{alias.name}" for alias in node.names]
                if node.module == "pytest_proclife.inside"
                else [node.module]
            )
            if module.startswith("pytest_proclife.inside.")
        }
        assert needed - by_version <= set(modules[:place]), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(INSIDE)))
def test_each_branch_for_python_3_11_is_marked(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.If | ast.IfExp) and "(3, 12)" in ast.unparse(node.test):
            lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
            assert any("# 3.11:" in line for line in lines), f"{path}:{node.lineno}"
