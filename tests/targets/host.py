"""A main with one process of each kind: the path of a pipe, at whose end of file it goes on.

It says the pid of a child that has ended before it waits.
"""

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path


def fails() -> None:
    raise ValueError


if __name__ == "__main__":
    first = multiprocessing.get_context("fork").Process(target=os.getpid, name="first")
    first.start()
    first.join()
    print(first.pid, flush=True)
    Path(sys.argv[1]).read_bytes()
    for _ in range(3):
        subprocess.run([sys.executable, "-c", "pass"], check=True)
    second = multiprocessing.get_context("spawn").Process(target=fails, name="second")
    second.start()
    second.join()
    if os.fork() == 0:
        os._exit(3)
    os.wait()
