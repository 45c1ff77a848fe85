"""Feedback for students: sentences about what a test asked for and what the program did instead."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeGuard

from pytest_proclife.exercises.statement import Compared, Statement, Subject
from pytest_proclife.notebook import Cell
from pytest_proclife.records import (
    Cause,
    Disposition,
    Ending,
    HandlerRan,
    HangKind,
    Joined,
    ProcessRecord,
    Run,
    SignalSent,
    SignalTaken,
    WaitedFor,
)
from pytest_proclife.render.text import plain

_FRAME = re.compile(r'File "([^"]+)", line (\d+)')
_CELL = re.compile(r".*\.ipynb/((?:code )?cell \[?\d+\]?)$")
_NO_INPUT = ("EOFError", "EOF when reading a line")  # what input() raises
_MOST = 3  # sentences about one test
_OF_MAIN = ("end of main", "late")  # kinds of sentences about main alone
_TOO_LATE = "The test was about to send a signal, and the process that should get it had ended."
_QUOTED = 80  # characters of a text in a sentence
_BY_OTHERS = (Cause.ABANDONED, Cause.TERMINATED, Cause.KILLED, Cause.CLEANED_UP)

Sentence = tuple[str, str]  # its kind, and its text


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is known of a failed test.

    `offenders` are the processes that an assertion names, `assertion` is its name and `asked` its
    arguments. `statement` is what the exercise says there. `waited_for` and `limit` (seconds) are
    those of a wait that failed, `name` and `count` the name that several processes have, or none.
    `run` is None if the test made none, or none that is known.
    """

    run: Run | None = None
    offenders: tuple[ProcessRecord, ...] = ()
    assertion: str = ""
    asked: Mapping[str, object] = field(default_factory=dict)
    statement: Statement | None = None
    waited_for: WaitedFor | None = None
    limit: float | None = None
    name: str = ""
    count: int = 0
    missing: tuple[str, ...] = ()  # modules that are not installed
    broken: tuple[Cell, ...] = ()  # cells that are not Python
    too_late: bool = False  # the test meant to send a signal, and the process had ended


def sentences(failure: Failure, *, noun: str = "", file: str = "") -> tuple[str, ...]:
    """Sentences that say what a test asked for and what was there; empty if nothing is known.

    `noun` is the exercise's word for main's children, `file` the program's path. If a sentence
    holds for several processes, it is about the one that lived longest.
    """
    if failure.run is None:
        return (_TOO_LATE,) if failure.too_late else ()
    words = _Feedback(failure.run, noun, file, failure)
    asked = list(words.asked())
    told = {kind for kind, _ in asked if kind in _OF_MAIN}
    faults = (fault for fault in words.faults() if fault[0] not in told)
    return tuple(_merged((*asked, *faults)))[:_MOST]


def _merged(found: Iterable[Sentence]) -> list[str]:
    """The first sentence of each kind, with the number of others of its kind."""
    kinds: dict[str, dict[str, None]] = {}
    for kind, sentence in found:
        kinds.setdefault(kind, {})[sentence] = None
    return [
        first if not others else f"{first} This is also true of {len(others)} more."
        for first, *others in kinds.values()
    ]


