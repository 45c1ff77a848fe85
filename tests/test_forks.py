"""Forks by os.fork() that run on in the code of which they are a copy."""

from __future__ import annotations

import pytest
from conftest import TARGETS

import pytest_proclife
from pytest_proclife import Run
from pytest_proclife.records import Cause, RanOn

FORKS = TARGETS / "forks_that_run_on.py"


def ran_on(run: Run) -> list[int | None]:
    (fork,) = (p for p in run if p.kind == "os_fork")
    return [fact.about for fact in fork.evidence if isinstance(fact, RanOn)]


@pytest.mark.parametrize(
    ("how", "cause"),
    [("return", Cause.RETURNED), ("sys.exit", Cause.SYS_EXIT), ("raise", Cause.RAISED)],
)
def test_a_fork_that_leaves_by_mains_exit_path_is_told_as_that(how: str, cause: Cause) -> None:
    run = pytest_proclife.run(FORKS, ["main", how])
    assert ran_on(run) == [run.main.id]
    assert run.children[0].cause is cause
    assert (run.stdout or "").count("handler") == 2
    assert "ran on into its parent's exit path" in run.timeline(columns=200)


@pytest.mark.parametrize(
    ("how", "cause", "exitcode"),
    [
        ("return", Cause.RETURNED, 0),
        ("sys.exit", Cause.SYS_EXIT, 3),
        ("raise", Cause.RAISED, 1),
    ],
)
def test_a_fork_by_an_exit_handler_has_the_end_of_mains_code(
    how: str, cause: Cause, exitcode: int
) -> None:
    run = pytest_proclife.run(FORKS, ["handler", how])
    assert [(p.cause, p.exitcode) for p in run] == [(cause, exitcode)] * 2
    assert ran_on(run) == [run.main.id]


def test_a_fork_by_an_exit_handler_may_leave_in_a_way_of_its_own() -> None:
    run = pytest_proclife.run(FORKS, ["handler", "return", "os._exit"])
    assert [(p.cause, p.exitcode) for p in run] == [(Cause.RETURNED, 0), (Cause.OS_EXIT, 3)]
    assert ran_on(run) == []


@pytest.mark.parametrize("how", ["os._exit", "exec", "kill"])
def test_a_fork_that_leaves_in_a_way_of_its_own_has_not_run_on(how: str) -> None:
    run = pytest_proclife.run(FORKS, ["main", how])
    assert ran_on(run) == []
    assert "ran on" not in run.timeline(columns=200)


@pytest.mark.parametrize("how", ["return", "sys.exit", "raise"])
def test_a_fork_of_a_process_runs_on_into_the_exit_path_of_that(how: str) -> None:
    run = pytest_proclife.run(FORKS, ["process", how])
    assert ran_on(run) == [run["ForkProcess-1"].id]
