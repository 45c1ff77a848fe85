"""Starts that failed: in the account of the caller, and no process of the run."""

from __future__ import annotations

import multiprocessing
import sys

import pytest
from conftest import TARGETS

import pytest_proclife
from pytest_proclife.records import Cause, NotStarted, ProcessRecord

FAILING = str(TARGETS / "failing_starts.py")
METHODS = multiprocessing.get_all_start_methods()
SEES_EXCEPTIONS = sys.version_info < (3, 12)  # that leave start(), whatever they are


def failures(process: ProcessRecord) -> list[tuple[str, str]]:
    found = [fact for fact in process.evidence if isinstance(fact, NotStarted)]
    assert all(FAILING in fact.where for fact in found)
    return [(fact.child_kind, fact.name) for fact in found]


def error(process: ProcessRecord) -> str:
    return next(fact.error for fact in process.evidence if isinstance(fact, NotStarted))


@pytest.mark.parametrize("how", ["pickle", "pickle while handling", "subclass"])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_that_cannot_be_pickled_is_in_the_account_of_its_caller(
    method: str, how: str
) -> None:
    run = pytest_proclife.run(FAILING, ["process", method, how])
    assert run.stdout == "TypeError\n"
    assert failures(run.main) == [("process", "unpicklable")]
    assert error(run.main) == "TypeError: cannot pickle '_thread.lock' object"
    assert run.children == ()
    assert run.main.cause is Cause.RETURNED
    assert run.witness.complete


@pytest.mark.parametrize("method", METHODS)
def test_a_start_without_a_descriptor_left_is_in_the_account_of_its_caller(method: str) -> None:
    run = pytest_proclife.run(FAILING, ["process", method, "descriptors"])
    assert run.stdout == "OSError\n"
    assert failures(run.main) == [("process", "without descriptors")]
    if SEES_EXCEPTIONS or method == "spawn":
        assert error(run.main).startswith("OSError: [Errno 24]")


def test_a_start_whose_failure_is_not_seen_is_told_as_the_exit_path_begins() -> None:
    run = pytest_proclife.run(FAILING, ["process", "fork", "closed"])
    assert run.stdout == "ValueError\n"
    found = [fact for fact in run.main.evidence if isinstance(fact, NotStarted)]
    assert [fact.name for fact in found] == ["closed"]
    assert run["closed"].cause is Cause.RETURNED


@pytest.mark.parametrize("method", METHODS)
def test_a_second_start_of_a_process_fails_and_the_first_is_whole(method: str) -> None:
    run = pytest_proclife.run(FAILING, ["process", method, "twice"])
    assert run.stdout == "AssertionError\n"
    assert failures(run.main) == [("process", "twice")]
    assert error(run.main) == "AssertionError: cannot start a process twice"
    assert run["twice"].cause is Cause.RETURNED


def test_a_child_that_an_exception_takes_out_of_its_start_was_started() -> None:
    run = pytest_proclife.run(FAILING, ["process", "fork", "leaves"])
    (child,) = run.children
    assert failures(run.main) == failures(child) == []
    assert (child.name, child.cause, child.exitcode) == ("leaves", Cause.RETURNED, 0)
    assert (run.main.cause, run.witness.complete) == (Cause.RETURNED, True)


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_start_that_fails_in_a_fork_of_c_is_in_the_account_of_that(method: str) -> None:
    run = pytest_proclife.run(FAILING, ["in a fork of C", method, "pickle"])
    (fork,) = run.children
    assert failures(run.main) == []
    assert failures(fork) == [("process", "unpicklable")]


@pytest.mark.parametrize("method", METHODS)
def test_a_daemon_that_starts_a_process_has_that_in_its_own_account(method: str) -> None:
    daemon = pytest_proclife.run(FAILING, ["process", method, "daemon"])["daemon"]
    assert failures(daemon) == [("process", "grandchild")]
    assert "daemonic processes are not allowed to have children" in error(daemon)
    assert (daemon.cause, daemon.children) == (Cause.RAISED, ())


@pytest.mark.parametrize("route", ["posix_spawn", "fork_exec", "vfork", "preexec"])
@pytest.mark.parametrize(
    ("how", "name", "words"),
    [
        ("missing", "program", "FileNotFoundError: [Errno 2] No such file or directory"),
        ("path", "no-such-program", "FileNotFoundError: [Errno 2] No such file or directory"),
        ("denied", "null", "PermissionError: [Errno 13] Permission denied"),
        ("folder", "true", "FileNotFoundError: [Errno 2] No such file or directory"),
    ],
)
def test_a_program_that_cannot_be_executed_is_no_process_by_any_route(
    route: str, how: str, name: str, words: str
) -> None:
    run = pytest_proclife.run(FAILING, ["program", how, route])
    assert run.stdout == f"{words.partition(':')[0]}\n"
    assert failures(run.main) == [("subprocess", name)]
    assert error(run.main) == words
    assert run.descendants == ()
    assert run.witness.complete
    assert "could not start" in str(run.main.evidence[0])


def test_posix_spawn_of_a_program_that_is_not_there_is_no_process() -> None:
    run = pytest_proclife.run(FAILING, ["posix_spawn"])
    assert failures(run.main) == [("posix_spawn", "other-name")]
    assert run.descendants == ()
