"""run(): a target in a real main process, through the supervisor's services."""

from __future__ import annotations

import contextlib
import io
import marshal
import os
import platform
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_proclife import wire
from pytest_proclife.assemble import CauseHook, Entry, assemble
from pytest_proclife.records import Run
from pytest_proclife.target import Launch, Target, TargetError, resolve

OUTPUT_LIMIT = 1 << 20  # bytes kept of each stream, half of them its head
START_METHODS = ("fork", "spawn", "forkserver")

_PACKAGE = os.path.dirname(os.path.abspath(__file__))
_SITE = os.path.join(_PACKAGE, "inside", "site")
_ZYGOTE = (
    "import sys; package = type(sys)('pytest_proclife'); package.__path__ = [{package!r}]; "
    "sys.modules['pytest_proclife'] = package; "
    "from pytest_proclife.supervisor import zygote; zygote.main({requests}, {caller})"
)
_ENDING = 10.0  # s that an interrupted caller waits for its tree to be gone


class RunTimeout(TimeoutError):
    """Main did not end in time; everything was ended. `run` is the account."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


class SupervisorLost(RuntimeError):
    """The process that watched a run is gone; what it watched has been ended."""


def run(
    target: Target,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    start_method: str | None = None,
    timeout: float | None = 30.0,
    linger: float = 1.0,
    allow_timeout: bool = False,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    input: str | bytes | None = None,
) -> Run:
    """Run a target in a real main process until nothing of it is left, and say what happened.

    `target` is a callable importable by name, a script's path, a command (a list of strings),
    `Module("package.module")` or `Code("...")`; `args` are the callable's arguments, or strings
    that follow the program; `kwargs` are for callables alone. `start_method` sets the default
    that `multiprocessing` starts with. `timeout` (seconds, None for none) bounds main, `linger`
    (seconds) what goes on when main has ended; what is left then is ended. `cwd` and `env` are
    the caller's where None. `input` is main's standard input, empty otherwise.

    Raises TargetError where the target cannot be run, ValueError for other arguments that make
    no sense, RunTimeout (unless `allow_timeout`), SupervisorLost. The failure of the program
    itself is a result: see `run.main.cause` and `run.exitcode`.
    """
    with _opened_input(input) as stdin:
        return observe(
            target,
            args,
            kwargs,
            start_method=start_method,
            timeout=timeout,
            linger=linger,
            allow_timeout=allow_timeout,
            cwd=cwd,
            env=env,
            streams=(stdin.fileno(),),
            capture=True,
        )


def observe(
    target: Target,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    start_method: str | None,
    timeout: float | None,
    linger: float,
    allow_timeout: bool,
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, str] | None,
    streams: tuple[int, ...],
    group: int | None = None,
    capture: bool = False,
    cause_hook: CauseHook | None = None,
) -> Run:
    """`run` with main's streams given: standard input alone, or all three.

    With `capture` output is kept, and copied to the streams given, if they are.
    """
    _check(start_method, timeout, linger)
    backend = _backend()
    environment = dict(os.environ if env is None else env)
    folder = os.getcwd() if cwd is None else os.path.abspath(os.fspath(cwd))
    launch = resolve(target, args, kwargs, cwd=folder, env=environment)
    request = _request(launch, environment, folder, start_method, timeout, linger, group)
    request["capture"], request["pass_output"] = capture, len(streams) == 3
    result = _Conversation(backend, launch, request, streams).result()
    run = _account(backend, launch, result, start_method, cause_hook)
    if run.timed_out and not allow_timeout:
        raise RunTimeout(_timeout_message(run, timeout), run)
    return run


def _check(start_method: str | None, timeout: float | None, linger: float) -> None:
    if start_method is not None and start_method not in START_METHODS:
        known = ", ".join(START_METHODS)
        raise ValueError(f"unknown start method {start_method!r}: this platform has {known}")
    for name, value in (("timeout", timeout), ("linger", linger)):
        if value is None and name == "timeout":
            continue
        if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
            or_none = " or None" if name == "timeout" else ""
            raise ValueError(f"{name} is a number of seconds, 0 or more{or_none}, not {value!r}")


def _opened_input(input: str | bytes | None) -> io.BufferedIOBase | Any:
    if input is None:
        return open(os.devnull, "rb")
    data = input.encode() if isinstance(input, str) else input
    if sys.platform == "linux":
        file: Any = os.fdopen(os.memfd_create("proclife-input"), "w+b")
    else:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    file.write(data)
    file.flush()
    file.seek(0)
    return file


def _request(
    launch: Launch,
    environment: dict[str, str],
    cwd: str,
    start_method: str | None,
    timeout: float | None,
    linger: float,
    group: int | None,
) -> dict[str, Any]:
    address = f"proclife-{secrets.token_hex(16)}"
    env = {os.fsencode(k): os.fsencode(v) for k, v in environment.items()}
    if launch.observed:
        ticket = f"{address},FD,,main,{start_method or ''}"
        env[wire.VARIABLE.encode()] = ticket.encode()
        if launch.by_path:
            path, site = env.get(b"PYTHONPATH"), os.fsencode(_SITE)
            env[b"PYTHONPATH"] = site if path is None else site + b":" + path
    ignored = [
        number
        for number in signal.valid_signals()
        # these two are ignored by every Python, which gives them back to what it starts
        # (`restore_signals` of subprocess)
        if number not in (signal.SIGPIPE, signal.SIGXFSZ)
        and signal.getsignal(number) is signal.SIG_IGN
    ]
    return {
        "executable": launch.executable,
        "arguments": list(launch.arguments),
        "env": env,
        "ticket": wire.VARIABLE.encode(),
        "observed": launch.observed,
        "cwd": cwd,
        "address": address,
        "timeout": timeout,
        "linger": linger,
        "group": 0 if group is None else group,
        "limit": OUTPUT_LIMIT,
        "ignored": [int(number) for number in ignored],
        "mask": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "umask": _umask(),
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


@dataclass(frozen=True, slots=True)
class _Backend:
    """What watches a run: `ask` hands it the channel and main's streams."""

    name: str
    ask: Callable[[list[int]], None]
    missing: tuple[str, ...] = ()  # what it cannot see


