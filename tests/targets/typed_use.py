"""The public names as a user writes them, for the type checkers. Nothing of it is run.

A line that has to be an error says so for each checker, and each of them complains about an
ignored error that is none.
"""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import assert_type

import pytest

import pytest_proclife
from pytest_proclife import (
    Cause,
    Code,
    Ending,
    Evidence,
    Joined,
    LifecycleError,
    Module,
    ProcessRecord,
    Proclife,
    Request,
    Run,
    RunningMain,
    RunTimeout,
    SupervisorLost,
    TargetError,
)


def work(number: int, *, name: str = "") -> None: ...


@pytest.fixture
def exam(proclife: Proclife) -> Run:
    return proclife.run("examples/exam_daemon.py", timeout=None, linger=0.5)


@pytest.mark.proclife(start_methods="all", timeout=10)
def test_the_fixture(proclife: Proclife, exam: Run) -> None:
    assert_type(proclife.run(work, (1,), {"name": "x"}, start_method=None, env={"A": "b"}), Run)
    assert_type(proclife.run(["gunicorn", "app:app"], input=b"", cwd=Path()), Run)
    assert_type(proclife.start_method, str | None)
    assert_type(proclife.runs, tuple[Run, ...])
    proclife.run(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    proclife.run(work, timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    proclife.run(work, linger=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    proclife.runs = ()  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_acting_on_it(proclife: Proclife) -> None:
    with proclife.start(Module("http.server"), ["0"]) as main:
        assert_type(main, RunningMain)
        assert_type(main.pid, int)
        assert_type(main.wait_for_children(2, timeout=5.0), tuple[ProcessRecord, ...])
        assert_type(main.wait_for_output(r"port (\d+)"), re.Match[str])
        assert_type(main.wait_for(lambda run: len(run.children) == 2, timeout=None), Run)
        main.send_signal(signal.SIGHUP, process=main.snapshot().children[0])
        main.interrupt(group=True)
        assert_type(main.wait(), Run)
        main.send_signal("SIGTERM")
    assert_type(proclife.start(work, timeout=None), RunningMain)
    proclife.start(work, timeout="1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_without_the_fixture() -> None:
    try:
        run = pytest_proclife.run(Code("pass"), timeout=None, start_method="fork")
    except RunTimeout as error:
        assert_type(error.run, Run)
        return
    except (TargetError, SupervisorLost):
        return
    assert_type(run, Run)
    with pytest_proclife.start(work, (1,)) as main:
        assert_type(main.wait(), Run)


def look(run: Run) -> None:
    assert_type(run.main, ProcessRecord)
    assert_type(run["Process-1"], ProcessRecord)
    assert_type(run.orphans, tuple[ProcessRecord, ...])
    assert_type(run.find("worker", kind="process", daemon=True), tuple[ProcessRecord, ...])
    run.find(cause=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    assert_type(run.exitcode, int | None)
    assert_type(run.stdout, str | None)
    assert_type(Run.from_json(run.to_json()), Run)
    process = run.main
    assert_type(process.parent, ProcessRecord | None)
    assert_type(process.cause, Cause | None)
    assert_type(process.ending, Ending | None)
    assert_type(process.joined, Joined | None)
    assert_type(process.requests, tuple[Request, ...])
    assert_type(process.evidence, tuple[Evidence, ...])
    assert process.cause == "returned"
    process.pid = 3  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
    assert process.wrong  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]


def hold(run: Run) -> None:
    try:
        pytest_proclife.assert_joined(run.children, how="explicit")
        pytest_proclife.assert_raised(run.main, ValueError, match="no")
        pytest_proclife.assert_killed(run.main, by="test")
        pytest_proclife.assert_signaled(run.main, signal.SIGSEGV)
        pytest_proclife.assert_no_orphans(run, within=0.5)
        pytest_proclife.assert_held_up_by(run.main, run.children)
    except LifecycleError as error:
        assert_type(error.offenders, tuple[ProcessRecord, ...])
    pytest_proclife.assert_joined(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def pytest_proclife_run_finished(run: Run, item: pytest.Item) -> None:
    print(item.nodeid, run)


def pytest_proclife_cause(run: Run, process: ProcessRecord) -> Cause | str | None:
    return Cause.RETURNED if process.exitcode == 0 else None
