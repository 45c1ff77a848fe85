"""What a check found: one sentence, and the processes that differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

from pytest_proclife.records import Cause, ProcessRecord, Run
from pytest_proclife.render.process import describe
from pytest_proclife.render.text import plain, shortened

Records = tuple[ProcessRecord, ...]

_PREFIXES: dict[Cause | None, str] = {
    **dict.fromkeys((Cause.CLEANED_UP, Cause.ABANDONED, Cause.KILLED, Cause.TERMINATED), "it was "),
    **dict.fromkeys((Cause.SYS_EXIT, Cause.OS_EXIT), "it ended by "),
    Cause.UNKNOWN: "its cause is ",
    None: "it is ",
}


@dataclass(frozen=True, slots=True)
class Offence:
    """A process that differs from a claim.

    `actual` is a clause about "it", `hint` is what to look at next. `known` is false if a missing
    fact fails the check. `others` are the processes whose evidence is shown too.
    """

    process: ProcessRecord
    actual: str
    hint: str = ""
    _: KW_ONLY
    known: bool = True
    others: Records = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A claim that does not hold: expected and actual in one sentence, and the offences.

    If there is only one offence, the sentence contains all of it.
    """

    sentence: str
    run: Run
    offences: tuple[Offence, ...]
    hint: str = ""


def on_each(
    processes: Records, expected: str, check: Callable[[ProcessRecord], Offence | None]
) -> Violation | None:
    """Check each process; `expected` is an infinitive: "to have returned"."""
    offences = tuple(o for o in map(check, processes) if o is not None)
    if not offences:
        return None
    if len(processes) == 1:
        sentence = f"expected {named(processes[0])} {expected}, but {offences[0].actual}"
    else:
        found = _exceptions(offences)
        sentence = f"expected each of {len(processes)} processes {expected}, but this is {found}"
    return Violation(sentence=sentence, run=processes[0].run, offences=offences)


def _exceptions(offences: tuple[Offence, ...]) -> str:
    """Where an expectation is not met: "false for worker-1 (pid 12): it raised ..."."""
    if len(offences) == 1:
        (offence,) = offences
        answer = "false" if offence.known else "unknown"
        return f"{answer} for {named(offence.process)}: {offence.actual}"
    known = [offence.known for offence in offences]
    counts = [("false", known.count(True)), ("unknown", known.count(False))]
    return " and ".join(f"{answer} for {count}" for answer, count in counts if count)


def differing(offences: tuple[Offence, ...], verb: str) -> str:
    """The only process that differs, or how many do: "2 were left, 1 is unknown"."""
    if len(offences) == 1:
        offence = offences[0]
        found = verb if offence.known else "is unknown"
        return f"{named(offence.process)} {found}: {offence.actual}"
    known = [offence.known for offence in offences]
    differ, unknown = known.count(True), known.count(False)
    parts = [f"{differ} {verb.replace('was', 'were')}"] if differ else []
    if unknown:
        parts.append(f"{unknown} {'is' if unknown == 1 else 'are'} unknown")
    return ", ".join(parts)


def named(process: ProcessRecord) -> str:
    """A process in a sentence."""
    return f"{shortened(process.name)} (pid {process.pid})"


def outcome(process: ProcessRecord, *, start_named: bool = False) -> str:
    """Why and how a process ended, as a clause about "it"."""
    words = describe(process, start_named=start_named)
    return _PREFIXES.get(process.cause, "it ") + words


def why_unknown(process: ProcessRecord) -> str:
    """The fact without which a cause is unknown."""
    reason = process.unknown_reason
    return "the evidence does not say why" if reason is None else str(reason)


def unseen(process: ProcessRecord) -> str | None:
    """What the witness may have missed of a process's reports, if it missed anything."""
    missing = process.run.witness.missing
    own = [entry for entry in missing if entry.process == process.id]
    if own:
        return plain(str(own[0]))
    # nothing shows that it reports at all
    return plain(str(missing[0])) if missing and process.target_ran is None else None
