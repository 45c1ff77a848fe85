"""What can be waited for while main runs: when it has come, and what was seen if it does not."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from pytest_proclife.conversation import Conversation
from pytest_proclife.description import describe, plain, seconds, waiting_for
from pytest_proclife.records import MULTIPROCESSING_KINDS, Ending, ProcessRecord, Role, Run

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
