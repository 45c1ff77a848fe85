"""The walls of the house: which module imports which."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_proclife

PACKAGE = Path(pytest_proclife.__file__).parent

# From the bottom to the top: a module imports only from modules listed before it. A room (a
# folder) that is given without its modules is one entry, whose modules may import each other.
ORDER = (
    *("wire", "errors", "durations", "records", "run_json"),
    *("inside", "supervisor", "polling"),
    *("analysis.log", "analysis.family", "analysis.foreign", "analysis.gaps"),
    *("analysis.joins", "analysis.history"),
    *("analysis.cause", "analysis.evidence", "analysis.stacks", "analysis.hangs"),
    "analysis.assemble",
    *("render.text", "render.screen", "render.evidence", "render.process", "render.hang"),
    "render.phases",
    *("render.timeline", "render.trace", "render.html", "render.picture", "render.crash"),
    *(
        "assertions.arguments",
        "assertions.violation",
        "assertions.causes",
        "assertions.shutdown",
        "assertions.startup",
    ),
    *("assertions.joins", "assertions.orphans", "assertions.order", "assertions.failure"),
    "assertions.verbs",
    *(
        "notebook_kernel",
        "notebook",
        "target",
        "confinement",
        "options",
        "backend",
        "stacks",
        "session",
        "live",
        "runner",
        "crash",
    ),
    *("guard.starts", "guard.proc", "guard.pools", "guard.owners", "guard.cleanup"),
    *("guard.leak", "guard.leak_text", "guard.allowance", "guard.settings", "guard.leak_report"),
    "guard.plugin",
    *("plugin.settings", "plugin.fixture", "plugin.report", "plugin.archive", "plugin"),
    *("exercises.seal", "exercises.results", "exercises.intake", "exercises.archive"),
    *("exercises.submission", "exercises.integrity", "exercises.workers", "exercises.front"),
    *("exercises.namespaces", "exercises.cgroup", "exercises.sandbox", "exercises.scratch"),
    *("exercises.verdict", "exercises.statement", "exercises.feedback"),
    *("exercises.gradebook", "exercises.sheet", "exercises.formats"),
    *("exercises.pytest_session", "exercises.grading", "exercises.unit", "exercises.cluster"),
    *("exercises.shards", "exercises.grade"),
    *("terminal", "crash_command", "cli", "__main__"),
)
# What runs in observed processes, and in the zygote and the supervisors, imports nothing else.
WALLED = {"inside": {"wire", "inside"}, "supervisor": {"wire", "supervisor"}}
# What an import at first use may do: a record renders itself when it is asked for its text.
AT_FIRST_USE = {
    ("records", "run_json"),
    ("records", "render.crash"),
    ("records", "render.evidence"),
    ("records", "render.screen"),
    ("records", "render.picture"),
    ("records", "render.timeline"),
}
# Which modules know pytest.
PYTEST = {"plugin", "plugin.settings", "plugin.fixture", "plugin.report", "guard.plugin"} | {
    "plugin.archive",
    "guard.settings",
    "guard.leak_report",
    "exercises.pytest_session",
}

FILES = sorted(PACKAGE.rglob("*.py"))


def module_of(path: Path) -> str:
    """The dotted name below the package: "" for the package itself."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def entry_of(module: str) -> str:
    """The entry of ORDER that a module belongs to."""
    return module if module in ORDER else module.partition(".")[0]


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """Each import of a module: its dotted name, and whether it is inside a function."""
    tree = ast.parse(path.read_text())
    nested = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.walk(node)
    }
    checked_only = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for node in ast.walk(tree):
        if node in checked_only:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node in nested
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                below = full.removeprefix("pytest_proclife.")
                yield full if below in MODULES else str(node.module), node in nested


def of_the_package(path: Path) -> Iterator[tuple[str, bool]]:
    for name, nested in imports(path):
        if name.partition(".")[0] == "pytest_proclife":
            yield name.partition(".")[2], nested


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_modules_before_it(path: Path) -> None:
    module = module_of(path)
    room = module.partition(".")[0]
    if module not in ORDER and room not in ORDER:
        assert list(of_the_package(path)) == [], "an __init__ is a list of names"
        return
    own = entry_of(module)
    before = WALLED.get(room) or {*ORDER[: ORDER.index(own)], own}
    wrong = {
        other
        for other, nested in of_the_package(path)
        if entry_of(other) not in before and not (nested and (module, other) in AT_FIRST_USE)
    }
    assert wrong == set()


def test_every_module_has_its_place_in_the_order() -> None:
    inits = {module_of(path) for path in FILES if path.name == "__init__.py"} - set(ORDER)
    assert {module for module in MODULES - inits if entry_of(module) not in ORDER} == set()
    assert {entry for entry in ORDER if entry not in MODULES} == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_only_what_runs_in_pytest_imports_pytest(path: Path) -> None:
    names = {name.partition(".")[0] for name, _ in imports(path)}
    assert module_of(path) in PYTEST or names.isdisjoint({"pytest", "_pytest", "pluggy"})


def test_every_public_name_is_found_where_type_checkers_find_it() -> None:
    tree = ast.parse(Path(pytest_proclife.__file__).read_text())
    homes = {
        alias.name: str(node.module)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if str(node.module).startswith("pytest_proclife.")
    }
    assert homes.keys() == set(pytest_proclife.__all__)
    for name, module in homes.items():
        assert getattr(pytest_proclife, name) is getattr(importlib.import_module(module), name)
