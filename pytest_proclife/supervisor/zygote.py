"""The process that supervisors are forked from: one for each caller, started at its first run.

It is not a child of the caller, so that it shows neither in the caller's own waits nor in its
lists of children. It is a sub-reaper: if a supervisor is killed, its processes become children
of the zygote, which ends them.
"""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import fcntl
import gc
import posix
import select
import sys

from pytest_proclife.supervisor import kernel, procfs, supervise
from pytest_proclife.supervisor.protocol import PAYLOAD

_FAILURES = 5  # of waiting supervisors, in a row: then something kills each, and none is forked
_HANDLED = (_signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP, _signal.SIGTSTP, _signal.SIGPIPE)


def main(requests: int, caller: int) -> None:
    """Serve the process `caller`, whose requests are received on the descriptor `requests`."""
    try:
        caller_handle = posix.pidfd_open(caller)
    except (OSError, AttributeError):
        caller_handle = -1  # the probe says why
    if caller_handle >= 0 and posix.getppid() != caller:
        posix._exit(0)  # the caller is gone, and its pid may be another's
    if posix.fork():
        posix._exit(0)
    missing = kernel.probe(posix.environ.get(kernel.WITHOUT.encode(), b"").decode().split(","))
    posix.write(requests, "\n".join([" ".join(kernel.used()), *missing]).encode() + b"\n")
    if missing:
        posix._exit(0)
    # main's payload has a number of its own: keep that free
    moved = [fcntl.fcntl(d, fcntl.F_DUPFD_CLOEXEC, PAYLOAD + 1) for d in (requests, caller_handle)]
    posix.close(requests)
    posix.close(caller_handle)
    posix.dup2(0, PAYLOAD, inheritable=False)
    gc.disable()  # a supervisor would copy each page that a collection marks
    posix.setpgid(0, 0)  # Ctrl-C is for the caller; the session stays the caller's
    _handle_signals()
    Zygote(*moved).serve()
    posix._exit(0)


def _handle_signals() -> None:
    """Set handlers that do nothing for signals that would end us, or that we inherit ignored.

    Exec sets handled signals to the default and leaves ignored ones ignored: so main ignores
    what its caller ignores, and no more.
    """
    for number in range(1, _signal.NSIG):
        try:
            if number in _HANDLED or _signal.getsignal(number) == _signal.SIG_IGN:
                _signal.signal(number, lambda number, frame: None)
        except (OSError, ValueError):
            continue  # the C library keeps it


class Zygote:
    def __init__(self, requests: int, caller: int) -> None:
        self.requests = requests
        self.caller = caller
        self.supervisors: dict[int, int] = {}  # pidfd -> pid
        self.waiting: int | None = None  # the pidfd of the supervisor that has no request yet
        self.failures = 0  # of waiting supervisors, in a row
        self.taken_reader, self.taken_writer = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        self.poll = select.poll()
        self.poll.register(self.caller, select.POLLIN)
        self.poll.register(self.taken_reader, select.POLLIN)

    def serve(self) -> None:
        """Keep a supervisor waiting for a request until the caller ends; then outlive them all."""
        self.fork_supervisor()
        while self.supervisors:
            for descriptor, _ in self.poll.poll():
                if descriptor == self.caller:
                    # each supervisor sees it too, and ends its tree
                    self.poll.unregister(self.caller)
                    self.failures = _FAILURES
                elif descriptor == self.taken_reader:
                    posix.read(self.taken_reader, 4096)
                    self.failures = 0
                    self.fork_supervisor()
                else:
                    self.supervisor_ended(descriptor)

    def fork_supervisor(self) -> None:
        try:
            pid = posix.fork()
        except OSError:  # RLIMIT_NPROC, or a limit of the container
            self.refuse_requests()
            return
        if pid == 0:
            try:
                supervise.main(self.requests, self.taken_writer, self.caller)
            except BaseException:  # noqa: BLE001 - a fork of the zygote must not run on as one
                if posix.environ.get(b"PROCLIFE_DEBUG"):
                    sys.excepthook(*sys.exc_info())
                posix._exit(70)
            posix._exit(0)
        try:
            self.waiting = handle = posix.pidfd_open(pid)
        except OSError:  # no descriptor is left
            posix.kill(pid, _signal.SIGKILL)
            posix.waitpid(pid, 0)
            self.refuse_requests()
            return
        self.supervisors[handle] = pid
        self.poll.register(handle, select.POLLIN)

    def refuse_requests(self) -> None:
        """Serve those that have begun, and no more: the caller starts another zygote, or fails."""
        self.waiting = None
        self.failures = _FAILURES
        if self.requests >= 0:
            posix.close(self.requests)
            self.requests = -1

    def supervisor_ended(self, handle: int) -> None:
        pid = self.supervisors.pop(handle)
        self.poll.unregister(handle)
        posix.close(handle)
        posix.waitpid(pid, 0)
        self.kill_orphans()
        if handle == self.waiting:
            self.failures += 1
            if self.failures <= _FAILURES:
                self.fork_supervisor()
            else:
                self.refuse_requests()

    def kill_orphans(self) -> None:
        """Kill what a supervisor left: all children here that are not supervisors."""
        while True:
            own = set(self.supervisors.values())
            left = [pid for pid in procfs.children(posix.getpid()) if pid not in own]
            if not left:
                return
            for pid in left:
                kill_below(pid, posix.getpid())
            for pid in left:
                try:
                    posix.waitpid(pid, 0)
                except ChildProcessError:
                    continue  # the list is not exact if children end meanwhile


def kill_below(pid: int, parent: int) -> None:
    """SIGKILL to a child of `parent` and all below it.

    Those that lose their parent become our children, and are found in the next round.
    """
    try:
        handle = posix.pidfd_open(pid)
    except OSError:
        return  # it has ended
    try:
        # else its parent has reaped it, and the pid may be another's
        if kernel.pid_and_parent(handle) in ((pid, parent), (pid, posix.getpid())):
            for child in procfs.children(pid):
                kill_below(child, pid)
            kernel.send(handle, _signal.SIGKILL)
    finally:
        posix.close(handle)
