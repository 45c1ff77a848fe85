"""The signals that the caller sends: to the very process, or to its group; each in the log."""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import posix
import select
import time

from pytest_proclife.supervisor import kernel
from pytest_proclife.supervisor.tree import Process, Tree


def send(tree: Tree, number: int, signal: int, via: str, spared: int | None) -> str:
    """Send a signal to a process, or to its group where one is `spared`: the caller's own.

    Answers "sent", "gone" (it has ended) or "refused".
    """
    process = tree.processes[number]
    if has_ended(process):
        return "gone"
    try:
        if spared is None:
            _to_one(tree, process, signal, via)
        else:
            return _to_group(tree, process, signal, via, spared)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        return "refused"
    return "sent"


def has_ended(process: Process) -> bool:
    """Whether it is dead at this moment, whoever has told of it."""
    if process.ended:
        return True
    poll = select.poll()
    poll.register(process.handle, select.POLLIN)
    return bool(poll.poll(0))


def _to_one(tree: Tree, process: Process, signal: int, via: str) -> None:
    asked = _request(process, signal, via)
    _signal.pidfd_send_signal(process.handle, signal)
    tree.log += asked


def _to_group(tree: Tree, process: Process, signal: int, via: str, spared: int) -> str:
    group = posix.getpgid(process.pid)
    if group in (spared, posix.getpgid(0)):
        return "refused"
    # a child that has not said a word yet gets the signal too
    for one in list(tree.living.values()):
        if not one.ended:
            tree.find_children(one)
    members = [p for p in tree.living.values() if not has_ended(p) and _is_in(p, group)]
    asked = [entry for member in members for entry in _request(member, signal, via)]
    asked.append((time.monotonic_ns(), "asked group", process.number, signal, via))
    posix.killpg(group, signal)
    tree.log += asked
    return "sent"


def _is_in(process: Process, group: int) -> bool:
    try:
        return posix.getpgid(process.pid) == group
    except OSError:
        return False  # it has been reaped


def _request(process: Process, signal: int, via: str) -> list[tuple[object, ...]]:
    """What the log says of it: its time is before the signal, whatever the answer to that."""
    entries: list[tuple[object, ...]] = [
        (time.monotonic_ns(), "asked", process.number, signal, via)
    ]
    if signal != _signal.SIGKILL:
        state = kernel.signal_state(process.pid, signal)
        entries.append((time.monotonic_ns(), "state", process.number, signal, state))
    return entries
