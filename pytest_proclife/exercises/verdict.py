"""What a grader said, and how it ended, as the result of a submission."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_proclife.exercises.desk import Answer
from pytest_proclife.exercises.results import Mark, Result, Status, mark_from

# A grader that ends of one of these was killed; the others are crashes of its own.
_KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


def say(token: str, **what: Any) -> bytes:
    """A line of a grader's; it begins with what the answer cannot know."""
    return f"{token} {json.dumps(what)}\n".encode()


def heard(said: bytes, token: str) -> tuple[list[dict[str, Any]], bool]:
    """What a grader said, and whether all of it is from the grader."""
    lines: list[dict[str, Any]] = []
    for line in said.split(b"\n"):
        if not line:
            continue
        first, _, rest = line.partition(b" ")
        if first != token.encode():
            return lines, False
        try:
            lines.append(json.loads(rest))
        except ValueError:
            continue  # half a line: the grader was killed at it
    return lines, True


def judge(name: str, answer: Answer, token: str, plan: Sequence[Mark], key: str) -> Result:
    """The result of a submission. `plan` has the tests that there are."""
    lines, own = heard(answer.said, token)
    given = {line["mark"]["test"]: mark_from(line["mark"]) for line in lines if "mark" in line}
    marks = tuple(given.get(mark.test, mark) for mark in plan)
    status, reason = _status(answer, lines, own)
    if status is not Status.GRADED:
        marks = tuple(replace(mark, points=0.0) for mark in marks)
    seconds = round(answer.seconds, 3)  # as it will be read again
    return Result(
        submission=name, status=status, marks=marks, seconds=seconds, reason=reason, key=key
    )


def _status(answer: Answer, lines: list[dict[str, Any]], own: bool) -> tuple[Status, str]:
    if not own:
        return Status.TAMPERED, "something else than the grader wrote results"
    for word, status in (
        ("tampered", Status.TAMPERED),
        ("ungradable", Status.UNGRADABLE),
        ("broken", Status.ERROR),
    ):
        reasons = [line[word] for line in lines if word in line]
        if reasons:
            return status, reasons[0]
    if answer.stopped:
        return Status.TAMPERED, (
            "what grades or watches the answer was stopped (SIGSTOP) while it ran, "
            "and not by proclife"
        )
    if answer.late:
        return Status.ERROR, f"grading was not done after {answer.seconds:.0f} s, and was ended"
    if -answer.exitcode in _KILLS:
        name = signal.Signals(-answer.exitcode).name
        return Status.TAMPERED, (
            f"the process that graded it was killed ({name}) while the answer ran, "
            "and not by proclife"
        )
    if answer.exitcode != 0 or not any("done" in line for line in lines):
        last = ([""] + [line for line in answer.words.splitlines() if line.strip()])[-1]
        ended = (
            f"exit code {answer.exitcode}"
            if answer.exitcode >= 0
            else (f"signal {-answer.exitcode}")
        )
        return Status.ERROR, f"the grader ended with {ended} before it was done: {last[:300]}"
    return Status.GRADED, ""


def void(result: Result, reason: str) -> Result:
    """The same as a fault of the machinery's, without its points."""
    marks = tuple(replace(mark, points=0.0) for mark in result.marks)
    return replace(result, status=Status.ERROR, marks=marks, reason=reason)


def reading(answer: Answer, token: str) -> tuple[list[str], str]:
    """What of the exercise's folder a grader read, and what of that was changed meanwhile."""
    lines, _ = heard(answer.said, token)
    used = [path for line in lines for path in line.get("used", ())]
    return used, next((line["changed"] for line in lines if "changed" in line), "")
