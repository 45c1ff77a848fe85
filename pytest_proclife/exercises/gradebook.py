"""Grades as learning platforms import them: a roster, a late penalty, a row for each student."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pytest_proclife.exercises.results import Outcome, Result, Status, number

NAME, LATE = "submission", "late"  # columns of a roster
# How Moodle names the folders of an export: Ada Lovelace_1234_assignsubmission_file_
_MOODLE = re.compile(r"(.+?)_(\d+)_assignsubmission_")
_FORMULA = ("=", "+", "-", "@")  # a cell that begins with one is taken for a formula


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """The students of a course, as a CSV file with a header lists them.

    The column `submission` has the name of each submission, `late` a number that the penalty is
    for each 1 of, such as days. All other columns are those of the learning platform.
    """

    rows: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def late(self, submission: str) -> float:
        """How late a submission was; 0 if the roster does not say."""
        return float(self.rows.get(submission, {}).get(LATE) or 0)

    def column(self, submission: str, *names: str) -> str:
        """The first of these columns that has a value; letters of either case."""
        row = {name.casefold(): value for name, value in self.rows.get(submission, {}).items()}
        return next((row[name] for name in map(str.casefold, names) if row.get(name)), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """The points of a submission after the late penalty."""

    submission: str
    points: float
    max_points: float
    extra: float  # points of the score that come on top of the maximum
    late: float
    penalty: float  # points that were subtracted


def read_roster(path: Path) -> Roster:
    """Read a roster. ValueError if it is not one, OSError if it cannot be read."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if NAME not in (reader.fieldnames or ()):
            raise ValueError(f"{str(path)!r} has no column {NAME!r}: it names each submission")
        rows: dict[str, dict[str, str]] = {}
        for row in reader:
            name = row[NAME]
            if name in rows:
                raise ValueError(f"{str(path)!r} has two rows for {name!r}")
            rows[name] = {key: value for key, value in row.items() if isinstance(value, str)}
            late = rows[name].get(LATE) or "0"
            if not _is_amount(late):
                raise ValueError(f"{str(path)!r}: {LATE!r} of {name!r} is not a number: {late!r}")
    return Roster(rows=rows)


def _is_amount(text: str) -> bool:
    try:
        return 0 <= float(text) < math.inf
    except ValueError:
        return False


def grades(results: Sequence[Result], roster: Roster, percent: float) -> list[Grade]:
    """The grade of each result. `percent` of its score is subtracted for each 1 of `late`."""
    found = []
    for result in results:
        late = roster.late(result.submission)
        penalty = min(result.score, round(result.score * late * percent / 100, 2))
        extra = 0.0
        if not result.problem:
            extra = math.fsum(mark.points for mark in result.marks if mark.extra)
        found.append(
            Grade(
                submission=result.submission,
                points=round(result.score - penalty, 2),
                max_points=result.max_score,
                extra=extra,
                late=late,
                penalty=penalty,
            )
        )
    return found


# --- files


def grades_csv(found: Sequence[Grade]) -> str:
    """A row for each submission, with what its grade is made of."""
    rows = [
        (
            _cell(grade.submission),
            *(number(value) for value in (grade.points, grade.max_points, grade.extra)),
            *(number(value) for value in (grade.late, grade.penalty)),
        )
        for grade in found
    ]
    return _csv(("submission", "points", "max_points", "extra", "late", "penalty"), rows)


def canvas(found: Sequence[Grade], roster: Roster, assignment: str) -> str:
    """A file for the import of Canvas's gradebook, whose second row has the possible points.

    https://community.canvaslms.com/t5/Instructor-Guide/How-do-I-import-grades-in-the-Gradebook/ta-p/807
    A student is found by the ID, the SIS login or the SIS user; without a roster by the login,
    which is the submission's name.
    """
    header = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section", assignment)
    possible = number(max((grade.max_points for grade in found), default=0))
    rows: list[tuple[object, ...]] = [("    Points Possible", "", "", "", "", possible)]
    for grade in found:
        name = grade.submission
        identity = ("ID", "SIS User ID", "SIS Login ID")
        ids = [roster.column(name, column) for column in identity]
        ids[2] = ids[2] or roster.column(name, "login", "username") or ("" if any(ids) else name)
        student = roster.column(name, "Student", "name") or name
        section = roster.column(name, "Section")
        rows.append((*map(_cell, (student, *ids, section)), number(grade.points)))
    return _csv(header, rows)


def moodle(found: Sequence[Grade], roster: Roster, feedback: Mapping[str, str]) -> str:
    """A file for Moodle: an assignment's offline grading worksheet, or an import of grades.

    https://docs.moodle.org/en/Assignment_activity, "Offline marking", and
    https://docs.moodle.org/en/Grade_import. The worksheet finds a student by the identifier,
    which the name of an exported folder has; the import by the user name or the email address.
    """
    header = (
        *("Identifier", "Full name", "Username", "Email address"),
        *("Grade", "Maximum grade", "Feedback comments"),
    )
    rows = []
    for grade in found:
        name = grade.submission
        exported = _MOODLE.match(name)
        full, number_ = exported.groups() if exported else (name, "")
        identifier = roster.column(name, "Identifier") or (number_ and f"Participant {number_}")
        user = roster.column(name, "Username", "login") or ("" if identifier else name)
        full = roster.column(name, "Full name", "Student", "name") or full
        email = roster.column(name, "Email address", "email")
        points = number(grade.points), number(grade.max_points)
        rows.append(
            (*map(_cell, (identifier, full, user, email)), *points, _cell(feedback.get(name, "")))
        )
    return _csv(header, rows)


def _csv(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula: students choose the names of files."""
    text = text.strip()
    return f"'{text}" if text.startswith(_FORMULA) else text


# --- what a teacher should look at


def warnings(results: Sequence[Result]) -> list[str]:
    """Sentences about results that may mean less than they say."""
    found = []
    graded = [result for result in results if result.status is Status.GRADED]
    outcomes = {tuple(mark.outcome for mark in result.marks) for result in graded}
    if len(graded) > 2 and len(outcomes) == 1:
        text = f"all {len(graded)} answers have the same outcome in every test: does the exercise "
        found.append(text + "tell a right answer from a wrong one?")
    same: dict[str, list[str]] = {}
    for result in results:
        same.setdefault(result.key, []).append(result.submission)
    for key, names in same.items():
        if key and len(names) > 1:
            found.append(f"these answers are the same files: {_listed(names)}")
    never = [result.submission for result in graded if not result.program.ran]
    if never:
        found.append(f"no test ran the program of: {_listed(never)}")
    late = [r.submission for r in graded if any(m.outcome is Outcome.NOT_RUN for m in r.marks)]
    if late:
        found.append(f"some tests were not run for: {_listed(late)}")
    missing = Counter(name for result in graded for name in result.program.missing)
    for name, count in missing.most_common():
        answers = "1 answer imports" if count == 1 else f"{count} answers import"
        found.append(f"{answers} {name}, which is not installed here")
    return found


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
