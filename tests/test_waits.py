"""Who asked to wait for a child, and what kept its parent in the exit path."""

from __future__ import annotations

import pytest
from conftest import TARGETS, mostly_slow

import pytest_proclife as pp
from pytest_proclife.records import Collected, HeldUp, Holder

SCRIPT = str(TARGETS / "waits.py")

WAITS = (
    *("subprocess_poll_then_wait", "subprocess_wait", "subprocess_wait_timeout"),
    *("subprocess_wait_in_thread", "subprocess_communicate", "subprocess_communicate_timeout"),
    *("subprocess_run", "subprocess_run_timeout", "subprocess_run_too_long"),
    *("subprocess_check_output", "subprocess_with", "os_popen", "os_spawn"),
    *("os_waitpid", "os_waitpid_in_thread", "os_wait", "os_wait3", "os_wait4", "os_waitid"),
    *("os_waitid_then_waitpid", "join", "join_timeout", "join_twice", "join_in_thread"),
    *("join_after_is_alive", "join_after_pools_start", "join_interrupted_then_again"),
    *("asyncio_wait", "asyncio_communicate"),
)
LOOKS = {  # with the call that collected the status
    "subprocess_poll": "poll()",
    "subprocess_signalled": "send_signal()",
    "subprocess_deleted": "finalizer",
    "subprocess_at_the_end": "finalizer",
    "subprocess_next_start": "Popen()",
    "subprocess_next_run": "Popen()",
    "subprocess_stolen": "os.waitpid(WNOHANG)",
    "os_waitpid_nohang": "os.waitpid(WNOHANG)",
    "os_wait3_nohang": "os.wait3(WNOHANG)",
    "os_wait4_nohang": "os.wait4(WNOHANG)",
    "os_waitid_nohang": "os.waitid(WNOHANG)",
    "os_stopped_then_looked_at": "os.waitpid(WNOHANG)",
    "os_handler_of_sigchld": "os.waitpid(WNOHANG)",
    "join_timed_out_then_looked_at": "is_alive()",
    "join_interrupted": "is_alive()",
    "look_is_alive": "is_alive()",
    "look_exitcode": "exitcode()",
    "look_active_children": "active_children()",
    "look_next_start": "start()",
    "look_pools_start": "start()",
    "look_sentinel": "exitcode()",
    "asyncio_watched": "asyncio",
}
HOLDERS = {
    "held_by_exit_function": Holder.EXIT_PATH,
    "held_by_exit_function_without_statuses": Holder.EXIT_PATH,
    "held_by_stubborn_daemon": Holder.EXIT_PATH,
    "held_by_finalizer": Holder.EXIT_PATH,
    "held_by_executor": Holder.EXECUTOR,
    "held_by_executor_without_wait": Holder.EXECUTOR,
    "held_by_pool": Holder.POOL,
    "held_by_thread_that_joins": Holder.THREAD,
    "held_by_thread_that_waits": Holder.THREAD,
    "held_by_thread_that_communicates": Holder.THREAD,
    "held_by_thread_that_joins_again_and_again": Holder.THREAD,
    "held_by_thread_in_waitpid": Holder.THREAD,
    "held_by_thread_in_wait": Holder.THREAD,
    "held_by_thread_in_wait_for_its_group": Holder.THREAD,
    "held_by_thread_on_a_sentinel": Holder.THREAD,
    "held_by_thread_that_polls": Holder.THREAD,
    "held_by_thread_that_looks_at_a_process": Holder.THREAD,
    "held_by_handler_on_a_sentinel": Holder.EXIT_HANDLER,
    "held_by_handler_that_polls": Holder.EXIT_HANDLER,
    "held_by_handler_that_looks_at_a_process": Holder.EXIT_HANDLER,
    "held_by_handler_that_looks_without_blocking": Holder.EXIT_HANDLER,
    "held_by_handler_in_asyncio": Holder.EXIT_HANDLER,
    "held_by_finalizer_in_wait": Holder.EXIT_PATH,
    "held_by_finalizer_that_polls": Holder.EXIT_PATH,
    "held_by_handler_that_joins": Holder.EXIT_HANDLER,
    "held_by_handler_that_joins_twice": Holder.EXIT_HANDLER,
    "held_by_handler_that_waits": Holder.EXIT_HANDLER,
    "held_by_handler_that_communicates": Holder.EXIT_HANDLER,
    "held_by_handler_in_waitpid": Holder.EXIT_HANDLER,
    "held_by_handler_in_wait": Holder.EXIT_HANDLER,
}
NOT_HELD = (
    *("not_held_by_daemon", "not_held_by_ended", "not_held_by_handler_that_comes_late"),
    *("not_held_by_joined", "not_held_by_daemon_thread", "not_held_by_look_in_handler"),
    "not_held_by_two_looks_in_handler",
    *("not_held_by_executor_that_was_shut_down", "join_interrupted"),
)
MORE_ENDS = tuple(pytest.param(end, marks=pytest.mark.slow) for end in ("sys_exit", "raise"))


