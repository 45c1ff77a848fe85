"""Whose status the standard library has still to take, by its own lists. None is taken here."""

from __future__ import annotations

import select
import sys
from typing import Any


def dropped() -> set[int]:
    """The pids of the Popens that were dropped before their ends: subprocess waits for these at
    its next start, as it does at once where the end came first.
    """
    module: Any = sys.modules.get("subprocess")
    return {popen.pid for popen in list(getattr(module, "_active", None) or ())}


def unjoined() -> set[int]:
    """The pids of the children of a fork server that have ended, and that Process still lists.

    No status is taken: the sentinel is a pipe, which is readable when they have ended.
    """
    process: Any = sys.modules["multiprocessing.process"]  # it started them
    popens = [child._popen for child in list(process._children)]
    poll, asked = select.poll(), {}
    for popen in popens:
        if getattr(popen, "method", "") == "forkserver" and popen.returncode is None:
            poll.register(popen.sentinel, select.POLLIN)
            asked[popen.sentinel] = popen.pid
    return {asked[sentinel] for sentinel, _ in poll.poll(0)} if asked else set()
