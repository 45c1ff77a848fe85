"""Wait for leaks to exit by themselves, then end them. No wait status is taken.

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
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_proclife.guard.owners import Known, Owner, Register
from pytest_proclife.guard.pools import executors, pools, replaces, workers
from pytest_proclife.guard.proc import monotonic, seen

_LIBRARY_CLOSING = 1.0  # s for each, which may wait for a thread of its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """What has been closed: Pools, and the threads that look after executors' workers."""

    pools: tuple[Any, ...]
    threads: tuple[Any, ...]

    def __bool__(self) -> bool:
        return bool(self.pools or self.threads)

    def before_the_kill(self) -> None:
        for pool in self.pools:
            pool._worker_handler._state = "TERMINATE"  # else it replaces those that are killed

    def after_the_kill(self) -> None:
        for thread in self.threads:
            thread.join(_LIBRARY_CLOSING)


def close(pids: set[int], makers: set[str]) -> Closed:
    """Close what has one of these for a worker, or is one of these makers: it may have started a
    worker that it does not list yet.
    """
    closed = [
        p for p in pools() if pids & workers(p) or str(id(getattr(p, "_pool", None))) in makers
    ]
    looked_after = [
        (thread, one)
        for thread, one, theirs in executors()
        if pids & theirs or str(id(one)) in makers
    ]
    for pool in closed:
        _within_bounds(pool.close)
    for _, executor in looked_after:
        _within_bounds(partial(executor.shutdown, wait=False))
    return Closed(pools=tuple(closed), threads=tuple(thread for thread, _ in looked_after))


def _within_bounds(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(_LIBRARY_CLOSING)


_ENDING = 5.0  # s for SIGKILL to take effect
_CLOSING = 1.0  # s for the workers of a Pool that is closed to end by themselves
_REPLACING = 1.0  # s for a Pool to start a worker in place of one that has ended
_STEP = 0.002  # s

Clock = Callable[[], float]


def await_ends(
    register: Register,
    owners: Iterable[Owner],
    patience: float,
    clock: Clock = monotonic,
) -> list[Known]:
    """Wait up to `patience` seconds for what these owners left; what is there then."""
    until, owners = clock() + patience, tuple(owners)
    while left := _left(register, owners):
        changed = _change(left, until - clock())
        register.look()  # also after the wait: for what a process has said of itself by now
        if not changed:
            return _left(register, owners)
    return left


def _left(register: Register, owners: tuple[Owner, ...]) -> list[Known]:
    """What they left, when it is known what it is. Where that is a Pool that is just replacing its
    only worker, the new one.
    """
    makers = register.makers_of(owners)
    until = monotonic() + _REPLACING
    while True:
        replacing = bool(makers) and replaces(makers)
        if makers:
            register.turns.settle()  # after that question: what it had started by then is seen
        left = register.left_by(owners)
        starting = any(one.is_being_started for one in left)
        if (not starting and (left or not replacing)) or monotonic() > until:
            return left
        time.sleep(_STEP)  # the thread that starts it tells nobody
        if starting:
            register.look()


def _change(left: list[Known], seconds: float) -> bool:
    """Wait until one of these ends, or is waited for where another thread could do that."""
    poll, handles = select.poll(), []
    threads = threading.active_count() > 1
    try:
        for one in left:
            if one.seen.is_zombie and not threads:
                continue
            handle = _pidfd(one)
            if handle is None:
                return True
            handles.append(handle)
            # POLLHUP comes by itself, when it has been waited for (Linux 6.9)
            poll.register(handle, 0 if one.seen.is_zombie else select.POLLIN)
        return bool(handles and seconds > 0 and poll.poll(seconds * 1000))
    finally:
        for handle in handles:
            posix.close(handle)


def _pidfd(one: Known) -> int | None:
    """A pidfd of this very process; None if it is gone."""
    try:
        handle = posix.pidfd_open(one.seen.pid)
    except OSError:
        return None
    there = seen(one.seen.pid)
    if there is not None and there.identity == one.seen.identity:
        return handle
    posix.close(handle)
    return None


def end(register: Register, left: list[Known]) -> None:
    """End these and all below them, whatever they do."""
    makers = {one.start.maker for one in left if one.start is not None and one.start.maker}
    closed = close({one.seen.pid for one in left}, makers)
    if closed:
        _await_workers(register, {one.seen.identity for one in left})
        closed.before_the_kill()
    _kill_all(register, left)
    closed.after_the_kill()


def _kill_all(register: Register, left: list[Known]) -> None:
    owners = {one.owner for one in left}
    doomed = {one.seen.identity for one in left}
    until = monotonic() + _ENDING
    while monotonic() < until:
        alive = [
            one
            for one in register.known.values()
            if not one.seen.is_zombie
            and (one.seen.identity in doomed or (one.owner in owners and not one.is_helper))
            and not (one.excused and one.seen.identity not in doomed)
        ]
        if not alive:
            return
        for one in alive:
            doomed.add(one.seen.identity)
            _kill(one)
        _change(alive, until - monotonic())
        register.look()


def _kill(one: Known) -> None:
    handle = _pidfd(one)
    if handle is not None:
        try:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        except OSError:
            pass  # it has ended, or become somebody else's
        finally:
            posix.close(handle)


def _await_workers(register: Register, workers: set[tuple[int, int]]) -> None:
    until = monotonic() + _CLOSING
    while True:
        left = [one for one in register.known.values() if one.seen.identity in workers]
        if not left or not _change(left, until - monotonic()):
            return
        register.look()
