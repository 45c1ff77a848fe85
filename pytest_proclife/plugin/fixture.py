"""What the fixture `proclife` gives to a test: runs that end with the test."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import EllipsisType
from typing import Any, cast

import pluggy
import pytest

from pytest_proclife.analysis.assemble import CauseHook
from pytest_proclife.errors import RunTimeout, SupervisorLost
from pytest_proclife.live import RunningMain
from pytest_proclife.plugin.settings import defaults_of
from pytest_proclife.records import Cause, ProcessRecord, Run
from pytest_proclife.runner import observe, observe_running
from pytest_proclife.session import Session, opened_input
from pytest_proclife.target import Target

_HOOK = "pytest_proclife_cause"


def cause_hook(item: pytest.Item) -> CauseHook | None:
    """Ask the plugins, and the conftest.py files above the test; None where none would answer."""
    everyone = getattr(item.config.hook, _HOOK).get_hookimpls()
    heard = getattr(item.ihook, _HOOK).get_hookimpls()
    answering = [impl for impl in reversed(heard) if not (impl.wrapper or impl.hookwrapper)]
    if not answering:
        return None
    manager = item.config.pluginmanager

    def ask(run: Run, process: ProcessRecord) -> tuple[str, str] | None:
        # one by one, since what a hook with one result returns does not say whose it is
        for impl in answering:
            others = [
                other.plugin
                for other in everyone
                if other is not impl and (other in answering or other not in heard)
            ]
            caller = manager.subset_hook_caller(_HOOK, others)
            answer = caller(run=run, process=process)
            if answer is not None:
                return _cause(answer, impl, item), _name(impl, item)
        return None

    return ask


def _cause(answer: object, impl: pluggy.HookImpl, item: pytest.Item) -> Cause:
    try:
        return Cause(str(answer))
    except ValueError:
        who, causes = _name(impl, item), ", ".join(Cause)
        raise ValueError(
            f"{who} answered {_HOOK} with {answer!r}, which is no cause: these are {causes}"
        ) from None


def _name(impl: pluggy.HookImpl, item: pytest.Item) -> str:
    """A plugin's name; of a conftest.py, its path below the root of the suite."""
    path, root = Path(impl.plugin_name), item.config.rootpath
    return str(path.relative_to(root)) if path.is_relative_to(root) else impl.plugin_name


_ENDING = 15.0  # s; more than a session gives its tree to end


class Underway:
    """The runs of one test. RuntimeError for what comes after `end`: it is ended at once."""

    def __init__(self, whose: str) -> None:
        self.mains: list[RunningMain] = []
        self._sessions: list[Session] = []
        self._whose = whose
        self._over = False
        self._changed = threading.Condition()

    def check(self) -> None:
        """RuntimeError where the test is over."""
        if self._over:
            raise RuntimeError(f"the fixture proclife is over: {self._whose} has ended")

    def add(self, session: Session) -> None:
        with self._changed:
            if not self._over:
                self._sessions.append(session)
                return
        session.end()
        self.check()

    def remove(self, session: Session) -> None:
        with self._changed:
            if session in self._sessions:
                self._sessions.remove(session)
                self._changed.notify_all()

    def add_main(self, main: RunningMain) -> None:
        with self._changed:
            if not self._over:
                self.mains.append(main)
                return
        with main:
            self.check()

    def end(self) -> None:
        """End all of it, and wait for that; what one end raises keeps no other from being ended."""
        with self._changed:
            self._over = True
            sessions = tuple(self._sessions)
        with ExitStack() as leaving:
            for main in self.mains:
                leaving.enter_context(main)
            for session in sessions:
                session.order_end()  # the thread that waits receives the rest of the log
            with self._changed:
                self._changed.wait_for(lambda: not self._sessions, _ENDING)


_TIMEOUT, _LINGER = 30.0, 1.0  # s, as for run()


