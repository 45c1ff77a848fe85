"""Libraries with process classes of their own: billiard, multiprocess, loky, and joblib on it."""

from __future__ import annotations

import libraries
import pytest

import pytest_proclife
from pytest_proclife import Cause, Joined

pytestmark = pytest.mark.once  # the libraries do the work

each_copy = pytest.mark.parametrize("library", ["billiard", "multiprocess"])
each_method = pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])


@each_copy
@each_method
def test_children_of_a_copy_of_multiprocessing_have_their_names_and_ends(
    library: str, method: str
) -> None:
    pytest.importorskip(library)
    ends = {
        "returns": (Cause.RETURNED, 0),
        "raises": (Cause.RAISED, 1),
        "exits": (Cause.SYS_EXIT, 3),
        "exits_at_once": (Cause.OS_EXIT, 7),
    }
    run = pytest_proclife.run(libraries.children, (library, method, *ends), linger=0.0)
    assert run.main.cause is Cause.RETURNED, run.stderr
    assert {p.name for p in run.children} == set(ends)
    if (library, method) == ("billiard", "forkserver"):  # which exits with 1 whatever they did
        ends = {name: (cause, code if code == 7 else 1) for name, (cause, code) in ends.items()}
    for name, end in ends.items():
        child = run[name]
        assert (child.cause, child.exitcode) == end, child.evidence
        assert (child.kind, child.start_method) == ("process", method)
        assert (child.daemon, child.target_ran, child.orphaned) == (False, True, False)
        # billiard's fork server sends no status of a child that leaves its launcher
        nothing_sent = (library, method, name) == ("billiard", "forkserver", "exits_at_once")
        assert child.joined is (None if nothing_sent else Joined.EXPLICIT)


@each_copy
@each_method
def test_a_child_of_a_copy_of_multiprocessing_can_be_terminated(library: str, method: str) -> None:
    pytest.importorskip(library)
    with pytest_proclife.start(libraries.children, (library, method, "waits")) as main:
        pid = int(main.wait_for_output(r"at work, (\d+)\n")[1])
        (worker,) = (p for p in main.snapshot().children if p.pid == pid)
        main.terminate(worker)
        run = main.wait()
    (ended,) = (p for p in run.children if p.pid == pid)
    assert (ended.cause, ended.ended_by, ended.daemon) == (Cause.TERMINATED, "test", False)


@each_copy
def test_a_pool_of_a_copy_of_multiprocessing_has_workers(library: str) -> None:
    pytest.importorskip(library)
    run = pytest_proclife.run(libraries.pool_that_is_closed, (library,), linger=0.0)
    assert {p.kind for p in run.children} == {"pool_worker"}
    assert [p.daemon for p in run.children] == [True, True]


def test_children_of_lokys_process_tell_as_multiprocessings_do() -> None:
    pytest.importorskip("loky")
    names = ("returns", "raises", "exits")
    run = pytest_proclife.run(libraries.children, ("loky", "loky", *names))
    causes = [run[name].cause for name in names]
    assert causes == [Cause.RETURNED, Cause.RAISED, Cause.SYS_EXIT], run.stderr
    assert [run[name].daemon for name in names] == [False] * 3
    assert [run[name].target_ran for name in names] == [True] * 3


@pytest.mark.parametrize(
    ("library", "target"),
    [
        ("loky", libraries.loky_executor),
        ("joblib", libraries.joblib_parallel),
        ("billiard", libraries.billiard_pool),
    ],
    ids=["loky", "joblib", "billiard"],
)
def test_a_librarys_workers_outlive_a_main_that_is_killed(library: str, target: object) -> None:
    pytest.importorskip(library)
    with pytest_proclife.start(target, linger=0.0) as main:  # type: ignore[arg-type]
        main.wait_for_output("at work", times=2)
        main.kill()
        run = main.wait()
    assert (run.main.cause, run.main.ended_by) == (Cause.KILLED, "test")
    assert [p.cause for p in run.children] == [Cause.CLEANED_UP] * 2
    assert all(p.orphaned for p in run.children)