@dataclass(frozen=True, slots=True)
class _Feedback:
    run: Run
    noun: str
    file: str
    failure: Failure

    # --- what the test asked for

    def asked(self) -> Iterator[Sentence]:
        failure = self.failure
        if failure.waited_for is not None:
            yield from self._waited(failure.waited_for)
        elif failure.assertion:
            yield from self._claims()
        elif failure.name:
            yield "named", self._no_such_name(failure.name, failure.count)
        elif failure.too_late:
            end = _seconds(self.run.main.ended_at)
            yield (
                "waited",
                f"Your program ended too early, after {end}: the test sends it a signal.",
            )
        elif failure.statement is not None:
            yield from self._stated(failure.statement)

    def _claims(self) -> Iterator[Sentence]:
        """What differs from an assertion, of each process that it names."""
        claim = _CLAIMS.get(self.failure.assertion)
        longest = sorted(self.failure.offenders, key=lambda p: p.ended_at or 0.0, reverse=True)
        if claim is not None:
            for process in longest:
                yield from claim(self, process)

    def _stated(self, statement: Statement) -> Iterator[Sentence]:
        """What differs from an assert statement without a message."""
        if statement.unpacks is not None and statement.subject is Subject.PROCESSES:
            count = _counted(statement.unpacks, "process")
            was = "was" if statement.unpacks == 1 else "were"
            there = _counted(len(self.run.children), "process")
            yield "count", f"{count} {was} expected, and your program started {there}."
        elif statement.message or not statement.text:
            return
        elif (claim := _claim_of(statement)) is not None and statement.process is not None:
            yield from claim(self, statement.process)
        elif statement.subject is Subject.PROCESSES and not self.run.children:
            return  # which is said with the run's faults
        elif statement.subject is Subject.EXIT_CODE and self.run.timed_out:
            return  # likewise: it had not ended
        elif (text := self._differs(statement)) is not None:
            yield "stated", text
        else:
            yield "stated", f"Your program does not meet this condition: {plain(statement.text)}"

    def _differs(self, statement: Statement) -> str | None:
        """Say what was found where an assert statement expected something else."""
        compared = statement.compared
        match statement.subject:
            case Subject.OUTPUT:
                return self._output(statement, compared)
            case Subject.EXIT_CODE:
                return self._exit_code(statement.process or self.run.main, compared)
            case Subject.DURATION if compared is not None and _is_number(compared.left):
                text = f"Your program took {_seconds(self.run.duration)}"
                return f"{text}; {_wanted(compared.operator, f'{compared.right} s')}."
            case Subject.PROCESSES if compared is not None:
                return self._which(statement, compared)
            case _:
                return None

    def _output(self, statement: Statement, compared: Compared | None) -> str:
        stream = "print" if statement.field == "stdout" else "write to stderr"
        printed = "printed" if statement.field == "stdout" else "wrote to stderr"
        output = self.run.stdout if statement.field == "stdout" else self.run.stderr
        there = f"It {printed}: {_quoted(output)}" if output else f"It {printed} nothing."
        if compared is None:
            text = f"What your program {printed} does not meet this condition: "
            return f"{text}{plain(statement.text)}\n{there}"
        left, right = compared.left, compared.right
        if statement.counts and _is_number(left):
            what = _quoted(statement.counted) if statement.counted else "what was asked for"
            text = f"Your program {printed} {what} {_times(left)}"
            if left == 0:
                text = f"Your program did not {stream} {what}"
            return (
                f"{text}; it should be there {_BOUNDS.get(compared.operator, '')}{_times(right)}."
            )
        if compared.operator == "in" and isinstance(left, str):
            return f"Your program did not {stream} {_quoted(left)}. {there}"
        if compared.operator == "not in" and isinstance(left, str):
            return f"Your program {printed} {_quoted(left)}, which should not be there."
        if compared.operator == "==" and isinstance(right, str):
            return f"Your program should {stream} {_quoted(right)}. {there}"
        text = f"What your program {printed} does not meet this condition: "
        return f"{text}{plain(statement.text)}\n{there}"

    def _exit_code(self, process: ProcessRecord, compared: Compared | None) -> str | None:
        if compared is None or process.exitcode is None:
            return None
        how = f"ended with exit code {process.exitcode}"
        if process.signal is not None:
            how = f"was ended by {process.signal}"
        right = compared.right
        code = f"exit code {right}" if _is_number(right) else "another exit code"
        return f"{self.name(process)} {how}; {_wanted(compared.operator, code)}."

    def _which(self, statement: Statement, compared: Compared) -> str | None:
        left, right = compared.left, compared.right
        if statement.counts and _is_number(left) and _is_number(right):
            noun = self.noun if statement.field == "children" and self.noun else "process"
            text = f"Your program started {_counted(int(str(left)), noun)}"
            if statement.field == "orphans":
                text = f"{_counted(int(str(left)), 'process').capitalize()} outlived your program"
            wanted = _wanted(compared.operator, str(right), plural=right != 1)
            return f"{text}; {wanted}."
        if compared.operator == "in" and isinstance(left, str):
            return self._no_such_name(left, 0)
        return None

    def _no_such_name(self, name: str, count: int) -> str:
        """That `count` processes have a name that one should have."""
        if count:
            return (
                f"Your program has {count} processes with the name {plain(name)}; 1 was expected."
            )
        names = [plain(child.name) for child in self.run.descendants]
        there = f" Its processes are {', '.join(names)}." if names else ""
        return f"Your program has no process with the name {plain(name)}.{there}"

    def _waited(self, awaited: WaitedFor) -> Iterator[Sentence]:
        """A wait that came to nothing: at its timeout, or since the program had ended."""
        main, limit = self.run.main, self.failure.limit
        in_time = "" if limit is None else f" within {limit:g} s"
        if main.ending is not Ending.RUNNING:
            in_time = f" before it ended, after {_seconds(main.ended_at)}"
        match awaited.what:
            case "output":
                times = "" if awaited.count == 1 else f" {_times(awaited.count)}"
                output = (self.run.stdout or "") + (self.run.stderr or "")
                there = f"It printed: {_quoted(output)}" if output else "It printed nothing."
                text = f"Your program did not print {_quoted(awaited.pattern)}{times}{in_time}. "
                text += there
                if main.ending is Ending.RUNNING:
                    text += (
                        " (Without flush=True, print() keeps lines back until its process ends.)"
                    )
                yield "waited", text
            case "children":
                noun = self.noun or "process"
                text = f"Your program did not start {_counted(awaited.count, noun)}{in_time}; it "
                yield "waited", text + f"started {len(self.run.children) or 'none'}."
            case "end" if main.ending is not Ending.RUNNING:
                left = [p for p in self.run.descendants if p.ending is Ending.RUNNING]
                names = ", ".join(self.inside(p) for p in left) or "something of it"
                text = f"Your program ended after {_seconds(main.ended_at)}, but {names} went on."
                yield "late", text
            case "end":
                text = f"Your program did not end{in_time}: {self._stuck()}."
                yield "late", text
            case _:
                text = f"What the test waited for did not come{in_time}"
                text += f": {self._stuck()}." if main.ending is Ending.RUNNING else "."
                yield "waited", text

    # --- what is wrong with the run, whatever the test asks for

    def faults(self) -> Iterator[Sentence]:
        run, main = self.run, self.run.main
        for cell in self.failure.broken:
            name = f"{cell.label[0].upper()}{cell.label[1:]}"
            yield "broken", f"{name} is not Python, and was left out ({plain(cell.broken)})."
        if run.timed_out:
            after = _seconds(main.ended_at)
            yield "late", f"Your program had not ended after {after}: {self._stuck()}."
        elif main.cause in (Cause.RAISED, Cause.SIGNALED, Cause.OS_EXIT) or (
            main.cause is Cause.SYS_EXIT and main.exitcode
        ):
            yield "end of main", self._end_of_main()
        for child in run.descendants:
            yield from self._own_fault(child)
        if not run.children and main.cause is Cause.RETURNED and self._is_about_processes():
            text = "Your program started no process: all of its work was done in main. "
            text += "A Process has to be started with start(); run() only calls its function."
            yield "none", text

    def _is_about_processes(self) -> bool:
        statement = self.failure.statement
        if self.failure.assertion:
            return self.failure.offenders != (self.run.main,)
        if self.failure.waited_for is not None:
            return self.failure.waited_for.what == "children"
        if self.failure.name:
            return True
        if statement is None:
            return False
        about = statement.subject in (Subject.PROCESSES, Subject.PROCESS)
        return about or statement.called.startswith("assert_")

    def _end_of_main(self) -> str:
        main = self.run.main
        if main.cause is Cause.SYS_EXIT:
            return f"Your program ended itself with exit code {main.exitcode}."
        if main.cause is Cause.RAISED:
            error = main.exception
            if error is not None and (error.type, error.message) == _NO_INPUT:
                text = f"Your program asks for input{self._place(error.traceback)}, and nobody is "
                return text + "there to type."
            return f"Your program ended with {self._exception(main)}."
        how = "os._exit()" if main.cause is Cause.OS_EXIT else str(main.signal)
        text = f"Your program was ended by {how}"
        if not main.children:
            return f"{text}."
        return f"{text}: then main waits for none of its processes, and ends none of its daemons."

    def _own_fault(self, child: ProcessRecord) -> Iterator[Sentence]:
        if child.target_ran is False and child.cause not in _BY_OTHERS:
            yield "never began", self._never_began(child)
        elif child.cause is Cause.RAISED:
            yield "raised", f"{self.name(child)} ended with {self._exception(child)}."

    def _never_began(self, child: ProcessRecord) -> str:
        error = "" if child.exception is None else f", with {self._exception(child)}"
        text = f"{self.name(child)} never began its work: it ended while it was starting{error}."
        if child.start_method in ("spawn", "forkserver"):
            text += (
                f" With the start method {child.start_method} a process imports your program "
                "again. So the code that starts processes has to be below "
                'if __name__ == "__main__":, and the function in a file. '
                "In a notebook's kernel this fails without a message."
            )
        return text

    # --- how a process ended

    def how_it_ended(self, process: ProcessRecord) -> Sentence:
        """How a process ended, as the whole sentence."""
        name = self.name(process)
        if process.cause in (Cause.ABANDONED, Cause.CLEANED_UP) or process.ending is Ending.RUNNING:
            return self._cut_off(process)
        if process.cause in (Cause.TERMINATED, Cause.KILLED):
            return "ended", self._ended_by_other(process)
        if process.cause is Cause.RAISED and process is self.run.main:
            return "end of main", self._end_of_main()
        if faults := list(self._own_fault(process)):
            return faults[0]
        match process.cause:
            case Cause.RETURNED:
                after = _after(process)
                return "returned", f"{name} came to the end of its work{after}."
            case Cause.SYS_EXIT:
                kind = "end of main" if process is self.run.main else "left"
                text = f"{name} ended itself with sys.exit(), with exit code {process.exitcode}."
                return kind, text
            case Cause.OS_EXIT:
                kind = "end of main" if process is self.run.main else "left"
                text = f"{name} ended itself with os._exit(), with exit code {process.exitcode}."
                return kind, text
            case Cause.SIGNALED:
                kind = "end of main" if process is self.run.main else "left"
                return kind, f"{name} was ended by {process.signal}."
            case Cause.EXITED:
                return "left", f"{name} ended with exit code {process.exitcode}."
            case _:
                return "unknown", f"Why {self.inside(process)} ended could not be seen."

    def _cut_off(self, process: ProcessRecord) -> Sentence:
        """A process that was not done when it was ended."""
        name = self.name(process)
        if process.ending is Ending.RUNNING:
            return "endless", f"{name} is still running."
        if process.cause is Cause.CLEANED_UP:
            where = self.standing(process)
            text = f"{name} was still running{where} when time was up, and had to be ended."
            return "endless", text
        done = None if process.parent is None else process.parent.finished_at
        at = "" if done is None else f" after {_seconds(done)}"
        text = f"{name} is a daemon, and was not done when main ended{at}: it was ended with main."
        return "abandoned", text

    def _ended_by_other(self, process: ProcessRecord) -> str:
        name = self.name(process)
        sender = self.run.processes[process.ended_by] if isinstance(process.ended_by, int) else None
        request = next((r for r in process.requests if r.by == process.ended_by), None)
        if process.ended_by == "test":
            signal = "a signal" if request is None else request.signal
            return f"{name} was ended by {signal}, which the test sent."
        who = "something else" if sender is None else self.inside(sender)
        via = "a signal" if request is None else f"{plain(request.via)} ({request.signal})"
        return f"{name} did not end by itself: {who} ended it with {via}."

    def held_up(self, child: ProcessRecord) -> Iterator[Sentence]:
        done = None if child.parent is None else child.parent.finished_at
        if child.joined is not Joined.IMPLICIT or done is None or child.ended_at is None:
            return
        longer = child.ended_at - done
        if longer <= 0 or (child.cause is Cause.ABANDONED and child.ending is Ending.SIGNALED):
            return
        text = f"{self.name(child)} was still running when main ended: it kept the program open "
        text += f"{_seconds(longer)} longer."
        if self.failure.assertion == "assert_joined":
            text += " With join() main waits for it before it goes on."
        elif child.requests:
            text += " It was asked to end, and took its time."
        elif child.daemon is False:
            text += " A daemon process would have been ended with it."
        yield "held up", text

    def waited_for_it(self, child: ProcessRecord) -> Iterator[Sentence]:
        """Who waited for a process that came to its own end."""
        if child.ended_at is None or child.parent is None:
            return
        if child.joined is Joined.EXPLICIT:
            text = f"{self.name(child)} was waited for with join(): main went on when it had "
            yield "joined", f"{text}ended,{_after(child)}."
        elif child.joined is None and child.orphaned:
            yield self.outlived_main(child)
        elif child.joined is None and self.failure.assertion == "assert_joined":
            text = f"Nobody waited for the end of {self.inside(child)}: join() does."
            yield "not joined", text

    def outlived_main(self, child: ProcessRecord) -> Sentence:
        parent = child.parent
        end = None if parent is None else parent.ended_at
        longer = (
            ""
            if end is None or child.ended_at is None
            else (f", for {_seconds(child.ended_at - end)} longer")
        )
        whose = "main" if parent is None or parent is self.run.main else self.inside(parent)
        text = f"{self.name(child)} was still running when {whose} was gone{longer}: nobody "
        return "orphan", text + "waited for it."

    # --- where a process stood

    def _stuck(self) -> str:
        """What main was doing at its timeout."""
        main = self.run.main
        before = ""
        if main.exception is not None:
            before = f"main had ended with {self._exception(main)}, but "
        elif main.finished_at is not None:
            before = "its last line was reached, but "
        wait = main.waiting_for[-1] if main.waiting_for else None
        if wait is not None and wait.process is not None:
            child = self.run.processes[wait.process]
            line = self._line_of(wait.where) if main.finished_at is None else ""
            text = f"{before}it was waiting{line and f' ({line})'} for {self.inside(child)}, which "
            return f"{text}did not end{self.standing(child)}"
        if main.finished_at is None:
            return f"{before}its own code was still running{self.standing(main)}"
        for child in main.children:
            if child.cause is Cause.CLEANED_UP or child.ending is Ending.RUNNING:
                return f"{before}{self.inside(child)} ran on{self.standing(child)}"
        return f"{before}something in it was still running, such as a thread that is not a daemon"

    def standing(self, process: ProcessRecord) -> str:
        """Where a process stood when it was looked at, in parentheses; "" if it was not."""
        if not process.hangs:
            return ""
        hang = process.hangs[0]
        line = "" if hang.where is None else self._in_file(hang.where.file, hang.where.line)
        parts = [part for part in (line, _WAITS[hang.kind]) if part]
        return f" ({', '.join(parts)})" if parts else ""

    def _exception(self, process: ProcessRecord) -> str:
        error = process.exception
        if error is None:
            return "an error"
        if error.type == "ModuleNotFoundError" and self.failure.missing:
            names = ", ".join(self.failure.missing)
            are = "is" if len(self.failure.missing) == 1 else "are"
            place = self._place(error.traceback)
            text = f"an import{place} of {names}, which {are} not installed on the machine that "
            return f"{text}graded it: this need not be an error of yours"
        name, message = error.type.rpartition(".")[2], plain(error.message)[:200]
        return f"{name}{message and ': '}{message}{self._place(error.traceback)}"

    def _place(self, traceback: str) -> str:
        """The line of the program at which an exception rose: its last frame in that file."""
        for path, number in reversed(_FRAME.findall(traceback)):
            if line := self._in_file(path, int(number)):
                return f" ({line})"
        return ""

    def _line_of(self, where: str) -> str:
        """The line in the words of a report, which are "file:line in function" (`wire`)."""
        path, _, number = where.rpartition(" in ")[0].rpartition(":")
        return self._in_file(path, int(number)) if number.isdigit() else ""

    def _in_file(self, path: str, number: int) -> str:
        """A line of the program for a sentence; "" if the file is another one."""
        cell = _CELL.match(path)
        if cell:
            return f"{cell.group(1)}, line {number}"
        own = self.file and os.path.basename(path) == os.path.basename(self.file)
        return f"line {number}" if own else ""

    # --- names

    def name(self, process: ProcessRecord) -> str:
        """The name of a process, for the beginning of a sentence."""
        if process is self.run.main:
            return "Your program"
        noun = self.noun if process.parent is self.run.main else ""
        if noun and len(self.run.children) == 1:
            return f"Your {noun}"
        return f"Your {noun or 'process'} {plain(process.name)}"

    def inside(self, process: ProcessRecord) -> str:
        """The name of a process, for the middle of a sentence."""
        name = self.name(process)
        return name[0].lower() + name[1:]


