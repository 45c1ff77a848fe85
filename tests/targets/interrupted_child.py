"""A child that a signal interrupts in its target, at a place of its own choice."""

import multiprocessing
import os
import signal
from multiprocessing.synchronize import Event


def wait(ready: Event) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    ready.set()
    while not signal.sigpending():
        pass
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


if __name__ == "__main__":
    ready = multiprocessing.Event()
    child = multiprocessing.get_context("fork").Process(target=wait, args=(ready,))
    child.start()
    ready.wait()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGINT)
    child.join()
    print(child.exitcode)