def _backend() -> _Backend:
    """The kernel's pidfds where there is all that this needs, polling elsewhere."""
    wanted = os.environ.get("PROCLIFE_BACKEND") or None
    if wanted not in (None, "pidfd", "polling"):
        raise ValueError(f"PROCLIFE_BACKEND is 'pidfd' or 'polling', not {wanted!r}")
    lacking = ("PROCLIFE_BACKEND=polling",) if wanted == "polling" else _zygote.lacking()
    if not lacking:
        return _Backend("pidfd", _zygote.ask)
    if wanted == "pidfd":
        reasons = "; ".join(lacking)
        raise SupervisorLost(f"PROCLIFE_BACKEND=pidfd cannot be had here: {reasons}")
    from pytest_proclife.polling import watch  # psutil costs an import of 9 to 17 ms

    reasons = "; ".join(lacking)
    return _Backend("polling", watch.serve, (f"polled: {reasons}", *watch.shortcomings()))


class _Conversation:
    """One run, seen from the caller: the request, the answers, the end."""

    def __init__(
        self,
        backend: _Backend,
        launch: Launch,
        request: dict[str, Any],
        streams: tuple[int, ...],
    ) -> None:
        self.backend = backend
        self.log: list[Entry] = []
        self.epoch = 0
        self.started_at = 0.0
        self.over: tuple[Any, ...] | None = None
        self._open(launch, request, streams)
        if self.receive() is None:
            # the supervisor that waited died with its zygote before it took the request
            # (it says so before anything else), so nothing has been started
            self._close()
            _zygote.forget()
            self._open(launch, request, streams)
            self._take(self.receive())

    def _open(self, launch: Launch, request: dict[str, Any], streams: tuple[int, ...]) -> None:
        self.channel, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.file = self.channel.makefile("rb")
        with its, _opened_input(launch.payload) as payload:
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

    def result(self) -> _Conversation:
        """Wait for the end of the run; if interrupted, end it first."""
        try:
            while self.over is None:
                self._take(self.receive())
        except BaseException:
            self._end()
            raise
        finally:
            self._close()
        return self

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


def _account(
    backend: _Backend,
    launch: Launch,
    result: _Conversation,
    start_method: str | None,
    cause_hook: CauseHook | None,
) -> Run:
    assert result.over is not None
    duration, timed_out, outputs = result.over
    texts = [_decode(*output) for output in outputs]
    return assemble(
        result.log,
        epoch=result.epoch,
        started_at=result.started_at,
        duration=duration / 1e9,
        timed_out=timed_out,
        target=launch.info,
        python=platform.python_version(),
        platform=sys.platform,
        start_method=start_method,
        backend=backend.name,
        missing=backend.missing,
        stdout=texts[0] if texts else None,
        stderr=texts[1] if texts else None,
        output_truncated=any(output[2] for output in outputs),
        cause_hook=cause_hook,
    )


def _decode(head: bytes, tail: bytes, dropped: int) -> str:
    if not dropped:
        return (head + tail).decode("utf-8", "backslashreplace")
    texts = [part.decode("utf-8", "backslashreplace") for part in (head, tail)]
    return f"{texts[0]}\n[proclife: {dropped} bytes left out]\n{texts[1]}"


def _timeout_message(run: Run, timeout: float | None) -> str:
    from pytest_proclife.timeline import waiting_for

    return f"main did not end within {timeout} s: {waiting_for(run)}\n\n{run}"
