"""Signals on their way to processes of a run: sent for the caller, or reported by their senders.

The log says what they meet; the kernel has to be asked for that before they arrive.
"""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import posix

from pytest_proclife.supervisor import procfs, protocol
from pytest_proclife.supervisor.protocol import entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Protocol

    from pytest_proclife.supervisor.protocol import Entry

    class Process(Protocol):
        number: int
        pid: int

        def has_pid(self) -> bool:
            """Whether it still has its pid: else what is read by the pid is another's."""

    class Tree(Protocol):
        log: list[Entry]

        def running(self, number: int) -> Process | None:
            """The process of that number; None if it has ended at this moment."""

        def all_running(self) -> Iterable[Process]:
            """All that run at this moment, those included that have not reported yet."""

        def send(self, number: int, signal: int, /) -> None:
            """Send a signal to this very process. ProcessLookupError, PermissionError."""


def send(tree: "Tree", number: int, signal: int, via: str, spared: int | None) -> str:
    """Send a signal to a process, or to its process group if the caller's group is given.

    The latter is `spared`: the signal is refused for it. Returns an outcome of the protocol.
    """
    process = tree.running(number)
    if process is None:
        return protocol.GONE
    try:
        if spared is None:
            entries = _ordered(process, signal, via)
            tree.send(number, signal)
        else:
            group = _its_group(process)
            if group is None:
                return protocol.GONE
            if group in (spared, posix.getpgid(0)):
                return protocol.REFUSED
            members = [p for p in tree.all_running() if _its_group(p) == group]
            entries = [e for member in members for e in _ordered(member, signal, via)]
            entries.append(entry(protocol.GROUP_ORDERED, number, signal, via))
            posix.killpg(group, signal)
    except ProcessLookupError:
        return protocol.GONE
    except PermissionError:
        return protocol.REFUSED
    tree.log += entries
    return protocol.SENT


def _ordered(process: "Process", signal: int, via: str) -> "list[Entry]":
    """The entries of an order; they are made before the signal is sent, so its time is before."""
    return [entry(protocol.ORDERED, process.number, signal, via), *states(process, signal)]


def states(process: "Process", signal: int | None) -> "list[Entry]":
    """What a signal that is on its way will meet; no entry for SIGKILL, or if it is no signal."""
    if signal is None or signal == _signal.SIGKILL or not 0 < signal < _signal.NSIG:
        return []
    state = procfs.signal_state(process.pid, signal)
    return [entry(protocol.STATE, process.number, signal, state if process.has_pid() else None)]


def group_meant(sender: "Process", group: int | None, own: int | None) -> int | None:
    """The group that a signal goes to: 0 is the sender's, which it says to be `own`."""
    return group if group != 0 else group_of(sender.pid) or own


def group_members(
    living: "Iterable[Process]", sender: "Process", group: int | None, signal: int | None
) -> "list[Entry]":
    """The members of the group that a signal goes to; group 1 means all processes."""
    if group is None or signal is None:
        return []  # the report is wrong; or the sender is gone, and its group is not known
    entries, members, gone = [], [], []
    for process in living:
        its_group = group if group == 1 else _its_group(process)
        if its_group == group:
            members.append(process.number)
            entries += states(process, signal)
        elif its_group is None:
            gone.append(process.number)
    entries.append(entry(protocol.GROUP, sender.number, signal, tuple(members), tuple(gone)))
    return entries


def _its_group(process: "Process") -> int | None:
    group = group_of(process.pid)
    return group if process.has_pid() else None


def group_of(pid: int) -> int | None:
    """The process group of a process; None if it has been reaped."""
    try:
        return posix.getpgid(pid)
    except OSError:
        return None
