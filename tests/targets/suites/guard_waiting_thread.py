"""A thread ends a process a while after its test is over, and waits for it."""

import os
import subprocess
import threading


def test_has_a_thread_wait():
    reader, writer = os.pipe()
    process = subprocess.Popen(["cat"], stdin=reader)
    os.close(reader)

    def end_it():
        os.close(writer)
        process.wait()

    threading.Timer(0.2, end_it).start()
