"""Libraries with process classes of their own: billiard, multiprocess, loky, and joblib on it."""

from __future__ import annotations

import libraries
import pytest

import pytest_proclife
from pytest_proclife import Cause

pytestmark = pytest.mark.once  # the libraries do the work

THEIR_OWN = [  # what a child of their own Process shows at its end
    ("billiard", "fork", Cause.OS_EXIT),
    ("billiard", "spawn", Cause.SYS_EXIT),
    ("multiprocess", "fork", Cause.OS_EXIT),
    ("multiprocess", "spawn", Cause.SYS_EXIT),
]


@pytest.mark.parametrize(("library", "method", "cause"), THEIR_OWN)
def test_children_of_a_librarys_own_process_have_their_ends(
    library: str, method: str, cause: Cause
) -> None:
    pytest.importorskip(library)
    run = pytest_proclife.run(
        libraries.children, (library, method, "returns", "raises", "exits"), linger=0.0
    )
    assert run.main.cause is Cause.RETURNED, run.stderr
    ended = [p for p in run.children if p.cause is cause]
    assert sorted(p.exitcode or 0 for p in ended) == [0, 1, 3]
    assert [p.daemon for p in ended] == [None] * 3  # not known, never guessed
    assert [p.target_ran for p in ended] == [None] * 3
    assert [p.orphaned for p in ended] == [False] * 3


@pytest.mark.parametrize(("library", "method"), [(row[0], row[1]) for row in THEIR_OWN])
def test_a_child_of_a_librarys_own_process_can_be_terminated(library: str, method: str) -> None:
    pytest.importorskip(library)
    with pytest_proclife.start(libraries.children, (library, method, "waits")) as main:
        pid = int(main.wait_for_output(r"at work, (\d+)\n")[1])
        (worker,) = (p for p in main.snapshot().children if p.pid == pid)
        main.terminate(worker)
        run = main.wait()
    (ended,) = (p for p in run.children if p.pid == pid)
    assert (ended.cause, ended.ended_by, ended.daemon) == (Cause.TERMINATED, "test", None)


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