# --- what each assertion asks for

_Claim = Callable[[_Feedback, ProcessRecord], Iterator[Sentence]]


def _target_ran(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
    if process.target_ran is False:
        if process.cause in _BY_OTHERS:
            yield words.how_it_ended(process)
        return  # else it is a fault of the run
    yield "never began", f"Whether {words.inside(process)} began its work could not be seen."


def _flag(wanted: bool) -> _Claim:
    def claim(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
        name = words.name(process)
        if process.daemon is None:
            text = f"{name} has no daemon flag: only a Process of multiprocessing has one."
        elif wanted:
            text = f"{name} is not a daemon. A Process is a daemon if it is made with daemon=True, "
            text += "or if its daemon attribute is set before start()."
        else:
            text = f"{name} is a daemon, and should not be one: main does not wait for a daemon at "
            text += "its end. Leave out daemon=True."
        yield "flag", text

    return claim


def _joined(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
    how = words.failure.asked.get("how")
    if process.cause is Cause.ABANDONED:
        kind, text = words.how_it_ended(process)
        yield kind, f"{text} With join() main waits until it is done."
    elif process.cause in (Cause.CLEANED_UP, None):
        yield words.how_it_ended(process)
    elif process.joined is Joined.EXPLICIT:
        text = (
            f"{words.name(process)} was waited for with join(); main's own exit should wait for it."
        )
        yield "joined", text
    elif process.joined is Joined.LIBRARY:
        text = f"{words.name(process)} was waited for by the library that started it, not by your "
        yield "joined", text + "program's join()."
    else:
        found = [*words.held_up(process)] or [*words.waited_for_it(process)]
        name = words.name(process)
        wanted = "with join() " if how is Joined.EXPLICIT else ""
        yield from found or [("not joined", f"{name} was not waited for {wanted}by main's code.")]


def _ends_with_main(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
    """assert_abandoned."""
    own_end = process.cause in (Cause.RETURNED, Cause.SYS_EXIT, Cause.OS_EXIT)
    if not own_end:
        yield words.how_it_ended(process)
        return
    found = [*words.held_up(process)] or [*words.waited_for_it(process)]
    if found:
        yield from found
        return
    kind, text = words.how_it_ended(process)
    yield kind, f"{text} It should still be at work when main ends, as a daemon, and end with it."


def _caused(*causes: Cause) -> _Claim:
    """How it ended, and what was expected instead."""

    def claim(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
        kind, text = words.how_it_ended(process)
        fits = process.cause in causes and process.cause is not Cause.RETURNED
        yield kind, f"{text} {_expected(words.failure.asked, causes[0], fits)}".rstrip()

    return claim


def _expected(asked: Mapping[str, object], cause: Cause, fits: bool) -> str:
    """What was expected of a process that ended for another reason, or (`fits`) in another way."""
    code = asked.get("code")
    match cause:
        case Cause.RETURNED:
            return "It was expected to come to the end of its work by itself."
        case Cause.RAISED:
            error = asked.get("type")
            return f"It was expected to end with {f'{error}' if error else 'an exception'}."
        case Cause.SYS_EXIT | Cause.OS_EXIT:
            how = "sys.exit()" if cause is Cause.SYS_EXIT else "os._exit()"
            with_code = "" if code is None else f", with exit code {code}"
            return f"It was expected to end itself with {how}{with_code}."
        case Cause.TERMINATED:
            if fits:
                return "Another process was expected to end it."
            return (
                "It was expected to be ended by terminate() or another signal that asks it to end."
            )
        case Cause.KILLED:
            if fits:
                return "Another process was expected to end it."
            return "It was expected to be ended by SIGKILL, as by kill()."
        case _:
            return f"It was expected to die of {asked.get('signal') or 'a signal'}."


def _returned(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
    kind, text = words.how_it_ended(process)
    if kind == "abandoned":
        text += " It can finish only if its function comes to an end, and main waits for it."
    elif kind not in ("ended", "raised", "endless", "never began", "end of main"):
        text += " It was expected to come to the end of its work by itself."
    yield kind, text


def _shut_down(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
    asked, name = words.failure.asked, words.name(process)
    signal = asked.get("signal")
    sent = [fact for fact in process.evidence if isinstance(fact, SignalSent)]
    requests = [s for s in sent if s.signal == signal or (signal is None and s.signal in _ASKING)]
    if not requests:
        text = f"{name} was not asked to end: nothing sent it {signal or 'SIGTERM'}."
        yield "shut down", f"{text} {words.how_it_ended(process)[1]}"
        return
    first = requests[0]
    it = f"{name} was asked to end ({first.signal})"
    caught = first.disposition is Disposition.CAUGHT or any(
        isinstance(fact, HandlerRan | SignalTaken) and fact.signal == first.signal
        for fact in process.evidence
    )
    took = None if process.ended_at is None else process.ended_at - (first.at or 0.0)
    within, code = asked.get("within"), asked.get("exitcode")
    if not caught and first.disposition is Disposition.IGNORED:
        yield "shut down", f"{it}, and ignores that signal."
    elif not caught and process.signal == first.signal:
        text = f"{name} was ended by {first.signal} at once: it has no handler for that signal. "
        yield "shut down", text + "signal.signal() sets one, in which it can end in good order."
    elif not caught:
        yield "shut down", f"{it}, and did not react to it."
    elif process.cause is Cause.CLEANED_UP or took is None:
        text = f"{it}, but was still running when time was up{words.standing(process)}."
        yield "shut down", text
    elif process.signal == "SIGKILL":
        yield "shut down", f"{it}, and had not ended when SIGKILL ended it."
    elif isinstance(within, float | int) and took > within:
        text = f"{it}, and took {_seconds(took)} to end; at most {within:g} s were allowed."
        yield "shut down", text
    elif code is not None and process.exitcode != code:
        text = f"{it}, and ended with exit code {process.exitcode}; {code} was expected."
        yield "shut down", text
    else:
        yield (
            "shut down",
            f"{it}, and did not end in the expected way. " + words.how_it_ended(process)[1],
        )


def _not_orphaned(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
    if process.orphaned is None:
        text = f"Whether {words.inside(process)} outlived the process that started it could not be "
        yield "orphan", text + "seen."
        return
    text = f"{words.name(process)} ended before the process that started it: it was expected to "
    yield "orphan", text + "outlive it."


def _orphaned(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
    yield words.outlived_main(process)


def _left(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
    yield words.how_it_ended(process)


def _order(expected: str) -> _Claim:
    def claim(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
        others = words.failure.asked.get("others")
        group = [p for p in others if isinstance(p, ProcessRecord)] if _is_tuple(others) else []
        other = next((p for p in group if p is not process), None)
        text = f"{words.name(process)} ran from {_span(process)}"
        if other is not None:
            text += f", and {words.inside(other)} from {_span(other)}"
        yield "order", f"{text}. {expected}"

    return claim


def _held_up(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
    """assert_not_held_up."""
    for child in process.children:
        yield from words.held_up(child)


def _not_held_up(words: _Feedback, process: ProcessRecord) -> Iterator[Sentence]:
    """assert_held_up_by."""
    others = words.failure.asked.get("others")
    for child in others if _is_tuple(others) else ():
        if isinstance(child, ProcessRecord):
            kind, text = words.how_it_ended(child)
            yield kind, f"{text} It was expected to keep the program open after main's last line."


_CLAIMS: dict[str, _Claim] = {
    "assert_target_ran": _target_ran,
    "assert_daemon": _flag(True),
    "assert_not_daemon": _flag(False),
    "assert_joined": _joined,
    "assert_abandoned": _ends_with_main,
    "assert_returned": _returned,
    "assert_raised": _caused(Cause.RAISED),
    "assert_sys_exit": _caused(Cause.SYS_EXIT),
    "assert_os_exit": _caused(Cause.OS_EXIT),
    "assert_terminated": _caused(Cause.TERMINATED),
    "assert_killed": _caused(Cause.KILLED),
    "assert_signaled": _caused(Cause.SIGNALED),
    "assert_shut_down": _shut_down,
    "assert_orphaned": _not_orphaned,
    "assert_no_orphans": _orphaned,
    "assert_nothing_left": _left,
    "assert_outlived": _order("The first was expected to end after the other."),
    "assert_ended_before": _order("The first was expected to end before the other."),
    "assert_overlapped": _order("They were expected to run at the same time."),
    "assert_held_up_by": _not_held_up,
    "assert_not_held_up": _held_up,
}
_OF_CAUSES = {
    Cause.ABANDONED: "assert_abandoned",
    Cause.RETURNED: "assert_returned",
    Cause.RAISED: "assert_raised",
    Cause.SYS_EXIT: "assert_sys_exit",
    Cause.OS_EXIT: "assert_os_exit",
    Cause.TERMINATED: "assert_terminated",
    Cause.KILLED: "assert_killed",
    Cause.SIGNALED: "assert_signaled",
}


def _claim_of(statement: Statement) -> _Claim | None:
    """The claim of an assert statement about a field of a process, as its assertion makes it."""
    compared, process = statement.compared, statement.process
    if process is None or statement.subject is not Subject.PROCESS:
        return None
    if statement.field == "daemon":
        return _flag(not process.daemon)
    if compared is not None and compared.operator in ("==", "is"):
        if statement.field == "cause" and compared.right in list(_OF_CAUSES):
            return _CLAIMS[_OF_CAUSES[Cause(str(compared.right))]]
        if statement.field == "joined" and process.joined is None:
            return _joined
    return None


# --- words

# what a process was doing that did not go on
_WAITS = {
    HangKind.CHILD: "waiting for another process",
    HangKind.THREAD: "waiting for one of its threads",
    HangKind.WORKERS: "waiting for its workers",
    HangKind.TASK_LOST: "waiting for the result of a worker that has ended",
    HangKind.DATA: "waiting for data",
    HangKind.END_OF_FILE: "waiting for the end of data that another process can still send",
    HangKind.ROOM: "waiting until another process reads what it writes",
    HangKind.HELD: "waiting for a lock or semaphore that another process has",
    HangKind.NOBODY: "waiting for something that no process is left to do",
    HangKind.FORKED: "waiting for a lock that was held when it was forked",
    HangKind.OUTSIDE: "waiting for data",
    HangKind.FILE: "waiting for data",
    HangKind.LOOP: "waiting in an event loop",
    HangKind.SLEEP: "asleep",
    HangKind.SIGNAL: "waiting for a signal",
    HangKind.RUNS: "",
    HangKind.STOPPED: "stopped by a signal",
    HangKind.UNKNOWN: "",
}
_ASKING = ("SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP")
_BOUNDS = {
    "==": "",
    "is": "",
    ">=": "at least ",
    "<=": "at most ",
    ">": "more than ",
    "<": "less than ",
    "!=": "something other than ",
}


def _wanted(operator: str, what: str, *, plural: bool = False) -> str:
    return f"{_BOUNDS.get(operator, '')}{what} {'were' if plural else 'was'} expected"


def _seconds(value: float | None) -> str:
    return "some time" if value is None else f"{value:.1f} s"


def _after(process: ProcessRecord) -> str:
    if process.ended_at is None:
        return ""
    return f" after {_seconds(process.ended_at - process.started_at)}"


def _span(process: ProcessRecord) -> str:
    end = "the end" if process.ended_at is None else f"{process.ended_at:.2f} s"
    return f"{process.started_at:.2f} s to {end}"


def _is_tuple(value: object) -> TypeGuard[tuple[object, ...]]:
    return isinstance(value, tuple)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _counted(count: int, noun: str) -> str:
    if count == 1:
        return f"1 {noun}"
    return f"{count} {noun}{'es' if noun.endswith('s') else 's'}" if count else f"no {noun}"


def _times(count: object) -> str:
    return "once" if count == 1 else "never" if count == 0 else f"{count} times"


def _quoted(text: str | None) -> str:
    """Quote a text on one line, without the middle of a long one."""
    line = " ".join((text or "").split())
    if len(line) > _QUOTED:
        line = f"{line[: _QUOTED // 2]} ... {line[-_QUOTED // 2 :]}"
    return f'"{plain(line)}"'
