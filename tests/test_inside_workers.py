"""A Process whose `run` is something else than a plain method has its true end."""

from __future__ import annotations

import pytest
from conftest import TARGETS, mostly_slow
from fidelity import both

from pytest_proclife import Cause, Run

OWN_RUNS = str(TARGETS / "own_runs.py")
METHODS = mostly_slow(["fork", "spawn", "forkserver"], 2)
RUNS = {
    "lambda": Cause.RETURNED,
    "lambda_exits": Cause.SYS_EXIT,
    "lambda_os_exits": Cause.OS_EXIT,
    "object": Cause.RETURNED,
    "object_exits": Cause.SYS_EXIT,
    "builtin": Cause.RETURNED,
    "builtin_exits": Cause.SYS_EXIT,
    "generator": Cause.RETURNED,
    "coroutine": Cause.RETURNED,
    "property": Cause.RETURNED,
    "finalizer_os_exits": Cause.SYS_EXIT,
}


def observed(*arguments: str) -> Run:
    bare, shown, run = both([OWN_RUNS, *arguments])
    assert shown == bare
    return run


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("run", RUNS)
def test_the_end_of_a_run_of_any_kind_is_its_own_or_unknown(run: str, method: str) -> None:
    account = observed(run, method)
    assert account["child"].exitcode == 0
    assert account["child"].cause in (RUNS[run], Cause.UNKNOWN), str(account)
    assert account["child"].target_ran
    if run.startswith("lambda"):
        assert account["child"].cause is RUNS[run]


def test_a_run_that_is_given_to_the_process_is_it() -> None:
    run = observed("given")
    assert (run["child"].cause, run["child"].target_ran) == (Cause.SYS_EXIT, True)
