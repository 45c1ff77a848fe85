"""Leaks that are not errors: a marker allows them, or the baseline has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import mostly_slow
from guarding import guarded

from pytest_proclife.guard.allowance import Baseline
from pytest_proclife.guard.leak import Leak, State

pytestmark = pytest.mark.once


def two_leaks(status: int | None, other_status: int | None, mark: str = "") -> str:
    """A suite whose first test, with a mark, leaks twice; the second one checks both statuses."""
    return f"""
    {mark}
    def test_one():
        leave("600")
        leave("601")
    def test_next():
        assert [process.poll() for process in kept] == [{status}, {other_status}]
        for process in kept:
            process.kill()
            process.wait()
    """


def marker(allow: str, reason: str) -> str:
    return f'@pytest.mark.proclife_guard(allow={allow}, reason="{reason}")'


@pytest.mark.parametrize(
    "allow", mostly_slow(['"sleep"', '"sleep 60*"', '["sleep 600", "sleep 601"]', "2"]), ids=str
)
def test_leaks_that_the_marker_allows_are_not_errors_and_run_on(
    suite: pytest.Pytester, allow: str
) -> None:
    result = guarded(suite, two_leaks(None, None, marker(allow, "a cache that is warm")))
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert "(a cache that is warm)" in result.stdout.str()
    assert "2 of them allowed or in the baseline" in result.stdout.str()


@pytest.mark.slow
def test_a_reason_may_be_any_text(suite: pytest.Pytester) -> None:
    result = guarded(suite, two_leaks(None, None, marker("2", "in the baseline")))
    result.assert_outcomes(passed=2)
    assert result.ret == 0


@pytest.mark.parametrize("allow", mostly_slow(['"sleep 600"', "1"]))
def test_a_leak_beside_an_allowed_one_is_an_error(suite: pytest.Pytester, allow: str) -> None:
    result = guarded(suite, two_leaks(None, -9, marker(allow, "one")))
    result.assert_outcomes(passed=2)
    assert "test_one leaked 1 process" in result.stdout.str()
    assert "1 leaked" in result.stdout.str()


@pytest.mark.parametrize(
    ("arguments", "message"),
    mostly_slow(
        [
            ('"sleep"', "takes keyword arguments only, not 'sleep'"),
            ('allow="sleep"', 'reason="..." must say why'),
            ('allow=True, reason="so"', "allow must be the name or command line"),
            ('allow=[], reason="so"', "allow must be the name or command line"),
            ('reason="so"', "allow must be the name or command line"),
            ('name="sleep", reason="so"', "takes allow and reason, not name"),
        ],
        2,
    ),
)
def test_a_wrong_marker_is_an_error_of_the_collection(
    suite: pytest.Pytester, arguments: str, message: str
) -> None:
    text = f"@pytest.mark.proclife_guard({arguments})\ndef test_it(): pass\n"
    result = guarded(suite, text)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert message in result.stdout.str()


BASE = "--proclife-guard-baseline=base.json"
WRITE = "--proclife-guard-write-baseline"


def test_a_suite_that_leaks_starts_with_a_baseline_and_fails_for_new_leaks(
    suite: pytest.Pytester,
) -> None:
    known = two_leaks(None, None)
    written = guarded(suite, known, BASE, WRITE)
    assert written.ret == 0
    written.stdout.fnmatch_lines(["baseline of 2 processes written to *base.json"])
    entries = json.loads(Path(suite.path, "base.json").read_text())["leaks"]
    assert entries == [
        {"owner": "test_suite.py::test_one", "kind": "subprocess", "name": "sleep", "count": 2}
    ]
    same = guarded(suite, known, BASE)
    assert same.ret == 0
    assert "2 of them allowed or in the baseline" in same.stdout.str()
    more = guarded(suite, known.replace('leave("601")', 'leave("601"); leave("602")'), BASE)
    assert more.ret == 1
    assert "1 failed" in more.stdout.str()  # the last one was killed, the others were left alone
    assert "test_one leaked 1 process" in more.stdout.str()


def test_an_entry_that_no_longer_leaks_is_to_be_removed(suite: pytest.Pytester) -> None:
    leaks = [
        Leak(
            owner=f"test_suite.py::test_{name}",
            pid=4711,
            kind="subprocess",
            name="sleep",
            argv=("/bin/sleep", "600"),
            state=State.RUNNING,
            age=1.26,
            place="test_suite.py:3",
            function="test_it",
        )
        for name in ("tidy", "left_out")
    ]
    Baseline.of(leaks).write(Path(suite.path, "base.json"))
    text = "def test_tidy(): pass\ndef test_left_out(): pass\n"
    result = guarded(suite, text, BASE, "-k", "tidy")
    assert result.ret == 0
    lines = [line for line in result.outlines if "no longer leaks" in line]
    assert len(lines) == 1
    assert lines[0].startswith("test_suite.py::test_tidy no longer leaks 1 x sleep (subprocess): ")


@pytest.mark.parametrize("path", mostly_slow(["no/such/folder/base.json", "."]))
def test_a_baseline_that_cannot_be_written_is_an_error_before_any_test_runs(
    suite: pytest.Pytester, path: str
) -> None:
    result = guarded(suite, "def test_one(): pass\n", f"--proclife-guard-baseline={path}", WRITE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: the baseline * cannot be written: *"])
    assert "passed" not in result.stdout.str()


@pytest.mark.slow
def test_a_baseline_that_cannot_be_written_at_the_end_fails_the_run(
    suite: pytest.Pytester,
) -> None:
    folder = suite.mkdir("folder")
    text = f"def test_one(): os.rmdir({str(folder)!r})\n"
    result = guarded(suite, text, "--proclife-guard-baseline=folder/base.json", WRITE)
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["the baseline could NOT be written to *: No such file*"])


@pytest.mark.slow
def test_a_baseline_has_the_leaks_of_a_test_that_was_interrupted(suite: pytest.Pytester) -> None:
    text = """
    import signal
    def test_it():
        leave()
        os.kill(os.getpid(), signal.SIGINT)
    """
    result = guarded(suite, text, BASE, WRITE)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    entries = Baseline.read(Path(suite.path, "base.json")).entries
    assert entries == {("test_suite.py::test_it", "subprocess", "sleep"): 1}
