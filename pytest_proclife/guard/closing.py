"""Close the Pools and executors that have leaks for workers, before these are ended.

An idle worker holds a lock of its Pool's while it waits for work. Were it killed, the Pool could
never be terminated, which happens at the interpreter's exit. An executor whose workers are killed
says so to whoever uses it next; one that is shut down is replaced, where it is a library's own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from pytest_proclife.guard.pools import executors, pools, workers

_CLOSING = 1.0  # s for each, which may wait for a thread of its own


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
    thread.join(_CLOSING)
