"""Close the Pools and executors that have leaks for workers, before these are ended.

An idle worker holds a lock of its Pool's while it waits for work. Were it killed, the Pool could
never be terminated, which happens at the interpreter's exit. An executor whose workers are killed
says so to whoever uses it next; one that is shut down is replaced, where it is a library's own.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_proclife.inside.makers import EXECUTORS

_CLOSING = 1.0  # s for each, which may wait for a thread of its own
_FINALIZERS = ("multiprocessing.util", "multiprocess.util")  # billiard's are among the first's
_POOLS = ("multiprocessing.pool", "multiprocess.pool", "billiard.pool")


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
            thread.join(_CLOSING)


def close(pids: set[int]) -> Closed:
    """Close what has one of these for a worker."""
    pools, executors = _pools(pids), _executors(pids)
    for pool in pools:
        _within_bounds(pool.close)
    for _, executor in executors:
        _within_bounds(partial(executor.shutdown, wait=False))
    return Closed(pools=tuple(pools), threads=tuple(thread for thread, _ in executors))


def _within_bounds(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(_CLOSING)


def _pools(pids: set[int]) -> list[Any]:
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
            if isinstance(pool, kinds) and pids & _workers(getattr(pool, "_pool", ())):
                found.append(pool)
    return found


def _workers(processes: Iterable[Any]) -> set[int]:
    """Their pids; a ThreadPool's workers have none."""
    return {pid for one in list(processes) if isinstance(pid := getattr(one, "pid", None), int)}


def _executors(pids: set[int]) -> list[tuple[Any, Any]]:
    """The threads that look after the workers, and the executors."""
    found = []
    for name in EXECUTORS:
        threads: Any = getattr(sys.modules.get(name), "_threads_wakeups", None)
        for thread in list(threads or ()):
            executor = getattr(thread, "executor_reference", lambda: None)()
            if executor is not None and pids & {*(getattr(thread, "processes", None) or ())}:
                found.append((thread, executor))
    return found
