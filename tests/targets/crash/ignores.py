"""Once its worker is there main does not end of SIGTERM: its handler waits for the worker."""

import multiprocessing
import os
import signal


def work(reader: int, writer: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.close(writer)
    os.read(reader, 1)


if __name__ == "__main__":
    ends = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=work, args=ends)
    signal.signal(signal.SIGTERM, lambda number, frame: process.join())
    process.start()
    os.write(ends[1], b".")
    process.join()