class Proclife:
    """Runs programs for one test, with its defaults; what it started is gone when the test is.

    What a call leaves at `...` is the marker's, else the command line's, else the settings',
    else as for `pytest_proclife.run`. `start_method` is the one of the test, where it runs once
    for each, None elsewhere.
    """

    start_method: str | None

    def __init__(self, item: pytest.Item, *, start_method: str | None = None) -> None:
        self.start_method = start_method
        self._item = item
        defaults = defaults_of(item)
        self._timeout = cast("float | None", defaults.get("timeout", _TIMEOUT))
        self._linger = cast("float", defaults.get("linger", _LINGER))
        self._finished: list[Run] = []
        self._underway = Underway(item.nodeid)

    def __repr__(self) -> str:
        return f"<Proclife of {self._item.nodeid}>"

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs so far, in the order of their starts; of a main that runs, a snapshot."""
        known = {(run.main.pid, run.started_at): run for run in self._finished}
        for main in self._underway.mains:
            with suppress(RuntimeError):  # lost, or not ours since we are a fork
                run = main.snapshot()
                known.setdefault((run.main.pid, run.started_at), run)
        return tuple(sorted(known.values(), key=lambda run: run.started_at))

    def run(
        self,
        target: Target,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        start_method: str | EllipsisType | None = ...,
        timeout: float | EllipsisType | None = ...,
        linger: float | EllipsisType = ...,
        allow_timeout: bool = False,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        input: str | bytes | None = None,
    ) -> Run:
        """Run a target until nothing of it is left; see `pytest_proclife.run`.

        Raises what that raises, and RuntimeError when the test is over.
        """
        __tracebackhide__ = True
        self._underway.check()
        sessions: list[Session] = []

        def opened(session: Session) -> None:
            self._underway.add(session)
            sessions.append(session)

        try:
            with opened_input(input) as stdin:
                run = observe(
                    target,
                    args,
                    kwargs,
                    start_method=self.start_method if start_method is ... else start_method,
                    timeout=self._timeout if timeout is ... else timeout,
                    linger=self._linger if linger is ... else linger,
                    allow_timeout=allow_timeout,
                    cwd=cwd,
                    env=env,
                    streams=(stdin.fileno(),),
                    capture=True,
                    cause_hook=cause_hook(self._item),
                    opened=opened,
                )
        except (RunTimeout, ValueError, SupervisorLost) as error:
            error.__traceback__ = None  # the line that counts is the test's
            if isinstance(error, RunTimeout):
                self._finish(error.run)
            raise
        else:
            self._finish(run)
            return run
        finally:
            for session in sessions:
                self._underway.remove(session)

    def start(
        self,
        target: Target,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        start_method: str | EllipsisType | None = ...,
        linger: float | EllipsisType = ...,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        input: str | bytes | None = None,
    ) -> RunningMain:
        """Start a target, to act on it while it runs; see `pytest_proclife.start`.

        Its waits take as long as the test's timeout says. It need not be left as a context: when
        the test is over it is ended. Raises what `start` raises, and RuntimeError when the test
        is over.
        """
        __tracebackhide__ = True
        self._underway.check()
        try:
            with opened_input(input) as stdin:
                main = observe_running(
                    target,
                    args,
                    kwargs,
                    start_method=self.start_method if start_method is ... else start_method,
                    linger=self._linger if linger is ... else linger,
                    cwd=cwd,
                    env=env,
                    streams=(stdin.fileno(),),
                    timeout=self._timeout,
                    cause_hook=cause_hook(self._item),
                )
        except (ValueError, SupervisorLost) as error:
            error.__traceback__ = None  # the line that counts is the test's
            raise
        self._underway.add_main(main)
        return main

    def close(self) -> None:
        """End what is left; the fixture does that when the test is over."""
        with ExitStack() as leaving:
            for main in self._underway.mains:
                leaving.callback(self._finish_main, main)
            self._underway.end()

    def _finish_main(self, main: RunningMain) -> None:
        with suppress(RuntimeError):
            run = main.snapshot()
            self._finish(run)

    def _finish(self, run: Run) -> None:
        self._finished.append(run)
        self._item.ihook.pytest_proclife_run_finished(run=run, item=self._item)
