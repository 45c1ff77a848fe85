"""Where submissions are graded side by side, each by a process of its own that is ended whole."""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO

from pytest_proclife.supervisor import kernel

_MOST = 8 << 20  # bytes that a grader may say
_CHUNK = 1 << 16
_STRAYS = 10.0  # s at most to end what outlived a grader
_LOOK = 1.0  # s between two looks whether a grader has been stopped: no event tells of that
_DESCRIPTORS = 4  # of a seat, which its neighbours' graders inherit
_OTHERS = 64  # descriptors, of a grader's own and of who started it all
_CRASHED = 70  # EX_SOFTWARE: the exit code of a grader that raised

# What a grader does, given the descriptor to write to, and what waits for its turn.
Examine = Callable[[int, Callable[[], None]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a grader said, and how it ended: `exitcode` is negative where a signal ended it.

    `late`: it was ended at the deadline, or, `stopped`, because a signal had stopped it or what
    watches the answer for it. `words` are the end of its output. `seconds` is how long it took
    from its turn on.
    """

    said: bytes
    exitcode: int
    late: bool
    words: str
    seconds: float
    stopped: bool = False


@dataclass(slots=True)
class _Seat:
    number: int
    pid: int
    pidfd: int
    channel: int
    turn: int  # to be written to when it is its turn; -1 from then on
    log: IO[bytes]
    began: float
    said: bytearray = field(default_factory=bytearray)
    late: bool = False
    stopped: bool = False


def at_once(wanted: int) -> int:
    """How many of these can be graded at a time, with the descriptors that a process may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, (limit - _OTHERS) // (2 * _DESCRIPTORS)))


def grade(jobs: Sequence[Examine], width: int, deadline: float) -> Iterator[tuple[int, Answer]]:
    """Run each job in a process of its own, `width` at a time; (number, answer) as they end.

    As many again make ready meanwhile, and wait for their turn. Whatever happens, no process of
    a job is left: not after its deadline (seconds), nor when the iterator is closed.
    """
    with contextlib.suppress(OSError):
        kernel.become_subreaper()  # so that what a killed grader leaves comes to us
    seats: dict[int, _Seat] = {}
    waiting = iter(enumerate(jobs))
    try:
        while True:
            while len(seats) < 2 * width and (following := next(waiting, None)) is not None:
                seat = _seat(*following)
                seats[seat.pid] = seat
            if not seats:
                return
            _give_turns(seats, width)
            for seat in _ended(seats, deadline):
                del seats[seat.pid]
                answer = _answer(seat)
                _end_strays(seats)
                yield seat.number, answer
    finally:
        for seat in seats.values():
            kernel.send(seat.pidfd, signal.SIGKILL)
        for seat in seats.values():
            _answer(seat)
        _end_strays({})


def _seat(number: int, examine: Examine) -> _Seat:
    reading, writing = os.pipe()
    told, turn = os.pipe()
    log = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when the grader has ended
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        os.close(turn)
        _examine(functools.partial(examine, writing, lambda: _wait(told)), log.fileno(), parent)
    os.close(writing)
    os.close(told)
    os.set_blocking(reading, False)
    pidfd = os.pidfd_open(pid)
    return _Seat(
        number=number, pid=pid, pidfd=pidfd, channel=reading, turn=turn, log=log, began=began
    )


def _wait(told: int) -> None:
    """Wait for one's turn."""
    if not os.read(told, 1):
        os._exit(_CRASHED)  # who would give it is gone


def _give_turns(seats: dict[int, _Seat], width: int) -> None:
    taken = sum(seat.turn < 0 for seat in seats.values())
    for seat in [seat for seat in seats.values() if seat.turn >= 0][: width - taken]:
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            os.write(seat.turn, b"1")
        os.close(seat.turn)
        seat.turn, seat.began = -1, time.monotonic()


def _examine(examine: Callable[[], None], log: int, parent: int) -> None:
    """The life of a grader, which never returns to what its parent was doing."""
    code = _CRASHED
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        with contextlib.suppress(OSError):
            kernel.die_with_parent(signal.SIGKILL)
            # what loses its parent here stays here, and is not taken for a stray of another's
            kernel.become_subreaper()
        if os.getppid() != parent:
            os._exit(code)  # it was gone before it could be tied to
        with open(os.devnull, "rb") as nothing:
            os.dup2(nothing.fileno(), 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        examine()
        code = 0
    except BaseException:  # noqa: BLE001 - or the parent's code would run on in a second process
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _ended(seats: dict[int, _Seat], deadline: float) -> list[_Seat]:
    """Wait until a grader has ended, and listen to all meanwhile."""
    poll = select.poll()
    for seat in seats.values():
        poll.register(seat.pidfd, select.POLLIN)
        if seat.channel >= 0:
            poll.register(seat.channel, select.POLLIN)
    while True:
        now = time.monotonic()
        timed = [seat for seat in seats.values() if seat.turn < 0 and not seat.late]
        due = min((seat.began + deadline for seat in timed), default=now + _LOOK)
        patience = max(0.0, min(due - now, _LOOK)) * 1000
        ready = {number for number, _ in poll.poll(patience)}
        for seat in seats.values():
            if seat.channel in ready and not _listen(seat):
                poll.unregister(seat.channel)
                os.close(seat.channel)
                seat.channel = -1
            if seat in timed and time.monotonic() >= seat.began + deadline:
                seat.late = True
                kernel.send(seat.pidfd, signal.SIGKILL)
            elif seat in timed and not ready and _is_stopped(seat.pid):
                seat.late = seat.stopped = True
                kernel.send(seat.pidfd, signal.SIGKILL)
        ended = [seat for seat in seats.values() if seat.pidfd in ready]
        if ended:
            return ended


def _is_stopped(grader: int) -> bool:
    """Whether a grader, or what watches an answer for it, has been stopped by a signal.

    An answer that stops itself is not looked for: the run's own time is for that.
    """
    zygotes = [
        pid for pid in kernel.children(grader) if any(map(_serves, kernel.command_line(pid)))
    ]
    ours = [grader, *zygotes, *(pid for zygote in zygotes for pid in kernel.children(zygote))]
    return any(kernel.state(pid) == "T" for pid in ours)


def _serves(word: str) -> bool:
    return "zygote.main(" in word


def _listen(seat: _Seat) -> bool:
    """Take what a grader says; false at the end of it, or where it is too much."""
    try:
        data = os.read(seat.channel, _CHUNK)
    except BlockingIOError:
        return True
    seat.said += data
    return bool(data) and len(seat.said) <= _MOST


def _answer(seat: _Seat) -> Answer:
    """Collect a grader that has ended, or is about to."""
    _, status = os.waitpid(seat.pid, 0)
    seconds = time.monotonic() - seat.began
    while seat.channel >= 0:
        before = len(seat.said)
        more = _listen(seat)
        if not more or len(seat.said) == before:
            os.close(seat.channel)
            seat.channel = -1
    os.close(seat.pidfd)
    if seat.turn >= 0:
        os.close(seat.turn)
    with seat.log as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - _CHUNK))
        words = log.read().decode("utf-8", "backslashreplace")
    return Answer(
        said=bytes(seat.said),
        exitcode=os.waitstatus_to_exitcode(status),
        late=seat.late,
        stopped=seat.stopped,
        words=words,
        seconds=seconds,
    )


def _end_strays(seats: dict[int, _Seat]) -> None:
    """End all children of ours that are no graders: what was left by one that has ended."""
    until = time.monotonic() + _STRAYS
    while strays := [pid for pid in kernel.children(os.getpid()) if pid not in seats]:
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
        if time.monotonic() > until:
            return
