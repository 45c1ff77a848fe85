"""A main and a worker that end of a signal alone."""

import multiprocessing
import time


def work() -> None:
    print("worker", flush=True)
    while True:
        time.sleep(0.1)


if __name__ == "__main__":
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
