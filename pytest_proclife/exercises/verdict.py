"""What a grader reports, and the result that follows from its messages and its exit."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_proclife.exercises.results import (
    NOTHING_SEEN,
    Mark,
    Program,
    Result,
    Status,
    mark_from,
    mark_values,
)
from pytest_proclife.exercises.workers import Finished
from pytest_proclife.records import Cause, ProcessRecord, Run

# A grader that died of one of these has crashed; of any other, it was killed.
_CRASHES = (
    *(signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS),
    *(signal.SIGFPE, signal.SIGILL, signal.SIGSYS),
)
_LONGEST = 300  # characters of a grader's last line
_STOPPED = ("T", "t")  # states: proc_pid_stat(5)
_NOT_GRADER = "something other than the grader wrote results"


class Reporter:
    """A grader's end of its channel: each message is a line of JSON after a token.

    An answer cannot know the token. `in_original` is applied to text that may name the files of
    the grader's copy of the exercise.
    """

    def __init__(self, token: str, channel: int, in_original: Callable[[str], str]) -> None:
        self._token = token
        self._channel = channel
        self._in_original = in_original

    def mark(self, mark: Mark) -> None:
        """The mark of a test."""
        shown = replace(
            mark,
            sentences=tuple(map(self._in_original, mark.sentences)),
            message=self._in_original(mark.message),
            detail=self._in_original(mark.detail),
        )
        self._send(mark=mark_values(shown))

    def problem(self, status: Status, reason: str) -> None:
        """The result cannot be `graded`."""
        self._send(problem=[status, self._in_original(reason)])

    def doubt(self, reason: str) -> None:
        """Another process may have influenced the result."""
        self._send(doubt=self._in_original(reason))

    def program(self, program: Program, picture: str) -> None:
        """What was seen of the program, and an SVG of its runs."""
        left_out = [self._in_original(text) for text in program.left_out]
        self._send(program=[program.ran, program.missing, left_out], picture=picture)

    def done(self) -> None:
        """All tests have run."""
        self._send(done=True)

    def _send(self, **message: Any) -> None:
        data = f"{self._token} {json.dumps(message)}\n".encode()
        while data:
            data = data[os.write(self._channel, data) :]


def outside_influence(run: Run) -> Iterator[str]:
    """What may have been done to the processes of a run by one outside of it: another answer."""
    for process in run.processes:
        if _may_be_signaled_from_outside(process):
            yield f"{process.name} got a signal that no process of its run is known to have sent"
        elif any(stack.state in _STOPPED for stack in process.stacks):
            yield f"{process.name} was stopped"


def _may_be_signaled_from_outside(process: ProcessRecord) -> bool:
    if process.cause not in (Cause.SIGNALED, Cause.UNKNOWN, Cause.RAISED):
        return False
    # Python passes SIGINT on to itself: that is no other's
    if any(request.by != process.id for request in process.requests):
        return False
    exception = process.exception
    interrupted = exception is not None and exception.type == KeyboardInterrupt.__name__
    crashed = process.signal in {number.name for number in _CRASHES}
    return interrupted or (process.signal is not None and not crashed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Messages:
    """What a grader reported. If something else wrote to its channel, that is a problem too.

    The grader reports each mark once.
    """

    marks: tuple[Mark, ...] = ()
    problems: tuple[tuple[Status, str], ...] = ()
    doubts: tuple[str, ...] = ()
    program: Program = NOTHING_SEEN
    picture: str = ""
    done: bool = False


def read(data: bytes, token: str) -> Messages:
    """Read the messages up to the first that is not the grader's."""
    marks: list[Mark] = []
    problems: list[tuple[Status, str]] = []
    doubts: list[str] = []
    program, picture = NOTHING_SEEN, ""
    done = False
    for line in filter(None, data.split(b"\n")):
        first, _, rest = line.partition(b" ")
        if first != token.encode():
            problems.insert(0, (Status.TAMPERED, _NOT_GRADER))
            break
        try:
            message = json.loads(rest)
        except ValueError:
            continue  # the grader was killed while it wrote this line
        if "mark" in message:
            mark = mark_from(message["mark"])
            if done or any(mark.test == other.test for other in marks):
                reason = f"the mark of {mark.test} was reported twice: {_NOT_GRADER}"
                problems.insert(0, (Status.TAMPERED, reason))
                break
            marks.append(mark)
        elif "doubt" in message:
            doubts.append(message["doubt"])
        elif "problem" in message:
            status, reason = message["problem"]
            problems.append((Status(status), reason))
        elif "program" in message:
            ran, missing, left_out = message["program"]
            program = Program(ran=ran, missing=tuple(missing), left_out=tuple(left_out))
            picture = message["picture"]
        else:
            done = True
    return Messages(
        marks=tuple(marks),
        problems=tuple(problems),
        doubts=tuple(doubts),
        program=program,
        picture=picture,
        done=done,
    )


def verdict(name: str, finished: Finished, token: str, plan: Sequence[Mark]) -> Result:
    """The result of a submission. `plan` has a mark without points for each test there is."""
    messages = read(finished.messages, token)
    given = {mark.test: mark for mark in messages.marks}
    marks = tuple(given.get(mark.test, mark) for mark in plan)
    if finished.timed_out:
        late = f"grading was ended after {finished.seconds:.0f} s, before this test was done"
        marks = tuple(m if m.test in given else replace(m, message=late) for m in marks)
    seconds = round(finished.seconds, 3)  # as it is read back from its document
    status, reason = _status(finished, messages)
    result = Result(
        submission=name,
        status=status,
        marks=marks,
        seconds=seconds,
        reason=reason,
        program=messages.program,
        picture=messages.picture,
    )
    return result if status is Status.GRADED else without_points(result, status, reason)


def is_in_doubt(finished: Finished, token: str, result: Result) -> bool:
    """Whether another answer, one beside this one, may have changed its result."""
    if result.status is Status.TAMPERED:
        return True
    return bool(finished.beside and read(finished.messages, token).doubts)


def without_points(result: Result, status: Status, reason: str) -> Result:
    """The same result with another status than `graded`."""
    marks = tuple(replace(mark, points=0.0) for mark in result.marks)
    return replace(result, status=status, marks=marks, reason=reason)


def _status(finished: Finished, messages: Messages) -> tuple[Status, str]:
    for status in (Status.TAMPERED, Status.UNGRADABLE, Status.ERROR):
        for found, reason in messages.problems:
            if found is status:
                return status, reason
    if finished.stopped:
        text = "what grades or watches the answer was stopped (SIGSTOP) while it ran, "
        return Status.TAMPERED, text + "and not by proclife"
    if finished.timed_out:
        reason = f"grading was not done after {finished.seconds:.0f} s, and was ended"
        # without any mark nothing shows that the exercise itself works
        return (Status.GRADED if messages.marks else Status.ERROR), reason
    if finished.exitcode < 0 and -finished.exitcode not in _CRASHES:
        name = signal.Signals(-finished.exitcode).name
        text = f"the process that graded it was killed ({name}) while the answer ran, "
        return Status.TAMPERED, text + "and not by proclife"
    if finished.exitcode != 0 or not messages.done:
        return Status.ERROR, early_exit(finished)
    return Status.GRADED, ""


def early_exit(finished: Finished) -> str:
    """How a grader exited before it was done, with the last line that it printed."""
    *_, last = "", *filter(str.strip, finished.output.splitlines())
    code = finished.exitcode
    how = f"exit code {code}" if code >= 0 else f"signal {-code}"
    return f"the grader ended with {how} before it was done: {last[:_LONGEST]}"
