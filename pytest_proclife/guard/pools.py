"""The Pools, executors and children that are in use, by the standard library's own lists."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterator
from typing import Any

from pytest_proclife.inside.guard.makers import EXECUTORS

_FINALIZERS = ("multiprocessing.util", "multiprocess.util")  # billiard's Pools are in the first
_POOLS = ("multiprocessing.pool", "multiprocess.pool", "billiard.pool")
_RUN = ("RUN", 0)  # the state of a Pool of multiprocessing, and of one of billiard


def pools() -> list[Any]:
    """The Pools that have not been terminated."""
    kinds = tuple(filter(None, (getattr(sys.modules.get(n), "Pool", None) for n in _POOLS)))
    found = []
    for name in _FINALIZERS:
        registry: Any = getattr(sys.modules.get(name), "_finalizer_registry", None)
        for finalizer in list((registry or {}).values()):
            reference = getattr(finalizer, "_weakref", None)
            if reference is not None and isinstance(pool := reference(), kinds):
                found.append(pool)
    return found


def workers(pool: Any) -> set[int]:
    """The pids of a Pool's workers; a ThreadPool's have none."""
    processes = list(getattr(pool, "_pool", ()))
    return {pid for process in processes if isinstance(pid := getattr(process, "pid", None), int)}


def maker_of(pool: Any) -> str:
    """The Pool as the notes of its workers name it (`inside/guard/makers.py`)."""
    return str(id(getattr(pool, "_pool", None)))


def executors() -> Iterator[tuple[Any, Any, set[int]]]:
    """Each executor's thread that manages the workers, the executor, and the workers' pids."""
    for name in EXECUTORS:
        threads: Any = getattr(sys.modules.get(name), "_threads_wakeups", None)
        for thread in list(threads or ()):
            executor = getattr(thread, "executor_reference", lambda: None)()
            if executor is not None:
                yield thread, executor, {*(getattr(thread, "processes", None) or ())}


def any_replaces_workers(makers: set[str]) -> bool:
    """Whether a thread of one of these makers starts a new worker for each that exits. If workers
    exit after some tasks, such a Pool has none for a moment.
    """
    handlers = [(p, p._worker_handler) for p in pools() if maker_of(p) in makers]
    return any(
        handler.is_alive() and (handler._state in _RUN or pool._cache) for pool, handler in handlers
    ) or any(
        getattr(executor, "_max_tasks_per_child", None) is not None
        and thread.is_alive()
        and not executor._shutdown_thread
        for thread, executor, _ in executors()
        if str(id(executor)) in makers
    )


def dropped_pids() -> set[int]:
    """The pids of the Popens that were deleted while the process ran: subprocess waits for these
    at its next start, as it does in the finalizer of a Popen whose process has exited.
    """
    module: Any = sys.modules.get("subprocess")
    return {popen.pid for popen in list(getattr(module, "_active", None) or ())}


def unjoined_pids() -> set[int]:
    """The pids of a fork server's processes that have exited and that multiprocessing still lists.

    This takes no status: the sentinel is a pipe, which is readable once they have exited.
    """
    process: Any = sys.modules["multiprocessing.process"]  # it has started them
    popens = [child._popen for child in list(process._children)]
    poll, pids = select.poll(), {}
    for popen in popens:
        if getattr(popen, "method", "") == "forkserver" and popen.returncode is None:
            poll.register(popen.sentinel, select.POLLIN)
            pids[popen.sentinel] = popen.pid
    return {pids[sentinel] for sentinel, _ in poll.poll(0)} if pids else set()
