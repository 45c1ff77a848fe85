"""Main waits for the end of a pipe, and has its writing end: it does not see a worker's death."""

import multiprocessing
import os
import subprocess
import sys

MENDED = sys.argv[1:] == ["mended"]


def work(begin: int, writer: int) -> None:
    os.read(begin, 1)
    subprocess.run(["true"], check=True)
    os.write(writer, b"result")


if __name__ == "__main__":
    begin, beginning = os.pipe()
    reader, writer = os.pipe()
    worker = multiprocessing.get_context("fork").Process(target=work, args=(begin, writer))
    worker.start()
    os.write(beginning, b".")
    if MENDED:
        os.close(writer)
    os.read(reader, 100)
    worker.join()
