"""A fork that goes on in main's code, until it leaves as the argument says; main waits for it."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys


def fork(how: str) -> None:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    match how:
        case "sys.exit":
            sys.exit(3)
        case "raise":
            raise LookupError
        case "os._exit":
            os._exit(3)
        case "exec":
            os.execv(sys.executable, [sys.executable, "-c", "pass"])
        case "kill":
            os.abort()
        case _:
            pass  # it runs on


if __name__ == "__main__":
    atexit.register(lambda: print("handler"))
    if sys.argv[1] == "process":
        process = multiprocessing.get_context("fork").Process(target=fork, args=(sys.argv[2],))
        process.start()
        process.join()
    else:
        fork(sys.argv[2])
