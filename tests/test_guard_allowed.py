"""What the guard lets be: by a marker, by a baseline; and what it says of both."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_proclife.guard.allowance import Baseline, allowance
from pytest_proclife.guard.leak import IN_BASELINE, RUNNING, ZOMBIE, Leak, in_words

pytestmark = pytest.mark.once

SLEEP = Leak(
    owner="test_it.py::test_one",
    pid=4711,
    kind="subprocess",
    name="sleep",
    argv=("/bin/sleep", "600"),
    state=RUNNING,
    age=1.26,
    where="test_it.py:3 in test_one",
)
WORKER = replace(SLEEP, kind="pool_worker", name="ForkPoolWorker-7", argv=(), state=ZOMBIE)

Suite = Callable[..., pytest.RunResult]
TWO = """
    import pytest, subprocess
    kept = []
    def leave(*words):
        kept.append(subprocess.Popen(["sleep", *words]))
    MARK
    def test_one():
        leave("600")
        leave("601")
    def test_next():
        assert [process.poll() for process in kept] == EXPECTED
        for process in kept:
            process.kill()
            process.wait()
"""


@pytest.fixture
def guarded(suite: pytest.Pytester) -> Suite:
    def run(text: str, *options: str) -> pytest.RunResult:
        suite.makepyfile(test_suite=text)
        return suite.runpytest_subprocess(
            "--proclife-guard", "--proclife-guard-wait=0", "-p", "no:cacheprovider", *options
        )

    return run


@pytest.mark.parametrize(
    "allow", ['"sleep"', '"sleep 60*"', '["sleep 600", "sleep 601"]', "2"], ids=str
)
def test_what_the_marker_allows_is_no_error_and_runs_on(guarded: Suite, allow: str) -> None:
    mark = f'@pytest.mark.proclife_guard(allow={allow}, reason="a cache that is warm")'
    result = guarded(TWO.replace("MARK", mark).replace("EXPECTED", "[None, None]"))
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert "(a cache that is warm)" in result.stdout.str()
    assert "2 of them allowed or in the baseline" in result.stdout.str()


@pytest.mark.parametrize("allow", ['"sleep 600"', "1"])
def test_what_is_left_beside_what_is_allowed_is_an_error(guarded: Suite, allow: str) -> None:
    mark = f'@pytest.mark.proclife_guard(allow={allow}, reason="one")'
    result = guarded(TWO.replace("MARK", mark).replace("EXPECTED", "[None, -9]"))
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert "test_one left 1 process behind" in said
    assert "1 leaked" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ('"sleep"', "takes its arguments by name, not 'sleep'"),
        ('allow="sleep"', 'reason="..." has to say why'),
        ('allow=True, reason="so"', "allow is the name or command line"),
        ('allow=[], reason="so"', "allow is the name or command line"),
        ('reason="so"', "allow is the name or command line"),
        ('name="sleep", reason="so"', "takes allow and reason, not name"),
    ],
)
def test_a_wrong_marker_is_an_error_of_the_collection(
    guarded: Suite, arguments: str, words: str
) -> None:
    text = f"import pytest\n@pytest.mark.proclife_guard({arguments})\ndef test_it(): pass\n"
    result = guarded(text)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert words in result.stdout.str()


BASE = ("--proclife-guard-baseline=base.json",)


def test_a_suite_that_leaks_starts_with_a_baseline_and_fails_for_what_is_new(
    guarded: Suite, suite: pytest.Pytester
) -> None:
    known = TWO.replace("MARK", "").replace("EXPECTED", "[-9, -9]")
    written = guarded(known, *BASE, "--proclife-guard-write-baseline")
    assert written.ret == 0
    entries = json.loads(Path(suite.path, "base.json").read_text())["leaks"]
    assert entries == [
        {"owner": "test_suite.py::test_one", "kind": "subprocess", "name": "sleep", "count": 2}
    ]
    same = guarded(known, *BASE)
    assert same.ret == 0
    assert "2 of them allowed or in the baseline" in same.stdout.str()
    more = guarded(known.replace('leave("601")', 'leave("601")\n        leave("602")'), *BASE)
    assert more.ret == 1
    assert "test_one left 1 process behind" in more.stdout.str()


def test_what_no_longer_leaks_is_asked_to_be_struck(guarded: Suite, suite: pytest.Pytester) -> None:
    Baseline.of(
        [replace(SLEEP, owner=f"test_suite.py::test_{name}") for name in ("tidy", "left_out")]
    ).write(Path(suite.path, "base.json"))
    result = guarded("def test_tidy(): pass\ndef test_left_out(): pass\n", *BASE, "-k", "tidy")
    assert result.ret == 0
    said = [line for line in result.outlines if line.startswith("strike from ")]
    assert len(said) == 1
    assert "test_suite.py::test_tidy: 1 x sleep (subprocess): it is left no more" in said[0]


WRITES = "--proclife-guard-write-baseline"


@pytest.mark.parametrize("path", ["no/such/folder/base.json", "."])
def test_a_baseline_that_cannot_be_written_is_an_error_before_any_test_runs(
    guarded: Suite, path: str
) -> None:
    result = guarded("def test_one(): pass\n", f"--proclife-guard-baseline={path}", WRITES)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: the baseline * cannot be written: *"])
    assert "passed" not in result.stdout.str()


def test_to_try_to_write_a_baseline_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nothing")
    (tmp_path / "base.json").write_text("old")
    for name in ("link", "base.json", "new"):
        Baseline.try_writing(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.json", "link"]
    assert (tmp_path / "base.json").read_text() == "old"


def test_a_baseline_that_cannot_be_written_at_the_end_fails_the_run(
    guarded: Suite, suite: pytest.Pytester
) -> None:
    folder = suite.mkdir("folder")
    text = f"""
    def test_one():
        pathlib.Path({str(folder)!r}).rmdir()
    """
    path = "--proclife-guard-baseline=folder/base.json"
    result = guarded("    import pathlib\n" + text, path, WRITES)
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["NOT written: *No such file*"])


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": "proclife-guard-baseline", "version": 2, "leaks": []}']
)
def test_a_file_that_is_no_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "base.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="it is n"):
        Baseline.read(path)


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "base.json"
    Baseline.of([SLEEP, SLEEP, WORKER]).write(path)
    assert Baseline.read(path).entries == {
        ("test_it.py::test_one", "subprocess", "sleep"): 2,
        ("test_it.py::test_one", "pool_worker", "ForkPoolWorker-*"): 1,
    }


def test_a_baseline_knows_multiprocessings_processes_whatever_their_number() -> None:
    baseline = Baseline.of([WORKER])
    again = baseline.excuse([replace(WORKER, name="ForkPoolWorker-12"), WORKER])
    assert [leak.excuse for leak in again] == [IN_BASELINE, ""]
    assert baseline.stale(again, [WORKER.owner]) == {}


def test_a_number_is_used_up_by_what_no_pattern_allows() -> None:
    rule = allowance(allow=1, reason="one")
    assert [leak.excuse for leak in rule.of([SLEEP, WORKER])] == ["one", ""]


def test_a_leak_says_who_it_is_where_it_was_started_and_what_to_do() -> None:
    assert in_words([SLEEP, WORKER]).splitlines() == [
        "test_it.py::test_one left 2 processes behind:",
        "",
        "  sleep (subprocess, pid 4711), running for 1.3 s",
        "      started at test_it.py:3 in test_one",
        "      command line: /bin/sleep 600",
        "      wait() for it, or end it and wait() for it, before the test is over",
        "",
        "  ForkPoolWorker-7 (pool_worker, pid 4711), ended, never waited for",
        "      started at test_it.py:3 in test_one",
        "      join() it, before the test is over",
    ]


def test_a_leaks_words_cannot_move_the_terminals_cursor() -> None:
    hostile = replace(SLEEP, name="\x1b[2Jsleep", argv=("\x1b[2J",), where="a\rb.py:1 in f")
    text = in_words([hostile])
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_leak_crosses_to_the_controller_and_back() -> None:
    assert Leak.from_dict(json.loads(json.dumps(SLEEP.to_dict()))) == SLEEP
