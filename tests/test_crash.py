"""Crash points: which there are, that the signal comes exactly there, and what is said of it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import TARGETS, Mark, mostly_slow

from pytest_proclife import (
    Code,
    Crash,
    CrashOutcome,
    LifecycleError,
    Module,
    SupervisorLost,
    assert_nothing_left,
    crash_points,
    run,
)
from pytest_proclife.crash import Plan
from pytest_proclife.options import Options
from pytest_proclife.records import POINTS
from pytest_proclife.target import Program, Target

FOLDER = TARGETS / "crash"
ONE_WORKER = str(FOLDER / "one_worker.py")
NAME = "ForkProcess-1"
STARTED = f"after {NAME} was started at one_worker.py:32"
WAITING = f"as main begins to wait for {NAME} at one_worker.py:35"
JOINED = f"after main collected {NAME} at one_worker.py:35"
SENDING = "as main sends SIGTERM by os.kill() to main at one_worker.py:37"
HANDLER = "in main's handler of SIGTERM"
# the points of one_worker.py that main reports, and its lines, in their order
OF_MAIN = [
    "after the line 'before start' on stdout",
    STARTED,
    "after the line 'after start' on stdout",
    WAITING,
    JOINED,
    "after the line 'after join' on stdout",
    SENDING,
    HANDLER,
    "after the line 'handler' on stdout",
    "after the code of main called sys.exit()",
    "in main's exit path",
    "after main's exit path",
    "as main exits",
]
HANDLERS_ARE_SEEN = sys.version_info >= (3, 12)  # 3.11: neither this nor by what main's code ended
if not HANDLERS_ARE_SEEN:
    OF_MAIN.remove(HANDLER)
# those that its worker reports, in their order
OF_WORKER = [
    "as a fork of main begins",
    f"as {NAME} reaches its target",
    "after the line 'worker' on stdout",
    f"after the code of {NAME} returned",
    f"as {NAME} exits",
]


def planned(target: Target, *args: str, **choice: Any) -> Plan:
    program = Program(target=target, args=args, kwargs=None, cwd=None, env=None, input=None)
    return Plan(Options(program=program, points=True, allow_timeout=True), **choice)


def words(plan: Plan) -> list[str]:
    return [str(place.point) for place in plan.points()]


def crash_at(place: str, name: str) -> Crash:
    """The crash of one_worker.py at the point with these words."""
    plan = planned(ONE_WORKER, signals=[name])
    chosen = [(each, number) for each, number in plan.chosen() if str(each.point) == place]
    (crash,) = plan.crash_each(chosen, 1)
    return crash


# --- the points


def test_the_points_are_named_by_what_the_program_does() -> None:
    plan = planned(ONE_WORKER)
    found = words(plan)
    assert [text for text in found if text in OF_MAIN] == OF_MAIN
    assert [text for text in found if text in OF_WORKER] == OF_WORKER
    assert len(found) == len(OF_MAIN) + len(OF_WORKER)
    assert plan.first is not None
    assert plan.first.exitcode == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of", "at"),
    [
        ("main", None),
        # at main's other points the worker may have ended or not
        ("children", ["begun", "started", "target", "finished", "exiting"]),
    ],
)
def test_the_points_are_the_same_each_time(of: str, at: list[str] | None) -> None:
    seen = []
    for _ in range(10):
        places = planned(ONE_WORKER, of=of, at=at).points()
        seen.append({(str(place.point), place.process) for place in places})
    assert all(points == seen[0] for points in seen)
    assert len(seen[0]) >= 5


def test_the_account_of_a_run_with_points_is_that_of_any_run() -> None:
    held = planned(ONE_WORKER)
    held.points()
    other = run(ONE_WORKER)
    assert held.first is not None
    assert held.first.witness == other.witness
    for process, alike in zip(held.first, other, strict=True):
        assert (process.name, process.cause, process.joined) == (
            alike.name,
            alike.cause,
            alike.joined,
        )


def test_of_points_that_differ_in_numbers_the_first_the_middle_and_the_last_are_tried() -> None:
    plan = planned(str(FOLDER / "many_workers.py"), "7", at=["target"])
    assert words(plan) == [f"as ForkProcess-{n} reaches its target" for n in (1, 4, 7)]


def test_a_limit_draws_the_same_crashes_with_the_same_seed() -> None:
    def drawn(seed: int) -> list[str]:
        plan = planned(ONE_WORKER, limit=6, seed=seed)
        return [f"{place.point} {number}" for place, number in plan.chosen()]

    assert sorted(drawn(1)) == sorted(drawn(1))
    assert len(drawn(1)) == 6
    assert sorted(drawn(1)) != sorted(drawn(2))


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"signals": ["SIGNOTHING"]}, "'SIGNOTHING' is not a signal"),
        ({"signals": "SIGTERM"}, "sequences of names"),
        ({"at": ["start"]}, "unknown kind of point 'start': there are begun, started"),
        ({"limit": 0}, "limit is a number of crashes"),
        ({"of": ""}, "of is main, children or the name"),
        ({"jobs": 0}, "jobs is a number of runs"),
        ({"timeout": -1.0}, "timeout"),
    ],
)
def test_arguments_are_checked_before_anything_is_run(choice: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        crash_points("there is no such file.py", **choice)


def test_polled_runs_have_no_crash_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCLIFE_BACKEND", "polling")
    with pytest.raises(SupervisorLost, match="crash points cannot be had here"):
        next(crash_points(Code("pass")))


# --- the crash


@pytest.mark.parametrize(
    ("place", "last", "following"),
    mostly_slow(
        [
            (STARTED, "before start", "after start"),
            (WAITING, "after start", "after join"),
            (JOINED, "after start", "after join"),
            (SENDING, "after join", "handler"),
            *[(HANDLER, "after join", "handler")] * HANDLERS_ARE_SEEN,
        ],
        fast=2,
    ),
)
def test_main_dies_exactly_at_the_point(place: str, last: str, following: str) -> None:
    crash = crash_at(place, "SIGKILL")
    main = crash.run.main
    assert (main.cause, main.signal, main.ended_by) == ("killed", "SIGKILL", "test")
    assert main.requests[-1].via == "crash point"
    lines = (crash.run.stdout or "").splitlines()
    assert last in lines
    assert following not in lines


@pytest.mark.parametrize("place", mostly_slow(OF_WORKER[:2] + OF_WORKER[3:]))
def test_a_child_dies_exactly_at_the_point(place: str) -> None:
    plan = planned(ONE_WORKER, signals=["SIGKILL"], of="children")
    (chosen,) = [(each, number) for each, number in plan.chosen() if str(each.point) == place]
    (crash,) = plan.crash_each([chosen], 1)
    child = crash.run[NAME]
    assert (child.cause, child.ended_by) == ("killed", "test")
    wrote = "worker" in (crash.run.stdout or "").splitlines()
    assert wrote is (OF_WORKER.index(place) > 2)
    assert child.target_ran in (None, False) if place == OF_WORKER[0] else child.target_ran
    assert (crash.run.exitcode, crash.outcome) == (3, "clean")


def test_a_handler_runs_at_the_point_and_no_frame_of_ours_is_in_its_traceback() -> None:
    crash = crash_at(STARTED, "SIGTERM")
    lines = (crash.run.stdout or "").splitlines()
    assert "handler" in lines
    assert "after start" not in lines
    cause = "terminated" if HANDLERS_ARE_SEEN else "unknown"
    assert (crash.exitcode, crash.run.main.cause) == (3, cause)
    interrupted = crash_at(STARTED, "SIGINT")
    assert "KeyboardInterrupt" in (interrupted.run.stderr or "")
    assert "pytest_proclife" not in (interrupted.run.stderr or "")


@pytest.mark.parametrize("jobs", mostly_slow([1, 2]))
def test_what_is_left_is_named(jobs: int) -> None:
    target = str(FOLDER / "leaves.py")
    options: dict[str, Any] = {"signals": ["SIGKILL"], "at": ["started", "joined"], "linger": 0.1}
    left, clean = crash_points(target, jobs=jobs, **options)
    assert (left.outcome, [p.name for p in left.left], left.exitcode) == ("left", [NAME], -9)
    assert (clean.outcome, clean.left) == ("clean", ())
    assert str(left) == f"SIGKILL after {NAME} was started at leaves.py:14"
    with left:
        assert left.run.orphans == left.left


def test_a_main_that_does_not_end_hangs() -> None:
    target = str(FOLDER / "ignores.py")
    (crash,) = crash_points(target, signals=["SIGTERM"], at=["started"], timeout=1.0, linger=0.0)
    assert (crash.outcome, crash.hung, crash.exitcode) == ("hung", True, None)
    assert [p.name for p in crash.left] == [NAME]
    waits = f"(?s)SIGTERM after {NAME} was started at .*: main hung: .*{NAME}"
    with pytest.raises(LifecycleError, match=waits) as raised, crash:
        pass
    assert raised.value.run == crash.run


def test_a_point_that_does_not_come_again_is_missed(tmp_path: Path) -> None:
    target = str(FOLDER / "not_the_same.py")
    (crash,) = crash_points(target, [str(tmp_path)], signals=["SIGKILL"], at=["started"])
    assert crash.outcome is CrashOutcome.MISSED
    assert crash.missed
    assert (crash.exitcode, crash.run.main.requests) == (0, ())
    with pytest.raises(LifecycleError, match="missed, since the point did not come again"), crash:
        assert_nothing_left(crash.run)  # holds, and proves nothing


def test_a_failure_in_a_plain_loop_says_at_which_crash() -> None:
    (crash,) = crash_points(Code("print(1)"), signals=["SIGKILL"], at=["exiting"])
    with pytest.raises(AssertionError) as raised, crash:
        raise AssertionError("no")
    assert raised.value.__notes__ == ["crash: SIGKILL as main exits"]


@pytest.mark.slow
def test_the_timeout_counts_from_the_signal_on() -> None:
    # together they last longer than the timeout, and each has room for a slow start
    code = "import os, time\ntime.sleep(2.0)\nprint(1, flush=True)\ntime.sleep(3.0)\nos._exit(0)"
    (crash,) = crash_points(Code(code), signals=["SIGCONT"], at=["output"], timeout=4.9)
    assert (crash.outcome, crash.exitcode) == ("clean", 0)


def test_a_program_that_does_not_end_by_itself_is_tried_up_to_the_timeout() -> None:
    target = str(FOLDER / "waits_forever.py")
    crashes = crash_points(target, signals=["SIGKILL"], at=["waiting"], timeout=4.0, linger=0.0)
    (crash,) = crashes
    assert (crash.outcome, [p.name for p in crash.left]) == ("left", [NAME])


def test_the_second_witness_makes_system_calls_points() -> None:
    command = ["sh", "-c", "/bin/true; kill -CONT $$; exit 4"]
    crashes = list(crash_points(command, signals=["SIGKILL"], at=["call"], seccomp=True))
    assert {crash.outcome for crash in crashes} == {CrashOutcome.CLEAN}
    calls = {crash.point.detail for crash in crashes if crash.point.process == "main"}
    assert calls == {"kill", "wait4"}
    assert {crash.exitcode for crash in crashes} == {-9}


# --- interruption


def test_leaving_the_loop_ends_what_runs(mark: Mark) -> None:
    target = str(FOLDER / "waits_forever.py")
    crashes = crash_points(
        target, signals=["SIGKILL", "SIGCONT", "SIGURG"], env=mark.env, timeout=3.0, jobs=3
    )
    next(crashes)
    before = time.monotonic()
    assert hasattr(crashes, "close")
    crashes.close()
    assert time.monotonic() - before < 1.0
    assert mark.gone_within(1.0)


@pytest.mark.parametrize("jobs", mostly_slow(["1", "2"]))
@pytest.mark.parametrize("name", mostly_slow(["SIGINT", "SIGTERM", "SIGKILL"]))
def test_an_interruption_ends_all_within_a_second(jobs: str, name: str, mark: Mark) -> None:
    target = str(FOLDER / "waits_forever.py")
    command = [sys.executable, "-m", "pytest_proclife", "crash", "--signal", "CONT", "-j", jobs]
    with subprocess.Popen(
        [*command, "--timeout", "5", target],
        env=mark.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        until = time.monotonic() + 60
        while len(mark.living()) < 4:  # itself, a zygote, a main and a worker at least
            assert time.monotonic() < until
            time.sleep(0.01)  # /proc cannot be waited for
        before = time.monotonic()
        process.send_signal(signal.Signals[name])
        status = process.wait(timeout=60)
        assert time.monotonic() - before < 1.0
    assert status == (130 if name == "SIGINT" else -signal.Signals[name])
    assert mark.gone_within(1.0)


# --- the command


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "pytest_proclife", "crash", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def test_the_command_shows_a_table_and_one_timeline_of_each_kind_of_failure(
    tmp_path: Path,
) -> None:
    document, page = tmp_path / "crash.json", tmp_path / "crash.html"
    target = str(FOLDER / "leaves.py")
    options = ["--signal", "KILL", "--signal", "term", "--at", "started", "--at", "joined"]
    options += ["--linger", "0.2", "--json", str(document), "--html", str(page)]
    done = command(*options, target)
    assert (done.returncode, done.stderr) == (1, "")
    started, joined = f"after {NAME} was started at leaves.py:14", f"after main collected {NAME}"
    table, timeline = done.stdout.split("\n\nleft: ")
    lines = [line.split() for line in table.splitlines()]
    assert lines[0] == ["SIGKILL", "SIGTERM"]
    assert lines[1] == [*started.split(), "left", "1", "left", "1"]
    assert lines[2][-2:] == ["clean", "clean"]
    assert timeline.startswith(f"SIGKILL {started}, and 1 more like this\n")
    assert timeline.count("MainProcess") == 1
    assert "cleaned up by proclife" in timeline
    points = json.loads(document.read_text())["points"]
    assert points[0] == {
        "point": started,
        "signal": "SIGKILL",
        "outcome": "left",
        "left": [NAME],
        "exitcode": -9,
    }
    assert [point["outcome"] for point in points] == ["left", "left", "clean", "clean"]
    assert points[2]["point"].startswith(joined)
    assert page.read_text().count("SIGKILL after") >= 1


def test_the_command_says_by_its_status_that_all_is_clean() -> None:
    done = command("--signal", "SIGTERM", "--limit", "3", "-m", "this")
    assert (done.returncode, done.stderr) == (0, "")
    assert "clean" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ([], 125, "nothing to run"),
        (["--signal", "NOTHING", ONE_WORKER], 125, "'SIGNOTHING' is not a signal"),
        (["--at", "start", ONE_WORKER], 125, "invalid choice: 'start'"),
        (["no such file.py"], 125, "no such file.py"),
        (["--of", "nobody", ONE_WORKER], 125, "there is no such point in this program"),
    ],
)
def test_the_command_says_what_is_wrong(arguments: list[str], status: int, words: str) -> None:
    done = command(*arguments)
    assert done.returncode == status
    assert words in done.stderr


# --- in a test

TEST = """
from pytest_proclife import assert_nothing_left

