"""An exit handler, and a thread before it, whose fork leaves by os._exit()."""

import atexit
import os
import sys
import threading


def leave() -> None:
    if os.fork() == 0:
        os._exit(5)
    os.wait()


atexit.register(leave)
thread = threading.Thread(target=leave)
thread.start()
thread.join()
sys.exit(3)
