"""Pythons that look neither at PYTHONPATH nor for `site` are observed from inside as well."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import TARGETS

import pytest_proclife
from pytest_proclife import Cause

PROGRAM = (TARGETS / "isolated.py").read_text()


@pytest.mark.parametrize(
    ("flags", "way"),
    # -I looks for no module in the current folder
    [
        (f, w)
        for f in ("-I", "-E", "-S", "-ISE")
        for w in ("script", "-c", "-m", "-")
        if w != "-m" or "I" not in f
    ],
)
def test_an_isolated_program_is_seen_with_all_that_it_starts(
    flags: str, way: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    arguments = {
        "script": ["program.py"],
        "-c": ["-c", PROGRAM],
        "-m": ["-m", "program"],
        "-": ["-"],
    }
    given = PROGRAM if way == "-" else None
    command = [sys.executable, flags, *arguments[way]]
    run = pytest_proclife.run(command, cwd=tmp_path, input=given, linger=10)
    assert run.witness.complete, run.witness.missing
    assert (run.main.cause, run.exitcode) == (Cause.SYS_EXIT, 1)
    spawned = way in ("script", "-m")  # the others have no __main__ that spawn could import
    for method in ("fork", "spawn", "forkserver") if spawned else ("fork",):
        (child,) = (p for p in run.children if p.name == method)
        assert (child.cause, child.exitcode, child.start_method) == (Cause.SYS_EXIT, 3, method)
    forked = [(p.cause, p.exitcode) for p in run.children if p.kind == "os_fork"]
    assert forked == [(Cause.OS_EXIT, 4), (Cause.OS_EXIT, 5)]
    started = [p.cause for p in run.children if p.kind in ("subprocess", "posix_spawn")]
    assert started == [Cause.RETURNED] * 6


def test_a_folder_for_bytecode_of_its_own_is_left_to_the_program(tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-X", f"pycache_prefix={tmp_path}", "-c", "1"]
    run = pytest_proclife.run(command)
    assert run.exitcode == 0
    assert not run.witness.complete
