"""The text of a failed assertion, which needs no second run, and its exception."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_proclife.assertions.violation import Offence, Violation, named
from pytest_proclife.errors import LifecycleError
from pytest_proclife.records import ProcessRecord
from pytest_proclife.render.evidence import fact_words, source_words
from pytest_proclife.render.text import plain
from pytest_proclife.render.timeline import render

OFFENDERS = 10  # shown, each on a line
WITNESSES = 4  # processes whose evidence is shown
_FACTS = 12  # lines of evidence of one process: the first and the last ones
_FACT = 300  # characters of a line
_ROWS = 20  # of the timeline
_HINTS = 3


def hold(assertion: str, violation: Violation | None) -> None:
    """Raise LifecycleError if the check of an assertion found a violation."""
    __tracebackhide__ = True
    if violation is not None:
        offenders = tuple(offence.process for offence in violation.offences)
        raise LifecycleError(explain(violation), offenders, violation.run, assertion)


def explain(violation: Violation) -> str:
    """The sentence, a line for each offender, the timeline, the evidence, what to look at."""
    concerned = _concerned(violation.offences)
    parts = [
        "\n".join([violation.sentence, *_lines(violation.offences)]),
        render(violation.run, rows=_ROWS, about=concerned),
        *(_evidence(process) for process in concerned[:WITNESSES]),
    ]
    if len(concerned) > WITNESSES:
        left_out = len(concerned) - WITNESSES
        parts.append(f"evidence of {left_out} more: process.evidence of the error's .offenders")
    return "\n\n".join([*parts, *_next(violation)])


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
            yield f"  {at:>9}  {plain(source_words(fact, run)):<{width}}  {text}"

    return "\n".join([f"evidence of {named(process)}:", *(lines() if facts else ["  none"])])


def _next(violation: Violation) -> Iterator[str]:
    hints = dict.fromkeys(o.hint for o in violation.offences if o.hint)
    shown = [violation.hint] if violation.hint else list(hints)[:_HINTS]
    if shown:
        yield "\n".join(f"look at: {hint}" for hint in shown)
