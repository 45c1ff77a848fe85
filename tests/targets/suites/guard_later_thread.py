"""A thread that a test left starts a process during the next test."""

import os
import subprocess
import threading

kept = []
reader, writer = os.pipe()
started = threading.Event()


def later():
    os.read(reader, 1)
    kept.append(subprocess.Popen(["sleep", "600"]))  # the start
    started.set()


def test_leaves_a_thread():
    threading.Thread(target=later).start()


def test_lets_it_go():
    os.write(writer, b".")
    started.wait()
