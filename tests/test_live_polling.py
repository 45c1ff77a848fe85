"""start() where processes are polled: the same verbs, with what polling can tell."""

from __future__ import annotations

import os

import blocking
import pytest
from conftest import Mark

import pytest_proclife
from pytest_proclife import Cause, Code, Ending, RunOver, RunTimeout

pytestmark = pytest.mark.once  # psutil does the work


@pytest.fixture(autouse=True)
def polling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCLIFE_BACKEND", "polling")


def test_a_child_and_then_main_are_terminated_by_the_test() -> None:
    with pytest_proclife.start(blocking.two_workers, linger=0.0) as main:
        main.wait_for_output("at work", times=2)
        first = main.wait_for(lambda run: all(p.target_ran for p in run) and run)["first"]
        main.terminate(first)
        ended = main.wait_for(lambda run: run["first"].exitcode)["first"]
        assert (ended.cause, ended.ended_by) == (Cause.TERMINATED, "test")
        with pytest.raises(ProcessLookupError, match="has ended"):
            main.terminate(first)
        main.kill()
        run = main.wait()
    assert (run.main.cause, run.main.ended_by) == (Cause.KILLED, "test")
    assert run["second"].cause is Cause.CLEANED_UP
    assert run.witness.backend == "polling"


def test_ctrl_c_reaches_main_and_its_children() -> None:
    with pytest_proclife.start(blocking.two_workers) as main:
        main.wait_for_output("at work", times=2)
        main.wait_for(lambda run: any("was waiting for" in str(e) for e in run.main.evidence))
        main.interrupt(group=True)
        run = main.wait()
    assert (run.main.cause, run.main.ending) == (Cause.TERMINATED, Ending.RAISED)
    assert [r.by for p in run for r in p.requests] == ["test"] * 3


def test_the_callers_own_process_group_gets_no_signal() -> None:
    with pytest_proclife.start(blocking.block_in_group, (os.getpgrp(),)) as main:
        main.wait_for_output("ready")
        with pytest.raises(PermissionError, match="the process group of main"):
            main.terminate(group=True)


def test_waits_fail_with_what_was_seen_and_leaving_ends_everything(mark: Mark) -> None:
    with pytest_proclife.start(blocking.two_stubborn_workers, env=mark.env) as main:
        main.wait_for_output("at work", times=2)
        with pytest.raises(RunTimeout, match=r"within 0\.1 s: it was there 2 times"):
            main.wait_for_output("at work", times=3, timeout=0.1)
    assert mark.living() == []
    with pytest.raises(RunOver, match="cleaned up by proclife"):
        main.wait_for_children(3)


def test_an_account_that_nobody_asked_for_waits_until_somebody_does(mark: Mark) -> None:
    with pytest_proclife.start(Code("print('x' * 900_000)"), env=mark.env) as main:
        assert mark.gone_within(10.0)
        run = main.wait()
    assert len(run.stdout or "") == 900_001
    assert run.main.cause is Cause.RETURNED
