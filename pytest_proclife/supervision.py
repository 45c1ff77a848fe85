"""The caller's side of supervision: its zygote, the backend, and the talk with a supervisor."""

from __future__ import annotations

import atexit
import contextlib
import marshal
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pytest_proclife.request import opened_input
from pytest_proclife.sightings import Entry
from pytest_proclife.target import Launch, TargetError

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_ZYGOTE = (
    "import sys; package = type(sys)('pytest_proclife'); package.__path__ = [{package!r}]; "
    "sys.modules['pytest_proclife'] = package; "
    "from pytest_proclife.supervisor import zygote; zygote.main({requests}, {caller})"
)
_ENDING = 10.0  # s that an interrupted caller waits for its tree to be gone


class SupervisorLost(RuntimeError):
    """The process that watched a run is gone; what it watched has been ended."""


class _Zygote:
    """This process's connection to its zygote; started at the first run."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner = 0
        self.requests: socket.socket | None = None
        self.missing: tuple[str, ...] = ()

    def lacking(self) -> tuple[str, ...]:
        """What the platform lacks for it, in words; nothing where a zygote is ready."""
        if sys.platform != "linux":
            return (f"{sys.platform} has no pidfds",)
        with self.lock:
            if self.owner != os.getpid():
                try:
                    self._start()
                except SupervisorLost as lost:
                    return (str(lost),)
            return self.missing

    def ask(self, descriptors: list[int]) -> None:
        """Hand a request to a waiting supervisor."""
        with self.lock:
            if self.owner != os.getpid():
                self._start()
            try:
                self._send(descriptors)
            except OSError:
                self._start()  # it was killed; nothing had taken the request
                self._send(descriptors)

    def forget(self) -> None:
        """Have the next request start another zygote."""
        with self.lock:
            self.owner = 0

    def close(self) -> None:
        """Let go of the zygote; the next request would start another."""
        with self.lock:
            if self.requests is not None:
                self.requests.close()
            self.requests, self.owner = None, 0

    def _send(self, descriptors: list[int]) -> None:
        assert self.requests is not None
        socket.send_fds(self.requests, [b"run"], descriptors)

    def _start(self) -> None:
        if not sys.executable:
            raise SupervisorLost("sys.executable is not known, so no supervisor can be started")
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with its:
            text = _ZYGOTE.format(package=_PACKAGE, requests=its.fileno(), caller=os.getpid())
            debug = bool(os.environ.get("PROCLIFE_DEBUG"))
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-E", "-c", text],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if debug else subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                cwd="/",
            )
        answer = ours.recv(65536)
        process.wait()  # it has forked the zygote, which is no child of ours
        if not answer:
            ours.close()
            raise SupervisorLost("the zygote could not be started (PROCLIFE_DEBUG=1 says why)")
        self.missing = tuple(answer.decode().split("\n")) if answer.strip() else ()
        if self.requests is not None:
            self.requests.close()
        self.requests, self.owner = ours, os.getpid()
        if self.missing:
            ours.close()  # the zygote has ended: it cannot serve here


_zygote = _Zygote()
atexit.register(lambda: _zygote.close())  # else `-W error` shows a socket that nobody closed


@dataclass(frozen=True, slots=True)
class Backend:
    """What watches a run: `ask` hands it the channel and main's streams."""

    name: str
    ask: Callable[[list[int]], None]
    missing: tuple[str, ...] = ()  # what it cannot see


def choose_backend() -> Backend:
    """The kernel's pidfds where there is all that this needs, polling elsewhere."""
    wanted = os.environ.get("PROCLIFE_BACKEND") or None
    if wanted not in (None, "pidfd", "polling"):
        raise ValueError(f"PROCLIFE_BACKEND is 'pidfd' or 'polling', not {wanted!r}")
    lacking = ("PROCLIFE_BACKEND=polling",) if wanted == "polling" else _zygote.lacking()
    if not lacking:
        return Backend("pidfd", _zygote.ask)
    if wanted == "pidfd":
        reasons = "; ".join(lacking)
        raise SupervisorLost(f"PROCLIFE_BACKEND=pidfd cannot be had here: {reasons}")
    from pytest_proclife.polling import watch  # psutil costs an import of 9 to 17 ms

    reasons = "; ".join(lacking)
    return Backend("polling", watch.serve, (f"polled: {reasons}", *watch.shortcomings()))


class Conversation:
    """One run, seen from the caller; made when it is over. Interrupted, it ends the run first."""

    def __init__(
        self,
        backend: Backend,
        launch: Launch,
        request: dict[str, Any],
        streams: tuple[int, ...],
    ) -> None:
        self.backend = backend
        self.log: list[Entry] = []
        self.epoch = 0
        self.started_at = 0.0
        self.over: tuple[Any, ...] | None = None
        try:
            self._open(launch, request, streams)
            if self.receive() is None:
                # the supervisor that waited died with its zygote before it took the request
                # (it says so before anything else), so nothing has been started
                self._close()
                _zygote.forget()
                self._open(launch, request, streams)
                self._take(self.receive())
            while self.over is None:
                self._take(self.receive())
        except BaseException:
            self._end()
            raise
        finally:
            self._close()

    def _open(self, launch: Launch, request: dict[str, Any], streams: tuple[int, ...]) -> None:
        self.channel, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.file = self.channel.makefile("rb")
        with its, opened_input(launch.payload) as payload:
            descriptors = [its.fileno(), *streams]
            if launch.payload is not None:
                # after the three streams, hence on descriptor 3
                descriptors.append(payload.fileno())
            self.backend.ask(descriptors)
        self.send(request)

    def _close(self) -> None:
        self.file.close()
        self.channel.close()

    def send(self, message: Any) -> None:
        data = marshal.dumps(message)
        with contextlib.suppress(OSError):  # the supervisor is gone: receiving says so
            self.channel.sendall(len(data).to_bytes(8, "little") + data)

    def receive(self) -> tuple[Any, ...] | None:
        """One message of the supervisor's; None if it is gone."""
        try:
            size = int.from_bytes(self.file.read(8), "little")
            data = self.file.read(size)
        except ConnectionResetError:
            return None  # it died before it had read all that we sent
        message: tuple[Any, ...] | None = marshal.loads(data) if data else None
        return message

    def _take(self, message: tuple[Any, ...] | None) -> None:
        match message:
            case None:
                raise SupervisorLost(
                    "the supervisor of the run was killed; its zygote ends what it watched"
                )
            case ("started", started_at, epoch):
                self.started_at, self.epoch = started_at, epoch
            case ("failed", path, number):
                raise TargetError(f"{path!r} cannot be executed: {os.strerror(number)}")
            case ("over", log, *rest):
                self.log, self.over = log, tuple(rest)
            case _:
                pass  # "taken": a supervisor has the request

    def _end(self) -> None:
        self.send(("end",))
        self.channel.settimeout(_ENDING)
        with contextlib.suppress(OSError):  # lost, or too slow: it goes on without us
            while self.channel.recv(65536):
                pass  # what is left of the account; the end of file says that all is gone
