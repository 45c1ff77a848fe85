"""Programs that hang, each for one documented reason: WHICH.

Main prints "ready" when all is done that leads to its last wait. Where the order matters, a process
waits for the other on a pipe, or for the other's end by its sentinel.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

FORK = multiprocessing.get_context("fork")


def ready() -> None:
    print("ready", flush=True)


def ended(*processes: Any) -> None:
    """Wait until they have ended, and leave their statuses to whoever joins them."""
    for process in processes:
        multiprocessing.connection.wait([process.sentinel])


def stays() -> None:
    signal.pause()  # STAYS


# --- 1: joining a process that has put items on a queue (multiprocessing, "Joining processes that
# use queues")


def fills(queue: Any) -> None:
    for _ in range(100):
        queue.put("x" * 10_000)


def full_queue() -> None:
    queue = FORK.Queue()
    filler = FORK.Process(target=fills, args=(queue,), name="filler")
    filler.start()
    ready()
    filler.join()  # HERE


# --- 2: a queue whose producer has died


def fails(queue: Any) -> None:
    queue.put(1)
    raise KeyError("price")


def dead_producer() -> None:
    queue = FORK.Queue()
    filler = FORK.Process(target=fails, args=(queue,), name="filler")
    filler.start()
    queue.get()
    ended(filler)
    ready()
    queue.get()  # HERE


# --- 3: a Pool whose worker was killed in the middle of a task


def kills_itself(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def killed_worker() -> None:
    with FORK.Pool(1) as pool:
        ready()
        pool.map(kills_itself, [1, 2], 1)  # HERE


# --- 4: a lock whose holder died


def dies_with(lock: Any) -> None:
    lock.acquire()
    os._exit(3)


def lost_lock() -> None:
    lock = FORK.Lock()
    holder = FORK.Process(target=dies_with, args=(lock,), name="holder")
    holder.start()
    holder.join()
    ready()
    with lock:  # HERE
        pass


# --- 5: a thread that is not a daemon


def waits(event: threading.Event) -> None:
    event.wait()  # HERE


def thread() -> None:
    threading.Thread(target=waits, args=(threading.Event(),), name="collector").start()
    ready()


# --- 6: an executor's future that stays pending


def reads_from(end: int) -> None:
    os.read(end, 1)  # THERE


def pending_future() -> None:
    reader, _ = os.pipe()
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=FORK) as executor:
        future = executor.submit(reads_from, reader)
        ready()
        future.result()  # HERE


# --- 7: communicate() reads until nobody can write, and a grandchild can


def grandchild() -> None:
    command = "sleep 1000 & echo started"
    with subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE) as shell:
        ready()
        shell.communicate()  # HERE


# --- 8: a barrier that lost a party


def leaves(barrier: Any) -> None:
    raise SystemExit(2)


def barrier() -> None:
    parties = FORK.Barrier(2)
    party = FORK.Process(target=leaves, args=(parties,), name="party")
    party.start()
    party.join()
    ready()
    parties.wait()  # HERE


# --- 9: a fork while another thread holds a lock


def logs(lock: threading.Lock) -> None:
    with lock:  # THERE
        logging.warning("never written")


def held_lock() -> None:
    lock, held, never = threading.Lock(), threading.Event(), threading.Event()

    def holds() -> None:
        with lock:
            held.set()
            never.wait()

    threading.Thread(target=holds, daemon=True, name="holder").start()
    held.wait()
    child = FORK.Process(target=logs, args=(lock,), name="child")
    child.start()
    ready()
    child.join()  # HERE


# --- 10: an exit handler that waits


def at_exit(event: threading.Event) -> None:
    event.wait()  # HERE


def exit_handler() -> None:
    atexit.register(at_exit, threading.Event())
    ready()


# --- 11: a child that is stopped


def stops() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)  # THERE


def stopped_child() -> None:
    child = FORK.Process(target=stops, name="child")
    child.start()
    ready()
    child.join()  # HERE


# --- 12: a daemon that ignores the SIGTERM of its parent's exit path


def ignores(ready_end: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    ready_end.send(True)
    while True:
        signal.pause()  # THERE


def ignored_sigterm() -> None:
    ours, its = FORK.Pipe()
    FORK.Process(target=ignores, args=(its,), name="session", daemon=True).start()
    ours.recv()
    ready()


# --- 13: a manager that is gone: the thread that used it has died, and main waits for its word


def passes_on(queue: Any, done: threading.Event) -> None:
    queue.get()
    done.set()


def manager() -> None:
    threading.excepthook = lambda args: None
    server = FORK.Manager()
    done = threading.Event()
    listener = threading.Thread(target=passes_on, args=(server.Queue(), done))
    listener.start()
    process = server._process  # type: ignore[attr-defined]
    os.kill(process.pid, signal.SIGKILL)
    listener.join()
    ready()
    done.wait()  # HERE


# --- 14: a semaphore that a process took and never gave back


def takes(slots: Any) -> None:
    slots.acquire()


def semaphore() -> None:
    slots = FORK.BoundedSemaphore(2)
    workers = [FORK.Process(target=takes, args=(slots,), name=f"taker-{n}") for n in (1, 2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    ready()
    slots.acquire()  # HERE


# --- 15: os.wait() for a child that somebody else has collected


def somebody_elses() -> None:
    server = FORK.Process(target=stays, name="server")
    server.start()
    worker = FORK.Process(target=os.getpid, name="worker")
    worker.start()
    worker.join()
    ready()
    os.wait()  # HERE


# --- a connection whose other end is in a process that waits too


def answers(connection: Any) -> None:
    connection.recv()  # THERE


def connection() -> None:
    ours, its = FORK.Pipe()
    server = FORK.Process(target=answers, args=(its,), name="server")
    server.start()
    its.close()
    ready()
    ours.recv()  # HERE


# --- a forked worker that has the write end of its brother's standard input


def brother() -> None:
    reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    assert reader.stdin is not None
    worker = FORK.Process(target=stays, name="worker")
    worker.start()
    reader.stdin.close()
    ready()
    reader.wait()  # HERE


# --- asyncio


async def never() -> None:
    await asyncio.Event().wait()


def event_loop() -> None:
    ready()
    asyncio.run(never())  # HERE


WHICH: dict[str, Callable[[], None]] = {
    found.__name__: found
    for found in (
        *(full_queue, dead_producer, killed_worker, lost_lock, thread, pending_future, grandchild),
        *(barrier, held_lock, exit_handler, stopped_child, ignored_sigterm, manager, semaphore),
        *(somebody_elses, connection, brother, event_loop),
    )
}

if __name__ == "__main__":
    WHICH[sys.argv[1]]()
