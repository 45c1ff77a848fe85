"""The assertions, each with what passes; and that a missing fact, or nobody, never does."""

from __future__ import annotations

import signal
import unittest
from collections.abc import Callable
from typing import Any

import lives
import pytest
from histories import Log
from hypothesis import given
from hypothesis import strategies as st

import pytest_proclife as pp
from pytest_proclife.records import Cause, Run

VERBS = sorted(name for name in pp.__all__ if name.startswith("assert_"))
OF_RUNS = {"assert_no_orphans", "assert_nothing_left"}


def call(name: str, *arguments: Any, **options: Any) -> None:
    getattr(pp, name)(*arguments, **options)


def holds(name: str, *arguments: Any, **options: Any) -> bool:
    try:
        call(name, *arguments, **options)
    except pp.LifecycleError:
        return False
    return True


# --- what passes


def test_the_two_exams_are_told_apart() -> None:
    daemon, plain = lives.daemon_exam(), lives.plain_exam()

    pp.assert_abandoned(daemon["session"])
    pp.assert_not_held_up(daemon.main)
    pp.assert_returned(plain["session"])
    pp.assert_held_up_by(plain.main, plain["session"])
    for name in ("assert_abandoned", "assert_returned", "assert_daemon", "assert_not_daemon"):
        assert holds(name, daemon["session"]) != holds(name, plain["session"])
    assert holds("assert_not_held_up", daemon.main) != holds("assert_not_held_up", plain.main)


@pytest.mark.parametrize(
    ("name", "cause", "options"),
    [
        ("assert_returned", "returned", {}),
        ("assert_raised", "raised", {}),
        ("assert_raised", "raised", {"type": "job.Broken"}),
        ("assert_raised", "raised", {"type": "Broken", "match": "^no"}),
        ("assert_raised", "raised", {"match": "chalk"}),
        ("assert_sys_exit", "sys_exit", {}),
        ("assert_sys_exit", "sys_exit", {"code": 3}),
        ("assert_os_exit", "os_exit", {}),
        ("assert_os_exit", "os_exit", {"code": 4}),
        ("assert_signaled", "signaled", {}),
        ("assert_signaled", "signaled", {"signal": "SIGABRT"}),
        ("assert_signaled", "signaled", {"signal": signal.SIGABRT}),
        ("assert_signaled", "signaled", {"signal": 6}),
        ("assert_killed", "killed", {}),
        ("assert_terminated", "terminated", {}),
        ("assert_terminated", "polite", {}),
    ],
)
def test_each_cause_passes_its_own_assertion_and_no_other(
    name: str, cause: str, options: dict[str, Any]
) -> None:
    run = lives.ends()

    call(name, run[cause], **options)
    assert [p.name for p in run.children if holds(name, p, **options)] in (
        [cause],
        ["terminated", "polite"],
    )


def test_by_is_a_process_of_the_run_or_the_test() -> None:
    run, asked = lives.ends(), lives.asked_by_the_test()

    pp.assert_killed(run["killed"], by=run.main)
    pp.assert_terminated(run["terminated"], by=run.main)
    pp.assert_killed(asked["killed"], by="test")
    pp.assert_terminated(asked["terminated"], by="test")
    assert not holds("assert_killed", asked["killed"], by=asked.main)
    assert not holds("assert_terminated", run["terminated"], by="test")


class Lost(LookupError):
    pass


@pytest.mark.parametrize(
    ("reported", "wanted", "is_it"),
    [
        ("FileNotFoundError", OSError, True),
        ("OSError", FileNotFoundError, False),
        ("test_assertions.Lost", Lost, True),
        ("__main__.Lost", Lost, True),
        ("__mp_main__.Lost", LookupError, True),
        ("other.Lost", Lost, False),
        ("other.Lost", "Lost", True),
        ("Lost", "other.Lost", False),
    ],
)
def test_a_type_is_its_own_name_or_that_of_one_below_it(
    reported: str, wanted: Any, is_it: bool
) -> None:
    error = pp.ExceptionInfo(type=reported, message="", traceback="")
    run = lives.changed(lives.ends(), "raised", exception=error)

    assert holds("assert_raised", run["raised"], type=wanted) is is_it


