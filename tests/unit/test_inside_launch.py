"""Which way into a new Python there is, by its command line and its environment."""

from __future__ import annotations

import posix
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_proclife import wire
from pytest_proclife.inside import launch


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


def test_the_text_for_a_python_that_is_a_3_11_by_its_name_gets_a_line_that_shows_its_end(
    tmp_path: Path,
) -> None:
    real = tmp_path / "python3.11"
    real.touch(mode=0o755)
    for link in ("python3", "python"):
        (tmp_path / link).symlink_to(real)
        real = tmp_path / link
    other = tmp_path / "python3.12"
    other.touch(mode=0o755)
    assert launch.plan([str(real)], ["python", "-c", "pass"]).arguments[2] == f"pass{wire.AT_END}"
    assert launch.plan([str(real)], ["python", "-c", "def ("]).arguments[2] == "def ("
    assert launch.plan([str(other)], ["python", "-c", "pass"]).arguments[2] == "pass"


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
            assert plan.arguments[1:3] == ["-X", f"pycache_prefix={ours}"]
            assert len(plan.arguments) == 3 + len(options)


@pytest.mark.parametrize("before", [None, b"", b"/a", b"/a:", b":", b"/a:/b"])
def test_the_search_path_can_be_given_back(
    before: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Path(launch.__file__).parent / "site/sitecustomize.py"
    text, *_ = source.read_text(encoding="utf-8").partition("\ntry:")
    names: dict[str, Any] = {"__file__": "/site/sitecustomize.py"}
    exec(text, names)  # without the import of the next sitecustomize
    environment = {"PYTHONPATH": launch.search_path(before, b"/site").decode()}
    monkeypatch.setattr("os.environ", environment)
    names["_enter"]()
    assert environment.get("PYTHONPATH") == (None if before is None else before.decode())
