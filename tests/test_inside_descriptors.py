"""Programs that close, replace or run short of descriptors: reports go on, and to nowhere else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TARGETS

import pytest_proclife
from pytest_proclife import Cause, Run

DESCRIPTORS = str(TARGETS / "descriptors.py")


def causes(run: Run) -> list[tuple[Cause | None, int | None]]:
    return [(p.cause, p.exitcode) for p in run.processes]


def test_a_program_that_closes_all_descriptors_goes_on_reporting() -> None:
    run = pytest_proclife.run(DESCRIPTORS, ["closes_all"])
    assert causes(run) == [(Cause.RETURNED, 0), (Cause.OS_EXIT, 3)]
    assert run.stdout == "3\n"  # ours is none of the low ones
    assert run.witness.complete


@pytest.mark.parametrize("forks", ["", "forks"])
@pytest.mark.parametrize("modules", ["sys", "socket fcntl select"])
def test_the_last_report_of_a_program_that_closed_all_arrives(modules: str, forks: str) -> None:
    run = pytest_proclife.run(DESCRIPTORS, ["exits_without_any", modules, forks])
    assert (run.main.cause, run.exitcode) == (Cause.SYS_EXIT, 3)
    assert run.witness.complete


def test_files_of_the_program_with_the_names_of_modules_of_c_are_its_own(tmp_path: Path) -> None:
    for name in ("_socket", "fcntl", "select", "_posixsubprocess"):
        (tmp_path / f"{name}.py").write_text(f"NAME = {name!r}\n")
    shutil.copy(TARGETS / "beside_shadows.py", tmp_path / "program.py")
    bare = subprocess.check_output([sys.executable, "program.py"], cwd=tmp_path, text=True)
    run = pytest_proclife.run("program.py", cwd=tmp_path)
    assert causes(run) == [(Cause.RETURNED, 0), (Cause.OS_EXIT, 3)]
    assert run.stdout == bare
    assert run.witness.complete


def test_nothing_is_written_to_what_took_the_descriptors_number() -> None:
    run = pytest_proclife.run(DESCRIPTORS, ["replaces_all"])
    assert run.stdout == "b''\n"
    assert causes(run) == [(Cause.RETURNED, 0)] * 2
    assert run.witness.complete


def test_a_daemon_that_closes_all_behind_itself_is_seen_to_its_end() -> None:
    run = pytest_proclife.run(DESCRIPTORS, ["daemonizes"], linger=10)
    ends = [(Cause.RETURNED, 0), (Cause.OS_EXIT, 0), (Cause.SYS_EXIT, 4), (Cause.OS_EXIT, 7)]
    assert causes(run) == ends
    assert run.witness.complete


@pytest.mark.parametrize("limit", [20, 30, 60, 100, 500])
def test_a_low_limit_of_descriptors_is_kept_to(limit: int) -> None:
    run = pytest_proclife.run(DESCRIPTORS, ["has_few", str(limit)])
    assert causes(run) == [(Cause.RETURNED, 0), (Cause.SYS_EXIT, 3), (Cause.RETURNED, 0)]
    assert run.witness.complete
    assert run.stdout is not None
    for line in run.stdout.splitlines():
        numbers = eval(line)
        assert numbers[:4] == [0, 1, 2, 3]  # 3 is the listing's own
        assert len(numbers) <= 5


def test_a_program_out_of_descriptors_loses_no_more_than_reports() -> None:
    run = pytest_proclife.run(DESCRIPTORS, ["uses_up_all"])
    assert run.stdout == "768\n"
    assert run.exitcode == 0
    assert not run.witness.complete
