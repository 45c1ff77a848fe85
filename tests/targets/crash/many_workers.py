"""So many workers as the first argument says, one after the other."""

import multiprocessing
import sys


def work() -> None:
    pass


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        process.join()
