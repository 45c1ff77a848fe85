"""What watches the runs of this process: its zygote, or polling if the platform has no pidfds."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass

from pytest_proclife.errors import SupervisorLost
from pytest_proclife.records import Missing, MissingKind
from pytest_proclife.supervisor import kernel

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_ZYGOTE = (
    "import sys; package = type(sys)('pytest_proclife'); package.__path__ = [{package!r}]; "
    "sys.modules['pytest_proclife'] = package; "
    "from pytest_proclife.supervisor import zygote; zygote.main({requests}, {caller})"
)


def is_zygote(command_line: tuple[str, ...]) -> bool:
    """True if a process with this command line is a zygote."""
    return any(word.startswith(_ZYGOTE.partition("{")[0]) for word in command_line)


class _Zygote:
    """This process's connection to its zygote, which is started at the first run."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.owner = 0
        self.requests: socket.socket | None = None
        self.missing: tuple[str, ...] = ()
        self.features: tuple[str, ...] = ()
        self.without = ""

    def lacking(self) -> tuple[str, ...]:
        """What the platform lacks for it, in words; nothing if a zygote is ready."""
        if sys.platform != "linux":
            return (f"{sys.platform} has no pidfds",)
        with self.lock:
            if self.owner != os.getpid() or self.without != _without():
                try:
                    self._start()
                except SupervisorLost as lost:
                    return (str(lost),)
            return self.missing

    def ask(self, descriptors: list[int]) -> None:
        """Hand a request to a waiting supervisor."""
        with self.lock:
            requests = self.requests
            if requests is None or self.owner != os.getpid():
                requests = self._start()
            try:
                socket.send_fds(requests, [b"run"], descriptors)
            except OSError:  # it ended before a supervisor had taken the request
                requests = self._start()
                if self.missing:
                    raise SupervisorLost("; ".join(self.missing)) from None
                try:
                    socket.send_fds(requests, [b"run"], descriptors)
                except OSError as error:  # no process is left for it, say
                    raise SupervisorLost(f"no supervisor could be started: {error}") from None

    def close(self) -> None:
        """Disconnect from the zygote; the next request starts another."""
        with self.lock:
            if self.requests is not None:
                self.requests.close()
            self.requests, self.owner = None, 0

    def _start(self) -> socket.socket:
        if not sys.executable:
            raise SupervisorLost("sys.executable is not known, so no supervisor can be started")
        try:
            ours, process = _start_zygote()
        except OSError as error:  # no process, no descriptor or no memory is left
            raise SupervisorLost(f"the zygote could not be started: {error}") from None
        answer = ours.recv(65536)
        process.wait()  # it has forked the zygote, which is not a child of ours
        if not answer:
            ours.close()
            raise SupervisorLost("the zygote could not be started (PROCLIFE_DEBUG=1 says why)")
        features, *missing = answer.decode().splitlines()
        self.features, self.missing = tuple(features.split()), tuple(missing)
        self.without = _without()
        if self.requests is not None:
            self.requests.close()
        self.requests, self.owner = ours, os.getpid()
        if self.missing:
            ours.close()  # the zygote has ended: it cannot serve here
        return ours


def _start_zygote() -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """Our end of the connection to it, and the process that forks it."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        text = _ZYGOTE.format(package=_PACKAGE, requests=its.fileno(), caller=os.getpid())
        debug = bool(os.environ.get("PROCLIFE_DEBUG"))
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-E", "-c", text],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=None if debug else subprocess.DEVNULL,
                pass_fds=[its.fileno()],
                cwd="/",
            )
        except OSError:
            ours.close()
            raise
    return ours, process


def forget_zygote() -> None:
    """Have the next request start another zygote."""
    _zygote.close()


_zygote = _Zygote()
atexit.register(forget_zygote)  # else `-W error` shows a socket that was not closed


@dataclass(frozen=True, slots=True)
class Backend:
    """What watches a run: `ask` hands it a connection and main's streams."""

    name: str
    ask: Callable[[list[int]], None]
    missing: tuple[Missing, ...] = ()  # what it cannot see
    features: tuple[str, ...] = ()  # those of the kernel that it uses: `kernel.FEATURES`


def _without() -> str:
    """Features that are not to be used, so that tests can have an older kernel."""
    names = os.environ.get(kernel.WITHOUT, "")
    unknown = [name for name in names.split(",") if name and name not in kernel.FEATURES]
    if unknown:
        known = ", ".join(kernel.FEATURES)
        raise ValueError(f"{kernel.WITHOUT} must name features ({known}), not {unknown[0]!r}")
    return names


POLLING = "proclife: polling, which can miss processes that live for less than 10 ms"


def asked_for_polling() -> bool:
    """Whether polling was asked for, so that nobody has to be told."""
    return os.environ.get("PROCLIFE_BACKEND") == "polling"


def choose_backend() -> Backend:
    """The zygote if the platform has all that it needs, else polling."""
    wanted = os.environ.get("PROCLIFE_BACKEND", "")
    if wanted not in ("", "pidfd", "polling"):
        raise ValueError(f"PROCLIFE_BACKEND must be 'pidfd' or 'polling', not {wanted!r}")
    lacking = ("PROCLIFE_BACKEND=polling",) if asked_for_polling() else _zygote.lacking()
    if not lacking:
        return Backend("pidfd", _zygote.ask, features=_zygote.features)
    if wanted == "pidfd":
        reasons = "; ".join(lacking)
        raise SupervisorLost(f"PROCLIFE_BACKEND=pidfd is not possible here: {reasons}")
    if unseen := sys.platform == "linux" and kernel.lacking_of_proc():
        # by pids of another namespace psutil would find, and the clean-up kill, others' processes
        raise SupervisorLost(
            f"processes cannot be observed here: {unseen} (mount -t proc proc /proc)"
        )
    from pytest_proclife.polling import loop  # psutil costs an import of 9 to 17 ms

    polled = Missing(process=None, kind=MissingKind.BACKEND, what="; ".join(lacking))
    return Backend("polling", loop.serve, (polled, *loop.shortcomings()))
