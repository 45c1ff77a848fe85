"""C code forks in a thread that goes on, in a test that joins a process too."""

import ctypes
import multiprocessing
import os
import subprocess
import threading

kept = []


def test_leaves():
    has_forked, is_over = threading.Event(), threading.Event()
    kept.append(is_over)

    def forks():
        if ctypes.CDLL(None).fork() == 0:
            os.execv("/bin/sleep", ["sleep", "600"])
        has_forked.set()
        is_over.wait()

    threading.Thread(target=forks, daemon=True).start()
    assert has_forked.wait(60)
    process = multiprocessing.get_context("fork").Process(target=len, args=("",))
    process.start()
    process.join()


def test_next():
    subprocess.run(["true"])
