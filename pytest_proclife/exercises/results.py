"""What came of a submission: its status, a mark for each test, and nothing of how it looks."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
