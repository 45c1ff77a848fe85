"""What tests leave of the Pools and executors of other libraries, and that these go on."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import pytest

pytestmark = pytest.mark.once

Suite = Callable[..., pytest.RunResult]


@pytest.fixture
def guarded(suite: pytest.Pytester) -> Suite:
    def run(text: str) -> pytest.RunResult:
        suite.makepyfile(test_suite=text)
        options = ("--proclife-guard-wait=0", "-p", "no:cacheprovider", "-W", "ignore")
        return suite.runpytest_subprocess("--proclife-guard", *options, timeout=120)

    return run


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


@pytest.mark.parametrize(
    "work",
    [
        pytest.param(
            "loky.get_reusable_executor(2).submit(len, 'work').result() == 4",
            marks=needs("loky"),
            id="loky",
        ),
        pytest.param(
            "joblib.Parallel(2)(joblib.delayed(len)('work') for _ in range(3)) == [4] * 3",
            marks=needs("joblib"),
            id="joblib",
        ),
    ],
)
def test_each_test_finds_the_executor_that_they_share_at_work(guarded: Suite, work: str) -> None:
    library = work.partition(".")[0]
    result = guarded(f"""
        import {library}, pytest
        @pytest.mark.parametrize("n", range(5))
        def test_works(n):
            assert {work}
    """)
    result.assert_outcomes(passed=5)
    said = result.stdout.str()
    assert "5 leaked" in said
    assert "TerminatedWorkerError" not in said
    assert "tracker" not in said


@pytest.mark.parametrize("library", ["multiprocessing", "multiprocess", "billiard"])
def test_a_pool_that_was_left_lets_pytest_end(guarded: Suite, library: str) -> None:
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    result = guarded(f"""
        import {library}
        kept = []
        def test_leaves_one():
            kept.append({library}.get_context("fork").Pool(2))
            assert kept[0].apply(len, ["work"]) == 4
        def test_next():
            lock = {library}.get_context("fork").Lock()
            assert lock.acquire()
    """)
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert "1 leaked" in said
    assert "left 2 processes behind" in said
    assert "tracker" not in said
