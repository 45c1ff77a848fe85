"""Leaks as values: which are excused, what crosses to another process, what is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_proclife.guard import leak_text
from pytest_proclife.guard.allowance import Baseline, allowance
from pytest_proclife.guard.leak import Leak, State

SLEEP = Leak(
    owner="test_it.py::test_one",
    pid=4711,
    kind="subprocess",
    name="sleep",
    argv=("/bin/sleep", "600"),
    state=State.RUNNING,
    age=1.26,
    place="test_it.py:3",
    function="test_one",
)
WORKER = replace(SLEEP, kind="pool_worker", name="ForkPoolWorker-7", argv=(), state=State.ZOMBIE)


def test_to_try_to_write_a_baseline_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nothing")
    (tmp_path / "base.json").write_text("old")
    for name in ("link", "base.json", "new"):
        Baseline.try_writing(tmp_path / name)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base.json", "link"]
    assert (tmp_path / "base.json").read_text() == "old"


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"format": "proclife-guard-baseline", "version": 2, "leaks": []}']
)
def test_a_file_that_is_not_a_baseline_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "base.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="it is not "):
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
    assert [leak.in_baseline for leak in again] == [True, False]
    assert baseline.stale(again, [WORKER.owner]) == {}


def test_a_number_is_used_up_by_leaks_that_no_pattern_allows() -> None:
    rule = allowance(allow=1, reason="one")
    assert [leak.reason for leak in rule.apply([SLEEP, WORKER])] == ["one", ""]


def test_the_account_has_name_state_line_command_and_advice() -> None:
    excused = [replace(SLEEP, reason="a cache"), replace(SLEEP, in_baseline=True)]
    assert leak_text.account([SLEEP, *excused, WORKER]).splitlines() == [
        "test_it.py::test_one leaked 2 processes:",
        "",
        "  sleep (subprocess, pid 4711), running for 1.3 s",
        "      started at test_it.py:3 in test_one",
        "      command line: /bin/sleep 600",
        "      wait() for it, or kill() it and wait() for it, before the test ends",
        "",
        "  ForkPoolWorker-7 (pool_worker, pid 4711), exited, never waited for",
        "      started at test_it.py:3 in test_one",
        "      join() it, before the test ends",
    ]


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({}, "started at test_it.py:3 in test_one"),
        ({"place": ""}, "started at an unknown line"),
        ({"ancestor": "sh"}, "started by sh, which was started at test_it.py:3 in test_one"),
        ({"ancestor": "", "place": ""}, "started by a fork, which was started at an unknown line"),
        (
            {"ancestor": "", "ancestor_pid": 12},
            "started by a fork (pid 12), which was started at test_it.py:3 in test_one",
        ),
        (
            {"through": "site-packages/library.py:4 in serve"},
            "started at test_it.py:3 in test_one, through site-packages/library.py:4 in serve",
        ),
        ({"in_baseline": True}, "started at test_it.py:3 in test_one (in the baseline)"),
        ({"reason": "a cache"}, "started at test_it.py:3 in test_one (a cache)"),
    ],
)
def test_a_line_ends_with_the_start_and_the_excuse(changes: dict[str, object], end: str) -> None:
    line = leak_text.line(replace(SLEEP, **changes))  # type: ignore[arg-type]  # of each field
    assert line == f"sleep (subprocess, pid 4711), running for 1.3 s, {end}"


@pytest.mark.parametrize(
    ("call", "words"), [("BaseProcess.join", ", in Process.join at a.py:31"), ("", ", at a.py:31")]
)
def test_where_it_stands_is_said_with_its_state(call: str, words: str) -> None:
    line = leak_text.line(replace(SLEEP, call=call, line="a.py:31"))
    assert line.startswith(f"sleep (subprocess, pid 4711), running for 1.3 s{words}, started at ")


def test_what_the_guard_has_killed_is_said_once_with_the_option_that_keeps_it() -> None:
    killed = replace(SLEEP, killed=True)
    text = leak_text.account([killed, killed, WORKER])
    assert text.count("The guard has killed what was running; --proclife-guard-keep ") == 1
    assert leak_text.total([killed, replace(SLEEP, reason="a cache")]).endswith(
        "1 of them allowed or in the baseline, 1 of them killed by the guard"
    )


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "sleep (pid 4711), started at test_it.py:3"),
        ({"state": State.ZOMBIE}, "sleep (pid 4711), never waited for, started at test_it.py:3"),
        ({"place": ""}, "sleep (pid 4711), started at an unknown line"),
    ],
)
def test_a_leak_has_a_few_words_for_the_short_summary(
    changes: dict[str, object], text: str
) -> None:
    assert leak_text.summary(replace(SLEEP, **changes)) == text  # type: ignore[arg-type]  # of each field


def test_the_text_of_a_leak_cannot_move_the_terminals_cursor() -> None:
    hostile = replace(
        SLEEP, name="\x1b[2Jsleep", argv=("\x1b[2J",), place="a\rb.py:1", through="\x1b[2J"
    )
    text = leak_text.account([hostile])
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_leak_crosses_to_the_controller_and_back() -> None:
    for leak in (SLEEP, WORKER, replace(SLEEP, ancestor="sh", in_baseline=True)):
        assert Leak.from_dict(json.loads(json.dumps(leak.to_dict()))) == leak
