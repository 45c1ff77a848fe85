"""The guard beside other plugins, and where it is not loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
from guarding import SUITES, guarded, needs, write_suite

pytestmark = pytest.mark.once

XDIST = ("-p", "xdist.plugin", "-n", "2")
TIDY = SUITES / "guard_tidy.py"


@needs("xdist")
def test_xdists_workers_report_and_the_controller_sums_up(suite: pytest.Pytester) -> None:
    result = guarded(suite, SUITES / "guard_leaking.py", *XDIST, "-q", wait=0.2)
    shown = result.stdout.str()
    result.assert_outcomes(passed=12, failed=1)
    # the session's fixture is set up in one worker or in both
    assert shown.count("\nLEAKED ") in (13, 14)
    assert "fixture database (session) of test_suite.py leaked 1 process" in shown
    assert result.ret == 1


@pytest.mark.slow
@needs("xdist")
def test_under_xdist_leaks_at_the_end_of_a_worker_are_reported_too(
    suite: pytest.Pytester,
) -> None:
    text = """
    @pytest.fixture(scope="session", autouse=True)
    def server():
        leave()
    def test_one(): assert 0
    def test_two(): assert 0
    def test_three(): assert 0
    """
    result = guarded(suite, text, "-p", "xdist.plugin", "-n", "1", "-x")
    assert "fixture server (session) of test_suite.py leaked 1 process" in result.stdout.str()


@pytest.mark.slow
@needs("xdist")
def test_a_tidy_suite_gets_no_report_under_xdist(suite: pytest.Pytester) -> None:
    result = guarded(suite, TIDY, *XDIST, wait=0.2)
    result.assert_outcomes(passed=13)
    assert result.ret == 0


@pytest.mark.slow
@needs("xdist")
def test_a_baseline_is_held_under_xdist(suite: pytest.Pytester) -> None:
    base = ("--proclife-guard-baseline=base.json", *XDIST)
    text = "def test_one(): leave()\ndef test_two(): leave()\n"
    assert guarded(suite, text, *base, "--proclife-guard-write-baseline").ret == 0
    assert Path(suite.path, "base.json").read_text().count("test_suite.py::test_") == 2
    assert guarded(suite, text, *base).ret == 0
    result = guarded(suite, "def test_one(): leave()\ndef test_two(): pass\n", *base)
    assert result.ret == 0
    assert "test_suite.py::test_two no longer leaks 1 x sleep (subprocess): " in result.stdout.str()


@needs("pytest_timeout")
def test_a_test_that_timed_out_has_its_leak_beside_its_failure(suite: pytest.Pytester) -> None:
    text = "def test_hangs():\n    leave()\n    kept[0].wait()\ndef test_next(): pass\n"
    result = guarded(suite, text, "-p", "pytest_timeout", "--timeout=1")
    result.assert_outcomes(failed=1, passed=1)
    shown = result.stdout.str()
    assert "Timeout" in shown
    assert "test_hangs leaked 1 process" in shown
    assert "1 leaked" in shown


@pytest.mark.slow
@needs("pytest_cov")
def test_coverage_measures_the_same_with_the_guard(suite: pytest.Pytester) -> None:
    options = ("-p", "pytest_cov.plugin", "--cov=test_suite", "--cov-report=term")
    lines = []
    for guard in ("--no-proclife-guard", "--proclife-guard"):
        result = guarded(suite, TIDY, *options, guard=guard, wait=1)
        result.assert_outcomes(passed=13)
        assert result.ret == 0
        lines += [line for line in result.outlines if line.startswith("TOTAL")]
    assert len(lines) == 2
    assert lines[0] == lines[1]


@pytest.mark.slow
@needs("pytest_asyncio")
def test_a_process_of_asyncio_has_the_line_of_the_coroutine_that_started_it(
    suite: pytest.Pytester,
) -> None:
    text = """
    import asyncio
    @pytest.mark.asyncio
    async def test_tidy():
        process = await asyncio.create_subprocess_exec("true")
        assert await process.wait() == 0
    @pytest.mark.asyncio
    async def test_leaves():
        kept.append(await asyncio.create_subprocess_exec("sleep", "600"))
    """
    result = guarded(suite, text, "-p", "pytest_asyncio.plugin", "-W", "ignore")
    result.assert_outcomes(passed=2)
    assert "1 leaked" in result.stdout.str()
    assert "started at test_suite.py:13 in test_leaves" in result.stdout.str()


def test_the_options_are_gone_without_the_plugin(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_PLUGINS")
    write_suite(suite, "def test_it(): leave(); kept[0].kill(); kept[0].wait()\n")
    plain = suite.runpytest_subprocess("-p", "no:proclife", "-p", "no:pytest_proclife.plugin")
    plain.assert_outcomes(passed=1)
    refused = suite.runpytest_subprocess("-p", "no:proclife", "--proclife-guard")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR


@pytest.mark.slow
def test_pytest_within_a_guarded_test_has_a_guard_of_its_own(suite: pytest.Pytester) -> None:
    result = guarded(suite, SUITES / "guard_pytest_within.py", "-W", "ignore", wait=0.2)
    result.assert_outcomes(passed=3)
    assert result.ret == 0  # the inner guard has killed its leaks before the outer one looks


@pytest.mark.slow
@needs("pytest_rerunfailures")
def test_a_test_that_leaks_once_is_run_again_if_failures_are(suite: pytest.Pytester) -> None:
    text = "def test_leaks_once():\n    if not kept: leave()\ndef test_next(): pass\n"
    result = guarded(suite, text, "-p", "pytest_rerunfailures", "--reruns=1")
    shown = result.stdout.str()
    assert result.ret == 0
    assert "1 rerun" in shown
    assert "leaked" not in shown.partition("= proclife guard =")[0]
    assert "LEAKED" not in shown
    assert "test_leaks_once: sleep (subprocess, pid " in shown
