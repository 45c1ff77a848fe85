"""Children of all kinds, of a program whose modules may have been imported before it."""

import multiprocessing
import os
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Event


def returns() -> None:
    pass


def raises() -> None:
    raise ValueError("as it should")


def exits() -> None:
    sys.exit(3)


def leaves() -> None:
    os._exit(4)


def waits(ready: Event) -> None:
    ready.set()
    time.sleep(60)


if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[1])
    for work in (returns, raises, exits, leaves):
        child = multiprocessing.Process(target=work, name=work.__name__)
        child.start()
        child.join()
    for daemon in (False, True):
        ready = multiprocessing.Event()
        child = multiprocessing.Process(
            target=waits, args=(ready,), name="daemon" if daemon else "terminated", daemon=daemon
        )
        child.start()
        ready.wait()
        if not daemon:
            child.terminate()
            child.join()
    with multiprocessing.Pool(1) as pool:
        pool.apply(abs, (1,))
        pool.close()
        pool.join()
    with ProcessPoolExecutor(1) as executor:
        executor.submit(abs, 1).result()
    subprocess.run([sys.executable, "-c", "1"])
    if os.fork() == 0:
        os._exit(5)
    os.wait()