@pytest.mark.parametrize("how", [None, "explicit", pp.Joined.EXPLICIT])
def test_workers_that_were_joined(how: Any) -> None:
    pp.assert_joined(lives.three_workers().children, how=how)
    pp.assert_joined((p for p in lives.three_workers().children), how)


def test_a_join_may_be_the_librarys_or_the_exit_paths() -> None:
    pp.assert_joined(lives.pool().children, how="library")
    pp.assert_joined(lives.plain_exam().children, how="implicit")


def test_a_joined_process_that_is_no_daemon_was_not_abandoned_whatever_its_cause() -> None:
    pp.assert_joined(lives.lost_report()["job"], how="explicit")


def test_a_target_that_ran_is_one_whatever_became_of_it() -> None:
    pp.assert_target_ran(lives.ends().processes)
    pp.assert_target_ran(lives.snapshot()["job"])


def test_the_daemon_flag_is_the_one_at_the_start() -> None:
    run = lives.left_behind()

    pp.assert_daemon(run["background"])
    pp.assert_not_daemon(run["job"])
    pp.assert_daemon(lives.pool().children)


def test_who_caught_a_request_and_ended_in_its_own_way_has_shut_down() -> None:
    run = lives.shutdowns()
    done = [run[name] for name in ("drained", "took", "passed on")]

    pp.assert_shut_down(done)
    pp.assert_shut_down(done, by=run.main, signal=15, within=0.6)
    pp.assert_shut_down(done[:2], exitcode=0)
    pp.assert_shut_down(run["passed on"], exitcode=-15)
    pp.assert_shut_down(lives.ends()["polite"], signal="SIGTERM", exitcode=7)
    assert [process.cause for process in done] == ["returned", "returned", "terminated"]


def test_who_ignored_a_request_and_caught_anothers_later_one_has_shut_down_on_that_alone() -> None:
    log = Log()
    job, other = log.child(name="job"), log.child(name="other")
    log.main.sends(job, 15, state="ignored")
    other.sends(job, 15, state="caught")
    job.catches(15)
    job.returns()
    run = log.run()

    assert holds("assert_shut_down", run["job"], by=run["other"])
    assert not holds("assert_shut_down", run["job"], by=run.main)


def test_a_request_whose_handler_ignored_further_ones_before_anybody_looked_was_caught() -> None:
    log = Log()
    job = log.child(name="job")
    log.main.sends(job, 15, state="ignored")
    job.catches(15)
    job.returns()

    assert holds("assert_shut_down", log.run()["job"], by=log.run().main)


def test_an_orphan_and_none() -> None:
    run = lives.left_behind(after=200)

    pp.assert_orphaned(run.orphans)
    pp.assert_orphaned(lives.left_grandchild()["sleep"])
    pp.assert_no_orphans(lives.three_workers())
    pp.assert_no_orphans(run, within=1.0)
    assert not holds("assert_no_orphans", run, within=0.1)
    assert not holds("assert_no_orphans", run)
    at_once = lives.changed(run, "job", ended_at=run.main.ended_at)
    assert not holds("assert_no_orphans", at_once)
    assert holds("assert_no_orphans", at_once, within=0.001)


def test_an_orphan_that_the_test_ended_did_not_end_by_itself() -> None:
    run = lives.left_behind(after=1)

    assert holds("assert_no_orphans", run, within=1.0)
    for facts in ({"ended_by": "test", "cause": Cause.TERMINATED}, {"cause": Cause.UNKNOWN}):
        assert not holds("assert_no_orphans", lives.changed(run, "job", **facts), within=1.0)


def test_an_order_that_nothing_proves_does_not_matter_where_both_ended_in_time() -> None:
    assert holds("assert_no_orphans", lives.close_ends(), within=0.5)


