"""Wait for leaks to exit by themselves, then kill them. No wait status is taken.

Pools and executors whose workers leaked are closed first. An idle worker holds its Pool's lock
while it waits for work: if it were killed, the Pool could never be terminated, which happens at
the interpreter's exit. An executor whose workers were killed fails at its next use; one that was
shut down is replaced if it belongs to a library.
"""

from __future__ import annotations

import posix
import select
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from pytest_proclife.guard import pools
from pytest_proclife.guard.owners import OwnedProcess, Owner, Ownership
from pytest_proclife.guard.proc import monotonic, read_stat
from pytest_proclife.supervisor import kernel

_KILLING = 5.0  # s for SIGKILL to take effect
_CLOSING = 1.0  # s for the workers of a closed Pool to exit by themselves
_CLOSING_CALL = 1.0  # s for each call of a library, which may wait for a thread of its own
_REPLACING = 1.0  # s for a Pool to start a worker in place of one that has exited
_STEP = 0.002  # s


# --- waiting


def await_exits(ownership: Ownership, owners: list[Owner], wait: float) -> list[OwnedProcess]:
    """Wait up to `wait` seconds for the processes of these owners. Those that are left."""
    until = monotonic() + wait
    while left := _left(ownership, owners):
        has_changed = _wait_for_change(left, until - monotonic())
        ownership.look()  # after the wait too, for what a process has noted of itself by now
        if not has_changed:
            return _left(ownership, owners)
    return left


def _left(ownership: Ownership, owners: list[Owner]) -> list[OwnedProcess]:
    """The processes of these owners. If a thread is starting one, or a Pool or an executor has none
    because it is replacing its only worker, this waits for the new one.
    """
    register = ownership.register
    makers = register.makers_of(owners)
    until = monotonic() + _REPLACING
    while True:
        are_replacing = bool(makers) and pools.any_replaces_workers(makers)
        if makers:
            ownership.update()  # asked before, so that this finds each new worker
        left = register.left_by(owners)
        are_starting = any(process.is_being_started for process in left)
        if (not are_starting and (left or not are_replacing)) or monotonic() > until:
            return left
        time.sleep(_STEP)  # nothing signals that the other thread has started it
        if are_starting:
            ownership.look()


def _wait_for_change(processes: list[OwnedProcess], seconds: float) -> bool:
    """Wait until one of these exits, or, if another thread may reap it, is reaped."""
    poll, pidfds = select.poll(), []
    has_threads = threading.active_count() > 1
    try:
        for process in processes:
            if process.stat.is_zombie and not has_threads:
                continue
            pidfd = _open_pidfd(process)
            if pidfd is None:
                return True
            pidfds.append(pidfd)
            # POLLHUP, which is always reported, comes when it is reaped (Linux 6.9)
            poll.register(pidfd, 0 if process.stat.is_zombie else select.POLLIN)
        return bool(pidfds and seconds > 0 and poll.poll(seconds * 1000))
    finally:
        for pidfd in pidfds:
            posix.close(pidfd)


def _open_pidfd(process: OwnedProcess) -> int | None:
    """A pidfd of this very process; None if it is gone."""
    try:
        pidfd = posix.pidfd_open(process.stat.pid)
    except OSError:
        return None
    stat = read_stat(process.stat.pid)
    if stat is not None and stat.identity == process.stat.identity:
        return pidfd
    posix.close(pidfd)
    return None


# --- killing


def kill(ownership: Ownership, leaked: list[OwnedProcess]) -> None:
    """Kill these and all below them, after their Pools and executors have been closed."""
    closed_pools, managing_threads = _close_makers(leaked)
    if closed_pools or managing_threads:
        _await_workers(ownership, {process.stat.identity for process in leaked})
    for pool in closed_pools:
        pool._worker_handler._state = "TERMINATE"  # else it replaces workers that are killed
    _kill_all(ownership, leaked)
    for thread in managing_threads:
        thread.join(_CLOSING_CALL)


def _close_makers(leaked: list[OwnedProcess]) -> tuple[list[Any], list[Any]]:
    """Close the Pools and executors of these workers: the Pools, and the threads that manage the
    executors' workers. A new worker has its maker in its note, but is not in a Pool's list yet.
    """
    pids = {process.stat.pid for process in leaked}
    makers = {p.start.maker for p in leaked if p.start is not None and p.start.maker}
    closed = [p for p in pools.pools() if pids & pools.workers(p) or pools.maker_of(p) in makers]
    executors = [
        (thread, executor)
        for thread, executor, workers in pools.executors()
        if pids & workers or str(id(executor)) in makers
    ]
    for pool in closed:
        _call_within_bounds(pool.close)
    for _, executor in executors:
        _call_within_bounds(partial(executor.shutdown, wait=False))
    return closed, [thread for thread, _ in executors]


def _call_within_bounds(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(_CLOSING_CALL)


def _await_workers(ownership: Ownership, workers: set[tuple[int, int]]) -> None:
    until = monotonic() + _CLOSING
    while left := [p for p in ownership.register.processes.values() if p.stat.identity in workers]:
        if not _wait_for_change(left, until - monotonic()):
            return
        ownership.look()


def _kill_all(ownership: Ownership, leaked: list[OwnedProcess]) -> None:
    owners = {process.owner for process in leaked}
    doomed = {process.stat.identity for process in leaked}
    until = monotonic() + _KILLING
    while monotonic() < until:
        alive = [
            process
            for identity, process in ownership.register.processes.items()
            if not process.stat.is_zombie
            and (
                identity in doomed
                or (process.owner in owners and not (process.is_helper or process.is_reported))
            )
        ]
        if not alive:
            return
        for process in alive:
            doomed.add(process.stat.identity)
            pidfd = _open_pidfd(process)
            if pidfd is not None:
                kernel.send(pidfd, signal.SIGKILL)  # in vain if it has exited, or changed its user
                posix.close(pidfd)
        _wait_for_change(alive, until - monotonic())
        ownership.look()
