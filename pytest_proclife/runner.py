"""run() and start(): a target in a real main process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_proclife.backend import POLLING, asked_for_polling, choose_backend
from pytest_proclife.confinement import check_limits
from pytest_proclife.durations import LINGER, TIMEOUT
from pytest_proclife.errors import (
    PollingWarning,
    RunTimeout,
    SeccompUnavailable,
    SupervisorLost,
)
from pytest_proclife.live import RunningMain
from pytest_proclife.options import Options
from pytest_proclife.records import Cause, MissingKind, Run
from pytest_proclife.render import hang
from pytest_proclife.render.timeline import render
from pytest_proclife.session import Session, opened_input, request_for
from pytest_proclife.target import Program, Target, environment_of, input_of, resolve

_ROWS = 12  # processes in the timeline of a timeout


def run(
    target: Target,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    start_method: str | None = None,
    timeout: float | None = TIMEOUT,
    linger: float = LINGER,
    allow_timeout: bool = False,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    input: str | bytes | None = None,
    seccomp: bool = False,
) -> Run:
    """Run a target in a real main process, and return when none of its processes is left.

    - `target`: a callable that can be imported by its name, the path of a script or a notebook,
      a command (a list of strings), `Module("package.module")` or `Code("...")`.
    - `args`: a list or tuple of a callable's arguments, or of the strings that follow a program.
    - `kwargs`: the keyword arguments of a callable.
    - `start_method`: the default start method of `multiprocessing` in main; None: Python's.
    - `timeout`: seconds that main may take (30 by default), None for no limit.
    - `linger`: seconds to keep watching processes that outlive main, before killing them (1 by
      default).
    - `allow_timeout`: return the run after a timeout too, instead of raising RunTimeout.
    - `cwd`, `env`: main's working directory and environment; None: the caller's.
    - `input`: main's standard input; None: empty.
    - `seccomp`: ask the kernel for a second witness, by seccomp(2). It holds the calls by which
      processes signal, fork, wait and exit until they have been looked at, whatever language they
      are made in.

    Raises TargetError if the target cannot be run, ValueError if another argument makes no
    sense, RunTimeout at the timeout, SeccompUnavailable if the kernel refuses the second witness,
    and SupervisorLost if the supervisor was killed, or if processes cannot be watched here. A
    program that fails is a result: see `run.main.cause` and `run.exitcode`.
    """
    __tracebackhide__ = True
    program = Program(target=target, args=args, kwargs=kwargs, cwd=cwd, env=env, input=input)
    try:
        options = Options(
            program=program,
            start_method=start_method,
            timeout=timeout,
            linger=linger,
            allow_timeout=allow_timeout,
            seccomp=seccomp,
        )
        _warn_of_polling()
        return observe(options)
    except (RunTimeout, ValueError, SupervisorLost, SeccompUnavailable) as error:
        error.__traceback__ = None  # the caller's line is shown, and none of ours
        raise


def start(
    target: Target,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    start_method: str | None = None,
    timeout: float | None = TIMEOUT,
    linger: float = LINGER,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    input: str | bytes | None = None,
    seccomp: bool = False,
) -> RunningMain:
    """Start a target in a real main process, to act on it while it runs.

    The arguments are those of `run()`, but for `timeout`, which is the default timeout of the
    waits (30 seconds, None for no limit). Main runs until it exits or is killed; leaving the
    context of the RunningMain ends every process of the run.

    Raises TargetError, ValueError, SeccompUnavailable and SupervisorLost as `run()` does.
    """
    __tracebackhide__ = True
    program = Program(target=target, args=args, kwargs=kwargs, cwd=cwd, env=env, input=input)
    try:
        options = Options(
            program=program,
            start_method=start_method,
            timeout=timeout,
            linger=linger,
            seccomp=seccomp,
            live=True,
        )
        _warn_of_polling()
        return observe_running(options)
    except (ValueError, SupervisorLost, SeccompUnavailable) as error:
        error.__traceback__ = None  # as above
        raise


def _warn_of_polling() -> None:
    """Warn the caller of run() or start() at the first run that is polled."""
    backend = choose_backend()
    if backend.name == "polling" and not _warned and not asked_for_polling():
        _warned.append(True)
        why = next(m.what for m in backend.missing if m.kind is MissingKind.BACKEND)
        warnings.warn(f"{POLLING}: {why}", PollingWarning, stacklevel=3)


_warned: list[bool] = []  # the first run that was polled has been


def observe(options: Options) -> Run:
    """`run()` with every option."""
    return finish(open_session(options), options)


def observe_running(options: Options) -> RunningMain:
    """`start()` with every option."""
    session = open_session(options)
    session.wait(until_started=True)
    return RunningMain(session, options)


def open_session(options: Options) -> Session:
    """Have main started. `finish` waits for it; meanwhile another thread can end the run."""
    backend = choose_backend()
    if options.seccomp and backend.name != "pidfd":
        why = next(m.what for m in backend.missing if m.kind is MissingKind.BACKEND)
        raise SeccompUnavailable(f"the second witness cannot be had here: {why}")
    if options.points and backend.name != "pidfd":
        why = next(m.what for m in backend.missing if m.kind is MissingKind.BACKEND)
        raise SupervisorLost(f"crash points cannot be had here: {why}")
    confinement = options.confinement
    if backend.name != "pidfd" and (confinement.user or confinement.limits):
        raise SupervisorLost("a program cannot be confined here: that needs pidfds")
    # first, since they may raise, and the launch of a notebook has a folder to remove
    env, input = environment_of(options.program), input_of(options.program)
    with opened_input(input) as stdin:
        env |= {os.fsencode(k): os.fsencode(v) for k, v in confinement.environment.items()}
        launch = resolve(options.program)
        if confinement.user is not None and launch.scratch is not None:
            os.chmod(launch.scratch, 0o755)
        request = request_for(launch, options, env)
        return Session(backend, launch, request, options.streams or (stdin.fileno(),))


def finish(session: Session, options: Options) -> Run:
    """Wait until no process of the run is left; returns the run. RunTimeout as for `run()`."""
    session.wait()
    run = session.assemble(options.cause_hook, last=True)
    check_limits(session.exceeded, session.request.limits, run)
    if run.timed_out and not options.allow_timeout:
        left = [p for p in run if p.cause is Cause.CLEANED_UP]
        timeline = render(run, rows=_ROWS, about=left or None)
        details = f"{hang.why(run)}\n\n{timeline}{hang.block(run)}"
        raise RunTimeout(f"main did not end within {options.timeout} s: {details}", run)
    return run
