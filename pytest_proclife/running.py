"""A main that runs: what it does is waited for, and signals are sent to it and its processes."""

from __future__ import annotations

import os
import re
import signal as signals
import threading
from collections.abc import Callable
from types import EllipsisType, TracebackType
from typing import NoReturn, TypeVar

from pytest_proclife.assemble import CauseHook
from pytest_proclife.awaited import Awaited, Children, End, Output, Predicate, never, too_late
from pytest_proclife.conversation import Conversation
from pytest_proclife.description import describe
from pytest_proclife.listener import Listener
from pytest_proclife.records import Ending, ProcessRecord, Run
from pytest_proclife.request import check_seconds
from pytest_proclife.supervision import SupervisorLost

Timeout = float | EllipsisType | None

T = TypeVar("T")


class RunTimeout(TimeoutError):
    """What was waited for did not come in time. `run` is the account.

    Of `run()`, whose main did not end: everything was ended. Of a RunningMain, which goes on: a
    snapshot.
    """

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> tuple[type, tuple[str, Run]]:
        return type(self), (str(self), self.run)


class RunOver(RuntimeError):
    """What was waited for can no longer come: nothing of the run is left. `run` is the account."""

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> tuple[type, tuple[str, Run]]:
        return type(self), (str(self), self.run)


