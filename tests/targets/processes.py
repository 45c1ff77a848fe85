"""Children of multiprocessing that exit with codes of their own: METHOD, how many, at a time."""

import multiprocessing
import sys


def work(number: int) -> None:
    sys.exit(number % 200)


if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    count, width = int(sys.argv[2]), int(sys.argv[3])
    for first in range(0, count, width):
        children = [
            multiprocessing.Process(target=work, args=(number,), name=f"child-{number}")
            for number in range(first, first + width)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join()
