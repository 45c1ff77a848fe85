"""The assertions. Each raises LifecycleError if it does not hold.

`p` and `q` are a process or an iterable of processes of one run. An empty iterable fails: the
assertion would prove nothing. An unknown fact fails too. A wrong argument is a TypeError (not a
process, not a run) or a ValueError.
"""

from __future__ import annotations

from collections.abc import Iterable
from signal import Signals
from typing import Literal

from pytest_proclife.assertions import (
    arguments,
    causes,
    joins,
    order,
    orphans,
    shutdown,
    startup,
)
from pytest_proclife.assertions.failure import hold
from pytest_proclife.durations import check_seconds
from pytest_proclife.records import Cause, Joined, ProcessRecord, Run

Processes = ProcessRecord | Iterable[ProcessRecord]
How = Joined | Literal["explicit", "implicit", "library"]


# --- its start, and who waited for it


def assert_target_ran(p: Processes) -> None:
    """Its target was reached, however it ended after that."""
    __tracebackhide__ = True
    hold("assert_target_ran", startup.target_ran(arguments.records(p)))


def assert_daemon(p: Processes) -> None:
    """It was started with the daemon flag. An unknown flag fails."""
    __tracebackhide__ = True
    hold("assert_daemon", startup.daemon(arguments.records(p), True))


def assert_not_daemon(p: Processes) -> None:
    """It was started without the daemon flag. An unknown flag fails."""
    __tracebackhide__ = True
    hold("assert_not_daemon", startup.daemon(arguments.records(p), False))


def assert_joined(p: Processes, how: How | None = None) -> None:
    """A wait collected its status, and it was not abandoned.

    `how` is "explicit", "implicit" or "library"; None accepts each of them. A process can be
    joined although its target never ran.
    """
    __tracebackhide__ = True
    way = arguments.how_joined(how)
    hold("assert_joined", joins.joined(arguments.records(p), way), how=way)


# --- why it ended


def assert_abandoned(p: Processes) -> None:
    """It is a daemon that its parent's exit path ended before its target had finished."""
    __tracebackhide__ = True
    hold("assert_abandoned", causes.caused(arguments.records(p), Cause.ABANDONED))


def assert_returned(p: Processes) -> None:
    """Its target returned."""
    __tracebackhide__ = True
    hold("assert_returned", causes.caused(arguments.records(p), Cause.RETURNED))


def assert_raised(
    p: Processes,
    type: type[BaseException] | str | None = None,
    match: str | None = None,
) -> None:
    """An exception left its target or its start-up.

    `type` is an exception class (subclasses that the test's process knows match too) or a name,
    with or without its module. `match` is a regular expression that is searched for in the
    exception's message.
    """
    __tracebackhide__ = True
    kind, pattern = arguments.exception_type(type), arguments.pattern(match)
    name = kind if kind is None or isinstance(kind, str) else kind.__name__
    hold("assert_raised", causes.raised(arguments.records(p), kind, pattern), type=name)


def assert_sys_exit(p: Processes, code: int | None = None) -> None:
    """`SystemExit` left its target. `code` is the expected exit code (0 to 255), if given."""
    __tracebackhide__ = True
    given, code = arguments.records(p), arguments.exit_code(code)
    hold("assert_sys_exit", causes.exited(given, Cause.SYS_EXIT, code), code=code)


def assert_os_exit(p: Processes, code: int | None = None) -> None:
    """It called `os._exit()`. `code` is the expected exit code (0 to 255), if given."""
    __tracebackhide__ = True
    given, code = arguments.records(p), arguments.exit_code(code)
    hold("assert_os_exit", causes.exited(given, Cause.OS_EXIT, code), code=code)


def assert_terminated(p: Processes, by: ProcessRecord | Literal["test"] | None = None) -> None:
    """It ended of a signal that asked it to end. `by` is the sender: a process or "test"."""
    __tracebackhide__ = True
    given = arguments.records(p)
    sender = arguments.sender(by, given)
    hold("assert_terminated", causes.ended_by(given, Cause.TERMINATED, sender), by=sender)


def assert_killed(p: Processes, by: ProcessRecord | Literal["test"] | None = None) -> None:
    """It died of SIGKILL. `by` is the sender: another process of the run, or "test"."""
    __tracebackhide__ = True
    given = arguments.records(p)
    sender = arguments.sender(by, given)
    hold("assert_killed", causes.ended_by(given, Cause.KILLED, sender), by=sender)


def assert_signaled(p: Processes, signal: Signals | int | str | None = None) -> None:
    """It died of a signal that it sent itself, or that no process of the run sent.

    `signal` is a name ("SIGSEGV") or a number.
    """
    __tracebackhide__ = True
    name = arguments.signal_named(signal)
    hold("assert_signaled", causes.signaled(arguments.records(p), name), signal=name)


