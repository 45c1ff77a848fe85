"""The handler sets the default action first: a second SIGTERM ends main in the middle of it."""

import os
import signal
import sys

MENDED = sys.argv[1:] == ["mended"]


def start() -> int:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.read(reader, 1)
        return pid
    os.write(writer, b".")
    while True:
        signal.pause()


def stop(number: int, frame: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN if MENDED else signal.SIG_DFL)
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    sys.exit(0)


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    workers = [start(), start()]
    signal.signal(signal.SIGTERM, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
    signal.raise_signal(signal.SIGTERM)
