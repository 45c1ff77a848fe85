"""Does what a drawn program says: a tree of processes, each with actions and an end.

A process is a dictionary: name, daemon, actions, end. An action is a pair: "start" and a
process, or "join", "terminate", "kill" and a name. After each start the parent waits until the
child has come to its end: a child that stays says so on a pipe, of the others a pidfd tells
(the sentinel does not: a forked grandchild holds it open). No action depends on speed.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection, wait
from typing import Any

STAYS = "stay"


def live(process: dict[str, Any], method: str, at_the_end: Connection | None = None) -> None:
    """Do the actions of a process, tell of it, and end as it has to."""
    context: Any = multiprocessing.get_context(method)
    children = {}
    for action, argument in process["actions"]:
        if action == "start":
            reader, writer = context.Pipe(duplex=False)
            child = context.Process(
                target=live,
                args=(argument, method, writer),
                name=argument["name"],
                daemon=argument["daemon"],
            )
            child.start()
            writer.close()
            children[argument["name"]] = child
            if argument["end"] == STAYS:
                reader.recv()
            else:
                wait_for_the_end_of(child.pid)
            reader.close()
        else:
            getattr(children[argument], action)()
    end(process["end"], at_the_end)


def wait_for_the_end_of(pid: int) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return  # the fork server has collected it already
    wait([handle])
    os.close(handle)


def end(how: str, at_the_end: Connection | None) -> None:
    match how:
        case "return":
            return
        case "raise":
            raise LookupError("drawn")
        case "sys_exit":
            sys.exit(3)
        case "os_exit":
            os._exit(4)
        case "signal":
            os.kill(os.getpid(), signal.SIGKILL)
        case _:
            if at_the_end is not None:
                at_the_end.send(None)
            while True:
                signal.pause()
