"""The end of a polled run: everything of it is ended, whatever it does."""

from __future__ import annotations

import signal
import time

import psutil

from pytest_proclife.polling.process import Process
from pytest_proclife.polling.tree import Tree

_ROUNDS = 50  # of stopping what was found new, until nothing is
_FALLING_ASLEEP = 0.5  # s at most; one that the kernel holds (in vfork, say) may never do


def end_all(tree: Tree) -> None:
    """One round: stop all that lives, then SIGKILL. Rounds follow until nothing is left.

    Stopped processes start nothing and lose no parent, so that a look at them finds all; and
    one that was seen stopped before its SIGKILL is known to have ended of it.
    """
    for _ in range(_ROUNDS):
        for process in list(tree.living.values()):
            if not process.stopped:
                process.stopped = True
                _send(tree, process, signal.SIGSTOP)
        if not tree.find():
            break
    until = time.monotonic() + _FALLING_ASLEEP
    awake = list(tree.living.values())
    while awake and time.monotonic() < until:
        time.sleep(0.001)  # a stop cannot be waited for by who is not the parent
        awake = [p for p in awake if not p.is_asleep() and not p.has_ended()]
    sleepers = {p.number for p in tree.living.values() if p.is_asleep()}
    for process in reversed(list(tree.living.values())):  # main last
        if process.number not in sleepers and process.has_ended():
            continue
        now = time.monotonic_ns()
        if _send(tree, process, signal.SIGKILL):
            tree.log.append((now, "cleanup", process.number))
            parent = process.parent
            if parent is None or parent.ended_at is not None or parent.number in sleepers:
                process.killed_in_its_sleep |= process.number in sleepers


def _send(tree: Tree, process: Process, number: int) -> bool:
    try:
        return process.send(number)
    except psutil.AccessDenied:  # another user's, by a set-user-id program
        tree.give_up(process)
        return False
