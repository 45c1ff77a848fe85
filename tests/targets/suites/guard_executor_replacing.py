"""An executor that has no worker when the test is over, and starts the next one a little later."""

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor

kept = []


def test_it():
    spawn = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1)
    start = executor._spawn_process
    has_none, go_on = threading.Event(), threading.Event()

    def start_late():
        if threading.current_thread() is not threading.main_thread():
            has_none.set()
            go_on.wait()
        start()

    executor._spawn_process = start_late
    executor.submit(len, "work").result()
    executor.submit(len, "work")
    has_none.wait()
    kept.append(executor)
    threading.Timer(0.3, go_on.set).start()
