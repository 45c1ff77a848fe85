"""The sentences for a student, from canned runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lives
import pytest

import pytest_proclife
from pytest_proclife.exercises.feedback import Failure, sentences
from pytest_proclife.records import Cause, ExceptionInfo, Run, WaitedFor

NONE = (
    "Your program started no process: all of its work was done in main. "
    "A Process has to be started with start(); run() only calls its function."
)


def feedback(
    run: Run, *names: str, noun: str = "", assertion: str = "assert_not_held_up", **asked: Any
) -> tuple[str, ...]:
    failure = Failure(
        run=run, offenders=tuple(run[name] for name in names), assertion=assertion, asked=asked
    )
    return sentences(failure, noun=noun, file="/answers/exam.py")


def test_a_session_that_kept_the_program_open_has_its_seconds() -> None:
    text = (
        "Your session was still running when main ended: it kept the program open 0.6 s longer. A "
        "daemon process would have been ended with it."
    )
    run = lives.plain_exam()
    assert feedback(run, "session", noun="session", assertion="assert_abandoned") == (text,)
    assert feedback(run, "MainProcess", noun="session") == (text,)
    (text,) = feedback(run, "session", noun="session", assertion="assert_joined")
    assert text.endswith("longer. With join() main waits for it before it goes on.")


def test_join_is_proposed_only_to_one_who_was_asked_for_it() -> None:
    cut_off = (
        "Your session is a daemon, and was not done when main ended after 0.9 s: it was ended "
        "with main."
    )
    run = lives.daemon_exam()
    assert feedback(run, "session", noun="session", assertion="assert_joined") == (
        f"{cut_off} With join() main waits until it is done.",
    )
    # its function may never end
    assert feedback(run, "session", noun="session", assertion="assert_returned") == (
        f"{cut_off} It can finish only if its function comes to an end, and main waits for it.",
    )


def test_a_daemon_that_delays_the_exit_is_not_called_a_non_daemon() -> None:
    (text,) = feedback(lives.ignoring_daemon(), "MainProcess")
    assert text.endswith("It was asked to end, and took its time.")


def test_sentences_of_the_same_kind_are_merged() -> None:
    run = lives.three_workers()
    workers = ("worker-1", "worker-2", "worker-3")
    assert feedback(run, *workers, noun="worker", assertion="assert_abandoned") == (
        (
            "Your worker worker-3 was waited for with join(): main went on when it had ended, "
            "after 0.3 s. This is also true of 2 more."
        ),
    )


def test_the_silent_failure_of_a_notebook_is_explained() -> None:
    (text,) = feedback(lives.notebook())
    assert text.startswith(
        "Your process worker-1 never began its work: it ended while it was starting, with "
        "AttributeError: Can't get attribute 'worker'"
    )
    assert "With the start method spawn a process imports your program again" in text
    assert "In a notebook's kernel this fails without a message." in text
    assert text.endswith("This is also true of 2 more.")


def test_a_terminated_process_has_its_sender_and_the_call() -> None:
    run = lives.ends()
    first, *_ = feedback(run, "terminated", "killed", assertion="assert_returned")
    assert first == (
        "Your process terminated did not end by itself: your program ended it with terminate() "
        "(SIGTERM). This is also true of 1 more."
    )


def test_exceptions_have_their_line() -> None:
    run = lives.ends()
    trace = 'File "/answers/exam.py", line 7, in work\nFile "/lib/chalk.py", line 3, in write'
    broken = ExceptionInfo(type="job.Broken", message="no chalk", traceback=trace)
    run = lives.changed(run, "raised", exception=broken)
    assert "Your process raised ended with Broken: no chalk (line 7)." in feedback(run)
    cell = 'File "/tmp/x/exam.ipynb/code cell 2", line 4, in work'
    run = lives.changed(run, "raised", exception=replace(broken, traceback=cell))
    assert "Your process raised ended with Broken: no chalk (code cell 2, line 4)." in feedback(run)
    cell = 'File "/tmp/x/exam.ipynb/cell [12]", line 4, in work'
    run = lives.changed(run, "raised", exception=replace(broken, traceback=cell))
    assert "Your process raised ended with Broken: no chalk (cell [12], line 4)." in feedback(run)


def test_input_without_an_answer_is_explained() -> None:
    message = "EOF when reading a line"
    trace = 'File "/answers/exam.py", line 1, in <module>'
    error = ExceptionInfo(type="EOFError", message=message, traceback=trace)
    run = lives.changed(lives.plain_exam(), "MainProcess", cause=Cause.RAISED, exception=error)
    assert feedback(run) == ("Your program asks for input (line 1), and nobody is there to type.",)


def test_a_timeout_has_what_main_was_waiting_for() -> None:
    (text,) = feedback(lives.timed_out())
    assert text.startswith("Your program had not ended after ")
    assert "it was waiting for your process" in text


def test_a_program_that_starts_no_process_is_explained_without_offenders() -> None:
    run = lives.workers_of(0)
    assert feedback(run) == (NONE,)


def test_a_record_that_explains_nothing_gives_no_sentence() -> None:
    assert feedback(lives.three_workers()) == ()


def test_an_orphan_has_its_seconds() -> None:
    run = lives.left_behind()
    names = [orphan.name for orphan in run.orphans]
    texts = feedback(run, *names, assertion="assert_no_orphans")
    assert any("was still running when main was gone, for 0." in text for text in texts)


# What each assertion says of processes that do not live up to it: a run, whose, and the sentence.
CLAIMS: dict[str, tuple[Callable[[], Run], str | None, dict[str, Any], str]] = {
    "assert_daemon": (lives.plain_exam, "session", {}, "Your session is not a daemon. A Process"),
    "assert_not_daemon": (lives.daemon_exam, "session", {}, "Your session is a daemon, and should"),
    "assert_target_ran": (lives.notebook, "worker-1", {}, "Your session worker-1 never began its"),
    "assert_joined": (lives.daemon_exam, "session", {}, "Your session is a daemon, and was not"),
    "assert_abandoned": (lives.plain_exam, "session", {}, "Your session was still running when"),
    "assert_returned": (
        lives.ends,
        "signaled",
        {},
        "Your session signaled was ended by SIGABRT. It was expected to come to the end of its",
    ),
    "assert_raised": (
        lives.ends,
        "returned",
        {"type": "ValueError"},
        "It was expected to end with ValueError.",
    ),
    "assert_sys_exit": (
        lives.ends,
        "sys_exit",
        {"code": 5},
        (
            "Your session sys_exit ended itself with sys.exit(), with exit code 3. It was expected "
            "to end itself with sys.exit(), with exit code 5."
        ),
    ),
    "assert_os_exit": (lives.ends, "sys_exit", {}, "to end itself with os._exit()."),
    "assert_terminated": (
        lives.ends,
        "killed",
        {},
        (
            "Your session killed did not end by itself: your program ended it with kill() "
            "(SIGKILL). It was expected to be ended by terminate() or another signal"
        ),
    ),
    "assert_killed": (lives.ends, "terminated", {}, "It was expected to be ended by SIGKILL"),
    "assert_signaled": (
        lives.ends,
        "returned",
        {"signal": "SIGSEGV"},
        "It was expected to die of SIGSEGV.",
    ),
    "assert_shut_down": (
        lives.ends,
        "terminated",
        {},
        "Your session terminated was ended by SIGTERM at once: it has no handler for that signal.",
    ),
    "assert_orphaned": (lives.ends, "returned", {}, "ended before the process that started it"),
    "assert_no_orphans": (lives.left_behind, None, {}, "was still running when main was gone"),
    "assert_nothing_left": (
        lambda: lives.left_behind(cleaned_up=True),
        None,
        {},
        "was still running when time was up, and had to be ended.",
    ),
    "assert_outlived": (lives.ends, "returned", {}, "Your session returned ran from 0."),
    "assert_ended_before": (lives.ends, "returned", {}, "was expected to end before the other."),
    "assert_overlapped": (lives.ends, "returned", {}, "They were expected to run at the same time"),
    "assert_held_up_by": (
        lives.three_workers,
        "worker-1",
        {"others": True},
        "came to the end of its work after 0.1 s. It was expected to keep the program open",
    ),
    "assert_not_held_up": (lives.plain_exam, "MainProcess", {}, "it kept the program open 0.6 s"),
}


@pytest.mark.parametrize("assertion", CLAIMS)
def test_every_assertion_says_what_it_asks_for(assertion: str) -> None:
    build, name, asked, sentence = CLAIMS[assertion]
    run = build()
    names = [orphan.name for orphan in run.orphans] if name is None else [name]
    if "others" in asked:
        asked = {"others": tuple(run[each] for each in names)}
    texts = feedback(run, *names, noun="session", assertion=assertion, **asked)
    assert any(sentence in text for text in texts), texts
    for text in texts:
        assert "pid" not in text
        assert not any(str(process.pid) in text.split() for process in run)


def test_there_is_a_sentence_for_each_assertion() -> None:
    assert set(CLAIMS) == {name for name in pytest_proclife.__all__ if name.startswith("assert_")}


@pytest.mark.parametrize(
    ("name", "asked", "end"),
    [
        (
            "drained",
            {"within": 0.1},
            "and took 0.5 s to end; at most 0.1 s were allowed.",
        ),
        ("drained", {"exitcode": 3}, "(SIGTERM), and ended with exit code 0; 3 was expected."),
        ("drained", {"signal": "SIGINT"}, "nothing sent it SIGINT. Your process drained came to "),
        ("killed", {}, "(SIGTERM), and had not ended when SIGKILL ended it."),
        ("died", {}, "was ended by SIGTERM at once: it has no handler for that signal. signal."),
        ("ignored", {}, "(SIGTERM), and ignores that signal."),
        ("blocked", {}, "(SIGTERM), and did not react to it."),
    ],
)
def test_a_shutdown_says_what_the_request_met(name: str, asked: dict[str, Any], end: str) -> None:
    (text, *_) = feedback(lives.shutdowns(), name, assertion="assert_shut_down", **asked)
    assert end in text


@pytest.mark.parametrize(
    ("waited_for", "begin"),
    [
        (
            WaitedFor(what="output", pattern="ready"),
            'Your program did not print "ready" within 2 s. ',
        ),
        (
            WaitedFor(what="output", pattern="tick", count=3),
            'Your program did not print "tick" 3 times within 2 s. It printed nothing.',
        ),
        (
            WaitedFor(what="children", count=4),
            "Your program did not start 4 workers within 2 s; it ",
        ),
        (
            WaitedFor(what="end"),
            "Your program did not end within 2 s: its own code was still running",
        ),
        (WaitedFor(what="predicate"), "What the test waited for did not come within 2 s: its own"),
    ],
)
def test_every_timeout_says_what_did_not_come(waited_for: WaitedFor, begin: str) -> None:
    failure = Failure(run=lives.snapshot(), waited_for=waited_for, limit=2.0)
    (text,) = sentences(failure, noun="worker")
    assert text.startswith(begin)


def test_what_can_no_longer_come_names_the_end_of_main() -> None:
    failure = Failure(run=lives.workers_of(0), waited_for=WaitedFor(what="output", pattern="ready"))
    (text,) = sentences(failure)
    assert text.startswith('Your program did not print "ready" before it ended, after 0.')


def test_a_name_that_nothing_has_is_a_sentence_with_the_names_there_are() -> None:
    run = lives.ends()
    (first, *_) = sentences(Failure(run=run, name="counter"))
    assert first.startswith(
        "Your program has no process with the name counter. Its processes are returned, raised,"
    )


def test_main_that_died_of_a_signal_has_its_name() -> None:
    run = lives.changed(lives.workers_of(0), "MainProcess", cause=Cause.SIGNALED, signal="SIGKILL")
    assert feedback(run) == ("Your program was ended by SIGKILL.",)
