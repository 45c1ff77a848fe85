"""run() and start(): a target in a real main process, through the supervisor's services."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pytest_proclife.analysis.assemble import CauseHook
from pytest_proclife.backend import choose_backend
from pytest_proclife.errors import RunOver, RunTimeout
from pytest_proclife.live import RunningMain
from pytest_proclife.records import START_METHODS, Run
from pytest_proclife.session import Session, check_seconds, opened_input, request_for
from pytest_proclife.target import Target, resolve

__all__ = ["START_METHODS", "RunOver", "RunTimeout", "RunningMain", "observe", "run", "start"]

TIMEOUT = 30.0  # s


def run(
    target: Target,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    start_method: str | None = None,
    timeout: float | None = TIMEOUT,
    linger: float = 1.0,
    allow_timeout: bool = False,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    input: str | bytes | None = None,
) -> Run:
    """Run a target in a real main process until nothing of it is left, and say what happened.

    `target` is a callable importable by name, the path of a script or a notebook, a command (a
    list of strings), `Module("package.module")` or `Code("...")`; `args` are the callable's
    arguments, or strings that follow the program; `kwargs` are for callables alone.
    `start_method` sets the default that `multiprocessing` starts with. `timeout` (seconds, None
    for none) bounds main, `linger`
    (seconds) what goes on when main has ended; what is left then is ended. `cwd` and `env` are
    the caller's where None. `input` is main's standard input, empty otherwise.

    Raises TargetError where the target cannot be run, ValueError for other arguments that make
    no sense, RunTimeout (unless `allow_timeout`), SupervisorLost. The failure of the program
    itself is a result: see `run.main.cause` and `run.exitcode`.
    """
    with opened_input(input) as stdin:
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


def start(
    target: Target,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    start_method: str | None = None,
    linger: float = 1.0,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    input: str | bytes | None = None,
) -> RunningMain:
    """Start a target in a real main process, to act on it while it runs.

    The arguments are those of `run()`. Main runs until it ends by itself or is ended; leaving
    the context of what is returned ends everything. A wait takes 30 s at most unless it is told
    otherwise.

    Raises TargetError, ValueError and SupervisorLost, as `run()` does.
    """
    with opened_input(input) as stdin:
        return observe_running(
            target,
            args,
            kwargs,
            start_method=start_method,
            linger=linger,
            cwd=cwd,
            env=env,
            streams=(stdin.fileno(),),
            timeout=TIMEOUT,
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
    opened: Callable[[Session], None] = lambda session: None,
) -> Run:
    """`run` with main's streams given: standard input alone, or all three.

    With `capture` output is kept, and copied to the streams given, if they are. `opened` is told
    of the session before main is waited for: another thread can have the run ended.
    """
    check_seconds("timeout", timeout, or_none=True)
    session = _open(
        target,
        args,
        kwargs,
        start_method=start_method,
        timeout=timeout,
        linger=linger,
        cwd=cwd,
        env=env,
        streams=streams,
        group=group,
        capture=capture,
        live=False,
    )
    opened(session)
    session.wait()
    run = session.assemble(start_method, cause_hook, last=True)
    if run.timed_out and not allow_timeout:
        raise RunTimeout(_timeout_message(run, timeout), run)
    return run


def observe_running(
    target: Target,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    start_method: str | None,
    linger: float,
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, str] | None,
    streams: tuple[int, ...],
    timeout: float | None,
    cause_hook: CauseHook | None = None,
) -> RunningMain:
    """`start` with main's standard input given; `timeout` is that of the waits.

    The hook is asked for the final account alone: a snapshot knows little of who is just ending.
    """
    check_seconds("timeout", timeout, or_none=True)
    session = _open(
        target,
        args,
        kwargs,
        start_method=start_method,
        timeout=None,
        linger=linger,
        cwd=cwd,
        env=env,
        streams=streams,
        group=None,
        capture=True,
        live=True,
    )
    session.wait(until_started=True)
    return RunningMain(session, start_method=start_method, timeout=timeout, cause_hook=cause_hook)


def _open(
    target: Target,
    args: Sequence[Any],
    kwargs: Mapping[str, Any] | None,
    *,
    start_method: str | None,
    timeout: float | None,
    linger: float,
    cwd: str | os.PathLike[str] | None,
    env: Mapping[str, str] | None,
    streams: tuple[int, ...],
    group: int | None,
    capture: bool,
    live: bool,
) -> Session:
    if start_method is not None and start_method not in START_METHODS:
        known = ", ".join(START_METHODS)
        raise ValueError(f"unknown start method {start_method!r}: this platform has {known}")
    check_seconds("linger", linger, or_none=False)
    backend = choose_backend()
    environment = dict(os.environ if env is None else env)
    folder = os.getcwd() if cwd is None else os.path.abspath(os.fspath(cwd))
    launch = resolve(target, args, kwargs, cwd=folder, env=environment)
    request = request_for(
        launch,
        environment,
        folder,
        start_method,
        timeout,
        linger,
        group,
        capture=capture,
        pass_output=len(streams) == 3,
        live=live,
    )
    return Session(backend, launch, request, streams)


def _timeout_message(run: Run, timeout: float | None) -> str:
    from pytest_proclife.render.timeline import waiting_for

    return f"main did not end within {timeout} s: {waiting_for(run)}\n\n{run}"
