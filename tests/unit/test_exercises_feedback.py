"""The sentences for a student, from canned runs."""

from __future__ import annotations

from dataclasses import replace

import lives

from pytest_proclife.exercises.feedback import sentences
from pytest_proclife.records import Cause, ExceptionInfo, Run

NONE = (
    "Your program started no process: all of its work was done in main. "
    "A Process has to be started with start(); run() only calls its function."
)


def feedback(run: Run, *names: str, noun: str = "", join_wanted: bool = False) -> tuple[str, ...]:
    offenders = tuple(run[name] for name in names)
    return sentences(run, offenders, noun=noun, file="/answers/exam.py", join_wanted=join_wanted)


def test_a_session_that_kept_the_program_open_has_its_seconds() -> None:
    assert feedback(lives.plain_exam(), "session", noun="session") == (
        (
            "Your session was still running when main ended: it kept the program open 0.6 s "
            "longer. A daemon process would have been ended with it."
        ),
    )
    assert feedback(lives.plain_exam(), "MainProcess") == (
        (
            "Your process session was still running when main ended: it kept the program open "
            "0.6 s longer. A daemon process would have been ended with it."
        ),
    )
    (text,) = feedback(lives.plain_exam(), "session", noun="session", join_wanted=True)
    assert text.endswith("longer. With join() main waits for it before it goes on.")


def test_feedback_on_an_abandoned_daemon_mentions_join() -> None:
    assert feedback(lives.daemon_exam(), "session", noun="session") == (
        (
            "Your session is a daemon, and was not done when main ended after 0.9 s: it was ended "
            "with main. With join() main waits until it is done."
        ),
    )


def test_a_daemon_that_delays_the_exit_is_not_called_a_non_daemon() -> None:
    (text,) = feedback(lives.ignoring_daemon(), "MainProcess")
    assert text.endswith("It was asked to end, and took its time.")


def test_sentences_of_the_same_kind_are_merged() -> None:
    run = lives.three_workers()
    assert feedback(run, "worker-1", "worker-2", "worker-3", noun="worker") == (
        (
            "Your worker worker-3 was waited for with join(): main went on when it had ended, "
            "after 0.3 s. The same holds for 2 more."
        ),
    )


def test_the_silent_failure_of_a_notebook_is_explained() -> None:
    (text,) = feedback(lives.notebook())
    assert text.startswith(
        "Your process worker-1 never began its work: it ended while it was starting, with "
        "AttributeError: Can't get attribute 'worker'"
    )
    assert "With the start method spawn a process imports your program again" in text
    assert "in a notebook's kernel this fails without a message." in text
    assert text.endswith("The same holds for 2 more.")


def test_a_terminated_process_has_its_sender_and_the_call() -> None:
    run = lives.ends()
    first, *_ = feedback(run, "terminated", "killed")
    assert first == (
        "Your process terminated did not end by itself: your program ended it with terminate(). "
        "The same holds for 1 more."
    )


def test_exceptions_have_their_line() -> None:
    run = lives.ends()
    trace = 'File "/answers/exam.py", line 7, in work\nFile "/lib/chalk.py", line 3, in write'
    broken = ExceptionInfo(type="job.Broken", message="no chalk", traceback=trace)
    run = lives.changed(run, "raised", exception=broken)
    assert "Your process raised ended with Broken: no chalk (line 7)." in feedback(run)
    cell = 'File "/tmp/x/exam.ipynb/cell 2", line 4, in work'
    run = lives.changed(run, "raised", exception=replace(broken, traceback=cell))
    assert "Your process raised ended with Broken: no chalk (cell 2, line 4)." in feedback(run)


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
    assert any(
        "was still running when main was gone, for 0." in text for text in feedback(run, *names)
    )
