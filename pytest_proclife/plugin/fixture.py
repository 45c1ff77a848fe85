"""The fixtures `proclife`, `proclife_module` and `proclife_session`: runs that end with them."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any

import pluggy
import pytest

from pytest_proclife.analysis.assemble import CauseHook
from pytest_proclife.backend import POLLING
from pytest_proclife.errors import RunTimeout, SeccompUnavailable, SupervisorLost
from pytest_proclife.live import RunningMain
from pytest_proclife.options import Options
from pytest_proclife.plugin.settings import defaults_of
from pytest_proclife.records import Cause, MissingKind, ProcessRecord, Run
from pytest_proclife.runner import finish, observe_running, open_session
from pytest_proclife.session import Session
from pytest_proclife.supervisor import protocol
from pytest_proclife.target import Program, Target

if TYPE_CHECKING:
    from pytest_proclife.crash import Crash

_HOOK = "pytest_proclife_cause"
_POLLING = pytest.StashKey[bool]()
POLLING_LINE = "proclife_polling"  # the key for it in the output of a worker of pytest-xdist
_ENDING = 15.0  # s to wait for active runs to end; more than a session waits for its processes


class Proclife:
    """Runs programs for one test, with the test's defaults, and ends them with the test.

    Those of the fixtures `proclife_module` and `proclife_session` are for a module or the session.
    The default of an argument (`...`) is the value of the marker, else of the command line, else
    of the settings file, else the default of `pytest_proclife.run`. `start_method` is the start
    method of the test if it runs once for each of several, else None.
    """

    def __init__(
        self,
        item: pytest.Item,
        *,
        start_method: str | None = None,
        request: pytest.FixtureRequest | None = None,
    ) -> None:
        # for a wider scope `item` is a pytest.Module or the pytest.Session
        self.start_method = start_method
        self.shown: Run | None = None  # of the crash that the test is looking at
        self._request = request
        self._crashes: list[Generator[Crash, None, None]] = []
        self._item = item
        self._defaults = defaults_of(item)
        self._finished: list[Run] = []
        self._active = ActiveRuns(item.nodeid or "the session")

    def __repr__(self) -> str:
        return f"<Proclife of {self._item.nodeid or 'the session'}>"

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs so far, in the order of their starts; a snapshot of a main that is running."""
        runs = {(run.main.pid, run.started_at): run for run in self._finished}
        for main in self._active.mains:
            with suppress(RuntimeError):  # SupervisorLost, or this process is a fork of its caller
                run = main.snapshot()
                runs.setdefault((run.main.pid, run.started_at), run)
        return tuple(sorted(runs.values(), key=lambda run: run.started_at))

    def run(
        self,
        target: Target,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        start_method: str | EllipsisType | None = ...,
        timeout: float | EllipsisType | None = ...,
        linger: float | EllipsisType = ...,
        seccomp: bool | EllipsisType = ...,
        allow_timeout: bool = False,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        input: str | bytes | None = None,
    ) -> Run:
        """Run a target, and return when none of its processes is left: `pytest_proclife.run`.

        Raises what that raises, and RuntimeError if the test is over.
        """
        __tracebackhide__ = True
        self._active.check()
        program = Program(target=target, args=args, kwargs=kwargs, cwd=cwd, env=env, input=input)
        try:
            options = Options(
                program=program,
                start_method=self.start_method if start_method is ... else start_method,
                timeout=self._defaults.timeout if timeout is ... else timeout,
                linger=self._defaults.linger if linger is ... else linger,
                seccomp=self._defaults.seccomp if seccomp is ... else seccomp,
                allow_timeout=allow_timeout,
                cause_hook=cause_hook(self._item),
            )
            session = open_session(options)
            with self._active.waiting(session):
                run = finish(session, options)
        except (RunTimeout, ValueError, SupervisorLost, SeccompUnavailable) as error:
            error.__traceback__ = None  # pytest shows the line of the test
            if isinstance(error, RunTimeout):
                self._finish(error.run)
            raise
        self._finish(run)
        return run

    def start(
        self,
        target: Target,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        start_method: str | EllipsisType | None = ...,
        timeout: float | EllipsisType | None = ...,
        linger: float | EllipsisType = ...,
        seccomp: bool | EllipsisType = ...,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        input: str | bytes | None = None,
    ) -> RunningMain:
        """Start a target, to act on it while it runs: `pytest_proclife.start`.

        `timeout` is the default timeout of its waits. It need not be used as a context
        manager: the fixture ends it with the test. Raises what `start` raises, and RuntimeError
        if the test is over.
        """
        __tracebackhide__ = True
        self._active.check()
        program = Program(target=target, args=args, kwargs=kwargs, cwd=cwd, env=env, input=input)
        try:
            options = Options(
                program=program,
                start_method=self.start_method if start_method is ... else start_method,
                timeout=self._defaults.timeout if timeout is ... else timeout,
                linger=self._defaults.linger if linger is ... else linger,
                seccomp=self._defaults.seccomp if seccomp is ... else seccomp,
                live=True,
                cause_hook=cause_hook(self._item),
            )
            main = observe_running(options)
        except (ValueError, SupervisorLost, SeccompUnavailable) as error:
            error.__traceback__ = None  # pytest shows the line of the test
            raise
        self._active.add(main)
        return main

    def crash_points(
        self,
        target: Target,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        signals: Sequence[str | int] | None = None,
        of: str = "main",
        at: Sequence[str] | None = None,
        limit: int | None = None,
        seed: int = 0,
        jobs: int = 1,
        start_method: str | EllipsisType | None = ...,
        timeout: float | EllipsisType | None = ...,
        linger: float | EllipsisType = ...,
        seccomp: bool | EllipsisType = ...,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        input: str | bytes | None = None,
    ) -> Iterator[Crash]:
        """Crash a program at each point of its life: `pytest_proclife.crash_points`.

        Each crash is a subtest, if pytest has them (9.0). `timeout` is not the test's: it is 10
        seconds from the signal on. Raises what `crash_points` raises, and RuntimeError if the test
        is over.
        """
        __tracebackhide__ = True
        from pytest_proclife import crash  # few tests need it

        self._active.check()
        program = Program(target=target, args=args, kwargs=kwargs, cwd=cwd, env=env, input=input)
        options = Options(
            program=program,
            start_method=self.start_method if start_method is ... else start_method,
            timeout=crash.TIMEOUT if timeout is ... else timeout,
            linger=self._defaults.linger if linger is ... else linger,
            seccomp=self._defaults.seccomp if seccomp is ... else seccomp,
            allow_timeout=True,
            points=True,
            cause_hook=cause_hook(self._item),
        )
        plan = crash.Plan(
            options,
            signals=crash.SIGNALS if signals is None else signals,
            of=of,
            at=at,
            limit=limit,
            seed=seed,
            finished=self._finish,
            context=self._looking_at,
        )
        self._crashes.append(plan.crashes(jobs))
        return self._crashes[-1]

    @contextmanager
    def _looking_at(self, crash: Crash) -> Iterator[None]:
        """A subtest, or nothing before pytest 9; a report of its failure shows this run alone."""
        subtests: Any = None
        if self._request is not None:
            with suppress(pytest.FixtureLookupError):
                subtests = self._request.getfixturevalue("subtests")
        self.shown = crash.run
        with nullcontext() if subtests is None else subtests.test(str(crash)):
            yield
        self.shown = None  # not if the test has failed: it is reported after this

    def close(self) -> None:
        """End the runs that are active; the fixture does that when the test is over."""
        with ExitStack() as stack:
            for crashes in self._crashes:
                stack.callback(crashes.close)
            for main in self._active.mains:
                stack.callback(self._finish_main, main)
            self._active.end()

    def _finish_main(self, main: RunningMain) -> None:
        try:
            run = main.snapshot()
        except RuntimeError:  # as in `runs`
            return
        self._finish(run)

    def _finish(self, run: Run) -> None:
        self._finished.append(run)
        report_polling(self._item.config, run)
        self._item.ihook.pytest_proclife_run_finished(run=run, item=self._item)


