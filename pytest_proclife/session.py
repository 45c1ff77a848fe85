"""One run from the caller's side: the request, the connection, the log, the waiting threads."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import contextlib
import itertools
import marshal
import os
import select
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import IO, Any, TypeVar

from pytest_proclife import wire
from pytest_proclife.analysis.assemble import CauseHook, assemble
from pytest_proclife.analysis.log import Entry
from pytest_proclife.backend import Backend, forget_zygote
from pytest_proclife.errors import SupervisorLost, TargetError
from pytest_proclife.inside.launch import search_path
from pytest_proclife.records import LeftOut, Run, Source
from pytest_proclife.target import Launch

OUTPUT_LIMIT = 1 << 20  # bytes kept of each stream, half of them its head

_VALID = frozenset(int(number) for number in signal.valid_signals())
_SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside", "site")


def check_seconds(name: str, value: float | None, *, or_none: bool) -> None:
    """ValueError where a setting is no number of seconds."""
    if value is None and or_none:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
        none = " or None" if or_none else ""
        raise ValueError(f"{name} is a number of seconds, 0 or more{none}, not {value!r}")


def request_for(
    launch: Launch,
    environment: dict[str, str],
    cwd: str,
    start_method: str | None,
    timeout: float | None,
    linger: float,
    group: int | None,
    capture: bool,
    pass_output: bool,
    live: bool,
) -> dict[str, Any]:
    """The request as the plain values that cross to a supervisor; seconds for times.

    `group` is the process group that main joins, None for one of its own. With `capture`
    output is kept, and with `pass_output` copied to the streams that come with the request.
    `live`: the caller looks at the run, and acts on it, while it lasts.
    """
    env = {os.fsencode(k): os.fsencode(v) for k, v in environment.items()}
    if launch.observed:
        # whoever watches the run puts in where reports go: the address, main's descriptor
        ticket = f"ADDRESS,FD,,main,{start_method or ''}"
        env[wire.VARIABLE.encode()] = ticket.encode()
        if launch.by_path:
            path = search_path(env.get(b"PYTHONPATH"), os.fsencode(_SITE))
            env[b"PYTHONPATH"] = path
    ignored = [
        number
        # _signal: the numbers as they are, where signal.py makes an enum of each
        for number in range(1, signal.NSIG)
        # these two are ignored by every Python, which gives them back to what it starts
        # (`restore_signals` of subprocess)
        if number not in (signal.SIGPIPE, signal.SIGXFSZ)
        and number in _VALID
        and _signal.getsignal(number) == _signal.SIG_IGN
    ]
    return {
        "executable": launch.executable,
        "arguments": list(launch.arguments),
        "env": env,
        "ticket": wire.VARIABLE.encode(),
        "observed": launch.observed,
        "cwd": cwd,
        "timeout": timeout,
        "linger": linger,
        "group": 0 if group is None else group,
        "limit": OUTPUT_LIMIT,
        "ignored": ignored,
        "mask": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "umask": _umask(),
        "capture": capture,
        "pass_output": pass_output,
        "live": live,
    }


def _umask() -> int:
    """The caller's umask, read where reading does not change it: proc_pid_status(5)."""
    with (
        contextlib.suppress(FileNotFoundError),  # polling leaves it to the kernel
        open("/proc/self/status", encoding="ascii", errors="replace") as file,
    ):
        for line in file:
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    return 0o022


def opened_input(input: str | bytes | None) -> IO[bytes]:
    """A file with the input at its beginning; nothing to read for None. The caller closes it."""
    if input is None:
        return open(os.devnull, "rb")
    file: IO[bytes]
    if sys.platform == "linux":
        file = os.fdopen(os.memfd_create("proclife-input"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(input.encode() if isinstance(input, str) else input)
    file.flush()
    file.seek(0)
    return file


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
    facts = (LeftOut(at=None, source=Source.TARGET, text=text) for text in left_out)
    main = replace(run.main, evidence=(*facts, *run.main.evidence))
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


_PROMPT = 10.0  # s within which a supervisor answers, even on a machine that is very busy

_LONGEST = 86400.0  # s of one wait: poll(2) takes no more than 24 days

T = TypeVar("T")


class Listener:
    """Threads that wait: the first hears what the supervisor says, the others are told.

    Raises SupervisorLost, in each of them, where the supervisor is gone.
    """

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        self.lost: SupervisorLost | None = None
        self._news = threading.Condition()
        self._version = 0  # counts what was heard
        self._hearing: int | None = None  # the thread that does
        self._sending = threading.Lock()
        self._asked = 0  # the latest question
        self._orders = itertools.count(1)

    def until(self, answer: Callable[[], T | None], seconds: float | None) -> T | None:
        """What `answer` gives, asked anew at all news; None if too late, or all is over."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            version, over = self._version, self.talk.over
            found = answer()
            if found is not None or over:
                return found
            if self.lost is not None:
                raise SupervisorLost(str(self.lost))
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._wait(version, _LONGEST if left is None else min(left, _LONGEST))

    def catch_up(self) -> None:
        """Hear all that has happened up to now."""
        ticket = self._ask(at_once=True)
        self._promptly(lambda: self.talk.answered >= ticket or None)

    def order(self, number: int, signal: int, via: str, spared: int | None) -> str:
        """Have a signal sent: "sent", "gone" or "refused"."""
        ticket = next(self._orders)
        with self._sending:
            self.talk.send(("signal", ticket, number, signal, via, spared))
        outcome = self._promptly(lambda: self.talk.outcomes.pop(ticket, None))
        return "gone" if outcome is None else outcome

    def end(self) -> None:
        """Have all of it ended, and hear the end of the account."""
        with self._sending:
            self.talk.send(("end",))
        self._promptly(lambda: None)

    def _promptly(self, answer: Callable[[], T | None]) -> T | None:
        found = self.until(answer, _PROMPT)
        if found is None and not self.talk.over:
            raise SupervisorLost(f"the supervisor of the run has not answered for {_PROMPT:.0f} s")
        return found

    def _ask(self, at_once: bool) -> int:
        with self._sending:
            self._asked += 1
            self.talk.send(("tell", self._asked, at_once))
            return self._asked

    def _wait(self, version: int, seconds: float) -> None:
        """Wait until there is something new after `version`."""
        me = threading.get_ident()
        heard = False
        try:
            with self._news:
                if self._version != version:
                    return
                if self._hearing is not None:
                    self._news.wait(seconds)
                    return
                self._hearing = me
            if self.talk.answered == self._asked:
                self._ask(at_once=False)
            heard = self.talk.hear(seconds)
        except BaseException as error:
            if self.talk.closed and not self.talk.over:
                heard = True
                self.lost = SupervisorLost(_why(error))
            raise
        finally:
            with self._news:
                if self._hearing == me:
                    self._hearing = None
                    self._version += heard
                    self._news.notify_all()


def _why(error: BaseException) -> str:
    if isinstance(error, SupervisorLost):
        return str(error)
    return f"{type(error).__name__} came while the run was being heard; it was ended"
