"""A main with two workers that do not end by themselves, and seven ways for it to go."""

import multiprocessing
import os
import signal
import sys
import time


def work(started):
    started.put("at work")
    while True:
        signal.pause()


def main(way, daemon):
    started = multiprocessing.SimpleQueue()
    for _ in range(2):
        multiprocessing.Process(target=work, args=(started,), daemon=daemon).start()
    started.get(), started.get()
    print("ready", flush=True)
    if way == "raise":
        raise RuntimeError("no data")
    if way == "sys.exit":
        sys.exit(1)
    if way == "os._exit":
        os._exit(1)
    while way != "return":
        time.sleep(0.1)  # signal.pause() would sleep over a signal that comes just before it
