"""The program of a submission, and `submission`, the object for tests."""

from __future__ import annotations

import ast
import contextlib
import copy
import difflib
import functools
import math
import os
import sys
import tempfile
import tokenize
import warnings
from collections.abc import Mapping
from importlib.machinery import PathFinder
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from pytest_proclife import notebook, runner
from pytest_proclife.errors import RunTimeout
from pytest_proclife.exercises.archive import Archive, Unreadable
from pytest_proclife.exercises.intake import MAINS, is_program
from pytest_proclife.records import Run
from pytest_proclife.target import Code

_LARGEST = 10_000_000  # bytes of a program


class Ungradable(Exception):
    """The submission has no program that can be run; the message says why."""


def private_copy(archive: Archive, name: str, folder: Path) -> tuple[Path, str]:
    """Write a submission into a new folder, so that its program can change its files.

    Return the program in the copy and its source. Ungradable if there is none that can be run;
    OSError if there is no room for the copy.
    """
    try:
        return program(archive.write_to(folder, name))
    except Unreadable as error:
        raise Ungradable(str(error)) from None


def program(path: Path) -> tuple[Path, str]:
    """The program of a submission and its source. Ungradable if it cannot be run."""
    file = _program_file(path) if path.is_dir() else path
    try:
        if not file.is_file():
            raise Ungradable(f"{file.name!r} is not a file that can be read")
        if file.stat().st_size > _LARGEST:
            raise Ungradable(f"{file.name!r} is larger than {_LARGEST:,} bytes")
        source = _source(file)
    except OSError as error:
        raise Ungradable(f"{file.name!r} cannot be read: {error.strerror}") from None
    if not source.strip():
        raise Ungradable(f"{file.name!r} is empty")
    return file, source


def _program_file(folder: Path) -> Path:
    """Its main.py, or else the only program that is visible."""
    programs = sorted(file for file in folder.iterdir() if is_program(file) and file.is_file())
    programs = [file for file in programs if file.name in MAINS][:1] or programs
    if not programs:
        raise Ungradable("there is no program: no .py and no .ipynb file")
    if len(programs) > 1:
        names = ", ".join(file.name for file in programs[:5])
        raise Ungradable(f"which file is the program? There are {names}, and no main.py")
    return programs[0]


def _source(file: Path) -> str:
    if file.suffix == ".ipynb":
        try:
            cells = notebook.read(file)
        except notebook.NotebookError as error:
            raise Ungradable(str(error)) from None
        if cells.is_broken:
            cell = cells.broken[0]
            raise Ungradable(f"{cell.label} of {file.name!r}, {cell.broken}")
        return cells.source
    try:
        with tokenize.open(file) as opened:
            source = opened.read()
    except (UnicodeDecodeError, SyntaxError, LookupError):
        raise Ungradable(
            f"{file.name!r} is not text that Python can read: save it as UTF-8"
        ) from None
    _parse(source, repr(file.name))
    return source


