"""A fork that goes on in main's code, until it leaves as the argument says; main waits for it.

Or an exit handler forks, after main's code has ended as the argument says.
"""

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
    elif sys.argv[1] == "handler":
        atexit.register(fork, sys.argv[3] if len(sys.argv) > 3 else "return")
        if sys.argv[2] == "sys.exit":
            sys.exit(3)
        if sys.argv[2] == "raise":
            raise LookupError
    else:
        fork(sys.argv[2])
