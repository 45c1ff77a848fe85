"""The process that was started as `proclife grade`: a child of it does the work.

An answer of the same user can kill either. If it kills the one that was started, the child still
ends the answers and leaves the results in order; if it kills the child, it gains nothing either.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType

from pytest_proclife.supervisor import kernel

_FAILED = 125  # as of the command line
_INTERRUPT = signal.SIGUSR1  # stands for Ctrl-C, which a terminal sends to both processes


def run(work: Callable[[], int], lifeline: int = -1) -> int:
    """Do the work in a child, and return its exit status. Signals to this process end the work.

    `work` gets a KeyboardInterrupt for SIGINT, and SystemExit for SIGTERM or if this process is
    killed, or once the descriptor `lifeline` is at its end.
    """
    if not hasattr(os, "pidfd_open"):
        return work()  # which says what it needs
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _work(work, parent)
    handle = os.pidfd_open(pid)
    passed_on = {signal.SIGINT: _INTERRUPT, signal.SIGTERM: signal.SIGTERM}

    def pass_on(number: int, frame: FrameType | None) -> None:
        kernel.send(handle, passed_on[signal.Signals(number)])

    before = {number: signal.signal(number, pass_on) for number in passed_on}
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        if lifeline >= 0:
            poll.register(lifeline, select.POLLIN)
        while handle not in (events := dict(poll.poll())):
            if lifeline in events:
                poll.unregister(lifeline)
                kernel.send(handle, signal.SIGTERM)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(handle)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    print(
        f"\nproclife: the process that grades was killed ({signal.Signals(-code).name}). No result "
        "of it can be trusted, so all submissions are graded again at the next start",
        file=sys.stderr,
    )
    return _FAILED


def _work(work: Callable[[], int], parent: int) -> None:
    code = _FAILED
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(_INTERRUPT, _interrupt)
        signal.signal(signal.SIGTERM, terminate)
        kernel.hide_memory()
        with contextlib.suppress(OSError):  # a sandbox may refuse it
            kernel.die_with_parent(signal.SIGTERM)
        if os.getppid() == parent:
            code = work()
    except SystemExit as exit:
        code = exit.code if isinstance(exit.code, int) else _FAILED
    except BaseException:  # noqa: BLE001 - the parent's code must not run on in this process
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):  # a full disk; a pipe that nobody reads
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    _ignore_more()
    raise KeyboardInterrupt


def terminate(number: int, frame: FrameType | None) -> None:
    """Exit by SystemExit, as a handler for a signal."""
    _ignore_more()
    raise SystemExit(128 + number)


def _ignore_more() -> None:
    """The clean-up that follows is not to be interrupted."""
    for number in (_INTERRUPT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
