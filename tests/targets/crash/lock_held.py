"""A worker that is lost while it has a lock: a semaphore stays taken, a lock of a file does not."""

import contextlib
import fcntl
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator

MENDED = sys.argv[1:] == ["mended"]
context = multiprocessing.get_context("fork")
lock = context.Lock()


@contextlib.contextmanager
def locked() -> Iterator[None]:
    if MENDED:
        with open(__file__) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    else:
        with lock:
            yield


def work(begin: int) -> None:
    os.read(begin, 1)
    with locked():
        subprocess.run(["true"], check=True)


if __name__ == "__main__":
    begin, beginning = os.pipe()
    worker = context.Process(target=work, args=(begin,))
    worker.start()
    os.write(beginning, b".")
    worker.join()
    with locked():
        pass
