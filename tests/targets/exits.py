"""Mains whose workers end in ways that an exit code does not tell apart."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import cast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.queues import SimpleQueue

    Ready = SimpleQueue[None]
    Target = Callable[[Ready], None]


def woken_by(handler: Callable[[int, object], None]) -> int:
    """A descriptor that SIGTERM makes readable, and its handler.

    `signal.pause()` would sleep over a signal that comes just before it.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(signal.SIGTERM, handler)
    return reader


def drains(ready: Ready) -> None:
    """Asked to end, it does what is left to do, and returns."""
    reader = woken_by(lambda number, frame: None)
    ready.put(None)
    os.read(reader, 1)


def takes(ready: Ready) -> None:
    """It blocks the request, takes it when it comes, and returns."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    ready.put(None)
    signal.sigwait({signal.SIGTERM})


def fails_after(ready: Ready) -> None:
    drains(ready)
    raise LookupError("no such lesson")


def leaves_after(ready: Ready) -> None:
    drains(ready)
    sys.exit(4)


def exits_after(ready: Ready) -> None:
    drains(ready)
    os._exit(5)


def ends_itself_after(ready: Ready) -> None:
    drains(ready)
    signal.raise_signal(signal.SIGUSR1)


def exits_in_handler(ready: Ready) -> None:
    waits(ready, lambda number, frame: os._exit(6))


def ends_itself_in_handler(ready: Ready) -> None:
    waits(ready, lambda number, frame: signal.raise_signal(signal.SIGUSR1))


def aborts_in_handler(ready: Ready) -> None:
    waits(ready, lambda number, frame: os.abort())


def fails_in_handler(ready: Ready) -> None:
    waits(ready, fault)


def fault(*_: object) -> None:
    ctypes.string_at(0)


def passes_on(ready: Ready) -> None:
    """Asked to end, it cleans up, and then dies of the same signal."""

    def clean_up(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    waits(ready, clean_up)


def takes_it_for_an_interrupt(ready: Ready) -> None:
    waits(ready, cast("Callable[[int, object], None]", signal.default_int_handler))


def waits(ready: Ready, handler: Callable[[int, object], None] = lambda *_: None) -> None:
    reader = woken_by(handler)
    ready.put(None)
    while True:
        os.read(reader, 1)


def kills_itself(ready: Ready) -> None:
    ready.put(None)
    os.kill(os.getpid(), signal.SIGKILL)


def leaves_with_15(ready: Ready) -> None:
    ready.put(None)
    sys.exit(15)


def raises_and_stays() -> None:
    """Its target is done, and a thread holds it up until the signal comes."""
    reader = woken_by(lambda number, frame: None)
    threading.Thread(target=os.read, args=(reader, 1)).start()
    raise LookupError("no such lesson")


def leave(*_: object) -> None:
    sys.exit(3)


class Stop:
    def stop(self, number: int, frame: object) -> None:
        sys.exit(3)


HANDLERS: dict[str, Callable[[int, object], None]] = {
    "function": leave,
    "lambda": lambda *_: leave(),
    "partial": functools.partial(leave, 10),
    "method": Stop().stop,
}


def handles_several_signals(handler: str) -> None:
    reader, _ = os.pipe()
    for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, HANDLERS[handler])
    print("ready", flush=True)
    while True:
        os.read(reader, 1)


def start(*targets: Target) -> list[multiprocessing.Process]:
    """The workers, at work."""
    ready: Ready = multiprocessing.SimpleQueue()
    workers = [multiprocessing.Process(target=t, args=(ready,), name=t.__name__) for t in targets]
    for worker in workers:
        worker.start()
    for _ in workers:
        ready.get()
    return workers


def terminate(*names: str) -> None:
    """Terminate workers, and wait for them."""
    workers = start(*[globals()[name] for name in names])
    for worker in workers:
        worker.terminate()
        worker.join()


def start_while_handling_an_exception() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        for target in (return_at_once, fail_at_once):
            worker = multiprocessing.Process(target=target, name=target.__name__)
            worker.start()
            worker.join()


def fork_while_handling_an_exception() -> None:
    """The child has left the block by the time that SIGINT raises in it."""
    reader, writer = os.pipe()
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        child = os.fork()
    if child == 0:
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        os.write(writer, b"a")
        os.read(woken, 1)
        os._exit(3)
    os.read(reader, 1)
    os.kill(child, signal.SIGINT)
    os.waitpid(child, 0)


def return_at_once() -> None:
    pass


def fail_at_once() -> None:
    raise LookupError("no such lesson")


def ready(handler: Callable[[int, object], None]) -> None:
    reader = woken_by(handler)
    print("ready", flush=True)
    os.read(reader, 1)


def exit_in_c() -> None:
    ctypes.CDLL(None)._exit(3)


def exit_by_faulthandler() -> None:
    with open(os.devnull, "w") as nowhere:
        faulthandler.dump_traceback_later(0.01, exit=True, file=nowhere)
        time.sleep(60)


def leave_by_os_exit() -> None:
    os._exit(5)


def end_itself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def stay(ready: Ready) -> None:
    ready.put(None)
    time.sleep(60)


def beside_one_that_exits_in_c(silent: str) -> None:
    """Children that end in each way, before and after one that ends without a word."""
    ready: Ready = multiprocessing.SimpleQueue()
    staying = [
        multiprocessing.Process(target=stay, args=(ready,), name=name, daemon=name == "daemon")
        for name in ("killed", "terminated", "daemon")
    ]
    for child in staying:
        child.start()
        ready.get()
    ends = (return_at_once, fail_at_once, leave, leave_by_os_exit, end_itself)
    for target in (globals()[silent], *ends):
        child = multiprocessing.Process(target=target, name=target.__name__)
        child.start()
        child.join()
    killed, terminated, _ = staying
    killed.kill()
    terminated.terminate()
    killed.join()
    terminated.join()


def signalled_beside_one_that_exits_in_c(name: str) -> None:
    """A child that ended of a signal, which the silent one could have sent if it took kill()."""
    context = multiprocessing.get_context("fork")
    ready: Ready = context.SimpleQueue()
    reader, writer = os.pipe()
    if name != "caught":
        child = context.Process(target=fault_when_told, args=(reader,), name=name)
    else:
        child = context.Process(target=waits, args=(ready, leave), name=name)
    child.start()
    silent = context.Process(target=kill_in_c, args=(child.pid, name), name="silent")
    if name == "caught":
        ready.get()
    silent.start()
    silent.join()
    os.write(writer, b"1")
    child.join()


def fault_when_told(reader: int) -> None:
    os.read(reader, 1)
    fault()


def kill_in_c(pid: int, name: str) -> None:
    if name != "fault":
        kill = ctypes.CDLL(None).kill
        if name == "caught":
            kill(pid, signal.SIGTERM)
    exit_in_c()


def exit_in_a_helper() -> None:
    ready(lambda number, frame: leave())


def exit_for_an_exception_of_the_handler() -> None:
    def stop(number: int, frame: object) -> None:
        raise InterruptedError

    try:
        ready(stop)
    except InterruptedError:
        sys.exit(3)


def swallow_the_exit_and_exit_later() -> None:
    with contextlib.suppress(SystemExit):
        ready(leave)
    sys.exit(3)


def note_and_exit_later() -> None:
    ready(lambda number, frame: None)
    sys.exit(3)


def exit_by_calling_the_handler() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.signal(signal.SIGTERM, leave)
    print("ready", flush=True)
    while signal.SIGTERM not in signal.sigpending():
        time.sleep(0.1)  # nothing but sigwait(), which would take it, waits for a blocked signal
    leave(signal.SIGTERM, None)


def kill_one_of_two() -> None:
    by_itself, by_main = start(kills_itself, waits)
    by_itself.join()
    by_main.kill()
    by_main.join()


def join(name: str) -> None:
    (worker,) = start(globals()[name])
    worker.join()


def join_who_stays() -> None:
    multiprocessing.Process(target=raises_and_stays, name="stays").start()


def handle_several_signals(handler: str) -> None:
    worker = multiprocessing.get_context("fork").Process(
        target=handles_several_signals, args=(handler,), name="worker"
    )
    worker.start()
    worker.join()


def leave_a_reader(fifo: str) -> None:
    """A child that outlives main, until somebody writes to the named pipe."""
    if os.fork() == 0:
        with open(fifo) as pipe:
            pipe.read()
        os._exit(3)


def daemonize() -> None:
    """A daemon in Unix's sense: forked twice, its own session, no descriptor left."""
    if os.fork():
        os.wait()
        return
    os.setsid()
    reader, writer = os.pipe()
    if os.fork():
        os.read(reader, 1)
        os._exit(0)
    os.closerange(0, writer)
    os.closerange(writer + 1, 4096)
    os.write(writer, b"a")
    os.close(writer)
    while True:
        signal.pause()