def test_where_the_kernel_hands_over_each_orphan_an_incomplete_witness_will_do() -> None:
    run = lives.programs()

    assert not run.witness.complete
    pp.assert_no_orphans(run)
    pp.assert_nothing_left(run)


def test_nothing_is_left() -> None:
    pp.assert_nothing_left(lives.three_workers())
    pp.assert_nothing_left(lives.left_behind())


def test_the_order_of_ends() -> None:
    run = lives.left_behind(after=100)

    pp.assert_outlived(run["job"], [run.main, run["background"]])
    pp.assert_ended_before(run["background"], run["job"])
    pp.assert_ended_before(lives.daemon_exam()["session"], lives.daemon_exam().main)
    pp.assert_outlived(lives.three_workers().main, lives.three_workers().children)


def test_a_grandchild_that_ended_before_its_parent_ended_before_main() -> None:
    log = Log()
    outer = log.child(name="outer")
    inner = log.child(outer, name="inner")
    inner.returns()
    outer.collects(inner, 0)
    outer.returns()
    log.main.collects(outer, 0)
    log.main.returns()
    run = log.run()

    pp.assert_ended_before(run["inner"], [run["outer"], run.main])
    pp.assert_outlived(run.main, run["inner"])


def test_one_that_still_runs_has_outlived_one_that_ended() -> None:
    log = Log()
    job = log.child(name="job")
    job.returns()
    run = log.run()

    pp.assert_outlived(run.main, run["job"])
    pp.assert_ended_before(run["job"], run.main)


def test_a_report_after_the_end_of_another_proves_the_order() -> None:
    log = Log()
    first, second = log.child(name="first"), log.child(name="second")
    first.ends(0)
    second.returns()
    run = log.run()

    assert (run["second"].ended_at or 0) - (run["first"].ended_at or 0) < 0.05
    pp.assert_outlived(run["second"], run["first"])


def test_workers_that_overlapped() -> None:
    run = lives.three_workers()

    pp.assert_overlapped(run.children, run.children)
    pp.assert_overlapped(run.main, run.children)
    pp.assert_overlapped(lives.snapshot().main, lives.snapshot()["job"])


def test_short_lives_overlapped_where_one_reported_after_the_begin_of_the_other() -> None:
    log = Log()
    first, second = log.child(name="first"), log.child(name="second")
    first.returns()
    second.returns()
    run = log.run()

    assert run.duration < 0.05
    pp.assert_overlapped(run["first"], run["second"])


def test_a_child_that_ended_before_a_wait_of_the_exit_path_holds_nobody_up() -> None:
    log = Log()
    child, late = log.child(name="child"), log.child(name="late")
    log.main.waits(child)
    child.returns()
    log.main.collects(child, 0)
    log.main.leaves()
    log.main.begins_exit_path(late)
    late.returns()
    log.main.collects(late, 0, "implicit", via="active_children()")
    log.main.exits()
    run = log.run()

    pp.assert_not_held_up(run.main)
    assert run["late"].joined == "implicit"


def test_nobody_holds_up_a_main_that_joined_all_or_had_no_exit_path() -> None:
    pp.assert_not_held_up(lives.three_workers().main)
    pp.assert_not_held_up(lives.left_behind().main)
    pp.assert_not_held_up(lives.ends()["os_exit"])


def test_a_daemon_that_handles_its_parents_signal_holds_it_up() -> None:
    run = lives.changed(lives.daemon_exam(), "session", ending=pp.Ending.SYS_EXIT, exitcode=5)

    pp.assert_abandoned(run["session"])
    pp.assert_held_up_by(run.main, run["session"])


# --- what never passes


@pytest.mark.parametrize("name", sorted(set(VERBS) - OF_RUNS))
def test_nobody_is_no_proof(name: str) -> None:
    both = name in ("assert_outlived", "assert_overlapped", "assert_ended_before")
    main = (lives.snapshot().main,) if name == "assert_held_up_by" else ()
    others: tuple[Any, ...] = ((),) if both else ()
    with pytest.raises(pp.LifecycleError, match=r"^no processes given") as caught:
        call(name, *main, iter([]), *others)
    assert caught.value.offenders == ()
    assert caught.value.run is None


