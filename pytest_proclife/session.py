"""One run from the caller's side: the request, the connection, the log, the waiting threads."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import contextlib
import itertools
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
from typing import IO, TypeVar

from pytest_proclife.analysis.assemble import CauseHook, assemble
from pytest_proclife.analysis.log import without_pending_ends
from pytest_proclife.backend import Backend, forget_zygote
from pytest_proclife.errors import SeccompUnavailable, SupervisorLost, TargetError
from pytest_proclife.inside.launch import plan, search_path
from pytest_proclife.options import Options
from pytest_proclife.records import LeftOut, Run, Source
from pytest_proclife.stacks import read as read_stacks
from pytest_proclife.supervisor import procfs, protocol
from pytest_proclife.supervisor.protocol import Connection, Entry, Message, Request
from pytest_proclife.target import Launch

_ENDING = 10.0  # s that an interrupted caller waits for the run to be ended
_CHUNK = 1 << 18  # bytes
_PROMPT = 10.0  # s within which a supervisor answers, even on a machine that is very busy
_LOOKING = 60.0  # s for the stacks of all processes
_LONGEST = 86400.0  # s of one wait: poll(2) takes no more than 24 days

# Signals that main ignores if its caller does. Every Python ignores SIGPIPE and SIGXFSZ, and
# restores them for what it starts (`restore_signals` of subprocess).
_INHERITED = sorted(map(int, signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}))
_SITE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "inside", "site")

Output = tuple[bytes, bytes, int]  # head, tail, bytes left out between them
T = TypeVar("T")


def request_for(launch: Launch, options: Options, env: dict[bytes, bytes]) -> Request:
    """The request to a supervisor; `env` is main's environment, but for what the recorder needs."""
    planned = plan([launch.executable], launch.arguments, options.program.folder)
    if planned.observed and planned.by_path:
        env[b"PYTHONPATH"] = search_path(env.get(b"PYTHONPATH"), os.fsencode(_SITE))
    # by _signal, since signal would make an enum of each disposition, which takes longer
    user = options.confinement.user
    ignored = [n for n in _INHERITED if _signal.getsignal(n) == _signal.SIG_IGN]
    return Request(
        executable=launch.executable,
        arguments=planned.arguments,
        environment=env,
        observed=planned.observed,
        start_method=options.start_method or "",
        cwd=options.program.folder,
        umask=_umask(),
        group=options.group,
        ignored=ignored,
        blocked=[int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        timeout=None if options.live else options.timeout,
        linger=options.linger,
        seccomp=options.seccomp,
        capture=options.capture,
        pass_output=bool(options.streams),
        live=options.live,
        user=None if user is None else (user.uid, user.gid, list(user.groups)),
        limits=dict(options.confinement.limits),
        cgroup=options.confinement.cgroup,
        points=options.points,
        crash=options.crash,
    )


def _umask() -> int:
    """The caller's umask. os.umask() would change it; see proc_pid_status(5)."""
    try:
        umask = procfs.contents("/proc/self/status").partition(b"\nUmask:")[2]
    except FileNotFoundError:
        umask = b""  # not Linux: polling starts main with the caller's
    return int(umask.split()[0], 8) if umask else 0o022


def opened_input(input: bytes | None) -> IO[bytes]:
    """A file to read the input from; an empty one for None."""
    if input is None:
        return open(os.devnull, "rb")
    file: IO[bytes]
    if sys.platform == "linux":
        file = os.fdopen(os.memfd_create("proclife-input"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(input)
    file.flush()
    file.seek(0)
    return file


class Session:
    """One run, as its caller knows it. Made when a supervisor has taken the request.

    Whatever interrupts it, the run is ended. One thread at a time may wait and receive.
    """

    def __init__(
        self, backend: Backend, launch: Launch, request: Request, streams: tuple[int, ...]
    ) -> None:
        self.backend = backend
        self.launch = launch
        self.request = request
        self.log: list[Entry] = []
        self.outputs: list[Output] = []
        self.pid = 0
        self.epoch = 0
        self.started_at = 0.0
        self.known_until = 0  # monotonic ns; the log is complete up to then
        self.over = self.closed = False
        self.timed_out = False
        self.exceeded = ""  # the limit for which the run was ended: `supervisor.limits`
        self.answered = 0  # the ticket of the last request for news
        self.outcomes: dict[int, str] = {}  # of signals, by ticket
        self.sending = threading.Lock()  # held by the thread that sends
        self.on_look: Callable[[Run], None] | None = None  # gets what `look` has found
        self._shows = False  # it is called as soon as all of that is in the log
        self.looked = 0  # the ticket of the last look that is in the log once news arrives
        self._connect(streams)
        try:
            if self.connection.receive() is None:
                # the waiting supervisor ended with its zygote before it took the request
                # (TAKEN comes before anything else), so nothing has been started
                self._disconnect()
                forget_zygote()
                self._connect(streams)
                self._process(self.connection.receive())
        except BaseException:
            self.end()
            raise

    def _connect(self, streams: tuple[int, ...]) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.connection = Connection(ours)
        self.closed = False
        try:
            with its, opened_input(self.launch.payload) as payload:
                descriptors = [its.fileno(), *streams]
                if self.launch.payload is not None:
                    descriptors.append(payload.fileno())
                self.backend.ask(descriptors)
            self.connection.send(protocol.REQUEST, vars(self.request))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect from the supervisor, which then ends what is left of the run."""
        self._disconnect()
        if self.launch.scratch is not None:
            shutil.rmtree(self.launch.scratch, ignore_errors=True)

    def _disconnect(self) -> None:
        self.closed = True
        with contextlib.suppress(OSError):  # the other end is closed already
            # else the connection would stay open in a fork of this process
            self.connection.socket.shutdown(socket.SHUT_RDWR)
        self.connection.close()

    def wait(self, until_started: bool = False) -> None:
        """Receive messages until main has started, or until the run is over."""
        try:
            while not (self.over or (until_started and self.epoch)):
                self._process(self.connection.receive())
        except BaseException:
            self.end()
            raise

    def receive(self, seconds: float) -> bool:
        """Receive the next message; False if none arrives within `seconds`."""
        poll = select.poll()
        poll.register(self.connection, select.POLLIN)
        if not poll.poll(max(0.0, seconds) * 1000):
            return False
        try:
            self._process(self.connection.receive())
        except BaseException:  # half of a message may be lost, and the log would be wrong
            self.end()
            raise
        return True

    def look(self) -> None:
        """Ask where each process stands. The thread that waits calls `on_look` with the answer."""
        with self.sending:
            self.connection.send(protocol.LOOK, 1)

    def end(self) -> None:
        """Have the run ended, and wait for that. What the supervisor still sends is lost."""
        self.connection.send(protocol.END)
        with contextlib.suppress(OSError):  # lost, or too slow: it goes on without us
            self.connection.socket.settimeout(_ENDING)
            while self.connection.socket.recv(_CHUNK):
                pass  # the end of the file says that nothing of the run is left
        self.close()

    def assemble(self, cause_hook: CauseHook | None = None, *, last: bool = False) -> Run:
        """The run, as far as it is known up to now.

        After the `last` one the log is gone: its memory is released while it is read.
        """
        stdout, stderr = self.texts() or (None, None)
        log: Iterable[Entry] = _read_once(self.log) if last else list(self.log)
        if not self.over and self.backend.name == "pidfd":
            log = without_pending_ends(log)
        run = assemble(
            log,
            epoch=self.epoch,
            started_at=self.started_at,
            duration=(self.known_until - self.epoch) / 1e9,
            timed_out=self.timed_out,
            target=self.launch.target,
            python=sys.version.partition(" ")[0],
            platform=sys.platform,
            start_method=self.request.start_method or None,
            backend=self.backend.name,
            features=(*self.backend.features, *["seccomp"] * self.request.seccomp),
            seccomp=self.request.seccomp,
            observed=self.request.observed if self.backend.name == "pidfd" else None,
            missing=self.backend.missing,
            stdout=stdout,
            stderr=stderr,
            output_truncated=any(output[2] for output in self.outputs),
            cause_hook=cause_hook,
        )
        return _with_left_out(run, self.launch.left_out) if self.launch.left_out else run

    def texts(self) -> list[str]:
        """Standard output and standard error, if they are captured."""
        return [_decode(*output) for output in self.outputs]

    def _process(self, message: Message | None) -> None:
        match message:
            case None:
                raise SupervisorLost(
                    "the supervisor of the run was killed, or failed (PROCLIFE_DEBUG=1 says why); "
                    "its zygote ends what it watched"
                )
            case (protocol.STARTED, started_at, epoch, pid):
                self.started_at, self.epoch, self.pid = started_at, epoch, pid
            case (protocol.FAILED, path, number):
                raise TargetError(f"{path!r} cannot be executed: {os.strerror(number)}")
            case (protocol.NO_WITNESS, reason):
                raise SeccompUnavailable(f"the second witness cannot be had here: {reason}")
            case (protocol.NEWS, ticket, at, entries, outputs):
                self.log += entries
                self.outputs = self.outputs if outputs is None else outputs
                self.known_until, self.answered = at, ticket
                if self._shows and self.on_look is not None:
                    self._shows = False
                    self.on_look(self.assemble())
            case (protocol.SIGNALED, ticket, outcome):
                self.outcomes[ticket] = outcome
            case (protocol.STANDING, ticket, processes):
                stacks = read_stacks(processes)
                self._shows = ticket > 0 and self.on_look is not None
                with self.sending:
                    self.connection.send(protocol.STACKS, stacks)
                    if self._shows:
                        self.connection.send(protocol.ASK, self.answered + 1, True)
                self.looked = ticket
            case (protocol.OVER, entries, duration, timed_out, outputs, exceeded):
                self.exceeded = exceeded
                self.log += entries
                self.known_until = self.epoch + duration
                self.outputs, self.timed_out, self.over = outputs, timed_out, True
                self.close()
            case _:
                pass  # TAKEN


def _with_left_out(run: Run, left_out: tuple[str, ...]) -> Run:
    """The run, with the parts of the target that were not executed as evidence of main."""
    facts = (LeftOut(at=None, source=Source.TARGET, text=text) for text in left_out)
    main = replace(run.main, evidence=(*facts, *run.main.evidence))
    return replace(run, processes=(main, *run.processes[1:]))


def _read_once(log: list[Entry]) -> Iterator[Entry]:
    log.reverse()
    while log:
        yield log.pop()


def _decode(head: bytes, tail: bytes, dropped: int) -> str:
    gap = b"\n[proclife: %d bytes left out]\n" % dropped if dropped else b""
    return (head + gap + tail).decode("utf-8", "backslashreplace")


class SharedSession:
    """A session that several threads wait on: the first receives, and wakes the others.

    SupervisorLost is raised in each of them.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.lost = ""  # why the supervisor is lost
        self._received = threading.Condition()
        self._version = 0  # counts the messages that were received
        self._receiver: int | None = None  # the thread that receives
        self._sending = session.sending
        self._asked = 0  # the ticket of the last request for news
        self._tickets = itertools.count(1)  # of signals

    def wait_until(self, check: Callable[[], T | None], seconds: float | None) -> T | None:
        """Wait until `check` returns something, called anew after each message.

        None if the time is over, or the run.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            version, over = self._version, self.session.over
            found = check()
            if found is not None or over:
                return found
            if self.lost:
                raise SupervisorLost(self.lost)
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._wait(version, _LONGEST if left is None else min(left, _LONGEST))

    def catch_up(self) -> None:
        """Receive all that has happened up to now."""
        ticket = self._ask(at_once=True)
        self._wait_for_answer(lambda: self.session.answered >= ticket or None)

    def look(self) -> None:
        """Have the log say where each process stands at this moment, and receive that."""
        ticket = next(self._tickets)
        with self._sending:
            self.session.connection.send(protocol.LOOK, ticket)
        self.wait_until(lambda: self.session.looked >= ticket or None, _LOOKING)
        self.catch_up()

    def send_signal(self, number: int, signal: int, via: str, spared: int | None) -> str:
        """Have a signal sent, as `protocol.SIGNAL` says; returns its outcome."""
        ticket = next(self._tickets)
        with self._sending:
            self.session.connection.send(protocol.SIGNAL, ticket, number, signal, via, spared)
        outcome = self._wait_for_answer(lambda: self.session.outcomes.pop(ticket, None))
        return protocol.GONE if outcome is None else outcome

    def end(self) -> None:
        """Have the run ended, and receive the rest of its log."""
        with self._sending:
            self.session.connection.send(protocol.END)
        self._wait_for_answer(lambda: None)

    def _wait_for_answer(self, check: Callable[[], T | None]) -> T | None:
        found = self.wait_until(check, _PROMPT)
        if found is None and not self.session.over:
            raise SupervisorLost(f"the supervisor of the run has not answered for {_PROMPT:.0f} s")
        return found

    def _ask(self, at_once: bool) -> int:
        with self._sending:
            self._asked += 1
            self.session.connection.send(protocol.ASK, self._asked, at_once)
            return self._asked

    def _wait(self, version: int, seconds: float) -> None:
        """Wait until there is something newer than `version`."""
        this_thread = threading.get_ident()
        received = False
        try:
            with self._received:
                if self._version != version:
                    return
                if self._receiver is not None:
                    self._received.wait(seconds)
                    return
                self._receiver = this_thread
            if self.session.answered == self._asked:
                self._ask(at_once=False)
            received = self.session.receive(seconds)
        except BaseException as error:
            if self.session.closed and not self.session.over:
                received = True
                what = f"{type(error).__name__} was raised while the run was waited for"
                lost = isinstance(error, SupervisorLost)
                self.lost = str(error) if lost else f"{what}; it was ended"
            raise
        finally:
            with self._received:
                if self._receiver == this_thread:
                    self._receiver = None
                    self._version += received
                    self._received.notify_all()
