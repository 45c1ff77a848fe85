"""A Pool's worker that is lost in the middle of a task: the Pool waits for its result for ever."""

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

MENDED = sys.argv[1:] == ["mended"]


def task(number: int) -> int:
    subprocess.run(["true"], check=True)
    return os.getpid() + number


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    if MENDED:
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            list(executor.map(task, [1]))
    else:
        with context.Pool(1) as pool:
            pool.map(task, [1])
