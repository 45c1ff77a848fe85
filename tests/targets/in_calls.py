"""A thread in each system call that waits, with what it waits for."""

from __future__ import annotations

import multiprocessing
import os
import select
import signal
import socket
import subprocess
import threading
import time

pipes = [os.pipe() for _ in range(6)]
full = os.pipe()
os.set_blocking(full[1], False)
try:
    while True:
        os.write(full[1], b"x" * 4096)
except BlockingIOError:
    os.set_blocking(full[1], True)
lock = threading.Lock()
lock.acquire()
semaphore = multiprocessing.get_context("fork").Semaphore(0)
listener = socket.create_server(("127.0.0.1", 0))
pair = socket.socketpair()
child = subprocess.Popen(["sleep", "1000"])


def poll() -> None:
    poll = select.poll()
    poll.register(pipes[0][0], select.POLLIN)
    poll.register(full[1], select.POLLOUT)
    poll.poll()


def epoll() -> None:
    with select.epoll() as epoll:
        epoll.register(pipes[2][0], select.EPOLLIN)
        epoll.poll()


WHAT = {
    "poll": poll,
    "select": lambda: select.select([pipes[1][0]], [], []),
    "epoll": epoll,
    "read": lambda: os.read(pipes[3][0], 1),
    "write": lambda: os.write(full[1], b"x" * 100_000),
    "recv": lambda: pair[0].recv(1),
    "accept": listener.accept,
    "sleep": lambda: time.sleep(1000),
    "wait": child.wait,
    "sigwait": lambda: signal.sigwait([signal.SIGUSR2]),
    "lock": lock.acquire,
    "semaphore": semaphore.acquire,
}
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
for name, function in WHAT.items():
    threading.Thread(target=function, name=name, daemon=True).start()
print("ready", flush=True)
signal.pause()
