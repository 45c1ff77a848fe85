"""An exercise loaded once, in the process whose forks hold it against submissions."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_proclife.exercises.seal import Seal
from pytest_proclife.plugin.examination import Examination

# What an exercise has no use for, and would pay for at each answer: of the second the garbage
# collections at the end of all.
_UNUSED = (
    "doctest",
    "unraisableexception",
    "threadexception",
    "junitxml",
    "pastebin",
    "stepwise",
    "faulthandler",
)


def load(exercise: Path, seal: Seal, within: Callable[[Examination], int]) -> int:
    """Load an exercise, once, and do `within`, whose forks can examine; what that returns.

    So every grader has the exercise as it is now, whatever becomes of its files. Unusable
    where it cannot be used.
    """
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ.pop("PYTEST_PLUGINS", None)
    root = exercise.parent
    arguments = [str(exercise), "-c", os.devnull, f"--rootdir={root}", f"--confcutdir={root}"]
    arguments += ["-q", "-s", "--tb=short", "-p", "no:cacheprovider", "--disable-plugin-autoload"]
    arguments += [word for name in _UNUSED for word in ("-p", f"no:{name}")]
    arguments += ["-p", "pytest_proclife.plugin", "--strict-markers", "--color=no"]
    arguments += ["--disable-warnings"]
    examination = Examination(seal, within)
    words = io.StringIO()
    with (
        tempfile.TemporaryDirectory(prefix="proclife-") as empty,
        _no_caches(empty),
        contextlib.redirect_stdout(words),
        contextlib.redirect_stderr(words),
    ):
        code = pytest.main(arguments, plugins=[examination])
    return examination.outcome(code, words.getvalue())


@contextlib.contextmanager
def _no_caches(empty: str) -> Iterator[None]:
    """Read no bytecode that lies beside sources, where an answer can have put it, nor write it."""
    before = sys.pycache_prefix, sys.dont_write_bytecode
    sys.pycache_prefix, sys.dont_write_bytecode = empty, True
    try:
        yield
    finally:
        sys.pycache_prefix, sys.dont_write_bytecode = before
