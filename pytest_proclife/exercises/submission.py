"""The fixture `submission`: a student's program, as a target, as text, and by its functions."""

from __future__ import annotations

import ast
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NoReturn

from pytest_proclife import notebook, runner
from pytest_proclife.records import Run
from pytest_proclife.running import RunTimeout
from pytest_proclife.target import Code


class ExerciseError(Exception):
    """The exercise, not the answer, is wrong; the message is for who wrote it."""


class PartialCredit(Exception):
    """A test ends with some of its points; the message is for the student."""

    def __init__(self, points: float, reason: str) -> None:
        super().__init__(reason)
        self.points = points


class Submission(os.PathLike[str]):
    """A student's program. It is a path: `proclife.run(submission)` and `start()` take it."""

    def __init__(self, path: Path, source: str, runs: list[Run]) -> None:
        self.path = path
        self.source = source
        self.noun = ""
        self._runs = runs  # told of each
        self._known: dict[tuple[tuple[str, str], ...], Run | RunTimeout] = {}
        self._functions: Mapping[str, str] | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None

    def __fspath__(self) -> str:
        return str(self.path)

    def __repr__(self) -> str:
        return f"<Submission {self.path.name!r}>"

    @property
    def functions(self) -> Mapping[str, str]:
        """The source of each function at the top level of the program, by its name."""
        if self._functions is None:
            self._functions = MappingProxyType(
                {
                    node.name: ast.get_source_segment(self.source, node) or ""
                    for node in ast.parse(self.source).body
                    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                }
            )
        return self._functions

    def run(self, **options: Any) -> Run:
        """Run the program as `pytest_proclife.run` does, once for all tests with these options.

        Raises what that raises.
        """
        __tracebackhide__ = True
        key = tuple(sorted((name, repr(value)) for name, value in options.items()))
        if key not in self._known:
            try:
                self._known[key] = runner.run(self, **options)
            except RunTimeout as timeout:
                self._known[key] = timeout
        known = self._known[key]
        if isinstance(known, RunTimeout):
            self._runs.append(known.run)
            raise RunTimeout(str(known), known.run)
        self._runs.append(known)
        return known

    def call(self, function: str, *args: object) -> Code:
        """A target that imports the program and calls one of its functions.

        AssertionError where the program has no function of that name, ExerciseError where an
        argument cannot be written as a literal, as numbers, strings and lists of them can.
        """
        __tracebackhide__ = True
        if function not in self.functions:
            there = ", ".join(self.functions) or "none"
            raise AssertionError(f"Your program has no function {function}(); it has {there}.")
        for value in args:
            try:
                same = ast.literal_eval(repr(value)) == value
            except (ValueError, SyntaxError):
                same = False
            if not same:
                raise ExerciseError(f"{value!r} cannot be written as a literal")
        folder, module = self._module()
        given = ", ".join(map(repr, args))
        return Code(
            f"import sys; sys.path.insert(0, {str(folder)!r}); "
            f"from {module} import {function}; {function}({given})"
        )

    def children_are(self, noun: str) -> None:
        """What main's children are called in the sentences for the student: "session"."""
        self.noun = noun

    def partial(self, points: float, reason: str) -> NoReturn:
        """End the test with some of its points; the reason is for the student."""
        __tracebackhide__ = True
        if not 0 <= points < math.inf:
            raise ExerciseError(f"points are a number, 0 or more, not {points!r}")
        raise PartialCredit(points, reason)

    def close(self) -> None:
        if self._scratch is not None:
            self._scratch.cleanup()

    def _module(self) -> tuple[Path, str]:
        """Where the program can be imported from, and by which name."""
        if self.path.suffix != ".ipynb" and self.path.stem.isidentifier():
            return self.path.parent, self.path.stem
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="proclife-")
            place = Path(self._scratch.name)
            if self.path.suffix == ".ipynb":
                notebook.write_program(notebook.read(self.path), place, str(self.path.parent))
            else:
                (place / "answer.py").write_bytes(self.path.read_bytes())
        place = Path(self._scratch.name)
        if self.path.suffix == ".ipynb":
            return place / self.path.name, notebook.PROGRAM.removesuffix(".py")
        return place, "answer"
