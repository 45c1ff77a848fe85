"""Pythons that look neither at PYTHONPATH nor for `site` are observed from inside as well."""

from __future__ import annotations

import posix
import sys
from pathlib import Path

import pytest

import pytest_proclife
from pytest_proclife import Cause
from pytest_proclife.inside import launch

TEXT = """
import multiprocessing, os, subprocess, sys

def work():
    sys.exit(3)

if __name__ == "__main__":
    methods = ["fork", "spawn", "forkserver"] if os.path.exists(sys.argv[0]) else ["fork"]
    for method in methods:
        child = multiprocessing.get_context(method).Process(target=work, name=method)
        child.start(); child.join()
    if os.fork() == 0: os._exit(4)
    os.wait()
    for flags in ("-I", "-ES", "-Ic"):
        arguments = [sys.executable, flags, *(() if "c" in flags else ["-c"]), "1"]
        subprocess.run(arguments)
        os.waitpid(os.posix_spawn(sys.executable, arguments, os.environ), 0)
    program = [sys.executable, "-I", "-c", "import os; os._exit(5)"]
    if os.fork() == 0: os.execv(program[0], program)
    os.wait()
    sys.exit("in words")
"""


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
    (tmp_path / "program.py").write_text(TEXT)
    arguments = {"script": ["program.py"], "-c": ["-c", TEXT], "-m": ["-m", "program"], "-": ["-"]}
    given = TEXT if way == "-" else None
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


def test_where_bytecode_cannot_be_kept_the_way_in_is_a_folder_of_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "_folder", None)
    monkeypatch.setattr(launch, "_INSIDE", "/proc/self/inside")  # nobody can write there
    monkeypatch.setitem(posix.environ, b"TMPDIR", bytes(tmp_path))
    folder = launch.planted_folder()
    assert folder is not None
    assert folder.startswith(f"{tmp_path}/proclife-")
    (tmp_path / folder.split("/")[-2]).chmod(0o777)
    monkeypatch.setattr(launch, "_folder", None)
    assert launch.planted_folder() is None  # others could have written there


def test_each_command_line_has_its_way_in(tmp_path: Path) -> None:
    python, ours = sys.executable, launch.planted_folder()
    assert ours is not None
    script = tmp_path / "script"
    for first, observed in (
        (f"#!{python}", True),
        (f"#!{python} -u", True),
        (f"#!/usr/bin/env {python}", True),
        (f"#!{python} -I", False),  # the kernel makes its command line
        ("#!/bin/sh", False),
        ("", False),
    ):
        script.write_text(f"{first}\n")
        script.chmod(0o755)
        plan = launch.plan([script], [str(script)])
        assert (plan.observed, plan.by_path) == (observed, observed), first
    planting = launch.planted_options(ours)
    for options, way in (
        ([], "path"),
        (["-c", "1"], "path"),
        (["-Bsu", "-Werror", "-X", "dev", "-m", "module", "-I"], "path"),
        (["-", "-E"], "path"),
        (["script.py", "-S"], "path"),
        (["-I"], "planted"),
        (["-uE", "-"], "planted"),
        (["-W", "error", "-S", "script.py"], "planted"),
        (["--check-hash-based-pycs", "never", "-I", "script.py"], "planted"),
        (["-I", "-X", "pycache_prefix=/x"], "none"),
        (["-SXpycache_prefix=/x"], "none"),
        (["-V"], "none"),
        (["-Ih"], "none"),
        (["--version"], "none"),
    ):
        plan = launch.plan([python], [python, *options])
        assert (plan.observed, plan.by_path) == (way != "none", way == "path"), options
        if way == "planted":
            assert plan.arguments[1:3] == planting
            assert len(plan.arguments) == 3 + len(options)


@pytest.mark.parametrize("before", [None, b"", b"/a", b"/a:", b":", b"/a:/b"])
def test_the_search_path_can_be_given_back(before: bytes | None) -> None:
    now = launch.search_path(before, b"/site")
    assert launch.search_path_before(now, b"/site") == before
