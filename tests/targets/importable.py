"""Callables that other processes can import by name."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from typing import Any


def show(*args: Any, **kwargs: Any) -> None:
    print(sys.argv, __name__, sys.modules["__main__"].__dict__.get("__file__"), args, kwargs)


def start_one(method: str | None = None) -> None:
    context: Any = multiprocessing.get_context(method)
    process = context.Process(target=show, args=("child",))
    process.start()
    process.join()
    sys.exit(process.exitcode)


class Course:
    @staticmethod
    def lesson() -> None:
        print("a lesson")


def decorated(function: Any) -> Any:
    return lambda: function()


def replaced() -> None:
    pass


original, replaced = replaced, decorated(replaced)


def block_for_ever(ready: str) -> None:
    with open(ready, "w") as pipe:
        pipe.write("ready\n")
    while True:
        signal.pause()


def sleep_in_a_child() -> None:
    process = multiprocessing.get_context("fork").Process(
        target=time.sleep, args=(600,), name="sleeper"
    )
    process.start()


def leave(how: str) -> None:
    match how:
        case "return":
            return
        case "raise":
            raise LookupError("no such lesson")
        case "exit":
            sys.exit(3)
        case "exit with text":
            sys.exit("a reason")
        case "exit with nothing":
            sys.exit()
        case "os._exit":
            os._exit(4)
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
            signal.pause()
        case _:
            raise ValueError(how)
