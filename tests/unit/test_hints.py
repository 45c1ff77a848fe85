"""The hint of a failure is what the evidence says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from histories import STEP, Log, Process

from pytest_proclife import (
    LifecycleError,
    assert_abandoned,
    assert_joined,
    assert_no_orphans,
    assert_not_held_up,
    assert_returned,
    assert_shut_down,
    assert_terminated,
    wire,
)
from pytest_proclife.exercises import feedback
from pytest_proclife.records import Run


def hint(check: Callable[[], None]) -> str:
    with pytest.raises(LifecycleError) as caught:
        check()
    lines = str(caught.value).partition("\n\n")[0].partition("\nhint: ")[2].splitlines()
    return " ".join(line.strip() for line in lines)


def run_with_a_self_kill(*, daemon: bool = False) -> Run:
    log = Log()
    child = log.child(name="job", daemon=daemon)
    child.sends(child, 15)
    child.ends(signal=15)
    log.main.collects(child, -15)
    log.main.returns()
    return log.run()


@pytest.mark.parametrize("check", [assert_terminated, assert_returned, assert_shut_down])
def test_a_process_that_ended_itself_by_a_signal_is_told_to_have_sent_it(
    check: Callable[..., None],
) -> None:
    run = run_with_a_self_kill()
    assert "it sent SIGTERM to itself by os.kill() at " in hint(lambda: check(run["job"]))


def test_a_daemon_that_ended_itself_was_not_too_early_for_the_exit_path() -> None:
    run = run_with_a_self_kill(daemon=True)
    assert "it sent SIGTERM to itself" in hint(lambda: assert_abandoned(run["job"]))


def test_a_process_that_got_no_signal_is_not_told_that_none_ended_it() -> None:
    log = Log()
    child = log.child(name="job")
    child.returns()
    log.main.collects(child, 0)
    log.main.returns()
    run = log.run()
    assert "no signal to it was seen" in hint(lambda: assert_terminated(run["job"]))


def interrupted_in_the_exit_path() -> Run:
    """Ctrl-C in the join of main's exit path: main leaves, and the child dies of it too."""
    log = Log()
    child = log.child(name="job")
    log.main.leaves()
    log.main.begins_exit_path(child)
    log.main.waits(child, holder="exit_path")
    log.main.asked_by_test(2, "caught")
    child.asked_by_test(2)
    child.ends(signal=2, orphan=True)
    log.main.says("X")
    log.main.exits()
    return log.run()


def test_a_join_that_ctrl_c_cut_off_collected_nothing_in_passing() -> None:
    run = interrupted_in_the_exit_path()
    words = hint(lambda: assert_joined(run["job"]))
    assert "exit path left its wait for it without its status: SIGINT came at " in words
    words = hint(lambda: assert_not_held_up(run.main))
    assert words.startswith("with daemon=True")  # it did not run on after the signal


def test_a_killed_shell_had_no_exit_path_that_waits_only_for_some() -> None:
    log = Log()
    shell = log.program(None, "sh", "-c", "sleep 9; true")
    left = log.process(how="found", argv=("sleep", "9"))
    log.add("child", left.number, shell.number)
    log.main.sends(shell, 9, "Popen.send_signal()")
    shell.ends(signal=9, running=(left,))
    log.main.returns()
    left.cleaned_up()
    run = log.run()
    words = hint(lambda: assert_no_orphans(run))
    assert words.startswith("sh ended without waiting for it: killed by MainProcess")


def slow_child(via: str, *, daemon: bool, asked: bool = True) -> Run:
    """A child that catches the request, if it gets one, and keeps main in its exit path."""
    log = Log()
    child = log.child(name="job", daemon=daemon)
    if asked and via != "exit path":
        log.main.sends(child, 15, via, state="caught")
    log.main.leaves()
    log.main.begins_exit_path(child)
    if asked and via == "exit path":
        log.main.abandons(child, state="caught")
    log.main.waits_at_exit(child)
    log.now += 300_000_000
    child.returns()
    log.main.collects(child, 0, "implicit")
    log.main.exits()
    return log.run()


@pytest.mark.parametrize(
    ("via", "daemon", "asked", "words"),
    [
        ("terminate()", False, True, "job was sent SIGTERM by terminate() at "),
        ("exit path", True, True, "job was asked to end there, and ran on"),
        ("", False, False, "with daemon=True it would be terminated there"),
    ],
)
def test_who_kept_main_was_asked_to_end_or_was_not(
    via: str, daemon: bool, asked: bool, words: str
) -> None:
    run = slow_child(via, daemon=daemon, asked=asked)
    assert words in hint(lambda: assert_not_held_up(run.main))
    failure = feedback.Failure(run=run, offenders=(run.main,), assertion="assert_not_held_up")
    sentences = " ".join(feedback.sentences(failure))
    assert ("took its time" in sentences) is asked
    assert ("A daemon process would" in sentences) is not asked


def run_with_a_shell(*, catches: bool) -> Run:
    """A shell runs, and may have sent SIGTERM: the job catches that, or dies of it."""
    log = Log()
    child = log.child(name="job")
    shell = log.program(log.main, "/bin/sh", "-c", "kill 101")
    if catches:
        child.catches(15)
        child.returns()
    else:
        child.ends(signal=15)
    log.main.collects(child, 0 if catches else -15)
    shell.ends(0)
    log.main.returns()
    return log.run()


@pytest.mark.parametrize(
    ("catches", "words"),
    [
        (True, "its handler of SIGTERM ran, and its sender is not known"),
        (False, "whether it was sent any request to end is not known: a program that does not"),
    ],
)
def test_a_request_whose_sender_is_not_known_was_sent_all_the_same(
    catches: bool, words: str
) -> None:
    run = run_with_a_shell(catches=catches)
    with pytest.raises(LifecycleError) as caught:
        assert_shut_down(run["job"])
    sentence = str(caught.value).partition("\n")[0]
    assert words in sentence
    assert "nobody" not in sentence


def test_a_signal_that_it_caught_was_seen() -> None:
    run = run_with_a_shell(catches=True)
    words = hint(lambda: assert_terminated(run["job"]))
    assert "and it did not end of that: no process that reports sent it" in words


def run_with_a_death(signal: int, tell: Callable[[Process], None], *, orphan: bool = False) -> Run:
    log = Log()
    parent = log.child(name="parent")
    child = log.child(parent, name="job")
    tell(child)
    log.now += 10 * STEP
    if orphan:
        parent.exits(0)
        child.ends(signal=signal, orphan=True)
    else:
        child.ends(signal=signal)
    return log.run()


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (
            run_with_a_death(14, lambda child: child.says(wire.ALARM, str(STEP))),
            "its own timer, set by signal.alarm() or setitimer(), sent SIGALRM",
        ),
        (
            run_with_a_death(24, lambda child: child.says(wire.CPU_LIMIT, "1", "2")),
            "the kernel sends SIGXCPU at a limit of processor time: its processor time was limited",
        ),
        (
            run_with_a_death(9, lambda child: None, orphan=True),
            "its parent ended at that moment: the kernel sends SIGKILL then to a process that",
        ),
    ],
)
def test_what_the_kernel_sent_is_told_as_the_evidence_has_it(run: Run, words: str) -> None:
    assert run["job"].cause == "signaled"
    assert hint(lambda: assert_terminated(run["job"])).startswith(words)
