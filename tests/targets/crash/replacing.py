"""A worker is replaced: main forgets the old one, then starts the new one, then notes that."""

import multiprocessing
import os
import signal
import sys

MENDED = sys.argv[1:] == ["mended"]
context = multiprocessing.get_context("fork")
workers: dict[int, multiprocessing.process.BaseProcess] = {}


def work(ready: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.write(ready, b".")
    while True:
        signal.pause()


def start(place: int) -> None:
    reader, writer = os.pipe()
    worker = context.Process(target=work, args=(writer,), name=f"worker {place}")
    if MENDED:
        workers[place] = worker
    worker.start()
    os.read(reader, 1)
    workers[place] = worker


def stop(number: int, frame: object) -> None:
    for worker in workers.values():
        if worker.pid is not None:
            worker.kill()
            worker.join()
    os._exit(0)


if __name__ == "__main__":
    workers[0] = context.Process(target=os.getpid, name="first")
    workers[0].start()
    signal.signal(signal.SIGTERM, stop)
    workers.pop(0).join()
    start(0)
    stop(0, None)
