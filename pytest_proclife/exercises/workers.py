"""Graders side by side: each is a process of its own, and everything below it ends with it."""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import IO

from pytest_proclife import backend
from pytest_proclife.supervisor import kernel, procfs

_MOST = 8 << 20  # bytes of a grader's messages
_CHUNK = 1 << 16
_CLEANUP = 10.0  # s at most to kill what outlived a grader
_INTERVAL = 1.0  # s between two checks for stopped graders: no event reports those
_DESCRIPTORS = 4  # of a grader here, which the graders beside it inherit
_OTHERS = 64  # descriptors that a grader and its parent need besides
_STOPPED = ("T", "t")  # by a signal, or by one that traces it: proc_pid_stat(5)
_CRASHED = 70  # EX_SOFTWARE: the exit code of a grader that raised

Wait = Callable[[], None]  # it returns when it is the grader's turn: before, the grader prepares
Job = Callable[[int, Wait], None]  # what a grader does, given the descriptor for its messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """What a grader left. `timed_out` is true too if it was `stopped`."""

    messages: bytes
    exitcode: int  # negative if a signal ended it
    timed_out: bool  # it was killed, at the deadline
    output: str  # the end of what it printed
    seconds: float  # from its turn
    stopped: bool = False  # it was killed because a signal had stopped it, or its run's supervisor
    beside: bool = False  # another grader was on turn meanwhile


@dataclass(slots=True)
class _Grader:
    number: int
    pid: int
    pidfd: int
    channel: int  # its messages; -1 once closed
    turn: int  # to be written to when it is its turn; -1 from then on
    output: IO[bytes]
    started: float
    messages: bytearray = field(default_factory=bytearray)
    timed_out: bool = False
    stopped: bool = False
    beside: bool = False

    @property
    def on_turn(self) -> bool:
        return self.turn < 0


def most_at_once(jobs: int) -> int:
    """How many of `jobs` graders this process has descriptors for at a time."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return jobs
    return max(1, min(jobs, (limit - _OTHERS) // (2 * _DESCRIPTORS)))


def run(jobs: Iterable[Job], width: int, deadline: float) -> Iterator[tuple[int, Finished]]:
    """Run each job in a grader, `width` at a time; yield (number, what it left) as they finish.

    As many again prepare meanwhile and wait for their turn. No process of a job is left running
    after its deadline (seconds), nor once the iterator is closed.
    """
    with contextlib.suppress(OSError):  # a sandbox may refuse it; grading needs it for clean-up
        kernel.become_subreaper()  # so that orphans of a killed grader become our children
    graders: dict[int, _Grader] = {}
    waiting = iter(enumerate(jobs))
    try:
        while True:
            while len(graders) < 2 * width and (following := next(waiting, None)) is not None:
                grader = _start(*following)
                graders[grader.pid] = grader
            if not graders:
                return
            _give_turns(graders, width)
            for grader in _exited(graders, deadline):
                del graders[grader.pid]
                finished = _reap(grader)
                _kill_orphans(graders)
                yield grader.number, finished
    finally:
        for grader in graders.values():
            kernel.send(grader.pidfd, signal.SIGKILL)
        for grader in graders.values():
            _reap(grader)
        _kill_orphans({})


def _start(number: int, job: Job) -> _Grader:
    channel, writing = os.pipe()
    waiting, turn = os.pipe()
    output = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when the grader is reaped
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    started = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(channel)
        os.close(turn)
        _be_grader(lambda: job(writing, lambda: _wait_for_turn(waiting)), output.fileno(), parent)
    os.close(writing)
    os.close(waiting)
    os.set_blocking(channel, False)
    return _Grader(number, pid, os.pidfd_open(pid), channel, turn, output, started)


def _wait_for_turn(waiting: int) -> None:
    if not os.read(waiting, 1):
        os._exit(_CRASHED)  # the parent has gone


def _give_turns(graders: dict[int, _Grader], width: int) -> None:
    free = width - sum(grader.on_turn for grader in graders.values())
    for grader in [grader for grader in graders.values() if not grader.on_turn][:free]:
        with contextlib.suppress(BrokenPipeError):  # it has exited already
            os.write(grader.turn, b"1")
        os.close(grader.turn)
        grader.turn, grader.started = -1, time.monotonic()
    on_turn = [grader for grader in graders.values() if grader.on_turn]
    for grader in on_turn:
        grader.beside = grader.beside or len(on_turn) > 1


def _be_grader(work: Callable[[], None], output: int, parent: int) -> None:
    """Do the work in this process and exit: the parent's code must not run on in a second one."""
    code = _CRASHED
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        with contextlib.suppress(OSError):  # a sandbox may refuse it
            kernel.hide_memory()  # so that no answer of this user finds the token there
        with contextlib.suppress(OSError):  # as above
            kernel.die_with_parent(signal.SIGKILL)
            kernel.become_subreaper()  # its orphans stay with it while it lives
        if os.getppid() != parent:
            os._exit(code)  # the parent exited before the line above
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        work()
        code = 0
    except BaseException:  # noqa: BLE001 - SystemExit too
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):  # a full disk; closed by a test
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _exited(graders: dict[int, _Grader], deadline: float) -> list[_Grader]:
    """Wait until some have exited, and return those; receive the messages of all meanwhile."""
    poll = select.poll()
    for grader in graders.values():
        poll.register(grader.pidfd, select.POLLIN)
        if grader.channel >= 0:
            poll.register(grader.channel, select.POLLIN)
    while True:
        now = time.monotonic()
        timed = [g for g in graders.values() if g.on_turn and not (g.timed_out or g.stopped)]
        due = min((grader.started + deadline for grader in timed), default=now + _INTERVAL)
        timeout = max(0.0, min(due - now, _INTERVAL)) * 1000
        ready = {descriptor for descriptor, _ in poll.poll(timeout)}
        for grader in graders.values():
            if grader.channel in ready and not _receive(grader):
                poll.unregister(grader.channel)
                os.close(grader.channel)
                grader.channel = -1
        for grader in timed:
            grader.timed_out = time.monotonic() >= grader.started + deadline
            grader.stopped = not (ready or grader.timed_out) and _is_stopped(grader.pid)
            if grader.timed_out or grader.stopped:
                kernel.send(grader.pidfd, signal.SIGKILL)
        exited = [grader for grader in graders.values() if grader.pidfd in ready]
        if exited:
            return exited


