"""The process that supervisors are forked from: one for each caller, started at its first run.

It is no child of the caller's, so that the caller's own waits and its lists of children are
what they are without it. It is a sub-reaper: where a supervisor is killed, its tree falls to
the zygote, which ends it.
"""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import gc
import os
import select
import sys

from pytest_proclife.supervisor import kernel, supervise

_FAILURES = 5
_IGNORED = (_signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP, _signal.SIGTSTP, _signal.SIGPIPE)


def main(requests: int, caller: int) -> None:
    """Serve the process `caller`, whose requests arrive on the descriptor `requests`."""
    if os.fork():
        os._exit(0)
    missing = kernel.probe()
    os.write(requests, "\n".join(missing).encode() or b"\n")
    if missing:
        os._exit(0)
    gc.disable()  # what is forked would copy each page that a collection marks
    os.setpgid(0, 0)  # Ctrl-C is for the caller; the session stays the caller's
    for number in _IGNORED:
        _signal.signal(number, _signal.SIG_IGN)
    try:
        caller_handle = os.pidfd_open(caller)
    except OSError:
        os._exit(0)  # the caller is gone already
    Zygote(requests, caller_handle).serve()
    os._exit(0)


class Zygote:
    def __init__(self, requests: int, caller: int) -> None:
        self.requests = requests
        self.caller = caller
        self.supervisors: dict[int, int] = {}  # pidfd -> pid
        self.waiting: int | None = None  # the pidfd of the one that has no request yet
        self.failures = 0  # of those, in a row
        self.taken_reader, self.taken_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.poll = select.poll()
        self.poll.register(self.caller, select.POLLIN)
        self.poll.register(self.taken_reader, select.POLLIN)

    def serve(self) -> None:
        """Keep one supervisor waiting for a request until the caller ends; then outlive them."""
        self.fork_supervisor()
        while self.supervisors:
            for descriptor, _ in self.poll.poll():
                if descriptor == self.caller:
                    # each supervisor sees it too, and ends its tree
                    self.poll.unregister(self.caller)
                    self.failures = _FAILURES
                elif descriptor == self.taken_reader:
                    os.read(self.taken_reader, 4096)
                    self.failures = 0
                    self.fork_supervisor()
                else:
                    self.supervisor_ended(descriptor)

    def fork_supervisor(self) -> None:
        pid = os.fork()
        if pid == 0:
            try:
                supervise.main(self.requests, self.taken_writer, self.caller)
            except BaseException:  # noqa: BLE001 - a fork of the zygote must not run on as one
                if os.environ.get("PROCLIFE_DEBUG"):
                    sys.excepthook(*sys.exc_info())
                os._exit(70)
            os._exit(0)
        self.waiting = handle = os.pidfd_open(pid)
        self.supervisors[handle] = pid
        self.poll.register(handle, select.POLLIN)

    def supervisor_ended(self, handle: int) -> None:
        pid = self.supervisors.pop(handle)
        self.poll.unregister(handle)
        os.close(handle)
        os.waitpid(pid, 0)
        self.end_orphans()
        if handle == self.waiting:
            self.failures += 1
            if self.failures <= _FAILURES:
                self.fork_supervisor()

    def end_orphans(self) -> None:
        """End what a supervisor left: all children here that are no supervisors."""
        while True:
            own = set(self.supervisors.values())
            left = [pid for pid in kernel.children(os.getpid()) if pid not in own]
            if not left:
                return
            for pid in left:
                end_below(pid)
            for pid in left:
                try:
                    os.waitpid(pid, 0)
                except ChildProcessError:
                    continue


def end_below(pid: int) -> None:
    """SIGKILL to a process and all below it. Those that come loose fall to the sub-reaper."""
    for child in kernel.children(pid):
        end_below(child)
    try:
        os.kill(pid, _signal.SIGKILL)
    except OSError:
        pass  # it has ended
