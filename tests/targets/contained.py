"""What the course's programs do, one after the other; what the machine refuses is skipped.

It prints a line for each process whose end it knows: STEP PID EXITCODE; and REFUSED STEP WHY.
"""

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable


def leave(code: int) -> None:
    sys.exit(code)


def square(number: int) -> int:
    return number * number


def tell(step: str, pid: int | None, code: int | None) -> None:
    print(step, pid, code, flush=True)


def started(step: str, method: str, code: int) -> None:
    multiprocessing.set_start_method(method, force=True)
    process = multiprocessing.Process(target=leave, args=(code,), name=step)
    process.start()
    process.join()
    tell(step, process.pid, process.exitcode)


def terminated() -> None:
    process = multiprocessing.Process(target=time.sleep, args=(600,), name="terminated")
    process.start()
    process.terminate()
    process.join()
    tell("terminated", process.pid, process.exitcode)


def forked() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    tell("forked", pid, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def shell() -> None:
    with subprocess.Popen(["sh", "-c", "sleep 0.1; exit 5"]) as process:
        process.wait()
    tell("shell", process.pid, process.returncode)


def pool() -> None:
    with multiprocessing.Pool(2) as workers:
        assert workers.map(square, range(4)) == [0, 1, 4, 9]
        workers.close()
        workers.join()


def left() -> None:
    pid = os.fork()
    if pid == 0:
        time.sleep(600)
        os._exit(0)
    tell("left", pid, -9)


def daemon() -> None:
    process = multiprocessing.Process(target=time.sleep, args=(600,), name="daemon", daemon=True)
    process.start()
    tell("daemon", process.pid, -15)


def attempt(step: str, deed: Callable[..., None], *arguments: object) -> None:
    try:
        deed(*arguments)
    except OSError as error:
        print("REFUSED", step, error, flush=True)


if __name__ == "__main__":
    attempt("fork", started, "fork", "fork", 0)
    attempt("spawn", started, "spawn", "spawn", 3)
    multiprocessing.set_start_method("fork", force=True)
    attempt("terminated", terminated)
    attempt("forked", forked)
    attempt("shell", shell)
    attempt("pool", pool)
    attempt("left", left)
    attempt("daemon", daemon)
