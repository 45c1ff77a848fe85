"""Ctrl-C while an executor starts its workers: each waits for tasks, and main waits for them."""

import multiprocessing
import signal
import sys
from concurrent.futures import ProcessPoolExecutor

MENDED = sys.argv[1:] == ["mended"]


def task() -> None:
    pass


if __name__ == "__main__":
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:
        if MENDED:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        done = executor.submit(task)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        done.result()
