"""A test is over while a thread of it is in the midst of starting a process."""

import multiprocessing
import os
import threading
import time


def test_it():
    has_forked = threading.Event()

    def hold():
        if threading.current_thread() is not threading.main_thread():
            has_forked.set()
            time.sleep(0.3)  # most times the test is over first; if not, the same is right

    def start():
        fork = multiprocessing.get_context("fork")
        fork.Process(target=time.sleep, args=(600,), daemon=True).start()  # the start

    os.register_at_fork(after_in_parent=hold)
    threading.Thread(target=start).start()
    has_forked.wait()
