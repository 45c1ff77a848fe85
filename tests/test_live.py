"""start(): waiting for what a main does, acting on it, and what is said where that cannot be."""

from __future__ import annotations

import copy
import pickle
import re
import signal
import threading
from collections.abc import Callable
from typing import Any

import blocking
import importable
import pytest

import pytest_proclife
from pytest_proclife import Cause, Code, Ending, RunOver, RunTimeout, TargetError
from pytest_proclife.render.process import describe

WAITS: list[tuple[str, Callable[[Any], Any]]] = [
    ("children", lambda main: main.wait_for_children(1, timeout=0.1)),
    ("output", lambda main: main.wait_for_output("never", timeout=0.1)),
    ("predicate", lambda main: main.wait_for(lambda run: False, timeout=0.1)),
    ("end", lambda main: main.wait(timeout=0.1)),
]
each_wait = pytest.mark.parametrize("wait", [w for _, w in WAITS], ids=[n for n, _ in WAITS])


def test_a_main_that_is_terminated_was_terminated_by_the_test() -> None:
    with pytest_proclife.start(blocking.block) as main:
        main.wait_for_output("ready")
        main.terminate()
        run = main.wait()
    assert (run.main.cause, run.main.ended_by, run.exitcode) == (Cause.TERMINATED, "test", -15)
    (request,) = run.main.requests
    assert (request.by, request.signal, request.via) == ("test", "SIGTERM", "terminate()")


def test_a_snapshot_shows_who_runs_and_who_has_ended() -> None:
    with pytest_proclife.start(blocking.two_workers) as main:
        main.wait_for_output("at work", times=2)
        before = main.snapshot()
        assert [p.ending for p in before] == [Ending.RUNNING] * 3
        assert [p.cause for p in before] == [None] * 3
        assert before.main.pid == main.pid
        main.kill(before["first"])
        after = main.wait_for(lambda run: run["first"].cause)
    assert (after["first"].cause, after["first"].ended_by) == (Cause.KILLED, "test")
    assert after["second"].cause is None
    assert after["second"].ending is Ending.RUNNING


def test_the_end_of_a_child_is_known_before_its_parent_collects_it() -> None:
    with pytest_proclife.start(blocking.leave_a_child_uncollected) as main:
        run = main.wait_for(lambda run: run.children and run.children[0].exitcode == 7)
    assert run.children[0].cause is Cause.OS_EXIT
    assert run.children[0].joined is None


def test_a_wait_for_children_returns_those_that_main_has_started() -> None:
    with pytest_proclife.start(blocking.two_workers) as main:
        children = main.wait_for_children(2)
        assert len(children) == 2
        assert {p.parent_id for p in children} == {0}


def test_a_wait_for_output_returns_the_match() -> None:
    with pytest_proclife.start(Code("print('port 8042\\nport 8043')")) as main:
        assert main.wait_for_output(r"port (\d+)\n")[1] == "8042"
        assert main.wait_for_output(re.compile("PORT (.*)", re.IGNORECASE), times=2)[1] == "8043"


def test_what_is_written_to_standard_error_is_output_too() -> None:
    with pytest_proclife.start(Code("import sys; print('done', file=sys.stderr)")) as main:
        assert main.wait_for_output("done")[0] == "done"


def test_a_match_at_the_very_end_waits_for_what_follows(fifo: Any) -> None:
    with pytest_proclife.start(blocking.say, ("port 80", str(fifo), "42")) as main:
        assert main.wait_for_output("port 80").end() == 7  # to the letter
        with pytest.raises(RunTimeout, match="at the very end of the output"):
            main.wait_for_output(r"port \d+", timeout=0.1)
        fifo.write_text("go on")
        assert main.wait_for_output(r"port \d+")[0] == "port 8042"


@pytest.mark.parametrize("pattern", [r"\(Pdb\) ", re.compile(r"\(Pdb\) "), re.escape("(Pdb) ")])
def test_a_prompt_is_found_whose_letters_have_to_be_escaped(pattern: Any, fifo: Any) -> None:
    with pytest_proclife.start(blocking.say, ("(Pdb) ", str(fifo))) as main:
        assert main.wait_for_output(pattern)[0] == "(Pdb) "


@pytest.mark.parametrize("pattern", [b"ready", re.compile(b"ready"), None])
def test_a_pattern_is_for_text(pattern: Any) -> None:
    with (
        pytest_proclife.start(blocking.block) as main,
        pytest.raises(TypeError, match="a regular expression for text, not"),
    ):
        main.wait_for_output(pattern)