def _is_stopped(grader: int) -> bool:
    """True if a signal has stopped a grader, its zygote or the supervisor of its run.

    An answer may stop itself: the timeout of its run ends that.
    """
    children = procfs.children(grader)
    zygotes = [pid for pid in children if backend.is_zygote(procfs.command_line(pid))]
    supervisors = [pid for zygote in zygotes for pid in procfs.children(zygote)]
    return any(procfs.state(pid) in _STOPPED for pid in (grader, *zygotes, *supervisors))


def _receive(grader: _Grader) -> bool:
    """Take the messages that have arrived; false at their end, or if there are too many."""
    while len(grader.messages) <= _MOST:
        try:
            data = os.read(grader.channel, _CHUNK)
        except BlockingIOError:
            return True
        if not data:
            return False
        grader.messages += data
    return False


def _reap(grader: _Grader) -> Finished:
    """Wait for a grader that has exited, or is about to."""
    _, status = os.waitpid(grader.pid, 0)
    seconds = time.monotonic() - grader.started
    if grader.channel >= 0:
        _receive(grader)
        os.close(grader.channel)
    os.close(grader.pidfd)
    if not grader.on_turn:
        os.close(grader.turn)
    with grader.output as output:
        output.seek(max(0, output.seek(0, os.SEEK_END) - _CHUNK))
        text = output.read().decode("utf-8", "backslashreplace")
    return Finished(
        messages=bytes(grader.messages),
        exitcode=os.waitstatus_to_exitcode(status),
        timed_out=grader.timed_out or grader.stopped,
        stopped=grader.stopped,
        beside=grader.beside,
        output=text,
        seconds=seconds,
    )


def _kill_orphans(graders: dict[int, _Grader]) -> None:
    """Kill and reap all children but the graders: processes that outlived a grader."""
    until = time.monotonic() + _CLEANUP
    while orphans := [pid for pid in procfs.children(os.getpid()) if pid not in graders]:
        for pid in orphans:
            # the kernel has reaped it already if SIGCHLD is ignored
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        if time.monotonic() > until:
            return
