"""The handler ends all active children: one whose start() has not returned is none of these yet."""

import multiprocessing
import os
import signal
import sys

MENDED = sys.argv[1:] == ["mended"]
reader, writer = os.pipe()


def work() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    while True:
        signal.pause()


def stop(number: int, frame: object) -> None:
    for child in multiprocessing.active_children():
        child.terminate()
    os._exit(0)


def begin() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.write(writer, b".")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    # the parent, in the middle of start(), lets the child be first, as a busy machine may do
    os.register_at_fork(after_in_child=begin, after_in_parent=lambda: os.read(reader, 1))
    if MENDED:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    worker = multiprocessing.get_context("fork").Process(target=work, daemon=True)
    worker.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    worker.terminate()
    worker.join()