def child_of(run: pp.Run) -> pp.ProcessRecord:
    """The child that the program is about: its only one, or the first."""
    return run.children[0]


@pytest.mark.parametrize("name", WAITS)
def test_a_caller_that_asked_to_wait_joins(name: str) -> None:
    child = child_of(pp.run(SCRIPT, [name]))

    assert child.joined == "explicit"
    pp.assert_joined(child, "explicit")


@pytest.mark.parametrize("name", LOOKS)
def test_a_call_that_only_looks_does_not_join(name: str) -> None:
    child = child_of(pp.run(SCRIPT, [name]))
    collected = [fact.via for fact in child.evidence if isinstance(fact, Collected)]

    assert (child.joined, child.joined_at) == (None, None)
    assert collected == [LOOKS[name]]
    with pytest.raises(pp.LifecycleError, match=r"by\s.*,\s+which\s+does\s+not\s+wait"):
        pp.assert_joined(child)


@pytest.mark.parametrize(
    "name", ["held_by_finalizer", "held_by_finalizer_in_wait", "held_by_finalizer_that_polls"]
)
def test_what_a_finalizer_of_the_exit_function_collects_is_joined_there(name: str) -> None:
    assert child_of(pp.run(SCRIPT, [name])).joined == "implicit"


def test_a_status_that_was_taken_from_multiprocessing_is_of_no_join() -> None:
    assert child_of(pp.run(SCRIPT, ["look_stolen"])).joined is None


@pytest.mark.parametrize("end", ["return", *MORE_ENDS])
@pytest.mark.parametrize("name", mostly_slow(HOLDERS, 20))
def test_what_keeps_main_in_its_exit_path_is_named(name: str, end: str) -> None:
    run = pp.run(SCRIPT, [name, end])
    held = [fact for fact in run.main.evidence if isinstance(fact, HeldUp)]

    assert {fact.about for fact in held} == {child_of(run).id}
    assert held[0].by is HOLDERS[name]
    assert run.main.finished_at is not None
    assert held[0].until is not None
    assert run.main.finished_at <= (held[0].at or 0.0) <= held[0].until
    if name == "held_by_handler_that_joins_twice":
        return  # a daemon: it died of the exit path's signal in the end
    pp.assert_held_up_by(run.main, run.children)
    with pytest.raises(pp.LifecycleError, match="waited"):
        pp.assert_not_held_up(run.main)


def test_a_childs_exit_path_is_held_up_like_mains() -> None:
    run = pp.run(SCRIPT, ["held_by_exit_function_of_a_child"])

    pp.assert_held_up_by(run["parent"], run["child"])
    pp.assert_not_held_up(run.main)


@pytest.mark.parametrize("end", ["return", *MORE_ENDS[:1]])
@pytest.mark.parametrize("name", NOT_HELD)
def test_what_main_did_not_have_to_wait_for_did_not_hold_it_up(name: str, end: str) -> None:
    run = pp.run(SCRIPT, [name, end])

    pp.assert_not_held_up(run.main)
    assert run.main.waiting_for == ()
