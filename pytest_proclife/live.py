"""A main that is running: the conditions to wait for, and signals to it and its processes."""

from __future__ import annotations

import itertools
import os
import re
import signal as signals
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import EllipsisType
from typing import NoReturn, Protocol, TypeVar

from pytest_proclife.analysis.log import count_processes, process_number
from pytest_proclife.confinement import check_limits
from pytest_proclife.durations import check_seconds
from pytest_proclife.errors import RunOver, RunTimeout, SupervisorLost
from pytest_proclife.options import Options
from pytest_proclife.records import (
    MULTIPROCESSING_KINDS,
    Ending,
    ProcessRecord,
    Role,
    Run,
    WaitedFor,
    signal_number,
)
from pytest_proclife.render import hang
from pytest_proclife.render.process import describe
from pytest_proclife.render.text import plain, seconds
from pytest_proclife.render.timeline import render
from pytest_proclife.session import Session, SharedSession
from pytest_proclife.supervisor import protocol

_NAMED = 8  # processes named in a sentence
_LINES = 15  # of the end of each stream
_ROWS = 12  # processes in the timeline

T_co = TypeVar("T_co", covariant=True)


class Condition(Protocol[T_co]):
    """Something to wait for."""

    @property
    def waited_for(self) -> WaitedFor:
        """The same as values."""

    @property
    def failure(self) -> str:
        """That it did not come true: the beginning of a sentence."""

    def check(self, session: Session, snapshot: Callable[[], Run]) -> T_co | None:
        """What the wait returns, or None; a snapshot takes its time."""

    def actual(self, run: Run) -> str:
        """What there was instead, in words."""


def _timeline(run: Run) -> str:
    """Main and what still runs; all processes if nothing does."""
    running = [p for p in run if p.ending is Ending.RUNNING]
    return render(run, rows=_ROWS, about=running or None)


def _output(run: Run) -> str:
    blocks = ""
    for title, text in (("standard output", run.stdout), ("standard error", run.stderr)):
        lines = [plain(line) for line in (text or "").splitlines()]
        if lines:
            cut = ", its end" if len(lines) > _LINES else ""
            blocks += f"\n\n{title}{cut}:\n" + "\n".join(f"  {line}" for line in lines[-_LINES:])
    return blocks


@dataclass(frozen=True, slots=True)
class ChildrenStarted:
    """Main has started `count` children, and they have reached their targets."""

    count: int

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 0:
            raise ValueError(f"n must be a number of children, 0 or more, not {self.count!r}")

    @property
    def waited_for(self) -> WaitedFor:
        return WaitedFor(what="children", count=self.count)

    @property
    def failure(self) -> str:
        return f"main did not start {self.count} {'child' if self.count == 1 else 'children'}"

    def check(
        self, session: Session, snapshot: Callable[[], Run]
    ) -> tuple[ProcessRecord, ...] | None:
        if count_processes(list(session.log)) <= self.count:  # main is one of them
            return None
        children = snapshot().children
        return children if sum(map(_has_begun, children)) >= self.count else None

    def actual(self, run: Run) -> str:
        if not run.children:
            return "it started none"
        names = ", ".join(str(p) for p in run.children[:_NAMED])
        text = f"it started {len(run.children)}: {names}"
        waiting = [str(p) for p in run.children if not _has_begun(p)]
        if waiting:
            text += f"; not yet at its target: {', '.join(waiting[:_NAMED])}"
        return text


def _has_begun(process: ProcessRecord) -> bool:
    """Whether it has reached its target, as far as this is reported, or has ended."""
    if process.ending is not Ending.RUNNING or process.target_ran:
        return True
    return process.kind not in MULTIPROCESSING_KINDS


