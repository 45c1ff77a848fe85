"""Pools, executors and other owners of children, by the standard library's own lists."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from typing import Any

from pytest_proclife.inside.guard.makers import EXECUTORS

_FINALIZERS = ("multiprocessing.util", "multiprocess.util")  # billiard's are among the first's
_POOLS = ("multiprocessing.pool", "multiprocess.pool", "billiard.pool")
_RUN = ("RUN", 0)  # the state of a Pool of multiprocessing's, and of billiard's


def pools() -> list[Any]:
    """The Pools that nobody has terminated."""
    kinds = tuple(
        kind
        for name in _POOLS
        if (kind := getattr(sys.modules.get(name), "Pool", None)) is not None
    )
    found: list[Any] = []
    for name in _FINALIZERS:
        registry: Any = getattr(sys.modules.get(name), "_finalizer_registry", None)
        for finalizer in list((registry or {}).values()):
            reference = getattr(finalizer, "_weakref", None)
            pool = reference() if reference is not None else None
            if isinstance(pool, kinds):
                found.append(pool)
    return found


def workers(pool: Any) -> set[int]:
    """The pids of a Pool's workers; a ThreadPool's have none."""
    processes = list(getattr(pool, "_pool", ()))
    return {pid for one in processes if isinstance(pid := getattr(one, "pid", None), int)}


def executors() -> Iterator[tuple[Any, Any, set[int]]]:
    """The threads that look after workers, the executors, and the pids of the workers."""
    for name in EXECUTORS:
        threads: Any = getattr(sys.modules.get(name), "_threads_wakeups", None)
        for thread in list(threads or ()):
            executor = getattr(thread, "executor_reference", lambda: None)()
            if executor is not None:
                yield thread, executor, {*(getattr(thread, "processes", None) or ())}


def replaces(makers: set[str]) -> bool:
    """Whether one of these (`inside/makers.py`) has a thread that starts a worker in place of
    each that ends. One whose workers end after some tasks has none for a moment.
    """
    return any(
        str(id(getattr(pool, "_pool", None))) in makers and _pool_replaces(pool) for pool in pools()
    ) or any(
        str(id(executor)) in makers and _executor_replaces(thread, executor)
        for thread, executor, _ in executors()
    )


def _pool_replaces(pool: Any) -> bool:
    handler = pool._worker_handler
    return bool(handler.is_alive() and (handler._state in _RUN or pool._cache))


def _executor_replaces(thread: Any, executor: Any) -> bool:
    ends_them = getattr(executor, "_max_tasks_per_child", None) is not None
    return bool(ends_them and thread.is_alive() and not executor._shutdown_thread)


def dropped() -> set[int]:
    """The pids of the Popens that were dropped before their ends: subprocess waits for these at
    its next start, as it does at once where the end came first.
    """
    module: Any = sys.modules.get("subprocess")
    return {popen.pid for popen in list(getattr(module, "_active", None) or ())}


def unjoined() -> set[int]:
    """The pids of the children of a fork server that have ended, and that Process still lists.

    No status is taken: the sentinel is a pipe, which is readable when they have ended.
    """
    process: Any = sys.modules["multiprocessing.process"]  # it started them
    popens = [child._popen for child in list(process._children)]
    poll, asked = select.poll(), {}
    for popen in popens:
        if getattr(popen, "method", "") == "forkserver" and popen.returncode is None:
            poll.register(popen.sentinel, select.POLLIN)
            asked[popen.sentinel] = popen.pid
    return {asked[sentinel] for sentinel, _ in poll.poll(0)} if asked else set()
