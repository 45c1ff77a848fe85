"""What was running when proclife began to end a run is a fact of that moment."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from conftest import TARGETS

import pytest_proclife
from pytest_proclife import (
    Cause,
    LifecycleError,
    Run,
    RunTimeout,
    assert_ended_before,
    assert_joined,
    assert_no_orphans,
    assert_nothing_left,
    assert_outlived,
    assert_overlapped,
)
from pytest_proclife.records import CleanUp
from pytest_proclife.supervisor import kernel

pytestmark = pytest.mark.once  # what the supervisor sees is the same on every Python

LEFT_RUNNING = str(TARGETS / "left_running.py")


def ended(which: str) -> Run:
    """The account of a main that is ended once all of it stand."""
    with pytest_proclife.start(LEFT_RUNNING, [which]) as main:
        main.wait_for_output("ready")
    return main.snapshot()


@pytest.mark.parametrize("backend", ["pidfd", "polling"])
@pytest.mark.parametrize(
    ("which", "count"),
    [("readers", 41), ("writers", 21), ("chain", 5), ("exit_path", 3), ("restarts", 5)],
)
def test_nothing_that_the_clean_up_caused_is_told_of_the_program(
    which: str, count: int, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCLIFE_BACKEND", backend)
    run = ended(which)
    told = [(p.cause, p.ended_by, p.orphaned, p.joined, p.requests) for p in run.processes]
    assert told == [(Cause.CLEANED_UP, "proclife", None, None, ())] * len(run.processes)
    found = [fact.found_later for p in run for fact in p.evidence if isinstance(fact, CleanUp)]
    assert Counter(found)[False] == count + len(run.helpers)
    with pytest.raises(LifecycleError, match="was running too when proclife ended both"):
        assert_no_orphans(run)
    with pytest.raises(LifecycleError):
        assert_nothing_left(run)


def test_no_order_is_told_of_what_the_clean_up_ended() -> None:
    run = ended("chain")
    worker, below, cat = run["worker"], run["below"], run["cat"]
    for first, second in [(worker, below), (below, worker), (worker, cat), (run.main, cat)]:
        for holds in (assert_outlived, assert_ended_before):
            with pytest.raises(LifecycleError, match="nothing proves the order"):
                holds(first, second)
        assert_overlapped(first, second)
    with pytest.raises(LifecycleError, match="was cleaned up"):
        assert_joined(worker)


def test_what_a_program_did_before_the_clean_up_is_its_own_doing() -> None:
    with pytest_proclife.start(LEFT_RUNNING, ["restarts"]) as main:
        main.wait_for_output("ready")
        first, second, *_ = main.snapshot().children
        main.kill(first)
        main.terminate(second)
    run = main.snapshot()
    killed, terminated, *others = run.children
    assert (killed.cause, killed.ended_by) == (Cause.KILLED, "test")
    assert (terminated.cause, terminated.ended_by) == (Cause.TERMINATED, "test")
    assert {p.cause for p in (run.main, *others)} == {Cause.CLEANED_UP}


def test_an_orphan_was_one_before_the_clean_up() -> None:
    run = pytest_proclife.run(LEFT_RUNNING, ["orphans"], linger=0.1)
    child, below = run.descendants
    assert run.main.cause is Cause.OS_EXIT
    assert [(p.cause, p.orphaned) for p in (child, below)] == [
        (Cause.CLEANED_UP, True),
        (Cause.CLEANED_UP, None),
    ]
    assert_outlived([child, below], run.main)
    assert_ended_before(run.main, [child, below])
    assert run.orphans == (child,)


def test_a_program_that_forks_while_it_is_ended_has_a_complete_account() -> None:
    with pytest_proclife.start(LEFT_RUNNING, ["forks"]) as main:
        main.wait_for(lambda run: len(run.children) > 20)
    run = main.snapshot()
    assert run.witness.complete, run.witness.missing
    assert run.main.cause is Cause.CLEANED_UP
    children = Counter((p.cause, p.orphaned) for p in run.children)
    known = {(Cause.OS_EXIT, False), (Cause.CLEANED_UP, None)}
    if kernel.EXIT not in run.witness.features:  # main was killed before it collected the last one
        known.add((Cause.UNKNOWN, False))
    assert set(children) <= known
    assert children[Cause.OS_EXIT, False] > 0


_BELOW = r"below was at left_running.py:\d+, sleeping"
_DAEMON = r"daemon was in the system call \w+, sleeping"
CHAIN = (  # which of the two was seen first is a matter of the processors
    r"main was in Process.join at left_running.py:\d+, waiting for worker \(pid \d+\) "
    r"since [\d.]+ s; worker was in Connection.recv at left_running.py:\d+, waiting for data "
    r"from main, (below|daemon) \(pid \d+\) and (?!\1)(below|daemon) \(pid \d+\), which have "
    rf"the other end open; ({_BELOW}; {_DAEMON}|{_DAEMON}; {_BELOW}); "
    r"still running was cat \(pid \d+\)"
)
EXIT_PATH = (  # which child it waits for first is the order of a set
    r"main had finished its code at [\d.]+ s and was in its exit path, in Process.join, waiting "
    r"for (first|second) \(pid \d+\) since [\d.]+ s; \1 was in the system call \w+, sleeping; "
    r"still running was (?!\1)(first|second) \(pid \d+\)"
)


@pytest.mark.slow
@pytest.mark.parametrize(("which", "words"), [("chain", CHAIN), ("exit_path", EXIT_PATH)])
def test_the_message_of_a_timeout_says_what_was_so_at_the_timeout(which: str, words: str) -> None:
    with pytest.raises(RunTimeout) as caught:
        pytest_proclife.run(LEFT_RUNNING, [which], timeout=3)
    message = str(caught.value).partition("\n")[0]
    assert re.fullmatch(rf"main did not end within 3 s: {words}", message), message
    run = caught.value.run
    assert {(p.cause, p.joined, p.orphaned) for p in run.descendants} == {
        (Cause.CLEANED_UP, None, None)
    }
    assert (run.main.cause, run.timed_out) == (Cause.CLEANED_UP, True)