def test_nothing_stays(proclife):
    names, at = ["SIGTERM", "SIGKILL"], ["started", "joined"]
    for crash in proclife.crash_points({target!r}, signals=names, at=at, linger=0.1):
        with crash:
            assert_nothing_left(crash.run)

def test_what_is_not_finished_is_over(proclife):
    next(proclife.crash_points({endless!r}, signals=["SIGCONT"], timeout=2.0, jobs=2))
"""


def in_a_test(suite: pytest.Pytester, *options: str) -> pytest.RunResult:
    names = {"target": str(FOLDER / "leaves.py"), "endless": str(FOLDER / "waits_forever.py")}
    suite.makepyfile(TEST.format(**names))
    return suite.runpytest_subprocess("-Werror", "-p", "no:cacheprovider", *options)


def test_each_crash_is_a_subtest_if_pytest_has_them(suite: pytest.Pytester) -> None:
    result = in_a_test(suite, "-v")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    text = result.stdout.str()
    have_subtests = pytest.version_tuple >= (9, 0)
    for name in ("SIGTERM", "SIGKILL") if have_subtests else ():
        result.stdout.fnmatch_lines([f"SUBFAILED?{name} after {NAME} was started at *"])
        result.stdout.fnmatch_lines([f"*SUBPASSED?{name} after main collected {NAME}*"])
    failures = 2 if have_subtests else 1  # each message has its run; no other run is shown
    assert text.count("LifecycleError: expected nothing to clean up, but") == failures
    assert text.count("MainProcess      ") == failures
    assert "1 passed, 2 subtests passed" in text or not have_subtests


def test_without_subtests_the_loop_ends_at_the_first_failure(suite: pytest.Pytester) -> None:
    result = in_a_test(suite, "-p", "no:subtests")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines([f"*crash: SIGTERM after {NAME} was started at leaves.py:14"])


def test_a_module_is_crashed_like_any_target() -> None:
    crashes = crash_points(Module("this"), signals=["SIGTERM"], at=["exiting"])
    assert [str(crash) for crash in crashes] == ["SIGTERM as main exits"]


# --- the page in the documentation

PAGE = (TARGETS.parent.parent / "docs" / "crash-points.md").read_text()


@pytest.mark.slow
def test_the_example_of_the_page_runs(suite: pytest.Pytester) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    suite.makepyfile(example)
    service = "import subprocess\nsubprocess.run(['true'], check=True)"
    (suite.path / "service.py").write_text(service)
    suite.runpytest_subprocess("-Werror").assert_outcomes(passed=1)


def test_the_page_has_each_kind_of_point_and_each_option() -> None:
    table = PAGE.partition("## The points")[2].partition("**Exactly there.**")[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {kind for cell in first for kind in re.findall("`(.*?)`", cell)} == set(POINTS)
    offered = set(re.findall(r"--[a-z-]+", command("--help").stdout)) - {"--help"}
    assert offered - set(re.findall(r"--[a-z-]+", PAGE)) == {"--jobs", "--color"}
