"""Children that exit at once: as many as the argument says, forked all at the same time.

With "true" programs, one after the other, each reaped by the handler of SIGCHLD, which may come
before the start has returned; with "ignored" by the kernel.
"""

import os
import signal
import subprocess
import sys
from types import FrameType


def forks(count: int) -> None:
    children = []
    for number in range(count):
        child = os.fork()
        if child == 0:
            os._exit(number % 7)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)


def programs(count: int, handler: str) -> None:
    signal.signal(signal.SIGCHLD, reap if handler == "true" else signal.SIG_IGN)
    for _ in range(count):
        subprocess.Popen(["true"]).wait()


def reap(number: int, frame: FrameType | None) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    if sys.argv[2:]:
        programs(int(sys.argv[1]), sys.argv[2])
    else:
        forks(int(sys.argv[1]))
