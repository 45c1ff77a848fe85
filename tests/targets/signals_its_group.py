"""Sends a signal to its own process group, itself or by a child; it may catch it and go on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys


def send(how: str, number: int) -> None:
    if how == "kill 0":
        os.kill(0, number)
    elif how == "sh":
        os.system(f"kill -{number} 0")
    else:
        os.killpg(0, number)


if __name__ == "__main__":
    how, name, reaction = sys.argv[1:]
    number = signal.Signals[name]
    if reaction == "caught":
        reader, writer = os.pipe()
        signal.signal(number, lambda number, frame: os.write(writer, b"."))
        send(how, number)
        os.read(reader, 1)
        sys.exit(7)
    if how == "child":
        process = multiprocessing.get_context("fork").Process(target=send, args=("killpg", number))
        process.start()
        process.join()
    else:
        send(how, number)
    while True:
        signal.pause()