@pytest.mark.parametrize("timeout", [float("inf"), 1e300, 3e6])
def test_a_wait_may_take_for_ever(timeout: float) -> None:
    with pytest_proclife.start(blocking.block) as main:
        asked = threading.Event()
        seen = []

        def has_request(run: pytest_proclife.Run) -> bool:
            asked.set()
            return bool(run.main.requests)

        def wait() -> None:
            seen.append(main.wait_for(has_request, timeout=timeout).main.requests[0].signal)

        waiting = [threading.Thread(target=wait) for _ in range(2)]
        for thread in waiting:  # the second is told by the first one, which hears
            thread.start()
        asked.wait()
        main.wait_for_output("ready", timeout=timeout)
        main.send_signal(signal.SIGWINCH)
        for thread in waiting:
            thread.join()
        assert seen == ["SIGWINCH"] * 2


@each_wait
def test_a_wait_that_takes_too_long_says_what_was_seen_instead(wait: Callable[[Any], Any]) -> None:
    with pytest_proclife.start(blocking.block) as main:
        main.wait_for_output("ready")
        with pytest.raises(RunTimeout, match=r"did not|was not in the output") as e:
            wait(main)
        assert "MainProcess" in str(e.value)
        assert "within 0.1 s" in str(e.value)
        assert e.value.run.main.ending is Ending.RUNNING
        copy = pickle.loads(pickle.dumps(e.value))
        assert (type(copy), str(copy), copy.run) == (RunTimeout, str(e.value), e.value.run)
        main.terminate()
        assert main.wait().main.cause is Cause.TERMINATED


@each_wait
def test_a_wait_for_what_can_no_longer_come_says_how_main_ended(
    wait: Callable[[Any], Any],
) -> None:
    with pytest_proclife.start(importable.leave, ("raise",), linger=0.0) as main:
        run = main.wait()
        if wait is WAITS[-1][1]:
            assert wait(main) is run
            return
        with pytest.raises(RunOver, match="raised LookupError") as e:
            wait(main)
        assert e.value.run is run
        assert pickle.loads(pickle.dumps(e.value)).run == run
        assert "no such lesson" in str(e.value)  # its traceback, on standard error


def test_a_wait_ends_as_soon_as_nothing_is_left() -> None:
    with (
        pytest_proclife.start(Code("raise SystemExit(3)")) as main,
        pytest.raises(RunOver, match=r"left by|sys exit") as e,
    ):
        main.wait_for_output("ready", timeout=None)
    assert e.value.run.exitcode == 3


def test_leaving_the_context_ends_everything(mark: Any) -> None:
    with pytest_proclife.start(blocking.two_stubborn_workers, env=mark.env) as main:
        main.wait_for_output("at work", times=2)
        assert len(mark.living()) == 3
    assert mark.living() == []
    run = main.wait()
    assert [p.cause for p in run] == [Cause.CLEANED_UP] * 3
    assert main.snapshot() is run


def test_an_exception_in_the_body_ends_everything_and_goes_on(mark: Any) -> None:
    def test() -> None:
        with pytest_proclife.start(blocking.block, env=mark.env) as main:
            main.wait_for_output("ready")
            raise LookupError("of the test")

    with pytest.raises(LookupError, match="of the test"):
        test()
    assert mark.living() == []


def test_waiting_and_leaving_twice_change_nothing() -> None:
    main = pytest_proclife.start(Code("pass"))
    with main:
        run = main.wait()
        assert main.wait() is run
    main.__exit__(None, None, None)
    assert main.wait(timeout=0.0) is run
    assert (run.main.cause, run.exitcode) == (Cause.RETURNED, 0)


def test_a_target_that_cannot_be_run_is_an_error_at_the_start() -> None:
    with pytest.raises(TargetError, match="no such script"):
        pytest_proclife.start("no_such_script.py")
    with pytest.raises(ValueError, match="linger"):
        pytest_proclife.start(Code("pass"), linger=-1.0)


def test_a_signal_to_a_process_that_has_ended_is_an_error() -> None:
    with pytest_proclife.start(blocking.two_workers) as main:
        main.wait_for_output("at work", times=2)
        first = main.snapshot()["first"]
        main.kill(first)
        gone = main.wait_for(lambda run: run["first"].cause)["first"]
        for process in (first, gone):
            with pytest.raises(ProcessLookupError, match=r"first \(pid \d+\) has ended"):
                main.terminate(process)
        assert len(main.snapshot()["first"].requests) == 1
        main.kill()
        main.wait()
        with pytest.raises(ProcessLookupError, match="main has ended"):
            main.kill()


def test_a_signal_to_a_process_of_another_run_is_an_error() -> None:
    with (
        pytest_proclife.start(blocking.block) as one,
        pytest_proclife.start(blocking.block) as other,
    ):
        stranger = other.snapshot().main
        with pytest.raises(ValueError, match="belongs to another run"):
            one.terminate(stranger)


