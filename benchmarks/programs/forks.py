"""Children forked by multiprocessing that return at once: all are started, then all are joined."""

import multiprocessing
import sys


def work() -> None:
    pass


def main(count: int) -> None:
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=work) for _ in range(count)]
    for child in children:
        child.start()
    for child in children:
        child.join()


if __name__ == "__main__":
    main(int(sys.argv[1]))
