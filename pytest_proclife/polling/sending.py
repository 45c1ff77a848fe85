"""The signals that the caller sends, where processes are polled; each in the log."""

from __future__ import annotations

import os
import signal
import time

import psutil

from pytest_proclife.polling.process import Process, group_of, signal_state
from pytest_proclife.polling.tree import Tree


def send(tree: Tree, number: int, sig: int, via: str, spared: int | None) -> str:
    """Send a signal to a process, or to its group where one is `spared`: the caller's own.

    Answers "sent", "gone" (it has ended) or "refused".
    """
    tree.look()
    process = tree.living.get(number)
    if process is None:
        return "gone"
    try:
        if spared is not None:
            return _to_group(tree, process, sig, via, spared)
        entries = _request(process, sig, via)
        if not process.send(sig):
            return "gone"
        tree.log += entries
    except ProcessLookupError:
        return "gone"
    except (psutil.AccessDenied, PermissionError):
        return "refused"
    return "sent"


def _to_group(tree: Tree, process: Process, sig: int, via: str, spared: int) -> str:
    group = group_of(process.pid)
    if group is None:
        return "gone"
    if group == spared:
        return "refused"
    members = [p for p in tree.living.values() if group_of(p.pid) == group]
    entries = [entry for member in members for entry in _request(member, sig, via)]
    entries.append((time.monotonic_ns(), "asked group", process.number, sig, via))
    os.killpg(group, sig)
    tree.log += entries
    return "sent"


def _request(process: Process, sig: int, via: str) -> list[tuple[object, ...]]:
    entries: list[tuple[object, ...]] = [(time.monotonic_ns(), "asked", process.number, sig, via)]
    if sig != signal.SIGKILL:
        state = signal_state(process.pid, sig)
        entries.append((time.monotonic_ns(), "state", process.number, sig, state))
    return entries