@pytest.mark.parametrize("sig", [0, 1000, -15, True, 15.0, "TERM", None, []])
def test_what_is_no_signal_is_not_sent(sig: Any) -> None:
    with pytest_proclife.start(blocking.block) as main:
        with pytest.raises(ValueError, match="unknown signal"):
            main.send_signal(sig)
        assert main.snapshot().main.requests == ()


def test_a_signal_can_be_given_by_its_name() -> None:
    with pytest_proclife.start(blocking.block, timeout=20) as main:
        main.send_signal("SIGTERM")
        run = main.wait()
    assert [request.signal for request in run.main.requests] == ["SIGTERM"]
    assert run.main.cause == "terminated"


def test_the_default_timeout_of_the_waits_is_that_of_start() -> None:
    with pytest_proclife.start(blocking.block, timeout=0.05) as main:
        with pytest.raises(RunTimeout, match=r"the run did not end within 0\.05 s"):
            main.wait()
        with pytest.raises(RunTimeout, match=r"within 0\.01 s"):
            main.wait_for_children(3, timeout=0.01)


@pytest.mark.parametrize("process", [4711, "MainProcess", [], (None,)])
def test_what_is_no_process_gets_no_signal(process: Any) -> None:
    with pytest_proclife.start(blocking.block) as main:
        with pytest.raises(TypeError, match=r"must be one process of a snapshot .*, not "):
            main.terminate(process)
        with pytest.raises(TypeError, match=r"must be one process of a snapshot .*, not <Run of"):
            main.terminate(main.snapshot())  # type: ignore[arg-type]
        assert main.snapshot().main.requests == ()


def test_of_several_signals_it_is_told_which_one_ended_it() -> None:
    with pytest_proclife.start(blocking.block) as main:
        main.wait_for_output("ready")
        for sig in (signal.SIGWINCH, signal.SIGTERM):
            main.send_signal(sig)
        run = main.wait()
    assert run.main.cause is Cause.TERMINATED
    assert describe(run.main) == "terminated by the test (SIGTERM)"
    ended = [str(e) for e in run.main.evidence if str(e).endswith("it ended of that")]
    assert ended == ["sent SIGTERM (send_signal()), and it ended of that"]


def test_a_running_main_cannot_be_copied_and_its_snapshot_can() -> None:
    with pytest_proclife.start(blocking.block) as main:
        for way in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=r"its snapshot\(\) can"):
                way(main)
        run = main.snapshot()
        assert pickle.loads(pickle.dumps(run)) == run


def test_two_mains_at_once_do_not_mix() -> None:
    with (
        pytest_proclife.start(blocking.block) as one,
        pytest_proclife.start(blocking.block) as other,
    ):
        one.wait_for_output("ready")
        other.wait_for_output("ready")
        one.send_signal(signal.SIGUSR1)
        run = one.wait()
        assert (run.main.cause, run.main.signal) == (Cause.TERMINATED, "SIGUSR1")
        assert other.snapshot().main.ending is Ending.RUNNING
        assert other.snapshot().main.requests == ()


def test_ctrl_c_reaches_main_and_its_children() -> None:
    with pytest_proclife.start(blocking.two_workers) as main:
        main.wait_for_output("at work", times=2)
        # before, main may be telling of the second one, and what is cut off there is missing
        main.wait_for(lambda run: any("was waiting for" in str(e) for e in run.main.evidence))
        main.interrupt(group=True)
        run = main.wait()
    assert [p.cause for p in run] == [Cause.TERMINATED] * 3, [p.evidence for p in run]
    assert [p.ended_by for p in run] == ["test"] * 3
    assert [p.ending for p in run] == [Ending.RAISED] * 3


def test_a_main_that_does_not_exit_says_whom_it_joined_where_and_since_when() -> None:
    with pytest_proclife.start(blocking.two_workers) as main:
        main.wait_for(lambda run: any("was waiting for" in str(e) for e in run.main.evidence))
        words = (
            r"the run did not end within 0\.0 s: main was in Process\.join at blocking\.py:\d+, "
            r"waiting for first \(pid \d+\) since \d+\.\d\d s; first was .*; "
            r"still running was second \(pid \d+\)"
        )
        with pytest.raises(RunTimeout, match=words):
            main.wait(timeout=0.0)


def test_a_running_main_needs_no_thread_of_the_caller() -> None:
    before = threading.enumerate()
    with pytest_proclife.start(blocking.block) as main:
        main.wait_for_output("ready")
        assert threading.enumerate() == before


def test_what_a_predicate_raises_goes_on_to_the_caller_and_main_goes_on() -> None:
    with pytest_proclife.start(blocking.block) as main:
        main.wait_for_output("ready")
        with pytest.raises(KeyError, match="no process is named 'worker'"):
            main.wait_for(lambda run: run["worker"].cause)
        assert main.snapshot().main.ending is Ending.RUNNING
