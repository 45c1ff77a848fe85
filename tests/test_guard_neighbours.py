"""The guard beside other plugins, and where it is not loaded."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import TARGETS

pytestmark = pytest.mark.once


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


GUARD = ("--proclife-guard", "--proclife-guard-wait=0.2", "-p", "no:cacheprovider")
LEAVE = (
    "import subprocess\nkept = []\ndef leave(): kept.append(subprocess.Popen(['sleep', '600']))\n"
)


@needs("xdist")
def test_xdists_workers_report_and_the_controller_sums_up(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_suite=(TARGETS / "suite_leaking.py").read_text())
    result = suite.runpytest_subprocess(*GUARD, "-p", "xdist.plugin", "-n", "2", "-q")
    said = result.stdout.str()
    result.assert_outcomes(passed=12, failed=1)
    # the session's fixture is set up in one worker or in both
    assert "13 processes left by 12 tests" in said or "14 processes left by 12 tests" in said
    assert "fixture database (session) of test_suite.py left 1 process" in said
    assert result.ret == 1


@needs("xdist")
def test_under_xdist_what_is_left_at_the_end_of_a_worker_is_told_too(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        test_suite=LEAVE
        + """
import pytest
@pytest.fixture(scope="session", autouse=True)
def server():
    leave()
def test_one(): assert 0
def test_two(): assert 0
def test_three(): assert 0
"""
    )
    result = suite.runpytest_subprocess(*GUARD, "-p", "xdist.plugin", "-n", "1", "-x")
    assert "fixture server (session) of test_suite.py left 1 process" in result.stdout.str()


@needs("xdist")
def test_a_tidy_suite_is_silent_under_xdist(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_suite=(TARGETS / "suite_tidy.py").read_text())
    result = suite.runpytest_subprocess(*GUARD, "-p", "xdist.plugin", "-n", "2")
    result.assert_outcomes(passed=13)
    assert result.ret == 0


@needs("xdist")
def test_a_baseline_is_held_under_xdist(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_suite=LEAVE + "def test_one(): leave()\ndef test_two(): leave()\n")
    base = ("--proclife-guard-baseline=base.json", "-p", "xdist.plugin", "-n", "2")
    assert suite.runpytest_subprocess(*GUARD, *base, "--proclife-guard-write-baseline").ret == 0
    assert Path(suite.path, "base.json").read_text().count("test_suite.py::test_") == 2
    assert suite.runpytest_subprocess(*GUARD, *base).ret == 0
    suite.makepyfile(test_suite=LEAVE + "def test_one(): leave()\ndef test_two(): pass\n")
    result = suite.runpytest_subprocess(*GUARD, *base)
    assert result.ret == 0
    assert "test_suite.py::test_two: 1 x sleep (subprocess): it is left no" in result.stdout.str()


@needs("pytest_timeout")
def test_what_a_test_that_timed_out_left_is_flagged_beside_its_failure(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        test_suite=LEAVE
        + "def test_hangs():\n    leave()\n    kept[0].wait()\ndef test_next(): pass\n"
    )
    result = suite.runpytest_subprocess(*GUARD, "-p", "pytest_timeout", "--timeout=1")
    result.assert_outcomes(failed=1, passed=1)
    said = result.stdout.str()
    assert "Timeout" in said
    assert "test_hangs left 1 process behind" in said
    assert "1 leaked" in said


@needs("pytest_cov")
def test_coverage_measures_the_same_with_the_guard(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_suite=(TARGETS / "suite_tidy.py").read_text())
    options = ("-p", "pytest_cov.plugin", "--cov=test_suite", "--cov-report=term")
    lines = []
    for guard in ("off", "error"):
        result = suite.runpytest_subprocess(f"--proclife-guard={guard}", *options)
        result.assert_outcomes(passed=13)
        assert result.ret == 0
        lines += [line for line in result.outlines if line.startswith("TOTAL")]
    assert len(lines) == 2
    assert lines[0] == lines[1]


@needs("pytest_asyncio")
def test_a_process_of_asyncio_is_known_by_the_coroutine_that_started_it(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile(
        test_suite="""
        import asyncio, pytest
        kept = []
        @pytest.mark.asyncio
        async def test_tidy():
            process = await asyncio.create_subprocess_exec("true")
            assert await process.wait() == 0
        @pytest.mark.asyncio
        async def test_leaves():
            kept.append(await asyncio.create_subprocess_exec("sleep", "600"))
        """
    )
    result = suite.runpytest_subprocess(*GUARD, "-p", "pytest_asyncio.plugin", "-W", "ignore")
    said = result.stdout.str()
    result.assert_outcomes(passed=2)
    assert "1 leaked" in said
    assert "started at test_suite.py:9 in test_leaves" in said


def test_the_options_are_gone_where_the_plugin_is_left_out(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_PLUGINS")
    suite.makepyfile(test_suite=LEAVE + "def test_it(): leave(); kept[0].kill(); kept[0].wait()\n")
    plain = suite.runpytest_subprocess("-p", "no:proclife", "-p", "no:pytest_proclife.plugin")
    plain.assert_outcomes(passed=1)
    refused = suite.runpytest_subprocess("-p", "no:proclife", "--proclife-guard")
    assert refused.ret == pytest.ExitCode.USAGE_ERROR


def test_pytest_within_a_guarded_test_has_a_guard_of_its_own(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_suite="""
        import os
        pytest_plugins = ["pytester"]
        INNER = "import subprocess\\ndef test_it(): subprocess.Popen(['sleep', '600'])\\n"
        WARNS = ("-W", "ignore", "--proclife-guard-wait=0")
        def test_in_this_process(pytester):
            pytester.makepyfile(INNER)
            result = pytester.runpytest_inprocess("--proclife-guard", *WARNS)
            assert "1 leaked" in result.stdout.str()
        def test_in_another(pytester):
            pytester.makepyfile(INNER)
            result = pytester.runpytest_subprocess("--proclife-guard", *WARNS)
            assert "1 leaked" in result.stdout.str()
        def test_in_a_fork(pytester):
            pytester.makepyfile(INNER)
            pid = os.fork()
            if pid == 0:
                try:
                    result = pytester.runpytest_inprocess("--proclife-guard", *WARNS)
                    os._exit(0 if "1 leaked" in result.stdout.str() else 1)
                finally:
                    os._exit(2)
            assert os.waitpid(pid, 0)[1] == 0
        """
    )
    result = suite.runpytest_subprocess(*GUARD, "-W", "ignore")
    result.assert_outcomes(passed=3)
    assert result.ret == 0  # what the inner ones ended is not the outer's to find


@needs("pytest_rerunfailures")
def test_a_test_that_leaks_once_is_run_again_where_failures_are(suite: pytest.Pytester) -> None:
    suite.makepyfile(
        test_suite=LEAVE
        + "def test_leaks_once():\n    if not kept: leave()\ndef test_next(): pass\n"
    )
    result = suite.runpytest_subprocess(*GUARD, "-p", "pytest_rerunfailures", "--reruns=1")
    said = result.stdout.str()
    assert result.ret == 0
    assert "1 rerun" in said
    assert "leaked" not in said
    assert "test_leaks_once: sleep (subprocess, pid " in said