def _parse(source: str, where: str) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):
            # nesting that compiles can be too deep for the tree, which `functions` needs
            compile(source, where, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
            compile(source, where, "exec", dont_inherit=True)
    except SyntaxError as error:
        line = "" if error.lineno is None else f", line {error.lineno}"
        raise Ungradable(f"{where}{line}: a syntax error: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        reason = str(error) or type(error).__name__
        raise Ungradable(f"{where} cannot be compiled: {reason}") from None


class ExerciseError(Exception):
    """The exercise is wrong, not the answer; the message is for its author."""


class PartialCredit(Exception):
    """A test gives some of its points; the message is for the student."""

    def __init__(self, points: float, reason: str) -> None:
        super().__init__(reason)
        self.points = points


class Submission(os.PathLike[str]):
    """A student's program. It is a path, which `proclife.run()` and `start()` take as a target."""

    def __init__(self, path: Path, source: str, runs: list[Run], seccomp: bool = False) -> None:
        self.path = path
        self.source = source
        self.noun = ""
        self._runs = runs  # each run is added to it
        self._seccomp = seccomp  # the default for its runs
        self._known: dict[tuple[tuple[str, str], ...], Run | RunTimeout] = {}
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self.started = False  # something has asked for its path, to run it
        self.earned: list[tuple[float, str]] = []  # by the current test

    def __fspath__(self) -> str:
        self.started = True
        return str(self.path)

    def __repr__(self) -> str:
        return f"<Submission {self.path.name!r}>"

    @functools.cached_property
    def functions(self) -> Mapping[str, str]:
        """The source of each function at the top level of the program, by its name."""
        return MappingProxyType(
            {
                node.name: ast.get_source_segment(self.source, node) or ""
                for node in ast.parse(self.source).body
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
        )

    @functools.cached_property
    def cells(self) -> notebook.Notebook | None:
        """The notebook that it is; None for a script."""
        return notebook.read(self.path) if self.path.suffix == ".ipynb" else None

    def missing(self) -> tuple[str, ...]:
        """The modules that it imports and that are not installed where it is graded.

        One that looks like a misspelled module of the standard library is not among them.
        """
        names: set[str] = set()
        for node in ast.walk(ast.parse(self.source)):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).partition(".")[0])
        path = [str(self.path.parent), *sys.path]
        return tuple(
            name
            for name in sorted(names - sys.stdlib_module_names)
            if PathFinder.find_spec(name, path) is None
            and not difflib.get_close_matches(name, sys.stdlib_module_names, 1, 0.85)
        )

    def run(self, **options: Any) -> Run:
        """Run the program as `pytest_proclife.run` does, once for all tests with these options.

        Raises the same exceptions.
        """
        __tracebackhide__ = True
        options.setdefault("seccomp", self._seccomp)
        key = tuple(sorted((name, repr(value)) for name, value in options.items()))
        if key not in self._known:
            try:
                self._known[key] = runner.run(self, **options)
            except RunTimeout as timeout:
                self._known[key] = timeout
        known = self._known[key]
        if isinstance(known, RunTimeout):
            self._runs.append(known.run)
            raise copy.copy(known)
        self._runs.append(known)
        return known

    def call(self, function: str, *args: object) -> Code:
        """A target that imports the program and calls one of its functions.

        AssertionError if the program has no function of that name, ExerciseError if an argument
        is not a literal, as numbers, strings and lists of them are.
        """
        __tracebackhide__ = True
        if function not in self.functions:
            there = ", ".join(self.functions) or "none"
            raise AssertionError(f"Your program has no function {function}(); it has {there}.")
        for value in args:
            with contextlib.suppress(ValueError, SyntaxError):  # its repr() is not a literal
                if ast.literal_eval(repr(value)) == value:
                    continue
            raise ExerciseError(f"{value!r} cannot be written as a literal")
        folder, module = self._module
        given = ", ".join(map(repr, args))
        return Code(
            f"import sys; sys.path.insert(0, {str(folder)!r}); "
            f"from {module} import {function}; {function}({given})"
        )

    def children_are(self, noun: str) -> None:
        """Set the noun for main's children in the sentences for the student, such as "session"."""
        self.noun = noun

    def partial(self, points: float, reason: str) -> NoReturn:
        """End the test with some of its points. The student reads the reason."""
        __tracebackhide__ = True
        if not 0 <= points < math.inf:
            raise ExerciseError(f"points are a number, 0 or more, not {points!r}")
        raise PartialCredit(points, reason)

    def earn(self, points: float, reason: str) -> None:
        """Keep some of the test's points, even if it fails or times out later.

        The student reads the reason then. A test that passes gives all of its points.
        """
        if not 0 <= points < math.inf:
            raise ExerciseError(f"points are a number, 0 or more, not {points!r}")
        self.earned.append((points, reason))

    def close(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()

    @functools.cached_property
    def _module(self) -> tuple[Path, str]:
        """The folder that the program can be imported from, and the module's name."""
        if self.path.suffix != ".ipynb" and self.path.stem.isidentifier():
            return self.path.parent, self.path.stem
        self._scratch = tempfile.TemporaryDirectory(prefix="proclife-")
        folder = Path(self._scratch.name)
        folder.chmod(0o755)
        if self.path.suffix == ".ipynb":
            cells = notebook.read(self.path)
            file = notebook.write_program(cells, folder, str(self.path.parent))
        else:
            file = folder / "answer.py"
            file.write_bytes(self.path.read_bytes())
        return file.parent, file.stem