def assert_shut_down(
    p: Processes,
    by: ProcessRecord | Literal["test"] | None = None,
    signal: Signals | int | str | None = None,
    within: float | None = None,
    exitcode: int | None = None,
) -> None:
    """It was asked to end, caught the request, and ended in its own way, whatever its cause.

    A request is SIGTERM, SIGINT, SIGQUIT or SIGHUP from another process or the test; `signal`, a
    name or a number, is the only one that counts then, and `by` the only sender. It caught it if
    a handler of Python or asyncio took it, or a call such as `sigwait()`. It may not have died of
    a request that it did not catch, nor of a SIGKILL from elsewhere.

    `within` is the maximum number of seconds from the first request to its end. `exitcode` is the
    expected exit code (-64 to 255; negative: it died of that signal, which its handler sent).
    """
    __tracebackhide__ = True
    given = arguments.records(p)
    sender, name = arguments.sender(by, given), arguments.signal_named(signal)
    seconds = None if within is None else check_seconds("within", within)
    code = arguments.exit_code(exitcode, "exitcode", -64)
    violation = shutdown.shut_down(given, sender, name, seconds, code)
    asked = {"by": sender, "signal": name, "within": seconds, "exitcode": code}
    hold("assert_shut_down", violation, **asked)


# --- what was left


def assert_orphaned(p: Processes) -> None:
    """It was still running when its parent had ended. The order has to be proven."""
    __tracebackhide__ = True
    hold("assert_orphaned", orphans.orphaned(arguments.records(p)))


def assert_no_orphans(run: Run, within: float = 0.0) -> None:
    """No process outlived its parent, except those that ended by themselves `within` seconds.

    With pidfds the kernel hands every orphan to proclife, so this also covers processes of which
    nothing else was seen (`run.witness.complete` is false). A run that was polled can miss an
    orphan: then this fails.
    """
    __tracebackhide__ = True
    run = arguments.a_run(run)
    seconds = check_seconds("within", within)
    hold("assert_no_orphans", orphans.no_orphans(run, seconds), within=seconds)


def assert_nothing_left(run: Run) -> None:
    """Nothing had to be cleaned up at the timeout, after the linger, or at the test's end.

    Like `assert_no_orphans` it covers unseen processes, and fails for a run that was polled.
    """
    __tracebackhide__ = True
    hold("assert_nothing_left", orphans.nothing_left(arguments.a_run(run)))


# --- order


def assert_outlived(p: Processes, q: Processes) -> None:
    """Each of `p` ended after each of `q`, or is still running. The order has to be proven.

    The kernel's event for an end can come late. So an order is proven by a child's `orphaned`, by
    a report that the later process sent after the other had ended, or by 50 ms between the two.
    """
    __tracebackhide__ = True
    these, those = arguments.sides(p, q, apart=True)
    hold("assert_outlived", order.outlived(these, those), others=those)


def assert_ended_before(p: Processes, q: Processes) -> None:
    """Each of `p` ended before each of `q`. The order is proven as for `assert_outlived`."""
    __tracebackhide__ = True
    these, those = arguments.sides(p, q, apart=True)
    hold("assert_ended_before", order.ended_before(these, those), others=those)


def assert_overlapped(p: Processes, q: Processes) -> None:
    """Each of `p` was running at a time when each of `q` was. That has to be proven.

    A process in both groups is not compared with itself: `assert_overlapped(workers, workers)`.
    """
    __tracebackhide__ = True
    these, those = arguments.sides(p, q, apart=False)
    hold("assert_overlapped", order.overlapped(these, those), others=those)


def assert_held_up_by(p: ProcessRecord, children: Processes) -> None:
    """Its exit path waited for each of these children, which ran on after its code had finished.

    It waits in multiprocessing's exit function, in other exit handlers, for the workers of an
    executor, and for threads that are not daemons and wait for a child. A daemon that died of the
    exit path's signal did not run on.
    """
    __tracebackhide__ = True
    process = arguments.record(p)
    _, given = arguments.sides(process, children, apart=True)
    hold("assert_held_up_by", joins.held_up_by(process, given), others=given)


def assert_not_held_up(p: Processes) -> None:
    """Its exit path did not wait for a child that ran on. A wait that was cut off counts too.

    Whatever waits counts: see `assert_held_up_by`. This needs all reports of `p` itself, and
    fails if some are missing; those of other processes do not matter.
    """
    __tracebackhide__ = True
    hold("assert_not_held_up", joins.not_held_up(arguments.records(p)))