class RunningMain:
    """A main that runs, made by `start()`. Leaving its context ends everything of the run.

    Waits are by event, and may be called in any thread; several can wait at a time. `timeout`
    is in seconds, None for none, and as `start()` was told where it is left out. A wait that
    fails raises RunTimeout, or RunOver as soon as nothing of the run is left; both say what was
    seen instead. All verbs raise SupervisorLost where the supervisor was killed, and RuntimeError
    in a fork of the process that called `start()`.
    """

    def __init__(
        self,
        talk: Conversation,
        *,
        start_method: str | None,
        timeout: float | None,
        cause_hook: CauseHook | None,
    ) -> None:
        self.pid: int = talk.pid
        self._talk = talk
        self._listener = Listener(talk)
        self._start_method = start_method
        self._timeout = timeout
        self._cause_hook = cause_hook
        self._owner = os.getpid()
        self._finishing = threading.Lock()
        self._final: Run | None = None

    def __repr__(self) -> str:
        state = "over" if self._talk.over else "running"
        return f"<RunningMain pid {self.pid}: {self._talk.launch.info.text!r}, {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a running main cannot be copied nor pickled; its snapshot() can")

    def __enter__(self) -> RunningMain:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # in a fork of the caller the run is not ours to end
        if self._owner != os.getpid() or self._talk.over or self._listener.lost:
            return
        try:
            self._listener.end()
        except SupervisorLost:
            if error is None:
                raise

    def snapshot(self) -> Run:
        """The account up to now: who runs has the ending "running" and no cause yet.

        The final account when the run is over.
        """
        self._catch_up()
        return self._account()

    # --- waiting

    def wait_for_children(self, n: int, timeout: Timeout = ...) -> tuple[ProcessRecord, ...]:
        """Wait until main has started `n` children, helpers left out; all that it has started.

        Those that ended meanwhile count, too. Those that are known as `multiprocessing`'s have
        reached their target; one that was forked this very moment is not known as such yet, so
        where it matters wait for what it does.
        """
        return self._wait(Children(n), timeout)

    def wait_for_output(
        self, pattern: str | re.Pattern[str], times: int = 1, timeout: Timeout = ...
    ) -> re.Match[str]:
        """Wait until a regular expression is found in the output so often; the last of these.

        Both streams count, standard output first. A match at the very end, behind which no
        line ends, counts if it is the pattern to the letter: any other may go on.
        """
        return self._wait(Output(pattern, times), timeout)

    def wait_for(self, predicate: Callable[[Run], object], timeout: Timeout = ...) -> Run:
        """Wait until `predicate` of a snapshot is true; the snapshot.

        It is asked at each event, and what it raises goes on to the caller: a KeyError where
        `run["name"]` has not been started yet.
        """
        return self._wait(Predicate(predicate), timeout)

    def wait(self, timeout: Timeout = ...) -> Run:
        """Wait until nothing of the run is left, linger included; its account.

        Raises RunTimeout that says what main was waiting for; the run goes on then. Once it is
        over, all further calls return the same account.
        """
        return self._wait(End(), timeout)

    # --- signals

    def send_signal(
        self, sig: int, process: ProcessRecord | None = None, group: bool = False
    ) -> None:
        """Send a signal to main, to a process of a snapshot, or to its whole process group.

        It goes to the very process, never to another that has its pid by now. Raises
        ProcessLookupError where it has ended, ValueError for a process of another run,
        PermissionError where the system refuses, and for the group of the caller itself.
        """
        self._send(sig, process, group, "send_signal()")

    def interrupt(self, process: ProcessRecord | None = None, group: bool = False) -> None:
        """`send_signal(SIGINT)`; with `group` it is what Ctrl-C does."""
        self._send(signals.SIGINT, process, group, "interrupt()")

    def terminate(self, process: ProcessRecord | None = None, group: bool = False) -> None:
        """`send_signal(SIGTERM)`."""
        self._send(signals.SIGTERM, process, group, "terminate()")

    def kill(self, process: ProcessRecord | None = None, group: bool = False) -> None:
        """`send_signal(SIGKILL)`."""
        self._send(signals.SIGKILL, process, group, "kill()")

    def _send(self, sig: object, process: ProcessRecord | None, group: bool, via: str) -> None:
        if not isinstance(sig, int) or isinstance(sig, bool) or sig not in signals.valid_signals():
            raise ValueError(f"{sig!r} is no signal")
        self._check_owner()
        if process is not None:
            self._check(process)
        number = 0 if process is None else self._number(process)
        outcome = "gone"
        if not self._talk.over:
            spared = os.getpgrp() if group else None
            outcome = self._listener.order(number, int(sig), via, spared)
        who = "main" if process is None else str(process)
        if outcome == "gone":
            raise ProcessLookupError(f"{via}: {who} has ended\n\n{self.snapshot()}")
        if outcome == "refused":
            what = f"the process group of {who}" if group else who
            raise PermissionError(f"{via}: {what} must not be sent signals from here")

    def _check(self, process: object) -> None:
        if not isinstance(process, ProcessRecord):
            words = "process is one process of a snapshot (main.snapshot().main)"
            raise TypeError(f"{words}, not {process!r}")
        run = process.run
        if (run.main.pid, run.started_at) != (self.pid, self._talk.started_at):
            raise ValueError(f"{process} is of another run: {run.target.text!r}")
        if process.ending is not Ending.RUNNING:
            raise ProcessLookupError(f"{process} has ended: {describe(process)}\n\n{run}")

    def _number(self, process: ProcessRecord) -> int:
        """Its number in the log: of all that had its pid, the last one before the snapshot."""
        until = self._talk.epoch + round(process.run.duration * 1e9)
        numbers = [
            number
            for at, what, number, *rest in list(self._talk.log)
            if what == "new" and rest[0] == process.pid and at <= until
        ]
        return int(numbers[-1])

    # ---

    def _check_owner(self) -> None:
        if self._owner != os.getpid():
            raise RuntimeError(
                f"this main was started by process {self._owner}; a fork of it cannot act on it"
            )

    def _catch_up(self) -> None:
        self._check_owner()
        if not self._talk.over:
            self._listener.catch_up()

    def _account(self) -> Run:
        if not self._talk.over:
            return self._talk.account(self._start_method, None)
        with self._finishing:
            if self._final is None:
                self._final = self._talk.account(self._start_method, self._cause_hook)
            return self._final

    def _wait(self, awaited: Awaited[T], timeout: Timeout) -> T:
        after = self._timeout if isinstance(timeout, EllipsisType) else timeout
        check_seconds("timeout", after, or_none=True)
        self._catch_up()

        def come() -> T | None:
            return awaited.come(self._talk, self._account)

        found = self._listener.until(come, after)
        if found is None and not self._talk.over:
            self._catch_up()  # so that what is said and shown is of this moment
            found = come()
        if found is not None:
            return found
        run = self._account()
        if self._talk.over:
            raise RunOver(never(awaited, run), run)
        raise RunTimeout(too_late(awaited, after, run), run)
