"""Each worker ends at the end of its pipe, and each has the writing end of the other's."""

import os
import sys

MENDED = sys.argv[1:] == ["mended"]


def start(own: tuple[int, int], other: tuple[int, int]) -> None:
    ready, answer = os.pipe()
    if os.fork():
        os.read(ready, 1)
        return
    os.close(own[1])
    if MENDED:
        os.close(other[1])
    os.write(answer, b".")
    os.read(own[0], 1)
    os._exit(0)


if __name__ == "__main__":
    first, second = os.pipe(), os.pipe()
    start(first, second)
    start(second, first)
    os.write(first[1], b".")
    os.write(second[1], b".")
    os.wait()
    os.wait()
