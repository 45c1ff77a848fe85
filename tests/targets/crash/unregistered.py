"""A worker is entered in the list that the handler of SIGTERM goes by once start() has returned."""

import multiprocessing
import os
import signal
import sys

MENDED = sys.argv[1:] == ["mended"]
workers: list[multiprocessing.process.BaseProcess] = []


def work(ready: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.write(ready, b".")
    while True:
        signal.pause()


def stop(number: int, frame: object) -> None:
    for worker in workers:
        worker.terminate()
        worker.join()
    os._exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    for _ in range(2):
        reader, writer = os.pipe()
        worker = multiprocessing.get_context("fork").Process(target=work, args=(writer,))
        if MENDED:
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        worker.start()
        workers.append(worker)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        os.read(reader, 1)
    stop(0, None)
