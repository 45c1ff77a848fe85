"""What a test says of the processes of a run: each fails with a LifecycleError.

`p` is a process or several of one run; none at all fails, since a test that holds something
against nobody shows nothing. A fact that is missing fails too. Bad arguments are a TypeError
(what is no process or no run) or a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable
from signal import Signals
from typing import Literal

from pytest_proclife.assertions import arguments, causes, joins, order, orphans, startup
from pytest_proclife.assertions.failure import hold
from pytest_proclife.errors import LifecycleError
from pytest_proclife.records import Cause, Joined, ProcessRecord, Run

Processes = ProcessRecord | Iterable[ProcessRecord]
How = Joined | Literal["explicit", "implicit", "library"]


def _given(p: object) -> tuple[ProcessRecord, ...]:
    __tracebackhide__ = True
    processes = arguments.records(p)
    if not processes:
        raise LifecycleError("no process given: what holds of nobody shows nothing")
    return processes


# --- how it began, and who waited for it


def assert_target_ran(p: Processes) -> None:
    """Its target was reached, whatever became of it there."""
    __tracebackhide__ = True
    hold("assert_target_ran", startup.target_ran(_given(p)))


def assert_daemon(p: Processes) -> None:
    """It was started with the daemon flag; what has none that is known fails."""
    __tracebackhide__ = True
    hold("assert_daemon", startup.daemon(_given(p), True))


def assert_not_daemon(p: Processes) -> None:
    """It was started without the daemon flag; what has none that is known fails."""
    __tracebackhide__ = True
    hold("assert_not_daemon", startup.daemon(_given(p), False))


def assert_joined(p: Processes, how: How | None = None) -> None:
    """A wait collected its status (one of that sort, with `how`), and it was not abandoned.

    That it was joined does not mean that its target ran.
    """
    __tracebackhide__ = True
    hold("assert_joined", joins.joined(_given(p), arguments.how_joined(how)))


# --- why it ended


def assert_abandoned(p: Processes) -> None:
    """A daemon: its parent's exit path ended it before its target was done."""
    __tracebackhide__ = True
    hold("assert_abandoned", causes.caused(_given(p), Cause.ABANDONED))


def assert_returned(p: Processes) -> None:
    """Its target returned."""
    __tracebackhide__ = True
    hold("assert_returned", causes.caused(_given(p), Cause.RETURNED))


def assert_raised(
    p: Processes,
    type: type[BaseException] | str | None = None,
    match: str | None = None,
) -> None:
    """An exception left its target or its start-up.

    `type` is a class (one below it will do, if the test's process knows it) or a name, with its
    module or without. `match` is a regular expression to be found in the exception's message.
    """
    __tracebackhide__ = True
    kind, pattern = arguments.exception_type(type), arguments.pattern(match)
    hold("assert_raised", causes.raised(_given(p), kind, pattern))


def assert_sys_exit(p: Processes, code: int | None = None) -> None:
    """`SystemExit` left its target; with `code`, that is its exit code (0 to 255)."""
    __tracebackhide__ = True
    hold("assert_sys_exit", causes.exited(_given(p), Cause.SYS_EXIT, arguments.exit_code(code)))


def assert_os_exit(p: Processes, code: int | None = None) -> None:
    """It called `os._exit()`; with `code`, that is its exit code (0 to 255)."""
    __tracebackhide__ = True
    hold("assert_os_exit", causes.exited(_given(p), Cause.OS_EXIT, arguments.exit_code(code)))


def assert_terminated(p: Processes, by: ProcessRecord | Literal["test"] | None = None) -> None:
    """It ended of a signal that asked it to: another process of the run sent it, or the test."""
    __tracebackhide__ = True
    given = _given(p)
    hold("assert_terminated", causes.ended_by(given, Cause.TERMINATED, arguments.sender(by, given)))


def assert_killed(p: Processes, by: ProcessRecord | Literal["test"] | None = None) -> None:
    """It died of SIGKILL that another process of the run sent it, or the test."""
    __tracebackhide__ = True
    given = _given(p)
    hold("assert_killed", causes.ended_by(given, Cause.KILLED, arguments.sender(by, given)))


def assert_signaled(p: Processes, signal: Signals | int | str | None = None) -> None:
    """It died of a signal that it sent itself, or that came from nowhere in the run.

    `signal` is a name ("SIGSEGV") or a number.
    """
    __tracebackhide__ = True
    hold("assert_signaled", causes.signaled(_given(p), arguments.signal_named(signal)))


# --- what was left


def assert_orphaned(p: Processes) -> None:
    """It still ran when its parent had ended, and that is proven."""
    __tracebackhide__ = True
    hold("assert_orphaned", orphans.orphaned(_given(p)))


def assert_no_orphans(run: Run, within: float = 0.0) -> None:
    """Nobody outlived its parent, but those who ended by themselves within so many seconds.

    Where the kernel has pidfds it hands each orphan to proclife, so that this holds of processes
    too that nothing else was seen of (`run.witness.complete` is false). Watched by polling an
    orphan can be missed: then this fails.
    """
    __tracebackhide__ = True
    hold("assert_no_orphans", orphans.no_orphans(arguments.a_run(run), arguments.span(within)))


def assert_nothing_left(run: Run) -> None:
    """Nothing had to be cleaned up: at the timeout, after the linger, at the test's end.

    It holds of unseen processes as `assert_no_orphans` does, and fails as that does.
    """
    __tracebackhide__ = True
    hold("assert_nothing_left", orphans.nothing_left(arguments.a_run(run)))


# --- order


def assert_outlived(p: Processes, q: Processes) -> None:
    """Each of p ended after each of q, and that is proven; one that still runs has outlived.

    The kernel's word for an end can come late. So the order is proven by a child's `orphaned`, by
    what the later one reported after the end of the other, or by 50 ms between the two.
    """
    __tracebackhide__ = True
    these, those = _sides(p, q, apart=True)
    hold("assert_outlived", order.outlived(these, those))


def assert_ended_before(p: Processes, q: Processes) -> None:
    """Each of p ended before each of q did; proven as for `assert_outlived`."""
    __tracebackhide__ = True
    these, those = _sides(p, q, apart=True)
    hold("assert_ended_before", order.ended_before(these, those))


def assert_overlapped(p: Processes, q: Processes) -> None:
    """Each of p lived at a time at which each of q did, and that is proven.

    Who is in both groups is not held against itself: `assert_overlapped(workers, workers)`.
    """
    __tracebackhide__ = True
    these, those = _sides(p, q, apart=False)
    hold("assert_overlapped", order.overlapped(these, those))


def assert_held_up_by(p: ProcessRecord, children: Processes) -> None:
    """Its exit path waited for each of these children, which ran on when its code was done.

    A daemon that died of the exit path's signal did not run on.
    """
    __tracebackhide__ = True
    process, given = arguments.record(p), _given(children)
    arguments.sides((process,), given, apart=True)
    hold("assert_held_up_by", joins.held_up_by(process, given))


def assert_not_held_up(p: Processes) -> None:
    """Its exit path waited for no child that ran on; a wait that was cut off is one too.

    Waits of other exit handlers, as an executor's, are no implicit joins. It needs the reports of
    p itself, and fails where the witness missed some; what others did does not matter.
    """
    __tracebackhide__ = True
    hold("assert_not_held_up", joins.not_held_up(_given(p)))


def _sides(
    p: object, q: object, *, apart: bool
) -> tuple[tuple[ProcessRecord, ...], tuple[ProcessRecord, ...]]:
    __tracebackhide__ = True
    these, those = _given(p), _given(q)
    arguments.sides(these, those, apart=apart)
    return these, those
