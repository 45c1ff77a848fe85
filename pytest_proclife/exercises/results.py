"""The result of a submission, its JSON document, and the folder that results are kept in."""

from __future__ import annotations

import contextlib
import csv
import enum
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pytest_proclife.exercises.seal import Seal

FORMAT, VERSION = "proclife-result", 1
VISIBILITIES = ("visible", "hidden", "after_due_date", "after_published")
SUMMARY = "summary.json"


class Status(enum.StrEnum):
    """Whether a submission was graded, and if not, whose fault that is."""

    GRADED = "graded"
    UNGRADABLE = "ungradable"  # it has no program that can be run
    TAMPERED = "tampered"  # its reports contradict the kernel, or grading was interfered with
    ERROR = "error"  # the exercise or proclife failed, not the answer


class Outcome(enum.StrEnum):
    PASSED = "passed"
    PARTIAL = "partial"
    FAILED = "failed"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The points that one test of the exercise gave, and why."""

    test: str
    name: str
    points: float
    max_points: float
    outcome: Outcome
    visibility: str = "visible"
    tags: tuple[str, ...] = ()
    extra: bool = False  # its points come on top of the maximum
    sentences: tuple[str, ...] = ()  # for the student
    message: str = ""  # the first line of the failure
    detail: str = ""  # everything that pytest shows of it
    seconds: float = 0.0  # that the test took

    def feedback(self, style: str) -> str:
        """Text for the student: "friendly", "message" or "all"."""
        friendly = "\n".join(self.sentences)
        if style == "message":
            return self.message
        if style == "all":
            parts = dict.fromkeys(part for part in (friendly, self.detail or self.message) if part)
            return "\n\n".join(parts)
        return friendly or self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What was seen of a submission's program, beside its marks."""

    ran: bool = True  # a test has run it
    missing: tuple[str, ...] = ()  # modules that it imports, and that are not installed
    left_out: tuple[str, ...] = ()  # what of a notebook was not run


NOTHING_SEEN = Program()  # as of one that was not graded to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The marks of one submission."""

    submission: str
    status: Status
    marks: tuple[Mark, ...]
    seconds: float
    reason: str = ""  # of any status but `graded`; of that one at the deadline
    key: str = ""  # what was graded and with what: a result with the same key is still valid
    program: Program = NOTHING_SEEN
    picture: str = field(default="", compare=False)  # an SVG of its runs, a file of its own

    @property
    def problem(self) -> str:
        """The status with its reason; empty if it is `graded`."""
        return "" if self.status is Status.GRADED else f"{self.status}: {self.reason}"

    @property
    def score(self) -> float:
        """The sum of the points; 0 unless the status is `graded`."""
        return 0.0 if self.problem else math.fsum(mark.points for mark in self.marks)

    @property
    def max_score(self) -> float:
        return math.fsum(mark.max_points for mark in self.marks if not mark.extra)

    @property
    def visible(self) -> tuple[Mark, ...]:
        """The marks that the student may see."""
        return tuple(mark for mark in self.marks if mark.visibility == "visible")


def number(value: float) -> float | int:
    """A number of points, as an int if it is whole."""
    return int(value) if float(value).is_integer() else value


def to_values(result: Result) -> dict[str, Any]:
    """A result as `json` writes it."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "submission": result.submission,
        "status": result.status,
        "score": number(result.score),
        "max_score": number(result.max_score),
        "seconds": round(result.seconds, 3),
        "reason": result.reason,
        "key": result.key,
        "program": asdict(result.program),
        "marks": [mark_values(mark) for mark in result.marks],
    }


def mark_values(mark: Mark) -> dict[str, Any]:
    return {
        **asdict(mark),
        "points": number(mark.points),
        "max_points": number(mark.max_points),
        "seconds": round(mark.seconds, 3),
    }


def from_values(values: Mapping[str, Any]) -> Result:
    """Read the values of `to_values`. ValueError if they are anything else."""
    try:
        if (values["format"], values["version"]) != (FORMAT, VERSION):
            raise ValueError("this is not a result of this version")
        return Result(
            submission=values["submission"],
            status=Status(values["status"]),
            marks=tuple(mark_from(mark) for mark in values["marks"]),
            seconds=values["seconds"],
            reason=values["reason"],
            key=values["key"],
            program=_program_from(values["program"]),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"this is not a result: {error!r}") from error


def _program_from(values: Mapping[str, Any]) -> Program:
    missing, left_out = tuple(values["missing"]), tuple(values["left_out"])
    return Program(ran=values["ran"], missing=missing, left_out=left_out)


def mark_from(values: Mapping[str, Any]) -> Mark:
    tuples = {name: tuple(values[name]) for name in ("tags", "sentences")}
    return Mark(**{**values, **tuples, "outcome": Outcome(values["outcome"])})


class Store:
    """A folder of results. Only those with its seal are believed."""

    def __init__(self, folder: Path, seal: Seal | None = None) -> None:
        self.folder = folder
        self._seal = seal or Seal()
        (folder / "results").mkdir(parents=True, exist_ok=True)

    def known(self, submission: str, key: str) -> Result | None:
        """The result of a submission, if it was made with this key and is not an error.

        An error is not the answer's fault: it is graded again.
        """
        result = self.sealed(submission)
        if result is None or result.key != key or result.status is Status.ERROR:
            return None
        return result

    def sealed(self, submission: str) -> Result | None:
        """The result of a submission, whatever it was made with; None if it is not sealed."""
        try:
            text = (self.folder / f"results/{submission}.json").read_text(encoding="utf-8")
            values = json.loads(text)
            result = from_values(values)
        except (OSError, ValueError):  # there is none, or it was not written by this version
            return None
        return result if result.submission == submission and self._seal.is_on(values) else None

    def keep(self, result: Result) -> None:
        values = self._seal.sign(to_values(result))
        self.write_json(f"results/{result.submission}.json", values)
        if result.picture:
            self.write(f"pictures/{result.submission}.svg", result.picture)

    def picture(self, submission: str) -> str:
        """The picture that was kept; empty if there is none."""
        try:
            return (self.folder / f"pictures/{submission}.svg").read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    def summarize(self, results: Sequence[Result], **others: Any) -> None:
        """Write summary.csv and summary.json, in the order given; `others` are for the latter."""
        self.write("summary.csv", summary_csv(results))
        values = [to_values(result) for result in results]
        document = {"format": "proclife-summary", "version": 1, **others, "results": values}
        self.write_json(SUMMARY, document)

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        self.write(name, json.dumps(values, indent=1, ensure_ascii=False) + "\n")

    def write(self, name: str, text: str) -> None:
        """Replace a file such that readers find the old text or the new one, even if we are killed.

        A power failure can leave a partial file, which `known` takes for none.
        """
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            with partial.open("w", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
            partial.replace(path)
        except OSError as error:  # a full disk is reported without a path
            raise OSError(error.errno, error.strerror, str(path)) from None
        finally:
            with contextlib.suppress(OSError):  # the folder was removed, say
                partial.unlink(missing_ok=True)


def summary_csv(results: Iterable[Result]) -> str:
    """A row for each submission."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("submission", "status", "score", "max_score", "seconds", "reason"))
    for result in results:
        name, reason = _not_formula(result.submission), _not_formula(result.reason)
        points = number(result.score), number(result.max_score)
        writer.writerow((name, result.status, *points, f"{result.seconds:.2f}", reason))
    return text.getvalue()


def _not_formula(text: str) -> str:
    """One line that Excel does not take for a formula: students choose the names of files."""
    text = " ".join(text.split())
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text
