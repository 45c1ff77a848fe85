"""Main waits until a worker has set an Event, whether the worker lives or not."""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import wait
from multiprocessing.synchronize import Event

MENDED = sys.argv[1:] == ["mended"]


def work(begin: int, ready: Event) -> None:
    os.read(begin, 1)
    subprocess.run(["true"], check=True)
    ready.set()


if __name__ == "__main__":
    context = multiprocessing.get_context("fork")
    begin, beginning = os.pipe()
    ready = context.Event()
    worker = context.Process(target=work, args=(begin, ready))
    worker.start()
    os.write(beginning, b".")
    while not ready.wait(0.05 if MENDED else None):
        if wait([worker.sentinel], 0):
            break
    worker.join()
