"""Ends that show the same exit code, each with its own cause; what outlives a main."""

from __future__ import annotations

import multiprocessing
import signal
import sys
from pathlib import Path

import exits
import pytest
from conftest import TARGETS, Mark, mostly_slow

import pytest_proclife
from pytest_proclife import Cause, Ending

METHODS = multiprocessing.get_all_start_methods()
AT_WORK = str(TARGETS / "at_work.py")
each_method = pytest.mark.parametrize("method", mostly_slow(METHODS, 2))


# --- who asked, and what it did


@each_method
@pytest.mark.parametrize("name", ["drains", "takes"])
def test_a_worker_that_caught_the_request_and_drained_its_work_returned(
    name: str, method: str
) -> None:
    run = pytest_proclife.run(exits.terminate, (name,), start_method=method)
    worker = run[name]
    assert (worker.cause, worker.ended_by) == (Cause.RETURNED, None), worker.evidence
    assert (worker.ending, worker.exitcode) == (Ending.RETURNED, 0)
    assert [request.by for request in worker.requests] == [run.main.id]
    if sys.version_info >= (3, 12) or name == "takes":
        pytest_proclife.assert_shut_down(worker, by=run.main, signal="SIGTERM", exitcode=0)


@each_method
def test_a_worker_that_passes_the_signal_on_to_itself_was_terminated(method: str) -> None:
    run = pytest_proclife.run(exits.terminate, ("passes_on",), start_method=method)
    worker = run["passes_on"]
    assert (worker.cause, worker.ended_by) == (Cause.TERMINATED, run.main.id), worker.evidence
    assert (worker.ending, worker.exitcode) == (Ending.SIGNALED, -15)
    assert [request.by for request in worker.requests] == [run.main.id, worker.id]


@each_method
def test_a_worker_in_which_sigterm_raises_keyboard_interrupt_was_terminated(method: str) -> None:
    target = ("takes_it_for_an_interrupt",)
    run = pytest_proclife.run(exits.terminate, target, start_method=method)
    (worker,) = run.children
    assert (worker.cause, worker.ended_by) == (Cause.TERMINATED, run.main.id), worker.evidence
    assert (worker.ending, worker.exitcode) == (Ending.RAISED, 1)
    assert [request.signal for request in worker.requests] == ["SIGTERM"]


@each_method
def test_an_exit_status_of_15_is_no_signal(method: str) -> None:
    run = pytest_proclife.run(exits.join, ("leaves_with_15",), start_method=method)
    (worker,) = run.children
    assert (worker.cause, worker.exitcode, worker.signal) == (Cause.SYS_EXIT, 15, None)


@each_method
def test_an_exception_that_its_parent_was_handling_is_none_of_its_own(method: str) -> None:
    run = pytest_proclife.run(exits.start_while_handling_an_exception, start_method=method)
    returned, failed = run["return_at_once"], run["fail_at_once"]
    assert (returned.cause, returned.exception) == (Cause.RETURNED, None), returned.evidence
    assert failed.cause is Cause.RAISED
    assert failed.exception is not None
    assert failed.exception.type == "LookupError"


def test_an_interrupt_of_a_fork_that_has_left_the_block_that_it_was_forked_in_is_its_own() -> None:
    run = pytest_proclife.run(exits.fork_while_handling_an_exception)
    (child,) = run.children
    assert (child.cause, child.ended_by) == (Cause.TERMINATED, run.main.id), child.evidence
    assert (child.ending, child.exitcode) == (Ending.RAISED, -2)


@each_method
def test_of_two_that_died_of_sigkill_each_has_its_own_cause(method: str) -> None:
    run = pytest_proclife.run(exits.kill_one_of_two, start_method=method)
    by_itself, by_main = run["kills_itself"], run["waits"]
    assert by_itself.exitcode == by_main.exitcode == -9
    assert (by_itself.cause, by_itself.ended_by) == (Cause.SIGNALED, None), by_itself.evidence
    assert (by_main.cause, by_main.ended_by) == (Cause.KILLED, run.main.id), by_main.evidence


@each_method
def test_a_worker_that_had_raised_before_the_signal_came_has_raised(method: str) -> None:
    with pytest_proclife.start(exits.join_who_stays, start_method=method) as main:
        stays = main.wait_for(lambda run: run.children and run.children[0].exception).children[0]
        main.terminate(stays)
        run = main.wait()
    worker = run["stays"]
    assert (worker.cause, worker.ending, worker.exitcode) == (Cause.RAISED, Ending.RAISED, 1)
    assert [request.by for request in worker.requests] == ["test"]


