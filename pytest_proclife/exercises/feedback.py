"""Feedback for students: sentences about a run, in the terms of the course."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pytest_proclife.records import Cause, Ending, Joined, ProcessRecord, Run
from pytest_proclife.render.text import plain

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_CELL = re.compile(r".*\.ipynb/(cell \d+)$")
_NO_INPUT = ("EOFError", "EOF when reading a line")  # what input() raises
_MOST = 3  # sentences about one test
_BY_OTHERS = (Cause.ABANDONED, Cause.TERMINATED, Cause.KILLED, Cause.CLEANED_UP)

Sentence = tuple[str, str]  # its kind, and its text


def sentences(
    run: Run,
    offenders: tuple[ProcessRecord, ...] = (),
    *,
    noun: str = "",
    file: str = "",
    join_wanted: bool = False,
) -> tuple[str, ...]:
    """Sentences that explain why a test failed. `offenders` are the processes that it names.

    `noun` is the exercise's word for main's children, `file` the program's path. `join_wanted`:
    the test is about join(). Empty if the record explains nothing. If a sentence holds for several
    processes, it is about the one that lived longest.
    """
    feedback = _Feedback(run, noun, file, join_wanted)
    longest = sorted(offenders, key=lambda p: p.ended_at or 0.0, reverse=True)
    return tuple(_merged((*feedback.offenders(longest), *feedback.faults())))[:_MOST]


def _merged(found: Iterable[Sentence]) -> list[str]:
    """The first sentence of each kind, with the number of others of its kind."""
    kinds: dict[str, dict[str, None]] = {}
    for kind, sentence in found:
        kinds.setdefault(kind, {})[sentence] = None
    return [
        first if not others else f"{first} The same holds for {len(others)} more."
        for first, *others in kinds.values()
    ]


@dataclass(frozen=True, slots=True)
class _Feedback:
    run: Run
    noun: str
    file: str
    join_wanted: bool

    def faults(self) -> Iterator[Sentence]:
        """What is wrong with the run, whatever the test checks."""
        run, main = self.run, self.run.main
        if run.timed_out:
            after = _seconds(main.ended_at)
            yield "late", f"Your program had not ended after {after}: {self._stuck()}."
        if main.cause is Cause.RAISED:
            error = main.exception
            text = f"Your program ended with {self._exception(main)}."
            if error is not None and (error.type, error.message) == _NO_INPUT:
                text = f"Your program asks for input{self._place(error.traceback)}, and nobody is "
                text += "there to type."
            yield "main raised", text
        elif main.cause is Cause.SYS_EXIT and main.exitcode:
            yield "main left", f"Your program ended itself with exit code {main.exitcode}."
        elif main.cause in (Cause.SIGNALED, Cause.OS_EXIT):
            how = "a signal" if main.cause is Cause.SIGNALED else "os._exit()"
            text = f"Your program ended by {how}: then nothing waits for its processes, and none "
            yield "main left", text + "of its daemons is ended."
        for child in run.descendants:
            yield from self._own_fault(child)
        if not run.children and main.cause is Cause.RETURNED:
            text = "Your program started no process: all of its work was done in main. "
            text += "A Process has to be started with start(); run() only calls its function."
            yield "none", text

    def offenders(self, offenders: Iterable[ProcessRecord]) -> Iterator[Sentence]:
        """What happened to the processes that the test names."""
        for process in offenders:
            if process is self.run.main:
                for child in process.children:
                    yield from self._held_up(child)
            elif process.cause is Cause.ABANDONED:
                yield "abandoned", self._abandoned(process)
            elif process.cause in (Cause.TERMINATED, Cause.KILLED):
                yield "ended", self._terminated(process)
            elif process.cause is Cause.CLEANED_UP:
                name = self._name(process)
                yield "endless", f"{name} never ended: it had to be ended from outside."
            elif faults := list(self._own_fault(process)):
                yield from faults
            else:
                yield from self._held_up(process)
                yield from self._joined(process)

    def _name(self, process: ProcessRecord) -> str:
        """The name of a process, for the beginning of a sentence."""
        if process is self.run.main:
            return "Your program"
        noun = self.noun if process.parent is self.run.main else ""
        if noun and len(self.run.children) == 1:
            return f"Your {noun}"
        return f"Your {noun or 'process'} {plain(process.name)}"

    def _inside(self, process: ProcessRecord) -> str:
        """The name of a process, for the middle of a sentence."""
        name = self._name(process)
        return name[0].lower() + name[1:]

    def _own_fault(self, child: ProcessRecord) -> Iterator[Sentence]:
        if child.target_ran is False and child.cause not in _BY_OTHERS:
            yield "never began", self._never_began(child)
        elif child.cause is Cause.RAISED:
            yield "raised", f"{self._name(child)} ended with {self._exception(child)}."

    def _joined(self, child: ProcessRecord) -> Iterator[Sentence]:
        if child.ended_at is None or child.parent is None:
            return
        if child.joined is Joined.EXPLICIT:
            text = f"{self._name(child)} was waited for with join(): main went on when it had "
            text += f"ended, after {_seconds(child.ended_at - child.started_at)}."
            yield "joined", text
        elif child.joined is None and child.orphaned:
            late = child.ended_at - (child.parent.ended_at or child.ended_at)
            text = f"{self._name(child)} was still running when main was gone, for "
            yield "orphan", text + f"{_seconds(late)} longer: nobody waited for it."
        elif child.joined is None and self.join_wanted:
            text = f"Nobody waited for the end of {self._inside(child)}: join() does."
            yield "not joined", text

    def _held_up(self, child: ProcessRecord) -> Iterator[Sentence]:
        done = None if child.parent is None else child.parent.finished_at
        if child.joined is not Joined.IMPLICIT or done is None or child.ended_at is None:
            return
        longer = child.ended_at - done
        if longer <= 0 or (child.cause is Cause.ABANDONED and child.ending is Ending.SIGNALED):
            return
        text = f"{self._name(child)} was still running when main ended: it kept the program open "
        text += f"{_seconds(longer)} longer."
        if self.join_wanted:
            text += " With join() main waits for it before it goes on."
        elif child.requests:
            text += " It was asked to end, and took its time."
        elif child.daemon is False:
            text += " A daemon process would have been ended with it."
        yield "held up", text

    def _abandoned(self, child: ProcessRecord) -> str:
        done = None if child.parent is None else child.parent.finished_at
        at = "" if done is None else f" after {_seconds(done)}"
        return (
            f"{self._name(child)} is a daemon, and was not done when main ended{at}: it was ended "
            "with main. With join() main waits until it is done."
        )

    def _terminated(self, child: ProcessRecord) -> str:
        sender = self.run.processes[child.ended_by] if isinstance(child.ended_by, int) else None
        who = "something else" if sender is None else self._inside(sender)
        via = next((r.via for r in child.requests if r.by == child.ended_by), "a signal")
        return f"{self._name(child)} did not end by itself: {who} ended it with {plain(via)}."

    def _never_began(self, child: ProcessRecord) -> str:
        error = "" if child.exception is None else f", with {self._exception(child)}"
        text = f"{self._name(child)} never began its work: it ended while it was starting{error}."
        if child.start_method in ("spawn", "forkserver"):
            text += (
                f" With the start method {child.start_method} a process imports your program "
                'again: what starts processes has to stand below if __name__ == "__main__":, and '
                "the function in a file; in a notebook's kernel this fails without a message."
            )
        return text

    def _stuck(self) -> str:
        """What main was doing at its timeout."""
        main = self.run.main
        before = ""
        if main.exception is not None:
            before = f"main had ended with {self._exception(main)}, but "
        elif main.finished_at is not None:
            before = "its last line was reached, but "
        wait = main.waiting_for[-1].process if main.waiting_for else None
        if wait is not None:
            awaited = self._inside(self.run.processes[wait])
            return f"{before}it was waiting for {awaited}, which did not end"
        if main.finished_at is None:
            return f"{before}its own code was still running"
        for child in main.children:
            if child.cause is Cause.CLEANED_UP:
                return f"{before}{self._inside(child)} ran on"
        return f"{before}something of its own went on, such as a thread that is not a daemon"

    def _exception(self, process: ProcessRecord) -> str:
        error = process.exception
        if error is None:
            return "an error"
        name, message = error.type.rpartition(".")[2], plain(error.message)[:200]
        return f"{name}{message and ': '}{message}{self._place(error.traceback)}"

    def _place(self, traceback: str) -> str:
        """The line of the program at which an exception rose: its last frame in that file."""
        for path, line in reversed(_FRAME.findall(traceback)):
            cell = _CELL.match(path)
            if cell:
                return f" ({cell.group(1)}, line {line})"
            if self.file and os.path.basename(path) == os.path.basename(self.file):
                return f" (line {line})"
        return ""


def _seconds(value: float | None) -> str:
    return "some time" if value is None else f"{value:.1f} s"
