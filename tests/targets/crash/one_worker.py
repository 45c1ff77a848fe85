"""A worker; main writes a line before and after each step."""

import multiprocessing
import os
import signal
import sys

MAIN, (READER, WRITER) = os.getpid(), os.pipe()


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def work(end: int) -> None:
    say("worker")
    os.read(end, 1)


def stop(number: int, frame: object) -> None:
    say("handler")
    if os.getpid() != MAIN:
        os._exit(4)  # what is raised in a fork that only begins can be lost
    os.write(WRITER, b".")  # CPython forgets a signal that a fork gets before it begins
    sys.exit(3)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    process = multiprocessing.get_context("fork").Process(target=work, args=(READER,), daemon=True)
    say("before start")
    process.start()
    say("after start")
    os.write(WRITER, b".")
    process.join()
    say("after join")
    os.kill(os.getpid(), signal.SIGTERM)
    say("after kill")