MISSING: list[tuple[str, Callable[[], Run], str, dict[str, Any]]] = [
    *(
        (f"assert_{cause}", lives.ends, cause, {"cause": Cause.UNKNOWN})
        for cause in (
            *("returned", "raised", "sys_exit", "os_exit", "signaled", "killed", "terminated"),
        )
    ),
    ("assert_abandoned", lives.daemon_exam, "session", {"cause": Cause.UNKNOWN}),
    ("assert_joined", lives.three_workers, "worker-1", {"joined": None}),
    ("assert_target_ran", lives.three_workers, "worker-1", {"target_ran": None}),
    ("assert_daemon", lives.daemon_exam, "session", {"daemon": None}),
    ("assert_not_daemon", lives.plain_exam, "session", {"daemon": None}),
    ("assert_orphaned", lives.left_behind, "job", {"orphaned": None}),
    ("assert_not_held_up", lives.three_workers, "MainProcess", {"finished_at": None}),
]


@pytest.mark.parametrize(
    ("name", "life", "who", "facts"), MISSING, ids=[f"{name}" for name, *_ in MISSING]
)
def test_an_assertion_whose_fact_is_missing_fails(
    name: str, life: Callable[[], Run], who: str, facts: dict[str, Any]
) -> None:
    run = life()
    call(name, run[who])
    with pytest.raises(pp.LifecycleError) as caught:
        call(name, lives.changed(run, who, **facts)[who])
    assert [p.name for p in caught.value.offenders] == [who]


def test_a_fact_that_an_assertion_of_two_needs_must_be_there() -> None:
    close = lives.close_ends()
    for name in ("assert_outlived", "assert_ended_before"):
        assert not holds(name, close["job"], close.main)
        assert not holds(name, close.main, close["job"])
    run = lives.changed(lives.plain_exam(), "MainProcess", finished_at=None)
    assert not holds("assert_held_up_by", run.main, run["session"])


@pytest.mark.parametrize("name", sorted(OF_RUNS))
def test_what_may_have_been_missed_is_no_absence(name: str) -> None:
    call(name, lives.three_workers())
    assert not holds(name, lives.polled(lives.three_workers()))


@given(
    st.lists(
        st.tuples(*[st.integers(0, 200)] * 2, st.integers(0, 20), st.booleans()),
        min_size=2,
        max_size=2,
    )
)
def test_an_order_is_never_proven_that_was_not_so(lived: list[tuple[int, int, int, bool]]) -> None:
    """Lives in ms with ends that are heard up to 20 ms late; a report may be the last deed."""
    log = Log()
    children = [log.child(name=name) for name in ("one", "other")]
    run = log.run(duration=1.0)
    ends = []
    for child, (began, length, late, reports) in zip(children, lived, strict=True):
        end = (began + length) / 1000
        facts = {
            "started_at": began / 1000,
            "finished_at": end if reports else None,
            "ended_at": end + late / 1000,
            "cause": Cause.RETURNED,
            "orphaned": False,
            "evidence": (),
        }
        run = lives.changed(run, child.name, **facts)
        ends.append(end)
    if holds("assert_outlived", run["one"], run["other"]):
        assert ends[0] >= ends[1]
    if holds("assert_ended_before", run["one"], run["other"]):
        assert ends[0] <= ends[1]
    if holds("assert_overlapped", run["one"], run["other"]):
        assert max(lived[0][0], lived[1][0]) / 1000 <= min(ends)


# --- where they are used


class InUnittest(unittest.TestCase):
    def test_an_assertion_is_a_plain_function(self) -> None:
        run = lives.daemon_exam()
        pp.assert_abandoned(run["session"])
        with pytest.raises(self.failureException):
            pp.assert_returned(run["session"])


@given(st.sampled_from(["returned", "raised", "sys_exit", "os_exit"]))
def test_an_assertion_is_of_use_under_hypothesis(cause: str) -> None:
    call(f"assert_{cause}", lives.ends()[cause])
