"""A worker that does not notice main's death, and ends when main tells it to."""

import multiprocessing
import os


def work(reader: int) -> None:
    os.read(reader, 1)


if __name__ == "__main__":
    reader, writer = os.pipe()  # the worker has both ends
    process = multiprocessing.get_context("fork").Process(target=work, args=(reader,))
    process.start()
    os.write(writer, b".")
    process.join()
