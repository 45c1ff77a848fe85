"""Results as other systems read them, held against what their makers say of the format.

The schemas are written from the vendors' pages, which have none: Gradescope's "Autograder
Specifications", Classroom 50's "result.json contract", PrairieLearn's "External Grading".
"""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pytest_proclife.exercises import formats
from pytest_proclife.exercises.results import (
    Mark,
    Outcome,
    Result,
    Status,
    Store,
    from_values,
    summary_csv,
    to_values,
)

SCHEMAS = json.loads((Path(__file__).parent / "grading_formats.json").read_text())
RUNNER = {
    "CLASSROOM": "processes",
    "ASSIGNMENT": "exam",
    "SUBMISSION_TAG": "submit/2026-06-01T14-32-05Z-a1b2c3d",
    "COMMIT_URL": "https://example.org/commit/1",
    "RELEASE_URL": "https://example.org/releases/1",
}


def mark(points: float, outcome: Outcome, **values: Any) -> Mark:
    given: dict[str, Any] = {
        "test": f"exercise.py::test_{outcome}",
        "name": f"{outcome} <&> \x1b",
        "points": points,
        "max_points": 2.0,
        "outcome": outcome,
    }
    return Mark(**{**given, **values})


GRADED = Result(
    submission="ada",
    status=Status.GRADED,
    marks=(
        mark(2.0, Outcome.PASSED, tags=("daemon",)),
        mark(1.0, Outcome.PARTIAL, sentences=("Half of it is there.",), message="bare"),
        mark(0.0, Outcome.FAILED, sentences=("No \x00.",), message="bare", detail="E  all\ud800"),
        mark(0.0, Outcome.FAILED, visibility="hidden", message="secret"),
        mark(0.0, Outcome.NOT_RUN, message="skipped"),
    ),
    seconds=1.25,
    key="key",
)
EMPTY = tuple(replace(mark, points=0.0, outcome=Outcome.NOT_RUN) for mark in GRADED.marks)
OTHERS = [
    replace(GRADED, status=status, reason=f"{status}, truly", marks=EMPTY)
    for status in (Status.UNGRADABLE, Status.TAMPERED, Status.ERROR)
]
STYLES = ("friendly", "message", "all")


@pytest.mark.parametrize("result", [GRADED, *OTHERS], ids=lambda result: str(result.status))
@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("name", ["gradescope", "classroom50", "prairielearn"])
def test_a_format_is_what_its_makers_say(
    name: str, style: str, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in RUNNER.items():
        monkeypatch.setenv(variable, value)
    document = getattr(formats, name)(result, style)
    jsonschema.validate(document, SCHEMAS[name], jsonschema.Draft202012Validator)


def test_gradescope_has_the_points_and_the_visibility_of_each_test() -> None:
    document = formats.gradescope(GRADED, "friendly")
    assert document["score"] == 3
    first, second, _, hidden, _ = document["tests"]
    assert (first["score"], first["status"], first["output"]) == (2, "passed", "")
    assert first["tags"] == ["daemon"]
    assert (second["score"], second["status"]) == (1, "failed")
    assert second["output"] == "Half of it is there."
    assert (hidden["visibility"], hidden["output"]) == ("hidden", "secret")


def test_prairielearn_has_a_share_and_hides_what_is_hidden() -> None:
    document = formats.prairielearn(GRADED, "friendly")
    assert document["score"] == 0.3
    assert "secret" not in json.dumps(document)
    ungradable = formats.prairielearn(OTHERS[0], "friendly")
    assert ungradable == {"gradable": False, "format_errors": ["ungradable, truly"]}


def test_prairielearn_stays_below_its_limit() -> None:
    long = replace(GRADED, marks=(mark(0.0, Outcome.FAILED, sentences=("x" * 2_000_000,)),))
    assert len(json.dumps(formats.prairielearn(long, "friendly"))) < 1_000_000


def test_classroom50_has_whole_points_and_what_its_runner_says() -> None:
    document = formats.classroom50(GRADED, "friendly", RUNNER)
    assert (document["score"], document["max-score"]) == (3, 10)
    assert document["review"] == RUNNER["COMMIT_URL"]
    assert document["tests"][1]["feedback"] == "Half of it is there."
    assert "secret" not in json.dumps(document)
    half = replace(GRADED, marks=(mark(0.5, Outcome.PARTIAL),))
    with pytest.raises(ValueError, match=r"whole points only, and .* has 0.5 of 2.0"):
        formats.classroom50(half, "friendly", RUNNER)
    with pytest.raises(ValueError, match="ASSIGNMENT is not set"):
        formats.classroom50(GRADED, "friendly", {**RUNNER, "ASSIGNMENT": ""})


def test_junit_has_a_suite_for_each_submission(tmp_path: Path) -> None:
    root = ET.fromstring(formats.junit([GRADED, OTHERS[2]], "friendly").split("\n", 1)[1])
    first, second = root.findall("testsuite")
    counts = ("tests", "failures", "errors", "skipped")
    assert [first.get(name) for name in counts] == ["5", "3", "0", "1"]
    assert [second.get(name) for name in counts] == ["5", "0", "5", "0"]
    texts = [failure.text for failure in first.iter("failure")]
    assert texts == ["Half of it is there.", "No .", "secret"]
    assert {error.get("message") for error in second.iter("error")} == {"error: error, truly"}


def test_a_result_survives_its_document() -> None:
    document = json.loads(json.dumps(to_values(GRADED)))
    jsonschema.validate(document, SCHEMAS["proclife"], jsonschema.Draft202012Validator)
    assert from_values(document) == GRADED
    for other in OTHERS:
        assert from_values(json.loads(json.dumps(to_values(other)))) == other


@pytest.mark.parametrize("document", [{}, {"format": "proclife-result", "version": 2}, []])
def test_anything_but_a_result_is_a_value_error(document: Any) -> None:
    with pytest.raises(ValueError, match="not a result"):
        from_values(document)


def test_a_row_of_the_summary_is_one_line_and_not_a_formula() -> None:
    odd = replace(OTHERS[0], submission="=cmd()", reason="two\nlines, and a comma")
    rows = list(csv.reader(io.StringIO(summary_csv([GRADED, odd]))))
    assert rows[1] == ["ada", "graded", "3", "10", "1.25", ""]
    assert rows[2] == ["'=cmd()", "ungradable", "0", "10", "1.25", "two lines, and a comma"]


def test_a_store_knows_results_with_the_same_key_that_are_not_errors(tmp_path: Path) -> None:
    store = Store(tmp_path / "out")
    for name, result in (("ada", GRADED), ("bob", OTHERS[1]), ("eve", OTHERS[2])):
        store.keep(replace(result, submission=name))
    assert store.known("ada", "key") == GRADED
    assert store.known("ada", "another") is None
    assert store.known("bob", "key") is not None
    assert store.known("eve", "key") is None  # the machinery's fault is tried again
    assert store.known("nobody", "key") is None
    (tmp_path / "out/results/ada.json").write_text('{"format": "proclife-re')
    assert store.known("ada", "key") is None
    assert sorted(path.name for path in (tmp_path / "out/results").iterdir()) == [
        "ada.json",
        "bob.json",
        "eve.json",
    ]
