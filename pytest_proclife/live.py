"""A main that is running: wait for what it does, and send signals to it and its processes."""

from __future__ import annotations

import itertools
import os
import re
import signal as signals
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import EllipsisType, TracebackType
from typing import NoReturn, Protocol, TypeVar

from pytest_proclife.analysis.assemble import CauseHook
from pytest_proclife.errors import RunOver, RunTimeout, SupervisorLost
from pytest_proclife.records import MULTIPROCESSING_KINDS, Ending, ProcessRecord, Role, Run
from pytest_proclife.render.process import describe, waiting_for
from pytest_proclife.render.text import plain, seconds
from pytest_proclife.session import Conversation, Listener, check_seconds

_NAMED = 8  # processes named in a sentence
_LINES = 15  # of the end of each stream

T_co = TypeVar("T_co", covariant=True)


class Awaited(Protocol[T_co]):
    """Something to wait for. `account` makes the snapshot, which takes its time."""

    @property
    def name(self) -> str: ...

    def come(self, talk: Conversation, account: Callable[[], Run]) -> T_co | None: ...

    def seen(self, run: Run) -> str: ...


def too_late(awaited: Awaited[object], after: float | None, run: Run) -> str:
    """The message of a wait whose time is over."""
    return f"{awaited.name} within {after} s: {awaited.seen(run)}\n\n{run}{_output(run)}"


def never(awaited: Awaited[object], run: Run) -> str:
    """The message of a wait for what can no longer come."""
    end = f"main ended at {seconds(run.main.ended_at or 0.0)} ({describe(run.main)})"
    return f"{awaited.name}: {end}, {awaited.seen(run)}\n\n{run}{_output(run)}"


def _output(run: Run) -> str:
    blocks = ""
    for title, text in (("standard output", run.stdout), ("standard error", run.stderr)):
        lines = [plain(line) for line in (text or "").splitlines()]
        if lines:
            cut = ", its end" if len(lines) > _LINES else ""
            blocks += f"\n\n{title}{cut}:\n" + "\n".join(f"  {line}" for line in lines[-_LINES:])
    return blocks


@dataclass(frozen=True, slots=True)
class Children:
    """So many children of main have been started, and have begun."""

    count: int

    def __post_init__(self) -> None:
        if type(self.count) is not int or self.count < 0:
            raise ValueError(f"n is a number of children, 0 or more, not {self.count!r}")

    @property
    def name(self) -> str:
        return f"main did not start {_counted(self.count, 'child', 'children')}"

    def come(
        self, talk: Conversation, account: Callable[[], Run]
    ) -> tuple[ProcessRecord, ...] | None:
        if sum(entry[1] == "new" for entry in list(talk.log)) <= self.count:
            return None  # not so many processes altogether, main included
        children = account().children
        return children if sum(map(_has_begun, children)) >= self.count else None

    def seen(self, run: Run) -> str:
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
class Output:
    """A pattern was written so often."""

    pattern: str | re.Pattern[str]
    times: int

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str | re.Pattern):
            raise TypeError(f"pattern is a regular expression for text, not {self.pattern!r}")
        if not isinstance(re.compile(self.pattern).pattern, str):  # raises re.error
            raise TypeError(f"pattern is a regular expression for text, not {self.pattern!r}")
        if type(self.times) is not int or self.times < 1:
            raise ValueError(f"times is a number, 1 or more, not {self.times!r}")

    @property
    def text(self) -> str:
        return self.pattern if isinstance(self.pattern, str) else self.pattern.pattern

    @property
    def letters(self) -> str:
        """The text that the pattern stands for if nothing in it has a meaning of its own."""
        return re.sub(r"\\([^0-9A-Za-z])", r"\1", self.text)

    @property
    def name(self) -> str:
        often = "" if self.times == 1 else f" {self.times} times"
        return f"{self.text!r} was not in the output{often}"

    def come(self, talk: Conversation, account: Callable[[], Run]) -> re.Match[str] | None:
        found = itertools.chain.from_iterable(
            self._found(text, ended=talk.over) for text in talk.texts()
        )
        return next(itertools.islice(found, self.times - 1, None), None)

    def _found(self, text: str, ended: bool) -> Iterator[re.Match[str]]:
        for match in re.finditer(self.pattern, text):
            whole = match.end() < len(text) or match.group().endswith("\n")
            if whole or ended or match.group() == self.letters:
                yield match

    def seen(self, run: Run) -> str:
        texts = [run.stdout or "", run.stderr or ""]
        found = [m for text in texts for m in self._found(text, ended=True)]
        words = f"it was there {_counted(len(found), 'time', 'times')}" if found else "it never was"
        if any(m.end() == len(m.string) for m in found) and len(found) >= self.times:
            words += " (at the very end, where it may still go on: write it out to the letter)"
        if run.output_truncated:
            words += "; the middle of the output was not kept"
        return words


@dataclass(frozen=True, slots=True)
class Predicate:
    """A condition on the account holds."""

    predicate: Callable[[Run], object]

    def __post_init__(self) -> None:
        if not callable(self.predicate):
            raise TypeError(f"predicate is called with a snapshot; {self.predicate!r} cannot be")

    @property
    def name(self) -> str:
        code = getattr(self.predicate, "__code__", None)
        name = getattr(self.predicate, "__qualname__", None) or repr(self.predicate)
        where = "" if code is None else f" at {code.co_filename}:{code.co_firstlineno}"
        return f"{name}{where} did not hold"

    def come(self, talk: Conversation, account: Callable[[], Run]) -> Run | None:
        run = account()
        return run if self.predicate(run) else None

    def seen(self, run: Run) -> str:
        running = [str(p) for p in run if p.ending is Ending.RUNNING and p.role is not Role.HELPER]
        if not running:
            return "nothing runs"
        more = f" and {len(running) - _NAMED} more" if len(running) > _NAMED else ""
        return f"running: {', '.join(running[:_NAMED])}{more}"


@dataclass(frozen=True, slots=True)
class End:
    """Nothing of the run is left."""

    name: str = "main did not end"

    def come(self, talk: Conversation, account: Callable[[], Run]) -> Run | None:
        return account() if talk.over else None

    def seen(self, run: Run) -> str:
        if run.main.ending is Ending.RUNNING:
            return waiting_for(run)
        left = Predicate(bool).seen(run)
        return f"it did at {seconds(run.main.ended_at or 0.0)}, but all is not over; {left}"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


Timeout = float | EllipsisType | None

T = TypeVar("T")


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
