"""The sentences of facts: one for every kind, and none that a name could break."""

from __future__ import annotations

import lives
import pytest

from pytest_proclife.records import (
    EVIDENCE,
    EvidenceKind,
    Foreign,
    Missing,
    MissingKind,
    Run,
    Source,
    UnknownKind,
    UnknownReason,
)
from pytest_proclife.render import evidence


def test_every_kind_has_its_class_and_its_sentence() -> None:
    assert set(EVIDENCE) == set(EvidenceKind) == set(evidence._WORDS)
    assert set(UnknownKind) == set(evidence._UNKNOWN)
    assert set(MissingKind) == set(evidence._MISSING)


@pytest.mark.parametrize("kind", UnknownKind)
def test_a_reason_names_its_signal_if_it_has_one(kind: UnknownKind) -> None:
    text = str(UnknownReason(kind=kind, signal="SIGTERM"))
    assert text
    assert "{" not in text


def test_what_is_missing_names_its_process_and_keeps_braces_as_they_are() -> None:
    run = lives.changed(lives.lost_report(), "job", name="{what}")
    assert [str(missing) for missing in run.witness.missing] == [
        f"reports of {run['{what}']} are missing"
    ]


def test_a_fact_names_another_process_if_it_has_the_run() -> None:
    run: Run = lives.timed_out()
    waiting = next(f for f in run.main.evidence if f.kind is EvidenceKind.WAITING)
    assert waiting.about is not None
    other = run.processes[waiting.about]
    assert evidence.fact_words(waiting, run).startswith(f"was waiting for {other}")
    assert str(waiting).startswith(f"was waiting for pid {other.pid}")


def test_what_gave_a_process_a_way_below_python_is_named() -> None:
    at = {"at": 0.1, "source": Source.ITSELF}
    function = Foreign(**at, by="ctypes", function="kill")  # type: ignore[arg-type]
    interpreter = Foreign(**at, by="subinterpreter", function="")  # type: ignore[arg-type]
    assert str(function) == "took kill() of the C library by ctypes"
    assert str(interpreter) == "made a subinterpreter"


def test_a_document_that_is_read_again_says_the_same() -> None:
    run = lives.polled(lives.lost_report())
    again = Run.from_json(run.to_json())
    assert list(map(str, again.witness.missing)) == list(map(str, run.witness.missing))
    assert Missing(process=None, kind=MissingKind.EXIT_CODES) != again.witness.missing[0]
