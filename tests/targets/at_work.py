"""A pool or an executor with two workers that are not done: KIND, and a start method."""

import multiprocessing
import signal
import sys
from concurrent.futures import ProcessPoolExecutor


def work(number: int) -> None:
    print("at work", flush=True)
    signal.pause()


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    if sys.argv[1] == "pool":
        with context.Pool(2) as pool:
            pool.map(work, range(2), chunksize=1)
    else:
        with ProcessPoolExecutor(2, mp_context=context) as executor:
            list(executor.map(work, range(2)))
