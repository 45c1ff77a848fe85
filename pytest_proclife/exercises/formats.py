"""Results in the formats of other systems."""

from __future__ import annotations

import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pytest_proclife.exercises import gradebook, sheet
from pytest_proclife.exercises.gradebook import Roster, grades
from pytest_proclife.exercises.results import Outcome, Result, Status, Store, number

_CLASSROOM50 = ("CLASSROOM", "ASSIGNMENT", "SUBMISSION_TAG", "COMMIT_URL", "RELEASE_URL")
_PRAIRIELEARN_LIMIT = 1_000_000  # bytes of a results.json
_XML_FORBIDDEN = {n: None for n in range(32) if n not in (9, 10, 13)} | {0xFFFE: None, 0xFFFF: None}


def gradescope(result: Result, style: str) -> dict[str, Any]:
    """https://gradescope-autograders.readthedocs.io/en/latest/specs/"""
    return {
        "score": number(result.score),
        "execution_time": round(result.seconds, 3),
        "output": result.problem,
        "tests": [
            {
                "name": mark.name,
                "score": number(mark.points),
                "max_score": 0 if mark.extra else number(mark.max_points),
                "status": "passed" if mark.outcome is Outcome.PASSED else "failed",
                "output": mark.feedback(style),
                "visibility": mark.visibility,
                "tags": list(mark.tags),
            }
            for mark in result.marks
        ],
    }


def prairielearn(result: Result, style: str) -> dict[str, Any]:
    """https://prairielearn.readthedocs.io/en/latest/externalGrading/"""
    if result.status is Status.UNGRADABLE:
        return {"gradable": False, "format_errors": [result.reason]}
    values: dict[str, Any] = {
        "gradable": True,
        # at most 1, whatever the extra credit
        "score": min(1.0, result.score / result.max_score) if result.max_score else 0.0,
        "message": result.problem,
        "tests": [
            {
                "name": mark.name,
                "points": number(mark.points),
                "max_points": 0 if mark.extra else number(mark.max_points),
                "message": mark.feedback(style),
            }
            # it has no hidden tests: those that students must not see count in the score alone
            for mark in result.visible
        ],
    }
    if len(json.dumps(values)) > _PRAIRIELEARN_LIMIT:
        for test in values["tests"]:
            test["message"] = test["message"][:1000]
    return values


def classroom50(
    result: Result, style: str, environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """The `result.json` contract of Classroom 50, which takes whole points only.

    https://github.com/foundation50/classroom50, its page on advanced autograding. Its runner sets
    the classroom, the assignment and the submission in the environment. ValueError if it did not,
    or if points are not whole.
    """
    for name in _CLASSROOM50:
        if not environment.get(name):
            raise ValueError(
                f"classroom50 is written on its runner, which sets {', '.join(_CLASSROOM50)}; "
                f"{name} is not set"
            )
    for mark in result.marks:
        if not (float(mark.points).is_integer() and float(mark.max_points).is_integer()):
            raise ValueError(
                f"classroom50 takes whole points only, and {mark.name!r} of {result.submission!r} "
                f"has {mark.points} of {mark.max_points}"
            )
    return {
        "schema": "classroom50/result/v1",
        "classroom": environment["CLASSROOM"],
        "assignment": environment["ASSIGNMENT"],
        "submission": environment["SUBMISSION_TAG"],
        "commit": environment["COMMIT_URL"],
        "release": environment["RELEASE_URL"],
        "review": environment.get("REVIEW_URL") or environment["COMMIT_URL"],
        "datetime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "score": int(result.score),
        "max-score": int(result.max_score),
        "tests": [
            {
                "test-name": mark.name,
                "passed": not result.problem and mark.outcome is Outcome.PASSED,
                "score": int(mark.points),
                "max-score": 0 if mark.extra else int(mark.max_points),
                "feedback": mark.feedback(style) if mark.visibility == "visible" else "",
            }
            for mark in result.marks
        ],
    }


def junit(results: Sequence[Result], style: str) -> str:
    """JUnit XML, with one test suite for each submission."""
    root = ET.Element("testsuites")
    for result in results:
        outcomes = [mark.outcome for mark in result.marks]
        failed = outcomes.count(Outcome.FAILED) + outcomes.count(Outcome.PARTIAL)
        missing = outcomes.count(Outcome.NOT_RUN)
        suite = ET.SubElement(
            root,
            "testsuite",
            name=_xml(result.submission),
            tests=str(len(outcomes)),
            failures=str(failed),
            errors=str(missing) if result.problem else "0",
            skipped="0" if result.problem else str(missing),
            time=f"{result.seconds:.3f}",
        )
        for mark in result.marks:
            case = ET.SubElement(
                suite,
                "testcase",
                name=_xml(mark.name),
                classname=_xml(result.submission),
                time=f"{mark.seconds:.3f}",
            )
            if mark.outcome in (Outcome.FAILED, Outcome.PARTIAL):
                points = f"{number(mark.points)} of {number(mark.max_points)} points"
                ET.SubElement(case, "failure", message=points).text = _xml(mark.feedback(style))
            elif mark.outcome is Outcome.NOT_RUN and result.problem:
                ET.SubElement(case, "error", message=_xml(result.problem))
            elif mark.outcome is Outcome.NOT_RUN:
                ET.SubElement(case, "skipped", message=_xml(mark.message))
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _xml(text: str) -> str:
    """Text without the characters that XML cannot contain."""
    return text.translate(_XML_FORBIDDEN).encode("utf-8", "replace").decode()


def _feedback(result: Result, style: str) -> str:
    """What a student reads, as one text."""
    lines = [result.problem] if result.problem else []
    for part in sheet.parts(result, style):
        lines.append(f"{part.mark.name}: {part.points}")
        lines += part.texts
    return "\n".join(lines)


_BY_SUBMISSION: dict[str, tuple[str, Callable[[Result, str], dict[str, Any]]]] = {
    "gradescope": ("results.json", gradescope),
    "classroom50": ("result.json", classroom50),
    "prairielearn": ("results.json", prairielearn),
}
_FOR_ALL = ("junit", "canvas", "moodle")
NAMES = (*_BY_SUBMISSION, "markdown", "html", *_FOR_ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What formats need beside the results."""

    assignment: str  # its name: a column of Canvas
    roster: Roster
    late_penalty: float  # per cent


def write(name: str, store: Store, results: Sequence[Result], style: str, course: Course) -> None:
    """Write the results in a format into the store: a file for each, or one for all."""
    found = grades(results, course.roster, course.late_penalty)
    if name == "junit":
        store.write("junit.xml", junit(results, style))
        return
    if name == "canvas":
        store.write("canvas.csv", gradebook.canvas(found, course.roster, course.assignment))
        return
    if name == "moodle":
        texts = {result.submission: _feedback(result, style) for result in results}
        store.write("moodle.csv", gradebook.moodle(found, course.roster, texts))
        return
    if name in ("markdown", "html"):
        for result, grade in zip(results, found, strict=True):
            if name == "markdown":
                text = sheet.markdown(result, grade, style)
                store.write(f"feedback/{result.submission}.md", text)
            else:
                picture = result.picture or store.picture(result.submission)
                text = sheet.page(result, grade, style, picture)
                store.write(f"feedback/{result.submission}.html", text)
        return
    file, render = _BY_SUBMISSION[name]
    for result in results:
        store.write_json(f"{name}/{result.submission}/{file}", render(result, style))
