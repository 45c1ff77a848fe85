"""A program run bare and observed, side by side, and what may differ between the two."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from conftest import TARGETS

import pytest_proclife
from pytest_proclife import Run

STATE = str(TARGETS / "fidelity_state.py")
RAISING = str(TARGETS / "fidelity_raising.py")
STACKS = str(TARGETS / "fidelity_stacks.py")

# Each start numbers and places these anew.
_VARYING = (
    (r"0x[0-9a-f]+", "0x"),
    (r"pid=\d+", "pid="),
    (r"Process \d+ terminated", "Process terminated"),
    (r"/tmp/tmp\w+", "/tmp/"),
    # faulthandler shows it from 3.14 on; the calls of C that announce os.abort() stand in it
    (r"\nCurrent thread's C stack trace .*\n(  .*\n)*", ""),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a program showed."""

    exitcode: int | None
    stdout: str
    stderr: str


def both(
    arguments: Sequence[str],
    *,
    input: str = "",
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
) -> tuple[Outcome, Outcome, Run]:
    """A Python program's outcome bare, the same observed, and the account of the latter."""
    command = [sys.executable, *arguments]
    # by name, since a module such as readline may have changed that of C alone
    env = dict(os.environ) if env is None else env
    done = subprocess.run(
        command,
        input=input.encode(),
        capture_output=True,
        env=env,
        cwd=cwd,
        # as main is, so that signals to the group reach the same processes
        process_group=0,
        timeout=60,
    )
    bare = Outcome(done.returncode, _text(done.stdout), _text(done.stderr))
    run = pytest_proclife.run(command, env=env, cwd=cwd, input=input, timeout=60)
    assert run.stdout is not None
    assert run.stderr is not None
    assert not run.output_truncated
    return bare, Outcome(run.exitcode, _normal(run.stdout), _normal(run.stderr)), run


def _text(data: bytes) -> str:
    return _normal(data.decode("utf-8", "backslashreplace"))


def _normal(text: str) -> str:
    for pattern, replacement in _VARYING:
        text = re.sub(pattern, replacement, text)
    return text
