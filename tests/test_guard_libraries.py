"""What tests leave of the Pools and executors of other libraries, and that these go on."""

from __future__ import annotations

import pytest
from guarding import accounts, guarded, needs

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    ("library", "statement", "start"),
    [
        pytest.param(
            "billiard",
            "billiard.Process(target=time.sleep, args=(600,)).start()",
            "Process-1 (process, ",
            marks=needs("billiard"),
            id="billiard",
        ),
        pytest.param(
            "multiprocess",
            "multiprocess.get_context('fork').Process(target=time.sleep, args=(600,)).start()",
            "ForkProcess-1 (process, ",
            marks=needs("multiprocess"),
            id="multiprocess",
        ),
        pytest.param(
            "gevent.subprocess",
            "gevent.subprocess.Popen(['sleep', '600'])",
            "sleep (subprocess, ",
            marks=needs("gevent"),
            id="gevent",
        ),
    ],
)
def test_a_child_of_a_library_that_starts_processes_has_its_kind_name_and_line(
    suite: pytest.Pytester, library: str, statement: str, start: str
) -> None:
    result = guarded(suite, f"import {library}\ndef test_it():\n    kept.append({statement})\n")
    result.assert_outcomes(passed=1)
    (leak,) = accounts(result, "test_suite.py::test_it")
    assert leak.startswith(start)
    assert " started at test_suite.py:7 in test_it " in leak
    assert "through" not in leak


@pytest.mark.slow
@pytest.mark.parametrize(
    ("library", "work"),
    [
        pytest.param(
            "loky",
            "loky.get_reusable_executor(2).submit(len, 'work').result() == 4",
            marks=needs("loky"),
            id="loky",
        ),
        pytest.param(
            "joblib",
            "joblib.Parallel(2)(joblib.delayed(len)('work') for _ in range(3)) == [4] * 3",
            marks=needs("joblib"),
            id="joblib",
        ),
    ],
)
def test_each_test_finds_the_executor_that_they_share_at_work(
    suite: pytest.Pytester, library: str, work: str
) -> None:
    text = f"""
    import {library}
    @pytest.mark.parametrize("n", range(5))
    def test_works(n):
        assert {work}
    """
    result = guarded(suite, text)
    result.assert_outcomes(passed=5)
    shown = result.stdout.str()
    assert "5 leaked" in shown
    assert "TerminatedWorkerError" not in shown
    # a worker may just be importing a module of that name
    assert not any("tracker" in line for line in result.outlines if line.startswith("LEAKED"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "library",
    [
        "multiprocessing",
        pytest.param("multiprocess", marks=needs("multiprocess")),
        pytest.param("billiard", marks=needs("billiard")),
    ],
)
def test_a_pool_that_was_left_lets_pytest_exit(suite: pytest.Pytester, library: str) -> None:
    text = f"""
    import {library}
    def test_leaves_one():
        kept.append({library}.get_context("fork").Pool(2))
        assert kept[0].apply(len, ["work"]) == 4
    def test_next():
        lock = {library}.get_context("fork").Lock()
        assert lock.acquire()
    """
    result = guarded(suite, text)
    result.assert_outcomes(passed=2)
    shown = result.stdout.str()
    assert "1 leaked" in shown
    assert "leaked 2 processes" in shown
    # a worker may just be importing a module of that name
    assert not any("tracker" in line for line in result.outlines if line.startswith("LEAKED"))
