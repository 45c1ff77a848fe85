"""A Pool of two, one worker of which ends; main goes on when the pool has another in its place."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from typing import Any


def leave(how: str) -> None:
    match how:
        case "os._exit":
            os._exit(3)
        case "sys.exit":
            sys.exit(4)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "abort":
            os.abort()
        case _:
            raise ValueError(how)


def stay(ready: Any) -> None:
    ready.put(os.getpid())
    while True:
        signal.pause()


def same(value: int) -> int:
    return value


def main() -> None:
    method, how = sys.argv[1:]
    context: Any = multiprocessing.get_context(method)
    pool = context.Pool(2, maxtasksperchild=1 if how == "maxtasksperchild" else None)
    before = list(pool._pool)
    if how == "maxtasksperchild":
        pool.apply(same, (1,))
    elif how == "by main":
        with context.Manager() as manager:
            ready = manager.Queue()
            pool.apply_async(stay, (ready,))
            os.kill(ready.get(), signal.SIGKILL)
            wait_for_another(pool, before)
    elif how == "map":
        pool.map_async(leave, ["os._exit"])
    else:
        pool.apply_async(leave, (how,))
    wait_for_another(pool, before)
    pool.terminate()
    pool.join()


def wait_for_another(pool: Any, before: list[Any]) -> None:
    """Until its thread has appended a worker, which it does when that has started."""
    while len(pool._pool) < 2 or all(worker in before for worker in list(pool._pool)):
        time.sleep(0.005)  # the list cannot be waited for


if __name__ == "__main__":
    main()
