"""Main's code ends as the argument says, and a thread then starts a program."""

from __future__ import annotations

import subprocess
import sys
import threading


def work() -> None:
    threading.main_thread().join()  # it is over once main's code is done
    subprocess.run(["true"], check=True)


threading.Thread(target=work).start()
if "multiprocessing" in sys.argv:
    import multiprocessing.util  # noqa: F401 - its exit handler comes after the threads
if "sys.exit" in sys.argv:
    sys.exit(3)
if "raise" in sys.argv:
    raise LookupError
