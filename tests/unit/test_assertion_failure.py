"""What a failed assertion says, whole: `failures/` has the text of each way to fail.

With PROCLIFE_WRITE_FAILURES=1 the texts are written anew, to be read before they are kept; the
tests fail then.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lives
import pytest

import pytest_proclife as pp
from pytest_proclife.records import LeftOut, Run, Source

FOLDER = Path(__file__).parent / "failures"
RULE = "=" * 30

Failure = Callable[[], None]


def one(name: str, run: Run, who: str | list[str] = "job", **options: Any) -> Failure:
    """An assertion of processes, by their names."""
    chosen: Any = run[who] if isinstance(who, str) else [run[name] for name in who]
    return lambda: getattr(pp, name)(chosen, **options)


def two(name: str, run: Run, who: str, other: str) -> Failure:
    return lambda: getattr(pp, name)(run[who], run[other])


def whole(name: str, run: Run, **options: Any) -> Failure:
    return lambda: getattr(pp, name)(run, **options)


def every(name: str, run: Run, **options: Any) -> Failure:
    return lambda: getattr(pp, name)(run.children, **options)


ends, exam, plain, left = lives.ends(), lives.daemon_exam(), lives.plain_exam(), lives.left_behind()
cleaned, lost, still = lives.left_behind(cleaned_up=True), lives.lost_report(), lives.snapshot()
by_test, programs, close = lives.asked_by_the_test(), lives.programs(), lives.close_ends()
three, timed_out, stuck = lives.three_workers(), lives.timed_out(), lives.stuck_main()
bootstrapping = "An attempt has been made to start a new process before the bootstrapping phase"
turns = lives.one_after_the_other()
asked, stopping = lives.shutdowns(), lives.stopping()
unsure = lives.left_behind(after=5)

FAILURES: dict[str, dict[str, Failure]] = {
    "assert_joined": {
        "a daemon that was abandoned": one("assert_joined", exam, "session"),
        "a status taken in passing": one("assert_joined", lives.in_passing()),
        "an orphan": one("assert_joined", left),
        "main": one("assert_joined", left, "MainProcess"),
        "joined by another wait": one("assert_joined", plain, "session", how="explicit"),
        "joined by the library": every("assert_joined", lives.pool(), how="implicit"),
        "still running": one("assert_joined", still),
        "nothing is reported": every(
            "assert_joined",
            lives.changed(lives.polled(lives.in_passing()), "MainProcess", target_ran=None),
        ),
        "a program that nobody waited for": one("assert_joined", lives.left_program(), "sleep"),
        "reports of its parent are missing": one("assert_joined", lives.untold()),
        "who started it is not known": one("assert_joined", lives.stray(), "daemon"),
        "perhaps abandoned": one("assert_joined", lives.unknown_daemon()),
        "several": one("assert_joined", left, ["job", "background", "MainProcess"]),
    },
    "assert_target_ran": {
        "the notebook": every("assert_target_ran", lives.notebook()),
        "no guard": every(
            "assert_target_ran", lives.start_ups("RuntimeError", bootstrapping, "process.py")
        ),
        "the lock's name is gone": every(
            "assert_target_ran",
            lives.start_ups("FileNotFoundError", "[Errno 2]", "synchronize.py"),
        ),
        "another error": every(
            "assert_target_ran", lives.start_ups("EOFError", "", "reduction.py")
        ),
        "killed at its birth": one("assert_target_ran", lives.killed_at_birth()),
        "not known": one("assert_target_ran", programs, "sh"),
    },
    "assert_abandoned": {
        "it is no daemon": one("assert_abandoned", plain, "session"),
        "it was done": one("assert_abandoned", left, "background"),
        "its parent had no exit path": one(
            "assert_abandoned",
            lives.changed(lives.changed(left, "job", daemon=True), "job", orphaned=True),
        ),
        "it ignored the signal": one("assert_abandoned", lives.ignoring_daemon(), "session"),
        "a program": one("assert_abandoned", programs, "sh"),
        "it was terminated": one(
            "assert_abandoned", lives.changed(ends, "terminated", daemon=True), "terminated"
        ),
        "unknown": one("assert_abandoned", lives.unknown_daemon()),
    },
    "assert_returned": {
        "abandoned": one("assert_returned", exam, "session"),
        "raised": one("assert_returned", ends, "raised"),
        "raised, and then died of a signal": one(
            "assert_returned",
            lives.changed(ends, "raised", exitcode=-15, signal="SIGTERM"),
            "raised",
        ),
        "cleaned up after the linger": one("assert_returned", cleaned),
        "cleaned up at the timeout": one("assert_returned", stuck, "MainProcess"),
        "exited": one("assert_returned", programs, "sh"),
        "unknown": one("assert_returned", lost),
        "still running": one("assert_returned", still),
        "several": every("assert_returned", ends),
    },
    "assert_raised": {
        "returned": one("assert_raised", ends, "returned"),
        "another type": one("assert_raised", ends, "raised", type=ValueError),
        "another name": one("assert_raised", ends, "raised", type="ValueError", match="chalk"),
        "another message": one("assert_raised", ends, "raised", match="sponge"),
        "which exception is not known": one(
            "assert_raised", lives.changed(ends, "raised", exception=None), "raised", match="a"
        ),
        "unknown": one("assert_raised", lost, type=ValueError),
    },
    "assert_sys_exit": {
        "os._exit": one("assert_sys_exit", ends, "os_exit"),
        "another code": one("assert_sys_exit", ends, "sys_exit", code=0),
        "a signal in its exit path": one(
            "assert_sys_exit",
            lives.changed(ends, "sys_exit", exitcode=-11, signal="SIGSEGV"),
            "sys_exit",
            code=3,
        ),
        "the code is not known": one(
            "assert_sys_exit", lives.changed(ends, "sys_exit", exitcode=None), "sys_exit", code=3
        ),
        "asked to": one("assert_sys_exit", ends, "polite"),
        "unknown": one("assert_sys_exit", lost),
    },
    "assert_os_exit": {
        "returned": one("assert_os_exit", ends, "returned"),
        "another code": one("assert_os_exit", ends, "os_exit", code=5),
        "unknown": one("assert_os_exit", lost, code=5),
    },
    "assert_terminated": {
        "killed": one("assert_terminated", ends, "killed"),
        "abandoned": one("assert_terminated", exam, "session"),
        "by itself": one("assert_terminated", ends, "signaled"),
        "by another": lambda: pp.assert_terminated(by_test["terminated"], by=by_test.main),
        "not by the test": one("assert_terminated", ends, "terminated", by="test"),
        "unknown": one("assert_terminated", lost, by="test"),
    },
    "assert_killed": {
        "terminated": one("assert_killed", ends, "terminated"),
        "cleaned up": one("assert_killed", cleaned),
        "from nowhere": one("assert_killed", left, "MainProcess"),
        "by another": lambda: pp.assert_killed(by_test["killed"], by=by_test["terminated"]),
        "unknown": one("assert_killed", lost),
    },
    "assert_signaled": {
        "another sent it": one("assert_signaled", ends, "terminated", signal="SIGTERM"),
        "another signal": one("assert_signaled", ends, "signaled", signal=15),
        "returned": one("assert_signaled", ends, "returned"),
        "unknown": one("assert_signaled", lost),
    },
    "assert_shut_down": {
        "not asked": one("assert_shut_down", ends, "raised"),
        "not by the test": one("assert_shut_down", asked, "drained", by="test"),
        "another signal": one("assert_shut_down", asked, "drained", signal="SIGINT"),
        "too late": one("assert_shut_down", asked, "drained", within=0.25),
        "another exit code": one("assert_shut_down", asked, "drained", exitcode=3),
        "died of it": one("assert_shut_down", asked, "died"),
        "died of the second": one("assert_shut_down", asked, "again"),
        "ignored it": one("assert_shut_down", asked, "ignored"),
        "blocked it": one("assert_shut_down", asked, "blocked"),
        "killed": one("assert_shut_down", asked, "killed"),
        "not seen": one("assert_shut_down", asked, "odd"),
        "reports are missing": one("assert_shut_down", lost),
        "it runs": one("assert_shut_down", stopping, "job"),
        "three of four": one("assert_shut_down", asked, ["drained", "died", "killed", "odd"]),
    },
    "assert_orphaned": {
        "main waited": one("assert_orphaned", plain, "session"),
        "main": one("assert_orphaned", plain, "MainProcess"),
        "its parent still runs": one("assert_orphaned", still),
        "the order is not known": one("assert_orphaned", close),
        "its parent is not known": one("assert_orphaned", lives.stray(), "daemon"),
    },
    "assert_no_orphans": {
        "one": whole("assert_no_orphans", left),
        "one within too long a time": whole("assert_no_orphans", left, within=0.1),
        "one that was cleaned up": whole("assert_no_orphans", cleaned, within=60),
        "a program": whole("assert_no_orphans", lives.left_grandchild()),
        "the order is not known": whole("assert_no_orphans", close),
        "its parent is not known": whole("assert_no_orphans", lives.stray()),
        "why it ended is not known": whole(
            "assert_no_orphans", lives.changed(unsure, "job", cause=pp.Cause.UNKNOWN), within=1
        ),
        "one that still runs": whole(
            "assert_no_orphans",
            lives.changed(left, "job", cause=None, ended_at=None, ending=pp.Ending.RUNNING),
        ),
        "not all was seen": whole("assert_no_orphans", lives.polled(three)),
    },
    "assert_nothing_left": {
        "one": whole("assert_nothing_left", cleaned),
        "all": whole("assert_nothing_left", timed_out),
        "still running": whole("assert_nothing_left", still),
        "perhaps one": whole(
            "assert_nothing_left", lives.changed(cleaned, "job", cause=pp.Cause.UNKNOWN)
        ),
        "not all was seen": whole("assert_nothing_left", lives.polled(three)),
    },
    "assert_daemon": {
        "none": one("assert_daemon", plain, "session"),
        "main": one("assert_daemon", plain, "MainProcess"),
        "a program": one("assert_daemon", programs, "sh"),
        "not known": one("assert_daemon", lives.changed(plain, "session", daemon=None), "session"),
    },
    "assert_not_daemon": {
        "one": one("assert_not_daemon", exam, "session"),
        "main": one("assert_not_daemon", exam, "MainProcess"),
        "not known": one(
            "assert_not_daemon", lives.changed(plain, "session", daemon=None), "session"
        ),
    },
    "assert_outlived": {
        "it ended before": two("assert_outlived", plain, "session", "MainProcess"),
        "it ended, the other runs": two(
            "assert_outlived",
            lives.changed(three, "MainProcess", ended_at=None, cause=None),
            "worker-1",
            "MainProcess",
        ),
        "the order is not known": two("assert_outlived", close, "job", "MainProcess"),
        "both still run": two("assert_outlived", still, "job", "MainProcess"),
        "several": lambda: pp.assert_outlived(three["worker-1"], [*three.children[1:], three.main]),
    },
    "assert_ended_before": {
        "it ended later": two("assert_ended_before", left, "job", "MainProcess"),
        "the order is not known": two("assert_ended_before", close, "job", "MainProcess"),
    },
    "assert_overlapped": {
        "one after the other": two("assert_overlapped", turns, "last", "first"),
        "nothing proves it": two("assert_overlapped", turns, "close", "first"),
    },
    "assert_held_up_by": {
        "an abandoned daemon": two("assert_held_up_by", exam, "MainProcess", "session"),
        "perhaps an abandoned daemon": two(
            "assert_held_up_by",
            lives.changed(exam, "session", cause=pp.Cause.UNKNOWN),
            "MainProcess",
            "session",
        ),
        "still running": two("assert_held_up_by", still, "MainProcess", "job"),
        "a wait that was cut off": two("assert_held_up_by", timed_out, "MainProcess", "job"),
        "joined before": two("assert_held_up_by", three, "MainProcess", "worker-1"),
        "not joined": two("assert_held_up_by", lives.in_passing(), "MainProcess", "job"),
        "another's child": two(
            "assert_held_up_by", lives.left_grandchild(), "MainProcess", "sleep"
        ),
        "its parent had no exit path": two("assert_held_up_by", left, "MainProcess", "job"),
        "its parent's end is not known": two(
            "assert_held_up_by",
            lives.changed(plain, "MainProcess", finished_at=None),
            "MainProcess",
            "session",
        ),
        "reports of its parent are missing": two(
            "assert_held_up_by", lives.untold(), "MainProcess", "job"
        ),
        "several": lambda: pp.assert_held_up_by(three.main, three.children),
    },
    "assert_not_held_up": {
        "by a child": one("assert_not_held_up", plain, "MainProcess"),
        "by a daemon that ignored the signal": one(
            "assert_not_held_up", lives.ignoring_daemon(), "MainProcess"
        ),
        "perhaps by a daemon": one(
            "assert_not_held_up",
            lives.changed(exam, "session", cause=pp.Cause.UNKNOWN),
            "MainProcess",
        ),
        "until the timeout": one("assert_not_held_up", timed_out, "MainProcess"),
        "until it was killed": one("assert_not_held_up", lives.interrupted_exit(), "MainProcess"),
        "its code was not done at the timeout": one("assert_not_held_up", stuck, "MainProcess"),
        "still running": one("assert_not_held_up", still),
        "reports are missing": one("assert_not_held_up", lives.untold(), "MainProcess"),
        "not known": one("assert_not_held_up", programs, "sh"),
    },
}
WAYS = [(name, way) for name, ways in FAILURES.items() for way in ways]


def text_of(failure: Failure) -> str:
    with pytest.raises(pp.LifecycleError) as caught:
        failure()
    return str(caught.value)


def kept(name: str) -> dict[str, str]:
    """The texts in the file of an assertion, by the way to fail."""
    parts = (FOLDER / f"{name}.txt").read_text().split(f"{RULE} ")[1:]
    return {way: text.strip("\n") for way, _, text in (part.partition("\n") for part in parts)}


@pytest.mark.parametrize(("name", "way"), WAYS, ids=[f"{name}-{way}" for name, way in WAYS])
def test_the_whole_text_of_a_failure(name: str, way: str) -> None:
    assert text_of(FAILURES[name][way]) == kept(name)[way]


def test_each_assertion_has_its_failures_and_no_text_is_left_over() -> None:
    assert set(FAILURES) == {name for name in pp.__all__ if name.startswith("assert_")}
    assert {path.stem for path in FOLDER.iterdir()} == set(FAILURES)
    assert {name: set(kept(name)) for name in FAILURES} == {n: set(w) for n, w in FAILURES.items()}


@pytest.fixture(scope="module", autouse=True)
def _write_anew() -> None:
    if "PROCLIFE_WRITE_FAILURES" not in os.environ:
        return
    FOLDER.mkdir(exist_ok=True)
    for path in FOLDER.iterdir():
        path.unlink()
    for name, ways in FAILURES.items():
        texts = [f"{RULE} {way}\n{text_of(failure)}\n" for way, failure in ways.items()]
        (FOLDER / f"{name}.txt").write_text("\n".join(texts))
    pytest.fail("the texts were written anew: read them, and run without the variable")


# --- many, and long


def test_of_many_offenders_some_are_told_and_the_others_counted() -> None:
    run = lives.workers_of(400)
    text = text_of(every("assert_returned", run))
    lines = text.splitlines()

    assert lines[0] == (
        "expected each of 400 processes to have returned, but this is false for 400"
    )
    assert lines[1] == "  worker-0 (pid 101): it raised ValueError: lesson 0, exit code 1"
    assert lines[11] == "  ... and 390 more: see the error's .offenders"
    assert "... and 389 more: 389 raised" in lines
    assert "evidence of 396 more: process.evidence of the error's .offenders" in lines
    assert len(lines) < 80


def test_the_timeline_shows_the_offenders_first() -> None:
    run = lives.workers_of(400)
    odd = lives.changed(run, "worker-321", cause=pp.Cause.RETURNED)
    lines = text_of(every("assert_raised", odd)).splitlines()

    assert lines[0].startswith(
        "expected each of 400 processes to have raised, but this is false for worker-"
    )
    assert sum("worker-321" in line for line in lines) == 3


def test_of_much_evidence_the_middle_is_left_out_and_no_line_is_endless() -> None:
    facts = tuple(
        LeftOut(at=n / 1000, source=Source.TARGET, text=f"fact {n} {'x' * 500}") for n in range(30)
    )
    run = lives.changed(plain, "session", evidence=facts)
    lines = text_of(one("assert_abandoned", run, "session")).splitlines()

    assert sum("fact " in line for line in lines if "left out:" in line) == 12
    assert "        ...  18 facts left out" in lines
    assert max(map(len, lines[1:])) <= 72


def test_what_a_program_says_cannot_move_the_cursor_or_break_the_lines() -> None:
    error = pp.ExceptionInfo(type="E", message="\x1b[2J\nhint: nothing" + "y" * 9000, traceback="")
    run = lives.changed(ends, "raised", exception=error, name="a\nb")
    text = text_of(lambda: pp.assert_returned(run["a\nb"]))

    assert "\x1b" not in text
    assert text.startswith(
        "expected a\\nb (pid 102) to have returned, but it raised E: \\x1b[2J\\n"
    )
    assert len(text.splitlines()[0]) < 350


# --- the exception


def test_the_error_carries_its_offenders_and_their_run() -> None:
    with pytest.raises(pp.LifecycleError) as caught:
        pp.assert_joined(left.processes)

    error = caught.value
    assert isinstance(error, AssertionError)
    assert error.offenders == (left.main, left["job"])
    assert error.run is left


def test_the_error_has_a_line_that_begins_with_the_process_and_its_fact() -> None:
    for processes, words in (
        (exam["session"], "session: it was abandoned by MainProcess's"),
        (left.children, "job and 1 more: it returned"),
        (left.processes, "MainProcess and 2 more: it "),
    ):
        with pytest.raises(pp.LifecycleError) as caught:
            pp.assert_terminated(processes)
        assert caught.value.brief.startswith(words)
        assert pickle.loads(pickle.dumps(caught.value)).brief == caught.value.brief


def test_an_error_goes_through_pickle() -> None:
    with pytest.raises(pp.LifecycleError) as caught:
        pp.assert_returned(exam["session"])
    again = pickle.loads(pickle.dumps(caught.value))

    assert str(again) == str(caught.value)
    assert again.offenders == caught.value.offenders
    assert again.run == exam
    assert again.offenders[0].run is again.run


# --- arguments that make no sense

other = lives.plain_exam().main
WRONG: list[tuple[Failure, type[Exception], str]] = [
    (lambda: pp.assert_returned("Process-1"), TypeError, "pass a process of a run"),  # type: ignore[arg-type]
    (lambda: pp.assert_returned(None), TypeError, "not None"),  # type: ignore[arg-type]
    (lambda: pp.assert_returned([exam.main, 5]), TypeError, "not 5"),  # type: ignore[list-item]
    (lambda: pp.assert_returned(exam), TypeError, "a run is not a process: pass run.main, run.ch"),
    (lambda: pp.assert_no_orphans(exam.main), TypeError, "pass the run itself"),  # type: ignore[arg-type]
    (lambda: pp.assert_held_up_by(exam.children, exam.main), TypeError, "pass one process"),  # type: ignore[arg-type]
    (
        lambda: pp.assert_returned([exam.main, other]),
        ValueError,
        "MainProcess (pid 100) and MainProcess (pid 100) are processes of different runs",
    ),
    (lambda: pp.assert_outlived(exam.main, other), ValueError, "of different runs"),
    (lambda: pp.assert_killed(exam.main, by=other), ValueError, "of different runs"),
    (lambda: pp.assert_killed(exam.main, by="main"), ValueError, "by must be a process of the"),  # type: ignore[arg-type]
    (lambda: pp.assert_joined(exam.main, "early"), ValueError, "or None, not 'early'"),  # type: ignore[arg-type]
    (lambda: pp.assert_sys_exit(exam.main, 256), ValueError, "from 0 to 255, not 256"),
    (lambda: pp.assert_os_exit(exam.main, True), ValueError, "from 0 to 255, not True"),
    (lambda: pp.assert_signaled(exam.main, "TERM"), ValueError, "unknown signal 'TERM'"),
    (lambda: pp.assert_signaled(exam.main, -15), ValueError, "unknown signal -15"),
    (
        lambda: pp.assert_raised(exam.main, match="("),
        ValueError,
        "match is not a regular expression",
    ),
    (lambda: pp.assert_raised(exam.main, match=5), ValueError, "expression, not 5"),  # type: ignore[arg-type]
    (lambda: pp.assert_raised(exam.main, int), ValueError, "type must be an exception class"),  # type: ignore[arg-type]
    (lambda: pp.assert_raised(exam.main, ""), ValueError, "the name of one, not ''"),
    (lambda: pp.assert_no_orphans(exam, -1), ValueError, "0 or more, not -1"),
    (lambda: pp.assert_no_orphans(exam, float("nan")), ValueError, "0 or more, not nan"),
    (lambda: pp.assert_outlived(exam.main, exam), TypeError, "a run is not a process"),
    (lambda: pp.assert_outlived(exam.main, exam.main), ValueError, "is on both sides"),
    (lambda: pp.assert_overlapped(exam.main, exam.main), ValueError, "is on both sides"),
]


@pytest.mark.parametrize(("call", "error", "words"), WRONG, ids=[words for *_, words in WRONG])
def test_an_argument_that_makes_no_sense_is_told_in_one_sentence(
    call: Failure, error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_copy_of_a_run_is_the_same_run() -> None:
    copy = Run.from_json(exam.to_json())
    pp.assert_outlived(exam.main, copy["session"])
