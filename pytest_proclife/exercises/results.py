"""The result of a submission: its marks, how it follows from a grader's messages, and its files."""

from __future__ import annotations

import csv
import enum
import io
import json
import math
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_proclife.exercises.workers import Answer

FORMAT, VERSION = "proclife-result", 1
VISIBILITIES = ("visible", "hidden", "after_due_date", "after_published")


class Status(enum.StrEnum):
    """Whether there is a mark, and where not, whose fault that is."""

    GRADED = "graded"
    UNGRADABLE = "ungradable"  # no program that could be run
    TAMPERED = "tampered"  # what it reports and what the kernel knows do not agree
    ERROR = "error"  # of the exercise or of the machinery, not of the answer


class Outcome(enum.StrEnum):
    PASSED = "passed"
    PARTIAL = "partial"
    FAILED = "failed"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What one test of the exercise gave. `seconds` is how long it took.

    `sentences` are for the student, `message` is the bare one, `detail` all that pytest shows.
    """

    test: str
    name: str
    points: float
    max_points: float
    outcome: Outcome
    visibility: str = "visible"
    tags: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()
    message: str = ""
    detail: str = ""
    seconds: float = 0.0

    def feedback(self, style: str) -> str:
        """Words for the student: "friendly", "message" or "all"."""
        friendly = "\n".join(self.sentences)
        if style == "message":
            return self.message
        if style == "all":
            parts = dict.fromkeys(part for part in (friendly, self.detail or self.message) if part)
            return "\n\n".join(parts)
        return friendly or self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one submission is worth. `reason` says why it has another status than graded.

    `key` tells what was graded, with what: a result whose key is the same need not be made again.
    """

    submission: str
    status: Status
    marks: tuple[Mark, ...]
    seconds: float
    reason: str = ""
    key: str = ""

    @property
    def score(self) -> float:
        """The points; none where the answer was not graded."""
        if self.status is not Status.GRADED:
            return 0.0
        return math.fsum(mark.points for mark in self.marks)

    @property
    def max_score(self) -> float:
        return math.fsum(mark.max_points for mark in self.marks)


def number(value: float) -> float | int:
    """A number of points, whole where it is whole."""
    return int(value) if float(value).is_integer() else value


def to_values(result: Result) -> dict[str, Any]:
    """A result as the plain values of its JSON document."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "submission": result.submission,
        "status": str(result.status),
        "score": number(result.score),
        "max_score": number(result.max_score),
        "seconds": round(result.seconds, 3),
        "reason": result.reason,
        "key": result.key,
        "marks": [mark_values(mark) for mark in result.marks],
    }


def mark_values(mark: Mark) -> dict[str, Any]:
    return {
        "test": mark.test,
        "name": mark.name,
        "points": number(mark.points),
        "max_points": number(mark.max_points),
        "outcome": str(mark.outcome),
        "visibility": mark.visibility,
        "tags": list(mark.tags),
        "sentences": list(mark.sentences),
        "message": mark.message,
        "detail": mark.detail,
        "seconds": round(mark.seconds, 3),
    }


def from_values(values: Mapping[str, Any]) -> Result:
    """Read what `to_values` wrote. ValueError where it is something else."""
    try:
        if (values["format"], values["version"]) != (FORMAT, VERSION):
            raise ValueError("it is no result of this version")
        return Result(
            submission=values["submission"],
            status=Status(values["status"]),
            marks=tuple(mark_from(mark) for mark in values["marks"]),
            seconds=values["seconds"],
            reason=values["reason"],
            key=values["key"],
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"it is no result: {error!r}") from error


def mark_from(values: Mapping[str, Any]) -> Mark:
    plain = dict(values)
    plain["outcome"] = Outcome(plain["outcome"])
    plain["tags"] = tuple(plain["tags"])
    plain["sentences"] = tuple(plain["sentences"])
    return Mark(**plain)


COLUMNS = ("submission", "status", "score", "max_score", "seconds", "reason")


class Store:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.results.mkdir(parents=True, exist_ok=True)

    def known(self, submission: str, key: str) -> Result | None:
        """The result of a submission, if it was made with this key.

        What the machinery failed on is tried again.
        """
        try:
            text = self._path(submission).read_text(encoding="utf-8")
            result = from_values(json.loads(text))
        except (OSError, ValueError):
            return None
        same = result.key == key and result.submission == submission
        return result if same and result.status is not Status.ERROR else None

    def keep(self, result: Result) -> None:
        text = json.dumps(to_values(result), indent=1, ensure_ascii=False) + "\n"
        write_whole(self._path(result.submission), text)

    def summarize(self, results: Iterable[Result]) -> None:
        """Write summary.csv and summary.json, in the order given."""
        results = list(results)
        write_whole(self.folder / "summary.csv", summary_csv(results))
        values = [to_values(result) for result in results]
        document = {"format": "proclife-summary", "version": 1, "results": values}
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        write_whole(self.folder / "summary.json", text)

    def _path(self, submission: str) -> Path:
        return self.results / f"{submission}.json"


def summary_csv(results: Iterable[Result]) -> str:
    """A line for each submission; Excel, too, reads no formula from what a student named a file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        score, most = number(result.score), number(result.max_score)
        row = (str(result.status), score, most, f"{result.seconds:.2f}", _harmless(result.reason))
        writer.writerow((_harmless(result.submission), *row))
    return text.getvalue()


def _harmless(text: str) -> str:
    text = " ".join(text.split())
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it sees all of it, or what was there before.

    Whether or not we are killed meanwhile; after a loss of power there can be half a file, which
    is read as none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with half.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


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
