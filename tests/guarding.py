"""Run suites with the guard, and programs that the guard watches."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest
from conftest import TARGETS

SUITES = TARGETS / "suites"
# What the short suites begin with.
HEAD = """\
import os, pytest, subprocess, sys, threading, time, unittest
kept = []
def leave(seconds="600"):
    kept.append(subprocess.Popen(["sleep", seconds]))
"""
FORK_HEAD = f"""{HEAD}
import multiprocessing
FORK = multiprocessing.get_context("fork")
"""


def needs(module: str) -> pytest.MarkDecorator:
    """Skip a test if a library is not installed."""
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


def write_suite(pytester: pytest.Pytester, tests: Path | str, head: str = HEAD) -> None:
    """Make `test_suite.py`: of one of SUITES, or of a short text below a head."""
    text = tests.read_text() if isinstance(tests, Path) else head + dedent(tests)
    Path(pytester.path, "test_suite.py").write_text(text)


def guarded(
    pytester: pytest.Pytester,
    tests: Path | str,
    *options: str,
    head: str = HEAD,
    guard: str = "--proclife-guard",
    wait: float = 0,
) -> pytest.RunResult:
    """Run a suite in a process of its own, with the guard; `guard` is its option, if any."""
    write_suite(pytester, tests, head)
    options = ("-p", "no:cacheprovider", *options)
    if guard:
        options = (guard, f"--proclife-guard-wait={wait}", *options)
    return pytester.runpytest_subprocess(*options, timeout=120)


def accounts(result: pytest.RunResult, owner: str) -> list[str]:
    """What the section LEAKS says of each leak of an owner, without the line breaks."""
    text = result.stdout.str()
    found = []
    for account in re.findall(
        rf"^{re.escape(owner)} leaked \d+ .*:\n((?:\n|  .*\n)+)", text, re.MULTILINE
    ):
        found += [
            " ".join(leak.split()) for leak in re.split(r"\n(?=  \S)", account) if leak.strip()
        ]
    return [leak for leak in found if not leak.startswith("The guard has killed")]


def line_of(path: Path, comment: str) -> int:
    """The number of the line that ends with a comment."""
    lines = path.read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(f"# {comment}"))


def output_of(program: str, *arguments: str) -> object:
    """What a program of the targets prints last, in JSON."""
    root = str(Path(__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(TARGETS / program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": root},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    output: object = json.loads(done.stdout.splitlines()[-1])
    return output