@dataclass(frozen=True, slots=True)
class OutputWritten:
    """A pattern was written `times` times."""

    pattern: str | re.Pattern[str]
    times: int

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise TypeError(f"pattern must be a regular expression for text, not {self.pattern!r}")
        try:
            re.compile(self.pattern)
        except re.error as error:
            wrong = f"pattern is not a regular expression: {error} in {self.pattern!r}"
            raise ValueError(f"{wrong} (for a plain text pass re.escape(text))") from None
        if type(self.times) is not int or self.times < 1:
            raise ValueError(f"times must be a number, 1 or more, not {self.times!r}")

    @property
    def text(self) -> str:
        return self.pattern.pattern if isinstance(self.pattern, re.Pattern) else self.pattern

    @property
    def waited_for(self) -> WaitedFor:
        return WaitedFor(what="output", pattern=self.text, count=self.times)

    @property
    def failure(self) -> str:
        times = "" if self.times == 1 else f" {self.times} times"
        return f"{self.text!r} was not in the output{times}"

    def check(self, session: Session, snapshot: Callable[[], Run]) -> re.Match[str] | None:
        found = itertools.chain.from_iterable(
            self._found(text, ended=session.over) for text in session.texts()
        )
        return next(itertools.islice(found, self.times - 1, None), None)

    def _found(self, text: str, ended: bool) -> Iterator[re.Match[str]]:
        # what the pattern matches if nothing in it has a special meaning
        letters = re.sub(r"\\([^0-9A-Za-z])", r"\1", self.text)
        for match in re.finditer(self.pattern, text):
            whole = match.end() < len(text) or match.group().endswith("\n")
            if whole or ended or match.group() == letters:
                yield match

    def actual(self, run: Run) -> str:
        texts = [run.stdout or "", run.stderr or ""]
        found = [m for text in texts for m in self._found(text, ended=True)]
        times = "1 time" if len(found) == 1 else f"{len(found)} times"
        words = f"it was there {times}" if found else "it was never there"
        if any(m.end() == len(m.string) for m in found) and len(found) >= self.times:
            words += " (at the very end of the output, where the line may still go on)"
        if run.output_truncated:
            words += "; the middle of the output was not kept"
        return words


@dataclass(frozen=True, slots=True)
class PredicateHolds:
    """A predicate of a snapshot is true."""

    predicate: Callable[[Run], object]

    def __post_init__(self) -> None:
        if not callable(self.predicate):
            raise TypeError(f"predicate must be a function of a snapshot, not {self.predicate!r}")

    @property
    def waited_for(self) -> WaitedFor:
        return WaitedFor(what="predicate")

    @property
    def failure(self) -> str:
        code = getattr(self.predicate, "__code__", None)
        name = getattr(self.predicate, "__qualname__", None) or repr(self.predicate)
        place = "" if code is None else f" at {code.co_filename}:{code.co_firstlineno}"
        return f"{name}{place} did not hold"

    def check(self, session: Session, snapshot: Callable[[], Run]) -> Run | None:
        run = snapshot()
        return run if self.predicate(run) else None

    def actual(self, run: Run) -> str:
        return _running(run)


@dataclass(frozen=True, slots=True)
class NothingLeft:
    """All processes of the run have ended."""

    failure: str = "the run did not end"

    @property
    def waited_for(self) -> WaitedFor:
        return WaitedFor(what="end")

    def check(self, session: Session, snapshot: Callable[[], Run]) -> Run | None:
        return snapshot() if session.over else None

    def actual(self, run: Run) -> str:
        if run.main.ending is Ending.RUNNING:
            return hang.why(run)
        return f"main ended at {seconds(run.main.ended_at or 0.0)}; {_running(run)}"


def _running(run: Run) -> str:
    running = [str(p) for p in run if p.ending is Ending.RUNNING and p.role is not Role.HELPER]
    if not running:
        return "no process is running"
    more = f" and {len(running) - _NAMED} more" if len(running) > _NAMED else ""
    return f"still running: {', '.join(running[:_NAMED])}{more}"


Timeout = float | EllipsisType | None

T = TypeVar("T")


