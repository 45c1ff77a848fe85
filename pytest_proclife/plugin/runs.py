"""What the fixture gives to a test."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from types import EllipsisType
from typing import Any, cast

import pytest

from pytest_proclife.conversation import Conversation
from pytest_proclife.plugin.answers import cause_hook
from pytest_proclife.plugin.marker import defaults_of
from pytest_proclife.plugin.underway import Underway
from pytest_proclife.records import Run
from pytest_proclife.request import opened_input
from pytest_proclife.runner import RunningMain, RunTimeout, observe, observe_running
from pytest_proclife.supervision import SupervisorLost
from pytest_proclife.target import Target

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
        talks: list[Conversation] = []

        def opened(talk: Conversation) -> None:
            self._underway.add(talk)
            talks.append(talk)

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
            for talk in talks:
                self._underway.remove(talk)

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