def report_polling(config: pytest.Config, run: Run) -> None:
    """Say in one line, once a session, that runs are polled and why."""
    if run.witness.backend != "polling" or _POLLING in config.stash:
        return
    config.stash[_POLLING] = True
    why = next(m.what for m in run.witness.missing if m.kind is MissingKind.BACKEND)
    line = f"{POLLING}: {why}"
    output = getattr(config, "workeroutput", None)
    if output is not None:
        output[POLLING_LINE] = line  # of pytest-xdist; the controller writes it
    else:
        write_line(config, line)


def write_line(config: pytest.Config, line: str) -> None:
    """Write a line to the terminal, whatever is captured."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    capture = config.pluginmanager.get_plugin("capturemanager")
    if reporter is not None:
        with capture.global_and_fixture_disabled() if capture is not None else nullcontext():
            reporter.ensure_newline()
            reporter.write_line(line)


class ActiveRuns:
    """The runs of one test that have not ended, and all mains that it started.

    After `end`, whatever is added is ended at once, with RuntimeError.
    """

    def __init__(self, test: str) -> None:
        self.mains: list[RunningMain] = []
        self._sessions: list[Session] = []
        self._test = test
        self._over = False
        self._changed = threading.Condition()

    def check(self) -> None:
        """RuntimeError if the test is over."""
        if self._over:
            raise RuntimeError(f"the fixture proclife is over: {self._test} has ended")

    @contextmanager
    def waiting(self, session: Session) -> Iterator[None]:
        """The run is active while a thread waits for its end."""
        with self._changed:
            over = self._over
            self._sessions.append(session)
        try:
            if over:
                session.end()
                self.check()
            yield
        finally:
            with self._changed:
                self._sessions.remove(session)
                self._changed.notify_all()

    def add(self, main: RunningMain) -> None:
        with self._changed:
            if not self._over:
                self.mains.append(main)
                return
        with main:
            self.check()

    def end(self) -> None:
        """End every run, even if ending one of them fails, and wait until they have ended."""
        with self._changed:
            self._over = True
            sessions = tuple(self._sessions)
        with ExitStack() as stack:
            for main in self.mains:
                stack.enter_context(main)
            for session in sessions:
                session.connection.send(protocol.END)  # the thread that waits receives the rest
            with self._changed:
                self._changed.wait_for(lambda: not self._sessions, _ENDING)


def cause_hook(item: pytest.Item) -> CauseHook | None:
    """Call the hook for causes of a test's runs; None if no plugin or conftest.py has it."""
    everywhere = getattr(item.config.hook, _HOOK).get_hookimpls()
    for_item = getattr(item.ihook, _HOOK).get_hookimpls()
    answering = [impl for impl in reversed(for_item) if not (impl.wrapper or impl.hookwrapper)]
    if not answering:
        return None
    manager = item.config.pluginmanager

    def call(run: Run, process: ProcessRecord) -> tuple[str, str] | None:
        # each in turn, since the result of a firstresult hook does not name its plugin
        for impl in answering:
            others = [
                other.plugin
                for other in everywhere
                if other is not impl and (other in answering or other not in for_item)
            ]
            caller = manager.subset_hook_caller(_HOOK, others)
            answer = caller(run=run, process=process)
            if answer is not None:
                name = _plugin_name(impl, item)
                if str(answer) not in list(Cause):
                    wrong = f"{name} answered {_HOOK} with {answer!r}, which is not a cause"
                    raise ValueError(f"{wrong}; the causes are {', '.join(Cause)}")
                return Cause(str(answer)), name
        return None

    return call


def _plugin_name(impl: pluggy.HookImpl, item: pytest.Item) -> str:
    """A plugin's name; for a conftest.py, its path relative to the root of the suite."""
    path, root = Path(impl.plugin_name), item.config.rootpath
    return str(path.relative_to(root)) if path.is_relative_to(root) else impl.plugin_name