@each_method
@pytest.mark.parametrize(
    ("name", "cause", "exitcode"),
    [
        ("fails_after", Cause.RAISED, 1),
        ("leaves_after", Cause.SYS_EXIT, 4),
        ("ends_itself_after", Cause.SIGNALED, -signal.SIGUSR1),
        ("exits_after", Cause.OS_EXIT, 5),
    ],
)
def test_a_worker_that_caught_the_request_and_went_on_has_the_end_that_it_made(
    name: str, cause: Cause, exitcode: int, method: str
) -> None:
    run = pytest_proclife.run(exits.terminate, (name,), start_method=method)
    worker = run[name]
    assert (worker.cause, worker.ended_by) == (cause, None), worker.evidence
    assert worker.exitcode == exitcode


@each_method
@pytest.mark.parametrize(
    ("name", "exitcode"),
    [
        ("exits_in_handler", 6),
        ("ends_itself_in_handler", -signal.SIGUSR1),
        ("aborts_in_handler", -signal.SIGABRT),
    ],
)
def test_a_worker_whose_handler_ended_it_was_terminated(
    name: str, exitcode: int, method: str
) -> None:
    run = pytest_proclife.run(exits.terminate, (name,), start_method=method)
    worker = run[name]
    assert (worker.cause, worker.ended_by) == (Cause.TERMINATED, run.main.id), worker.evidence
    assert worker.exitcode == exitcode


def test_whether_a_fault_came_in_the_handler_is_not_known() -> None:
    run = pytest_proclife.run(exits.terminate, ("fails_in_handler",), start_method="fork")
    worker = run["fails_in_handler"]
    assert (worker.cause, worker.exitcode) == (Cause.UNKNOWN, -signal.SIGSEGV), worker.evidence
    assert str(worker.unknown_reason) == "what it did with SIGTERM could not be seen"


ENDS_BESIDE_A_SILENT_ONE = {
    "return_at_once": Cause.RETURNED,
    "fail_at_once": Cause.RAISED,
    "leave": Cause.SYS_EXIT,
    "leave_by_os_exit": Cause.OS_EXIT,
    "end_itself": Cause.SIGNALED,
    "killed": Cause.KILLED,
    "terminated": Cause.TERMINATED,
    "daemon": Cause.ABANDONED,
}


@each_method
@pytest.mark.parametrize("silent", ["exit_in_c", "exit_by_faulthandler"])
def test_one_that_exits_below_python_makes_no_other_end_doubtful(silent: str, method: str) -> None:
    run = pytest_proclife.run(exits.beside_one_that_exits_in_c, (silent,), start_method=method)
    assert run.main.cause is Cause.RETURNED, run.main.evidence
    assert {p.name: p.cause for p in run.children} == {
        silent: Cause.UNKNOWN,
        **ENDS_BESIDE_A_SILENT_ONE,
    }, run
    assert not run.witness.complete


@pytest.mark.parametrize(
    ("name", "cause"),
    [("fault", Cause.SIGNALED), ("fault_beside_kill", Cause.UNKNOWN), ("caught", Cause.UNKNOWN)],
)
def test_a_signal_is_doubtful_beside_a_silent_one_that_could_have_sent_it(
    name: str, cause: Cause
) -> None:
    run = pytest_proclife.run(exits.signalled_beside_one_that_exits_in_c, (name,))
    worker = run[name]
    assert (worker.cause, worker.ended_by) == (cause, None), worker.evidence


