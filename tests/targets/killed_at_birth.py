"""Children that are killed as soon as they have been started, joined, counted."""

import multiprocessing
import os
import signal
import sys
from typing import Any


def work() -> None:
    signal.pause()


if __name__ == "__main__":
    count = int(sys.argv[2])
    if sys.argv[1] == "os.fork":
        for _ in range(count):
            child = os.fork()
            if child == 0:
                work()
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    else:
        context: Any = multiprocessing.get_context(sys.argv[1])
        for number in range(count):
            process = context.Process(target=work, name=f"child-{number}")
            process.start()
            process.kill()
            process.join()
