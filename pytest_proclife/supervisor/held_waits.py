"""Waits that stay held until the status which they are about to collect has been read.

Before Linux 6.15 the kernel keeps no wait status of a process that another has reaped. A parent
that reports says what it has collected. For any other one, its blocking wait is held here until
one of the children that it waits for is a zombie: that keeps its status until the wait goes on.
A held wait ends as the wait itself would: with a child's end, once there is no such child, and
for a signal. A look for ended children (WNOHANG) that finds none is answered so at once: let go
on, it might find one whose status nobody has read.
"""

import time

from pytest_proclife.supervisor import kernel, procfs
from pytest_proclife.supervisor.identity import Process
from pytest_proclife.supervisor.seccomp import Call, Listener
from pytest_proclife.supervisor.signals import group_of
from pytest_proclife.supervisor.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_SIGCHLD = 17
_WNOHANG = 1
_ALL, _PID, _GROUP, _PIDFD = range(4)  # idtype_t: linux/wait.h
_OF_EXITS = (0x4, 0x1000004)  # options of waitid(2): WEXITED, also with WNOWAIT
_LOOK = 0.1  # s between two looks for tracers
# shells that make an interrupted wait again, and have a handler of SIGCHLD
_WAIT_AGAIN = ("dash", "bash", "busybox")


class Wait:
    """A held call of `process`, which waits for those of its children that are `meant`."""

    __slots__ = ("blocks", "call", "meant", "process")

    def __init__(
        self, process: Process, call: Call, blocks: bool, meant: "Callable[[int], bool]"
    ) -> None:
        self.process = process
        self.call = call
        self.blocks = blocks  # else it returns 0 if none has ended
        self.meant = meant  # whether a child is, by its pid


class HeldWaits:
    """The waits of a run that stay held."""

    def __init__(self, listener: Listener, tree: Tree) -> None:
        self.listener = listener
        self.tree = tree
        self.waits: dict[int, Wait] = {}  # by the thread
        self.tracers: set[int] = set()  # pids
        self.next_look = 0.0  # for these, monotonic s

    def keep(self, wait: Wait) -> bool:
        """Keep a call held, or answer it, if it would find no end; returns whether it does not."""
        self._look_for_tracers()
        if not self._can_be_held(wait.process) or self._is_over(wait):
            return False
        if wait.blocks:
            self.waits[wait.call.tid] = wait
        else:
            self.listener.answer(wait.call, 0)
        return True

    def look(self) -> None:
        """Let those go on that would return now."""
        if not self.waits:
            return
        self._look_for_tracers()
        for tid, wait in list(self.waits.items()):
            if not self._can_be_held(wait.process) or self._is_over(wait):
                del self.waits[tid]
                self.let_go_on(wait.process, wait.call)  # in vain if it was interrupted

    def let_go_on(self, process: Process, call: Call) -> bool:
        """Let a wait go on, as `Listener.let_go_on` does.

        It may collect another child than the one that was found, so statuses are read until the
        last moment, and once more: whoever waits has to be given a processor first.
        """
        if not self.reads_statuses(process):
            return self.listener.let_go_on(call)
        children = procfs.children(process.pid)
        self.tree.read_statuses_of(children)
        has_gone_on = self.listener.let_go_on(call)
        self.tree.read_statuses_of(children)
        return has_gone_on

    def reads_statuses(self, process: Process) -> bool:
        """Whether the statuses that a process collects can be read from its zombies alone."""
        return kernel.EXIT not in kernel.offered and process in self.tree.opaque

    def _can_be_held(self, process: Process) -> bool:
        """Whether the process cannot tell a wait that is held from one that is made.

        If SIGCHLD interrupts held calls, it can: the wait itself would return the child.
        """
        if self.tree.cleans_up or process.pid in self.tracers:
            return False
        if not self.listener.interruptible:
            return True
        caught = procfs.signal_state(process.pid, _SIGCHLD) == "caught"
        return not caught or procfs.executable(process.pid) in _WAIT_AGAIN

    def _look_for_tracers(self) -> None:
        """A tracer's wait is for what it traces as well, which need not be a child: ptrace(2)."""
        now = time.monotonic()
        if now >= self.next_look:
            self.next_look = now + _LOOK
            self.tracers.update(map(procfs.stopped_by, list(self.tree.living)))

    def _is_over(self, wait: Wait) -> bool:
        """Whether a wait would return now; the statuses that it may collect are read by then."""
        process = wait.process
        if not process.has_pid():
            return True
        # first: a SIGCHLD that is pending now is of a child that is a zombie in the next look
        interrupted = procfs.has_signal(wait.call.tid)
        self.tree.find_children(process)
        meant = [child for child in procfs.children(process.pid) if wait.meant(child)]
        if self.tree.read_statuses_of(meant) or interrupted:
            return True
        if not all(child in self.tree.living for child in meant):
            return True  # nothing would tell of its end: no descriptor is left for a pidfd
        # those of a clone(2) that do not send it are not waited for: wait(2), __WCLONE
        return not any(procfs.end_signal(child) == _SIGCHLD for child in meant)


def wait_of(
    process: Process,
    call: Call,
    pid_from: "Callable[[int], int | None]",
    group_from: "Callable[[int], int | None]",
) -> Wait | None:
    """The wait that a call is; None if it is for more than ends.

    `pid_from` and `group_from` say which pid or group here the process means by a number.
    """
    blocks = True
    if call.name == "waitid":
        if call.integer(3) not in _OF_EXITS:
            return None
        kind, number = call.integer(0), call.integer(1)
    elif call.integer(2) in (0, _WNOHANG):
        blocks = call.integer(2) == 0
        number = call.integer(0)
        kind = _PID if number > 0 else _ALL if number == -1 else _GROUP
        number = abs(number)
    else:
        return None
    if kind == _ALL:
        return Wait(process, call, blocks, lambda child: True)
    if kind == _GROUP:
        group = group_from(number) if number else group_of(process.pid)
        return Wait(process, call, blocks, lambda child: group_of(child) == group)
    pid = kernel.pid_of_descriptor(call.tid, number) if kind == _PIDFD else pid_from(number)
    return Wait(process, call, blocks, lambda child: child == pid)
