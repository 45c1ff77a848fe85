"""`proclife run` and the process group of main, so that no signal of main's ends the account.

Without a terminal main has a group of its own, and gets the SIGINT that is sent to proclife's. With
one, main has to be in the group that the shell knows: Ctrl-C, Ctrl-Z, fg and bg are for that group.
Then a fork of proclife watches the run from another group, and the first process only stays in
main's place before the shell: what main sends to its group does not end it, SIGKILL excepted, and
not even that ends the account.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable

from pytest_proclife.options import Options
from pytest_proclife.records import Run
from pytest_proclife.render import hang, screen
from pytest_proclife.runner import finish, open_session
from pytest_proclife.session import Session
from pytest_proclife.supervisor import procfs, protocol

# Not taken by the process in the shell's sight: those that stop it and let it go on, those that
# nobody can take, and faults of its own.
_LEFT = {
    *(signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGCONT, signal.SIGKILL),
    *(signal.SIGSTOP, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL),
}


def has_terminal() -> bool:
    """Whether this process has a controlling terminal: tty(4)."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


# --- where the run stands


class _Quit:
    """While it is active, a SIGQUIT to this process prints where each process of the run stands."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._asked = False  # before there was a run
        self.before = signal.getsignal(signal.SIGQUIT)
        if self.before is not signal.SIG_IGN:  # main inherits that
            signal.signal(signal.SIGQUIT, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        if self._session is None:
            self._asked = True
        else:  # by another thread: this one may be sending at this moment
            threading.Thread(target=self._session.look, daemon=True).start()

    def watch(self, session: Session) -> None:
        session.on_look = _show
        self._session = session
        if self._asked:
            session.look()


def _show(run: Run) -> None:
    block = hang.block(run, screen.columns_of(sys.stderr))
    print(f"\nproclife: {hang.why(run)}{block}", file=sys.stderr, flush=True)


# --- without a terminal


def observe_in_own_group(options: Options) -> Run:
    """Watch a main that has a process group of its own; it gets our SIGINT."""
    session: Session | None = None
    interrupted = False

    def interrupt(number: int, frame: object) -> None:
        nonlocal interrupted
        interrupted = True
        if session is not None and session.pid:
            with contextlib.suppress(OSError):  # it has ended
                os.killpg(session.pid, signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    quit = _Quit()
    if before is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    try:
        session = open_session(options)
        session.wait(until_started=True)
        quit.watch(session)
        if interrupted:
            interrupt(signal.SIGINT, None)
        return finish(session, options)
    finally:
        signal.signal(signal.SIGINT, before)
        signal.signal(signal.SIGQUIT, quit.before)


# --- with a terminal


def run_beside(run: Callable[[int, int, int], int]) -> int:
    """Have `run(group, end, news)` called in a fork outside of our process group.

    Returns the exit status that it returns. `group` is ours, for main. `end` is readable once this
    process has ended, and `news` is written to as `observe_beside` does.
    """
    group = os.getpgrp()
    end, ours = os.pipe()
    told, news = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if it is ignored, nobody can wait for the fork
    pid = os.fork()
    if pid == 0:
        status = 125
        try:
            for descriptor in (ours, told):
                os.close(descriptor)
            os.setpgid(0, 0)
            if signal.getsignal(signal.SIGQUIT) is not signal.SIG_IGN:  # main would inherit that
                signal.signal(signal.SIGQUIT, lambda number, frame: None)  # there is no run yet
            status = run(group, end, news)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)
    for descriptor in (end, news):
        os.close(descriptor)
    return _wait(pid, ours, told)


def observe_beside(options: Options, end: int, news: int) -> Run:
    """Watch a main of the first process's group; the run is ended once that process is gone."""
    quit = _Quit()
    session = open_session(options)
    session.wait(until_started=True)
    parent = procfs.parent(session.pid)
    os.write(news, f"{parent or 0} {session.pid}".encode())
    os.close(news)

    def end_with_first() -> None:
        os.read(end, 1)
        session.connection.send(protocol.END)

    threading.Thread(target=end_with_first, daemon=True).start()
    # it may come to be in the background, and `stty tostop` would stop what writes from there
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})
    quit.watch(session)
    return finish(session, options)


def _wait(pid: int, ours: int, told: int) -> int:
    """Wait for the fork that watches the run; returns its exit status."""
    taken = {
        number
        for number in signal.valid_signals() - _LEFT
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    signal.pthread_sigmask(signal.SIG_BLOCK, {*taken, signal.SIGCHLD})
    pids: list[int] = []  # of the supervisor and of main, once main has started
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) % 256
        info = signal.sigwaitinfo({*taken, signal.SIGCHLD})
        # 0: the terminal, or another part of the kernel; main has it too, and decides
        if info.si_signo in (signal.SIGCHLD, signal.SIGINT) or info.si_pid == 0:
            continue
        if not pids:
            pids = [int(pid) for pid in (os.read(told, 40) or b"0 0").split()]
        supervisor, main = pids
        # main may have ended since, and then has no parent any more
        if info.si_pid == main or procfs.is_pid_below(info.si_pid, supervisor):
            continue
        if info.si_signo == signal.SIGQUIT:
            os.kill(pid, signal.SIGQUIT)  # it shows where the run stands
            continue
        os.close(ours)  # it ends the run, and writes the account
        os.waitpid(pid, 0)
        signal.signal(info.si_signo, signal.SIG_DFL)
        os.kill(os.getpid(), info.si_signo)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {info.si_signo})
