"""What a .pth file imports, takes and starts before the recorder comes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TARGETS, mostly_slow

import pytest_proclife
from pytest_proclife import Cause, Run
from pytest_proclife.records import EvidenceKind, MissingKind

EARLY = TARGETS / "early"
PROGRAM = str(EARLY / "program.py")
ALL = "multiprocessing.pool, subprocess, concurrent.futures.process, signal, threading, asyncio"

Python = Callable[[str], str]


@pytest.fixture
def python(tmp_path: Path) -> Python:
    """Returns a Python whose `site` runs a line of a .pth file."""

    def make(line: str) -> str:
        place = tmp_path / "early"
        site = place / f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
        site.mkdir(parents=True)
        base = Path(sys._base_executable)  # type: ignore[attr-defined]
        (place / "pyvenv.cfg").write_text(f"home = {base.parent}\n")
        (place / "bin").mkdir()
        name = Path(sys.executable).name
        (place / "bin" / name).symlink_to(base)
        (site / "early.pth").write_text(f"{line}\n" if line else "")
        return str(place / "bin" / name)

    return make


def importing(module: str) -> str:
    """The line that imports one of the modules beside the program."""
    return f"import sys; sys.path.append({str(EARLY)!r}); import {module}"


def account(run: Run) -> list[tuple[object, ...]]:
    return [(p.name, p.kind, p.daemon, p.cause, p.ending, p.exitcode, p.joined) for p in run]


METHODS = ["fork", *(pytest.param(m, marks=pytest.mark.slow) for m in ("spawn", "forkserver"))]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("line", [f"import {ALL}", importing("taken"), importing("wraps")])
def test_what_was_imported_early_is_watched(
    line: str, method: str, python: Python, tmp_path: Path
) -> None:
    early = pytest_proclife.run([python(line), PROGRAM, method])
    usual = pytest_proclife.run([sys.executable, PROGRAM, method])
    assert usual.witness.complete
    assert early.witness.complete, early.witness.missing
    assert account(early) == account(usual)
    assert early["daemon"].cause is Cause.ABANDONED
    assert early.stderr == (usual.stderr or "").replace(sys.executable, str(early.main.argv))


@pytest.mark.parametrize("flags", ["-I", pytest.param("-ISE", marks=pytest.mark.slow)])
def test_an_isolated_python_is_watched_all_the_same(flags: str, python: Python) -> None:
    run = pytest_proclife.run([python(f"import {ALL}"), flags, PROGRAM, "fork"])
    usual = pytest_proclife.run([sys.executable, PROGRAM, "fork"])
    assert account(run) == account(usual)


@pytest.mark.parametrize(
    "way", mostly_slow(["leave", "leave_by_closure", "leave_by_class", "leave_by_default"], 2)
)
def test_a_function_that_was_taken_early_is_reached_wherever_it_can_be_replaced(
    way: str, python: Python
) -> None:
    run = pytest_proclife.run([python(importing("taken")), "-c", f"import taken; taken.{way}(7)"])
    assert (run.main.cause, run.exitcode) == (Cause.OS_EXIT, 7)
    assert run.witness.complete


def test_a_function_that_is_out_of_reach_is_named_where_it_could_matter(python: Python) -> None:
    program = python(importing("keeps"))
    for text, cause in (("1", Cause.RETURNED), ("import keeps; keeps.leave(7)", Cause.UNKNOWN)):
        run = pytest_proclife.run([program, "-c", text])
        assert run.main.cause is cause
        (missing,) = run.witness.missing
        assert (missing.kind, missing.what) == (MissingKind.IMPORTED_EARLY, "os._exit")


def test_a_fork_and_an_exec_that_were_taken_early_are_seen(python: Python) -> None:
    program = python(importing("taken"))
    run = pytest_proclife.run([program, "-c", "import taken; taken.leave_in_child(6)"])
    (child,) = run.children
    assert (child.kind, child.cause, child.exitcode) == ("os_fork", Cause.OS_EXIT, 6)
    text = "import taken; taken.execute('/bin/sh', '-c', 'exit 8')"
    run = pytest_proclife.run([program, "-c", text])
    assert (run.main.cause, run.exitcode, run.main.argv) == (
        *(Cause.EXITED, 8),
        ("/bin/sh", "-c", "exit 8"),
    )


def test_a_handler_that_was_set_early_is_seen_to_run(
    python: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARLY", "handles")
    text = "import os, time; print(flush=True); time.sleep(60)"
    with pytest_proclife.start([python(importing("taken")), "-c", text]) as main:
        main.wait_for_output("\n")
        main.terminate()
        run = main.wait()
    assert run.exitcode == 9
    if sys.version_info >= (3, 12):  # before, nobody sees by which SystemExit main leaves
        assert (run.main.cause, run.main.ended_by) == (Cause.TERMINATED, "test")
        assert EvidenceKind.HANDLER_RAN in {fact.kind for fact in run.main.evidence}
    else:
        assert run.main.cause is Cause.UNKNOWN


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("import os; os.system('true')", "child"),
        (
            "import os, sys; sys.kept = os.spawnv(os.P_NOWAIT, '/bin/sleep', ['sleep', '1'])",
            "child",
        ),
        (
            "import threading, time; threading.Thread(target=time.sleep, args=(1,)).start()",
            "thread",
        ),
    ],
)
def test_what_was_started_early_is_said(line: str, what: str, python: Python) -> None:
    run = pytest_proclife.run([python(line), "-c", "1"], linger=5)
    assert run.main.cause is Cause.RETURNED
    said = [m.what for m in run.witness.missing if m.kind is MissingKind.STARTED_EARLY]
    assert said == [what]
    for child in run.descendants:
        assert (child.name, child.cause) == ("sleep", Cause.EXITED)


def test_where_nothing_was_early_nothing_is_said(python: Python) -> None:
    assert pytest_proclife.run([python(""), "-c", "1"]).witness.complete


SETTINGS = """\
[run]
concurrency = multiprocessing
parallel = true
patch = subprocess, _exit
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("way", ["coverage run", "COVERAGE_PROCESS_START"])
def test_coverage_measures_what_it_measures_bare(way: str, method: str, tmp_path: Path) -> None:
    settings = tmp_path / "settings"
    settings.write_text(SETTINGS)
    command, env = [sys.executable, PROGRAM, method], dict(os.environ)
    if way == "coverage run":
        command[1:1] = ["-m", "coverage", "run", f"--rcfile={settings}"]
    else:
        env["COVERAGE_PROCESS_START"] = str(settings)
    places = tmp_path / "bare", tmp_path / "observed"
    for place in places:
        place.mkdir()
    subprocess.run(command, env=env, cwd=places[0], capture_output=True, check=True)
    run = pytest_proclife.run(command, env=env, cwd=places[1])
    assert run.witness.complete, run.witness.missing
    usual = pytest_proclife.run([sys.executable, PROGRAM, method])
    assert account(run)[1:] == account(usual)[1:]
    bare, observed = map(measured, places)
    assert bare == observed != []


def measured(place: Path) -> list[int]:
    """The lines of the program that coverage saw run in any process."""
    coverage = [sys.executable, "-m", "coverage"]
    subprocess.run([*coverage, "combine", "-q"], cwd=place, check=True)
    subprocess.run([*coverage, "json", "-q", "-o", "lines"], cwd=place, check=True)
    files = json.loads((place / "lines").read_text())["files"]
    found: list[int] = files[PROGRAM]["executed_lines"]
    return found
