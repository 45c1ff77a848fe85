"""A consumer of tasks that stops as huey's does: its handler notes the signal, main ends the rest.

With "sys.exit" it leaves as a console script does, by sys.exit(main()).
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from types import FrameType
from typing import Any

received = 0
busy = False


def stop(number: int, frame: FrameType | None) -> None:
    global received
    received = number


def interrupt(number: int, frame: FrameType | None) -> None:
    if busy:
        raise KeyboardInterrupt


def work(queue: Any, begun: Any, has_task: bool) -> None:
    global busy
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        busy = has_task
        begun.put(None)
        while has_task:
            time.sleep(0.1)  # a signal that comes just before it does not find it asleep for ever
        queue.get()  # until main puts something there: an idle worker is not interrupted
    except KeyboardInterrupt:
        pass  # its task is not done, and it stops


def main() -> int:
    context = multiprocessing.get_context("fork")
    queue: Any = context.SimpleQueue()
    begun: Any = context.SimpleQueue()
    ready, told = os.pipe()
    workers = [
        context.Process(target=work, args=(queue, begun, name == "busy"), name=name, daemon=True)
        for name in ("idle", "busy")
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        begun.get()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told)
    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    while not received:
        os.read(ready, 1)
    idle, busy = workers
    assert busy.pid is not None
    os.kill(busy.pid, signal.SIGTERM)
    busy.join()
    queue.put(None)
    idle.join()
    return 0


if __name__ == "__main__":
    if "sys.exit" in sys.argv:
        sys.exit(main())
    main()