class RunningMain:
    """A running main, as `start()` returns it. Leaving its context ends all processes of the run.

    Waits are by event. Several threads may wait at a time. `timeout` is in seconds, None for no
    timeout; its default is that of `start()`. A wait that fails raises RunTimeout, or RunOver as
    soon as nothing of the run is left; both say what there was instead. All methods raise
    SupervisorLost if the supervisor was killed, and RuntimeError in a fork of the process that
    called `start()`.
    """

    def __init__(self, session: Session, options: Options) -> None:
        self.pid: int = session.pid
        self._session = session
        self._shared = SharedSession(session)
        self._options = options
        self._owner = os.getpid()
        self._finishing = threading.Lock()
        self._final: Run | None = None

    def __repr__(self) -> str:
        state = "over" if self._session.over else "running"
        return f"<RunningMain pid {self.pid}: {self._session.launch.target.text!r}, {state}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a running main cannot be copied or pickled; its snapshot() can")

    def __enter__(self) -> RunningMain:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        # a fork of the caller must not end the run
        if self._owner != os.getpid() or self._session.over or self._shared.lost:
            return
        try:
            self._shared.end()
        except SupervisorLost:
            if error is None:
                raise

    def snapshot(self) -> Run:
        """The run up to now: a process that runs has the ending "running" and no cause yet.

        Once the run is over, the final `Run`.
        """
        self._catch_up()
        return self._snapshot()

    def stacks(self) -> Run:
        """A snapshot whose running processes say where each of their threads stands.

        That is in `process.stacks`, and why a thread does not go on in `process.hangs`. The frames
        of Python are read by py-spy if that is installed (the extra `stacks`), else by CPython
        3.14 and later itself; without either there is the system call alone.
        """
        self._look()
        return self._snapshot()

    # --- waiting

    def wait_for_children(self, n: int, timeout: Timeout = ...) -> tuple[ProcessRecord, ...]:
        """Wait until main has started `n` children; returns all that it has started.

        Helpers do not count. Children that have ended count. Children of `multiprocessing` count
        once they have reached their target; a child that was forked this very moment is not known
        as such yet. If that matters, wait for what it does.
        """
        __tracebackhide__ = True
        return self._wait(ChildrenStarted(n), timeout)

    def wait_for_output(
        self, pattern: str | re.Pattern[str], times: int = 1, timeout: Timeout = ...
    ) -> re.Match[str]:
        """Wait until the output has `times` matches of a regular expression; returns the last.

        Both streams count, standard output first. A match at the very end of the output, with no
        end of line behind it, counts only if it is literally the pattern: another one may go on.
        """
        __tracebackhide__ = True
        return self._wait(OutputWritten(pattern, times), timeout)

    def wait_for(self, predicate: Callable[[Run], object], timeout: Timeout = ...) -> Run:
        """Wait until `predicate` of a snapshot is true; returns the snapshot.

        It is called at each event. Its exceptions are raised in the caller: a KeyError if
        `run["name"]` has not been started yet.
        """
        __tracebackhide__ = True
        return self._wait(PredicateHolds(predicate), timeout)

    def wait(self, timeout: Timeout = ...) -> Run:
        """Wait until nothing of the run is left, linger included; returns the `Run`.

        A RunTimeout says what main was waiting for; the run goes on then. Once it is over, all
        further calls return the same `Run`.
        """
        __tracebackhide__ = True
        return self._wait(NothingLeft(), timeout)

    # --- signals

    def send_signal(
        self, sig: int | str, process: ProcessRecord | None = None, group: bool = False
    ) -> None:
        """Send a signal to main, to a process of a snapshot, or to its whole process group.

        `sig` is a name ("SIGTERM") or a number. It goes to this very process, never to another that
        has its pid by now. Raises ValueError for an unknown signal or a process of another run,
        ProcessLookupError if it has ended, PermissionError if the system refuses, and for the group
        of the caller itself.
        """
        __tracebackhide__ = True
        self._send(sig, process, group, "send_signal()")

    def interrupt(self, process: ProcessRecord | None = None, group: bool = False) -> None:
        """`send_signal(SIGINT)`; with `group` it is what Ctrl-C does."""
        __tracebackhide__ = True
        self._send(signals.SIGINT, process, group, "interrupt()")

    def terminate(self, process: ProcessRecord | None = None, group: bool = False) -> None:
        """`send_signal(SIGTERM)`."""
        __tracebackhide__ = True
        self._send(signals.SIGTERM, process, group, "terminate()")

    def kill(self, process: ProcessRecord | None = None, group: bool = False) -> None:
        """`send_signal(SIGKILL)`."""
        __tracebackhide__ = True
        self._send(signals.SIGKILL, process, group, "kill()")

    def _send(self, sig: object, process: ProcessRecord | None, group: bool, via: str) -> None:
        __tracebackhide__ = True
        sent = signal_number(sig)
        self._check_owner()
        number = 0 if process is None else self._number(process)
        outcome = protocol.GONE
        if not self._session.over:
            spared = os.getpgrp() if group else None
            outcome = self._shared.send_signal(number, sent, via, spared)
        name = "main" if process is None else str(process)
        if outcome == protocol.GONE:
            raise ProcessLookupError(f"{via}: {name} has ended\n\n{self.snapshot()}")
        if outcome == protocol.REFUSED:
            target = f"the process group of {name}" if group else name
            raise PermissionError(f"{via}: {target} may not be sent a signal from here")

    def _number(self, process: object) -> int:
        """The number in the log of a process that runs, as far as its snapshot knows."""
        __tracebackhide__ = True
        if not isinstance(process, ProcessRecord):
            expected = "process must be one process of a snapshot (main.snapshot().main)"
            raise TypeError(f"{expected}, not {process!r}")
        run = process.run
        if (run.main.pid, run.started_at) != (self.pid, self._session.started_at):
            raise ValueError(f"{process} belongs to another run: {run.target.text!r}")
        if process.ending is not Ending.RUNNING:
            raise ProcessLookupError(f"{process} has ended: {describe(process)}\n\n{run}")
        # of all that had its pid, it is the last one before the snapshot
        until = self._session.epoch + round(run.duration * 1e9)
        return process_number(list(self._session.log), process.pid, until)

    def _check_owner(self) -> None:
        if self._owner != os.getpid():
            raise RuntimeError(
                f"this main was started by process {self._owner}; a fork of it cannot act on it"
            )

    def _catch_up(self) -> None:
        self._check_owner()
        if not self._session.over:
            self._shared.catch_up()

    def _look(self) -> None:
        self._check_owner()
        if not self._session.over:
            self._shared.look()

    def _snapshot(self) -> Run:
        if not self._session.over:
            return self._session.assemble()
        with self._finishing:
            if self._final is None:
                self._final = self._session.assemble(self._options.cause_hook)
            return self._final

    def _wait(self, condition: Condition[T], timeout: Timeout) -> T:
        __tracebackhide__ = True
        limit = self._options.timeout if isinstance(timeout, EllipsisType) else timeout
        check_seconds("timeout", limit, or_none=True)
        self._catch_up()

        def check() -> T | None:
            return condition.check(self._session, self._snapshot)

        found = self._shared.wait_until(check, limit)
        if found is None and not self._session.over:
            self._look()  # so that the message is of this moment
            found = check()
        if self._session.over and self._session.exceeded:
            check_limits(self._session.exceeded, self._session.request.limits, self._snapshot())
        if found is not None:
            return found
        run = self._snapshot()
        timeline = f"{_timeline(run)}{hang.block(run)}"
        details = f"{condition.actual(run)}\n\n{timeline}{_output(run)}"
        if not self._session.over:
            text = f"{condition.failure} within {limit} s: {details}"
            raise RunTimeout(text, run, condition.waited_for, limit)
        end = f"main ended at {seconds(run.main.ended_at or 0.0)} ({describe(run.main)})"
        raise RunOver(f"{condition.failure}: {end}, {details}", run, condition.waited_for)
