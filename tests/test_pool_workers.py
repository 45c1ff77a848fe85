"""Workers of a Pool that are replaced: by which, and whether a task is lost."""

from __future__ import annotations

import multiprocessing

import pytest
from conftest import TARGETS

import pytest_proclife
from pytest_proclife import Run
from pytest_proclife.records import ProcessRecord, Replaces, TaskLost

METHODS = multiprocessing.get_all_start_methods()


def replaced(method: str, how: str) -> tuple[Run, Replaces, ProcessRecord]:
    """The run, the fact of its only replacement, and the worker that was replaced."""
    run = pytest_proclife.run(TARGETS / "replaced_workers.py", [method, how])
    workers = [p for p in run if p.kind == "pool_worker"]
    found = [fact for p in workers for fact in p.evidence if isinstance(fact, Replaces)]
    assert [len(workers), len(found)] == [3, 1], run
    (fact,) = found
    assert fact in workers[2].evidence
    assert fact.about is not None
    return run, fact, run.processes[fact.about]


@pytest.mark.parametrize("how", ["os._exit", "sys.exit", "kill", "abort", "map"])
@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_ends_itself_in_a_task_is_replaced_and_its_task_is_lost(
    method: str, how: str
) -> None:
    run, fact, old = replaced(method, how)
    assert (fact.lost_task, fact.function) == (True, "leave")
    assert [f.function for f in old.evidence if isinstance(f, TaskLost)] == ["leave"]
    cause = {"sys.exit": "sys_exit", "kill": "signaled", "abort": "signaled"}
    assert old.cause == cause.get(how, "os_exit")
    assert run.witness.complete


@pytest.mark.parametrize("method", METHODS)
def test_whether_a_worker_that_was_killed_had_a_task_is_not_known(method: str) -> None:
    _, fact, old = replaced(method, "by main")
    assert (fact.lost_task, fact.function) == (None, "")
    assert (old.cause, old.exitcode) == ("killed", -9)
    assert "if it had one, is lost" in str(fact)


@pytest.mark.parametrize("method", METHODS)
def test_a_worker_that_has_done_its_tasks_loses_none(method: str) -> None:
    _, fact, old = replaced(method, "maxtasksperchild")
    assert (fact.lost_task, old.cause) == (False, "returned")
    assert str(fact) == "it replaces a worker in its Pool"
