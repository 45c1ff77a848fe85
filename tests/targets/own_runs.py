"""Processes whose `run` is something else than a plain method: WHICH, and a start method."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from multiprocessing import context, util
from typing import Any


class Called:
    def __init__(self, leaves: bool = False) -> None:
        self.leaves = leaves

    def __call__(self) -> None:
        if self.leaves:
            sys.exit()


def generator(self: object) -> Iterator[None]:
    yield


async def coroutine(self: object) -> None:
    pass


def shown(self: Any) -> Any:
    print("asked", flush=True)
    return self.work


def with_finalizer(self: object) -> None:
    util.Finalize(None, os._exit, [0], exitpriority=9)
    sys.exit()


RUNS: dict[str, Any] = {
    "lambda": lambda self: None,
    "lambda_exits": lambda self: sys.exit(),
    "lambda_os_exits": lambda self: os._exit(0),
    "object": Called(),
    "object_exits": Called(leaves=True),
    "builtin": staticmethod(os.getpid),
    "builtin_exits": staticmethod(sys.exit),
    "generator": generator,
    "coroutine": coroutine,
    "property": property(shown),
    "finalizer_os_exits": with_finalizer,
}
BASES: dict[str, Any] = {
    "fork": context.ForkProcess,
    "spawn": context.SpawnProcess,
    "forkserver": context.ForkServerProcess,
}
# By name in the module, so that a child can be sent its own.
for which, run in RUNS.items():
    for method, base in BASES.items():
        name = f"{which}_{method}"
        names = {"run": run, "work": lambda self: None, "__module__": __name__}
        globals()[name] = type(name, (base,), names)

if __name__ == "__main__":
    if sys.argv[1] == "given":
        child = multiprocessing.get_context("fork").Process(name="child")
        child.run = lambda: sys.exit()  # type: ignore[method-assign]
    else:
        child = globals()["_".join(sys.argv[1:])](name="child")
    child.start()
    child.join()
    print(child.exitcode)
