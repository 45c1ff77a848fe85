"""A pool whose workers do one task each."""

import multiprocessing
import os
import sys


def task(number: int) -> int:
    return os.getpid()


if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(4, maxtasksperchild=1) as pool:
        pids = pool.map(task, range(int(sys.argv[1])), chunksize=1)
        pool.close()
        pool.join()
    print(*pids)
