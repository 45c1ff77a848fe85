"""The handler that ends the worker is set once that is ready: SIGTERM can come before."""

import multiprocessing
import os
import signal
import sys

MENDED = sys.argv[1:] == ["mended"]


def work(ready: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    os.write(ready, b".")
    while True:
        signal.pause()


def stop(number: int, frame: object) -> None:
    for child in multiprocessing.active_children():
        child.terminate()
    sys.exit(0)


if __name__ == "__main__":
    reader, writer = os.pipe()
    worker = multiprocessing.get_context("fork").Process(target=work, args=(writer,))
    if MENDED:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    worker.start()
    os.read(reader, 1)
    signal.signal(signal.SIGTERM, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    worker.terminate()
    worker.join()
