"""The talk with the supervisor of one run, from the request to the account."""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from pytest_proclife.assemble import CauseHook, assemble
from pytest_proclife.records import Evidence, Run
from pytest_proclife.request import opened_input
from pytest_proclife.sightings import Entry
from pytest_proclife.supervision import Backend, SupervisorLost, forget_zygote
from pytest_proclife.target import Launch, TargetError

_ENDING = 10.0  # s that an interrupted caller waits for its tree to be gone
_HEADER = 8  # bytes: the length of a message
_CHUNK = 1 << 18  # bytes; what a socket holds

Output = tuple[bytes, bytes, int]  # head, tail, bytes left out between them


class Conversation:
    """What is known of one run. Made when a supervisor has taken the request.

    Whatever interrupts it, the run is ended. `listen` and `hear` are for one thread at a time.
    """

    def __init__(
        self, backend: Backend, launch: Launch, request: dict[str, Any], streams: tuple[int, ...]
    ) -> None:
        self.backend = backend
        self.launch = launch
        self.log: list[Entry] = []
        self.outputs: list[Output] = []
        self.pid = 0
        self.epoch = 0
        self.started_at = 0.0
        self.told_at = 0  # monotonic ns; the log is complete up to then
        self.over = self.closed = False
        self.timed_out = False
        self.answered = 0
        self.outcomes: dict[int, str] = {}
        self._received = bytearray()
        self._open(request, streams)
        try:
            if self._receive() is None:
                # the supervisor that waited died with its zygote before it took the request
                # (it says so before anything else), so nothing has been started
                self._hang_up()
                forget_zygote()
                self._open(request, streams)
                self._take(self._receive())
        except BaseException:
            self.end()
            raise

    def _open(self, request: dict[str, Any], streams: tuple[int, ...]) -> None:
        self._channel, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.closed = False
        try:
            with its, opened_input(self.launch.payload) as payload:
                descriptors = [its.fileno(), *streams]
                if self.launch.payload is not None:
                    # after the three streams, hence on descriptor 3
                    descriptors.append(payload.fileno())
                self.backend.ask(descriptors)
            self.send(request)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the supervisor. It ends what is left, even if a fork of ours has the socket."""
        self._hang_up()
        if self.launch.scratch is not None:
            shutil.rmtree(self.launch.scratch, ignore_errors=True)

    def _hang_up(self) -> None:
        self.closed = True
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_RDWR)
        self._channel.close()

    def listen(self, until_started: bool = False) -> None:
        """Hear all that the supervisor says, until main has started or until the run is over."""
        try:
            while not (self.over or (until_started and self.epoch)):
                self._take(self._receive())
        except BaseException:
            self.end()
            raise

    def hear(self, seconds: float) -> bool:
        """Hear what the supervisor says next, for so long; whether it said anything."""
        if len(self._received) < self._size():
            poll = select.poll()
            poll.register(self._channel, select.POLLIN)
            if not poll.poll(max(0.0, seconds) * 1000):
                return False
        try:
            self._take(self._receive())
        except BaseException:  # half of what was said may be lost: that would be a wrong account
            self.end()
            raise
        return True

    def send(self, message: Any) -> None:
        """Tell the supervisor something; where it is gone, hearing says so."""
        data = marshal.dumps(message)
        with contextlib.suppress(OSError):
            self._channel.sendall(len(data).to_bytes(8, "little") + data)

    def end(self) -> None:
        """Have all of it ended, and wait for that, whatever the supervisor still says."""
        self.send(("end",))
        with contextlib.suppress(OSError):
            self._channel.settimeout(_ENDING)
            while self._channel.recv(_CHUNK):
                pass  # what is left of the account; the end of file says that all is gone
        self.close()  # lost, or too slow: it goes on without us

    def account(
        self, start_method: str | None, cause_hook: CauseHook | None, *, last: bool = False
    ) -> Run:
        """The account; of what is known up to now where it is not over.

        After the last one the log is gone: it is let go of while it is read.
        """
        texts = self.texts()
        log: Iterable[Entry] = _read_once(self.log) if last else list(self.log)
        if not self.over and self.backend.name == "pidfd":
            log = without_pending_ends(log)
        run = assemble(
            log,
            epoch=self.epoch,
            started_at=self.started_at,
            duration=(self.told_at - self.epoch) / 1e9,
            timed_out=self.timed_out,
            target=self.launch.info,
            python=sys.version.partition(" ")[0],
            platform=sys.platform,
            start_method=start_method,
            backend=self.backend.name,
            observed=self.launch.observed if self.backend.name == "pidfd" else None,
            missing=self.backend.missing,
            stdout=texts[0] if texts else None,
            stderr=texts[1] if texts else None,
            output_truncated=any(output[2] for output in self.outputs),
            cause_hook=cause_hook,
        )
        return _with_left_out(run, self.launch.left_out) if self.launch.left_out else run

    def texts(self) -> list[str]:
        """Standard output and standard error, where they are kept."""
        return [_decode(*output) for output in self.outputs]

    def _receive(self) -> tuple[Any, ...] | None:
        """One message of the supervisor's; None if it is gone."""
        while len(self._received) < (size := self._size()):
            try:
                part = self._channel.recv(_CHUNK)
            except ConnectionResetError:
                return None  # it died before it had read all that we sent
            if not part:
                return None
            self._received += part
        with memoryview(self._received) as received:  # a copy could be large
            message: tuple[Any, ...] = marshal.loads(received[_HEADER:size])
        del self._received[:size]
        return message

    def _size(self) -> int:
        """The size of the next message, as far as it is known."""
        if len(self._received) < _HEADER:
            return _HEADER
        return _HEADER + int.from_bytes(self._received[:_HEADER], "little")

    def _take(self, message: tuple[Any, ...] | None) -> None:
        match message:
            case None:
                raise SupervisorLost(
                    "the supervisor of the run was killed; its zygote ends what it watched"
                )
            case ("started", started_at, epoch, pid):
                self.started_at, self.epoch, self.pid = started_at, epoch, pid
            case ("failed", path, number):
                raise TargetError(f"{path!r} cannot be executed: {os.strerror(number)}")
            case ("news", ticket, at, entries, outputs):
                self.log += entries
                self.outputs = self.outputs if outputs is None else outputs
                self.told_at, self.answered = at, ticket
            case ("signaled", ticket, outcome):
                self.outcomes[ticket] = outcome
            case ("over", entries, duration, timed_out, outputs):
                self.log += entries
                self.told_at = self.epoch + duration
                self.outputs, self.timed_out, self.over = outputs, timed_out, True
                self.close()
            case _:
                pass  # "taken": a supervisor has the request


def _with_left_out(run: Run, left_out: tuple[str, ...]) -> Run:
    """The account with what of the target was not run, as main's evidence."""
    told = (Evidence(at=None, source="target", fact=f"left out: {what}") for what in left_out)
    main = replace(run.main, evidence=(*told, *run.main.evidence))
    return replace(run, processes=(main, *run.processes[1:]))


def _read_once(log: list[Entry]) -> Iterator[Entry]:
    log.reverse()
    while log:
        yield log.pop()


def without_pending_ends(log: Iterable[Entry]) -> list[Entry]:
    """Leave out the ends whose wait status is on its way: a snapshot would say it is unknown."""
    log = list(log)
    known = {
        number
        for _, what, number, *rest in log
        if what == "reaped" or (what == "status" and rest[0] is not None)
    }
    return [entry for entry in log if entry[1] != "end" or entry[2] in known]


def _decode(head: bytes, tail: bytes, dropped: int) -> str:
    if not dropped:
        return (head + tail).decode("utf-8", "backslashreplace")
    texts = [part.decode("utf-8", "backslashreplace") for part in (head, tail)]
    return f"{texts[0]}\n[proclife: {dropped} bytes left out]\n{texts[1]}"