def test_a_worker_that_drained_its_work_for_the_test_has_shut_down() -> None:
    with pytest_proclife.start(exits.join, ("drains",)) as main:
        (worker,) = main.wait_for(lambda run: run.children and run.main.children).children
        main.wait_for(lambda run: any("waiting for" in str(e) for e in run.main.evidence))
        main.terminate(worker)
        run = main.wait()
    assert run["drains"].cause is Cause.RETURNED
    pytest_proclife.assert_shut_down(run["drains"], by="test", within=60, exitcode=0)
    assert run.main.cause is Cause.RETURNED


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("exit_in_a_helper", Cause.TERMINATED),
        ("exit_for_an_exception_of_the_handler", Cause.TERMINATED),
        ("swallow_the_exit_and_exit_later", Cause.SYS_EXIT),
        ("note_and_exit_later", Cause.SYS_EXIT),
        ("exit_by_calling_the_handler", Cause.SYS_EXIT),
    ],
)
def test_a_main_that_exits_ended_of_the_request_only_if_that_rose_from_its_handler(
    name: str, cause: Cause
) -> None:
    with pytest_proclife.start(getattr(exits, name)) as main:
        main.wait_for_output("ready")
        main.terminate()
        run = main.wait()
    if sys.version_info < (3, 12):  # nor is it seen whether it let a blocked request through
        assert str(run.main.unknown_reason).startswith("whether it left by its handler of SIGTERM")
    else:
        assert (run.main.cause, run.exitcode) == (cause, 3), run.main.evidence


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
@pytest.mark.parametrize("handler", exits.HANDLERS)
def test_of_a_handler_of_several_signals_it_is_known_for_which_it_ran(
    handler: str, name: str
) -> None:
    with pytest_proclife.start(exits.handle_several_signals, (handler,)) as main:
        main.wait_for_output("ready")
        main.send_signal(signal.Signals[name], main.snapshot()["worker"])
        worker = main.wait()["worker"]
    told = [str(e) for e in worker.evidence if "its handler of" in str(e)]
    assert told == ([f"its handler of {name} ran"] if sys.version_info >= (3, 12) else [])
    assert (worker.cause, worker.ended_by) == (Cause.TERMINATED, "test"), worker.evidence
    assert (worker.ending, worker.exitcode) == (Ending.SYS_EXIT, 3)


# --- what outlives main


def test_a_shells_grandchild_outlives_it_and_is_found(mark: Mark) -> None:
    command = ["sh", "-c", "sleep 600 & echo started; wait"]
    with pytest_proclife.start(command, linger=0.0, env=mark.env) as main:
        main.wait_for_output("started")
        # until its exec it is a shell, too
        main.wait_for(lambda run: [p.name for p in run.children] == ["sleep"])
        main.kill()
        run = main.wait()
    assert mark.living() == []
    (sleep,) = run.children
    assert (sleep.name, sleep.orphaned, sleep.cause) == ("sleep", True, Cause.CLEANED_UP)
    assert (run.main.cause, run.main.ended_by) == (Cause.KILLED, "test")
    assert not run.witness.complete  # a shell does not report


@pytest.mark.parametrize("end", ["linger", "leave"])
def test_a_daemon_that_closed_its_descriptors_is_ended(mark: Mark, end: str) -> None:
    linger = 0.0 if end == "linger" else 600.0
    with pytest_proclife.start(exits.daemonize, linger=linger, env=mark.env) as main:
        main.wait_for(lambda run: len(run.descendants) == 2 and run.main.ended_at)
        if end == "linger":
            main.wait()
    assert mark.living() == []
    run = main.wait()
    between, daemon = run.descendants
    assert (between.cause, daemon.cause) == (Cause.OS_EXIT, Cause.CLEANED_UP)
    assert daemon.parent is between
    assert daemon.orphaned
    assert run.main.cause is Cause.RETURNED


def test_an_orphan_that_ends_within_the_linger_has_its_own_end(fifo: Path) -> None:
    with pytest_proclife.start(exits.leave_a_reader, (str(fifo),), linger=60.0) as main:
        main.wait_for(lambda run: run.main.ended_at and len(run.children) == 1)
        fifo.write_text("go")
        run = main.wait()
    (orphan,) = run.children
    assert (orphan.cause, orphan.exitcode, orphan.orphaned) == (Cause.OS_EXIT, 3, True)
    assert run.duration < 60.0


# --- a main that is killed


@each_method
def test_a_pools_workers_outlive_a_main_that_is_killed(method: str) -> None:
    run = _kill_when_at_work("pool", method)
    assert [p.kind for p in run.children] == ["pool_worker"] * 2


@each_method
def test_an_executors_workers_outlive_a_main_that_is_killed(method: str) -> None:
    run = _kill_when_at_work("executor", method)
    assert [p.kind for p in run.children] == ["executor_worker"] * 2


def _kill_when_at_work(kind: str, method: str) -> pytest_proclife.Run:
    with pytest_proclife.start(AT_WORK, [kind, method], linger=0.0) as main:
        main.wait_for_output("at work", times=2)
        main.kill()
        run = main.wait()
    assert (run.main.cause, run.main.ended_by) == (Cause.KILLED, "test")
    assert [p.cause for p in run.children] == [Cause.CLEANED_UP] * 2
    assert all(p.orphaned for p in run.children)
    assert all(p.target_ran for p in run.children)
    return run
