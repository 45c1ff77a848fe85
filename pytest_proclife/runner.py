"""run(): a target in a real main process, through the supervisor's services."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_proclife.assemble import CauseHook, assemble
from pytest_proclife.records import Run
from pytest_proclife.request import opened_input, request_for
from pytest_proclife.supervision import Backend, Conversation, choose_backend
from pytest_proclife.target import Launch, Target, resolve

START_METHODS = ("fork", "spawn", "forkserver")


class RunTimeout(TimeoutError):
    """Main did not end in time; everything was ended. `run` is the account."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run


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
    )
    conversation = Conversation(backend, launch, request, streams)
    run = _account(backend, launch, conversation, start_method, cause_hook)
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


def _account(
    backend: Backend,
    launch: Launch,
    conversation: Conversation,
    start_method: str | None,
    cause_hook: CauseHook | None,
) -> Run:
    assert conversation.over is not None
    duration, timed_out, outputs = conversation.over
    texts = [_decode(*output) for output in outputs]
    return assemble(
        conversation.log,
        epoch=conversation.epoch,
        started_at=conversation.started_at,
        duration=duration / 1e9,
        timed_out=timed_out,
        target=launch.info,
        python=platform.python_version(),
        platform=sys.platform,
        start_method=start_method,
        backend=backend.name,
        observed=launch.observed if backend.name == "pidfd" else None,
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
