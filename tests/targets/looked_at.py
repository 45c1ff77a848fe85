"""Waits in calls of C that nothing restarts, and says how each ended once SIGTERM comes."""

from __future__ import annotations

import ctypes
import os
import signal
import threading

libc = ctypes.CDLL(None, use_errno=True)
reader, writer = os.pipe()
results: dict[str, int] = {}


class Pollfd(ctypes.Structure):
    _fields_ = (("fd", ctypes.c_int), ("events", ctypes.c_short), ("revents", ctypes.c_short))


def reads() -> None:
    results["read"] = libc.read(reader, ctypes.create_string_buffer(1), 1)


def polls() -> None:
    results["poll"] = libc.poll(ctypes.byref(Pollfd(reader, 1, 0)), 1, -1)


signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
threads = [threading.Thread(target=reads), threading.Thread(target=polls)]
for thread in threads:
    thread.start()
print("ready", flush=True)
taken = signal.sigwait([signal.SIGTERM])
os.close(writer)
for thread in threads:
    thread.join()
for name, value in sorted(results.items(), reverse=True):
    print(f"{name}: {value}", flush=True)
print(signal.Signals(taken).name, flush=True)
