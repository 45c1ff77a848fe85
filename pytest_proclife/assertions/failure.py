"""The text of a failed assertion, which needs no second run, and its exception."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_proclife.assertions.violation import Offence, Violation, named
from pytest_proclife.errors import LifecycleError
from pytest_proclife.records import ProcessRecord
from pytest_proclife.render.evidence import fact_words, source_words
from pytest_proclife.render.screen import plain_screen
from pytest_proclife.render.text import plain, shortened, wrapped
from pytest_proclife.render.timeline import render

OFFENDERS = 10  # shown, each on a line
WITNESSES = 4  # processes whose evidence is shown
_FACTS = 12  # lines of evidence of one process: the first and the last ones
_FACT = 300  # characters of a line
_ROWS = 12  # of the timeline
_HINTS = 3
_NARROW = 24  # columns of words at least


def hold(assertion: str, violation: Violation | None, **asked: object) -> None:
    """Raise LifecycleError if the check of an assertion found a violation.

    `asked` are the arguments of the assertion, None for those that were not given.
    """
    __tracebackhide__ = True
    if violation is not None:
        offenders = tuple(offence.process for offence in violation.offences)
        brief = _brief(violation)
        given = {name: value for name, value in asked.items() if value is not None}
        text = explain(violation)
        raise LifecycleError(text, offenders, violation.run, assertion, brief, given)


def _brief(violation: Violation) -> str:
    """The first offender and its fact, in a line; without one, the sentence."""
    if not violation.offences:
        return violation.sentence
    first, *others = violation.offences
    more = f" and {len(others)} more" if others else ""
    return f"{shortened(first.process.name)}{more}: {first.actual}"


def explain(violation: Violation) -> str:
    """The sentence, a line for each offender, the hint; then the timeline and the evidence.

    The sentence is one line, however long, since tests search for parts of it.
    """
    concerned = _concerned(violation.offences)
    parts = [
        "\n".join([violation.sentence, *_lines(violation.offences), *_hints(violation)]),
        render(violation.run, rows=_ROWS, about=concerned),
        *(_evidence(process) for process in concerned[:WITNESSES]),
    ]
    if len(concerned) > WITNESSES:
        left_out = len(concerned) - WITNESSES
        parts.append(f"evidence of {left_out} more: process.evidence of the error's .offenders")
    return "\n\n".join(parts)


def _lines(offences: tuple[Offence, ...]) -> Iterator[str]:
    if len(offences) < 2:
        return  # the sentence contains it
    for offence in offences[:OFFENDERS]:
        yield f"  {named(offence.process)}: {offence.actual}"
    if len(offences) > OFFENDERS:
        yield f"  ... and {len(offences) - OFFENDERS} more: see the error's .offenders"


def _concerned(offences: tuple[Offence, ...]) -> list[ProcessRecord]:
    """The offenders, then the processes whose evidence is shown too; each once."""
    offenders = [offence.process for offence in offences]
    others = [other for offence in offences for other in offence.others]
    return list({process.id: process for process in (*offenders, *others)}.values())


def _evidence(process: ProcessRecord) -> str:
    facts = process.evidence
    cut = len(facts) > _FACTS
    head, tail = (facts[: _FACTS // 2], facts[-(_FACTS // 2) :]) if cut else (facts, ())
    run = process.run
    width = max((len(plain(source_words(fact, run))) for fact in facts), default=0)

    def lines() -> Iterator[str]:
        for fact in (*head, *tail):
            if cut and fact is tail[0]:
                yield f"  {'...':>9}  {len(facts) - _FACTS} facts left out"
            at = "" if fact.at is None else f"{fact.at:.3f} s"
            text = plain(fact_words(fact, run))
            text = text if len(text) <= _FACT else f"{text[:_FACT]}..."
            left = f"  {at:>9}  {plain(source_words(fact, run)):<{width}}  "
            yield from _indented(left, text)

    return "\n".join([f"evidence of {named(process)}:", *(lines() if facts else ["  none"])])


def _indented(left: str, text: str) -> Iterator[str]:
    """A text to the right of `left`, broken into lines."""
    columns = plain_screen().columns
    if columns - len(left) < _NARROW:
        columns = len(left) + _NARROW
    first, *others = wrapped(text, columns - len(left))
    yield left + first
    for line in others:
        yield " " * len(left) + line


def _hints(violation: Violation) -> Iterator[str]:
    hints = dict.fromkeys(o.hint for o in violation.offences if o.hint)
    shown = [violation.hint] if violation.hint else list(hints)[:_HINTS]
    for hint in shown:
        yield from _indented("hint: ", hint)
