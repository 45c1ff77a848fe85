"""No text that a program chooses decides anything: with forged text a run is judged the same.

The texts are all that the package itself can say, as they are in its source. A program may use any
of them as a name, an exception's type or message, a command line, a file name or its output.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lives
import pytest
from histories import Log
from hypothesis import given, settings
from hypothesis import strategies as st

import pytest_proclife as pp
from pytest_proclife import wire
from pytest_proclife.exercises import feedback
from pytest_proclife.records import ProcessRecord, Run

PACKAGE = Path(pp.__file__).parent


@functools.cache
def package_texts() -> list[str]:
    """Every string constant of the package, placeholders filled in with a word."""
    texts = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                texts.add(re.sub(r"\{[a-z]*\}|%[sdr]", "it", node.value).strip())
    return sorted(text for text in texts if text and "\0" not in text)


# deferred: who only collects the tests does not parse the package
source_text = st.deferred(lambda: st.sampled_from(package_texts()))
forged_text = st.one_of(
    source_text,
    st.sampled_from(
        ["unknown", "was waiting for pizza", "reports of the day", "SIGTERM", "itself"]
    ),
    st.lists(source_text, min_size=2, max_size=3).map(" ".join),
)

# kind of report -> the indexes of its fields that hold text of the program
CHOSEN: dict[str, range | tuple[int, ...]] = {
    wire.HELLO: range(5, 100),  # executable, command line
    wire.STARTED: (2, 6, *range(7, 100)),  # name, place, command line
    wire.RUN: (2,),  # name
    wire.FINISHED: (1, 2, 3),  # the exception: type, message, traceback
    wire.COLLECTED: (3,),  # place
    wire.WAITING: (1,),  # place
}
ASSERTIONS: dict[str, Callable[[ProcessRecord], object]] = {
    name: getattr(pp, name)
    for name in pp.__all__
    if name.startswith("assert_")
    and "run" not in inspect.signature(getattr(pp, name)).parameters
    and not {"q", "children"} & set(inspect.signature(getattr(pp, name)).parameters)
}
LIVES: list[Callable[[], Run]] = [
    function
    for name, function in vars(lives).items()
    if inspect.isfunction(function)
    and function.__module__ == "lives"
    and not name.startswith("_")
    and not inspect.signature(function).parameters
]


def forge(data: bytes, text: str) -> bytes:
    """The same report, with a text of the program's choice in all that it may choose."""
    parts = wire.unpack(data)
    if parts is None or parts[0] not in CHOSEN:
        return data
    kind, seq, pid, at, fields = parts
    for index in CHOSEN[kind]:
        if index < len(fields) and fields[index]:
            fields[index] = wire.clip(text)
    return wire.pack(kind, seq, pid, at, tuple(fields))


def forged(build: Callable[[], Run], text: str, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The account of a canned run whose program has chosen this text."""

    def run(log: Log, **options: Any) -> Run:
        log.entries = [
            tuple(forge(part, text) if isinstance(part, bytes) else part for part in entry)
            for entry in log.entries
        ]
        return real(log, stdout=text, stderr=text, **options)

    real = Log.run
    with monkeypatch.context() as patch:
        patch.setattr(Log, "run", run)
        return build()


def judgement(run: Run) -> Iterator[object]:
    """All that is decided of a run; no text that is made for people."""
    yield run.witness.complete, [(m.process, m.kind) for m in run.witness.missing]
    for p in run:
        yield p.id, p.parent_id, p.role, p.kind, p.daemon, p.start_method
        yield p.cause, p.ending, p.ended_by, p.joined, p.orphaned, p.target_ran
        yield p.unknown_reason, [wait.process for wait in p.waiting_for]
        yield [(fact.kind, fact.source, fact.about) for fact in p.evidence]
        for name, check in ASSERTIONS.items():
            yield name, p.id, offenders(check, p)
        for assertion in ("assert_joined", "assert_returned", "assert_shut_down"):
            failure = feedback.Failure(run=run, offenders=(p,), assertion=assertion)
            yield len(feedback.sentences(failure))
    yield offenders(pp.assert_no_orphans, run), offenders(pp.assert_nothing_left, run)


def offenders(check: Callable[[Any], object], value: object) -> list[int] | None:
    """The ids of the processes that an assertion names; None if it passes."""
    try:
        check(value)
    except pp.LifecycleError as error:
        return [process.id for process in error.offenders]
    return None


@functools.cache
def plainly_judged(build: Callable[[], Run]) -> list[object]:
    """What is decided of a canned run whose program has chosen a text that means nothing."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        return list(judgement(forged(build, "x", monkeypatch)))


@pytest.mark.parametrize("build", LIVES, ids=lambda build: build.__name__)
@given(text=forged_text)
@settings(max_examples=15, deadline=None)
def test_a_run_is_judged_the_same_whatever_its_program_says(
    build: Callable[[], Run], text: str
) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        told = forged(build, text, monkeypatch)

    assert list(judgement(told)) == plainly_judged(build)
    assert Run.from_json(told.to_json()) == told
