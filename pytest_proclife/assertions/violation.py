"""What a check found: one sentence, and what each process did instead."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pytest_proclife.records import Cause, ProcessRecord, Run
from pytest_proclife.render.process import describe
from pytest_proclife.render.text import plain, shortened

_PREFIXES: dict[Cause | None, str] = {
    **dict.fromkeys((Cause.CLEANED_UP, Cause.ABANDONED, Cause.KILLED, Cause.TERMINATED), "it was "),
    **dict.fromkeys((Cause.SYS_EXIT, Cause.OS_EXIT), "it ended by "),
    Cause.UNKNOWN: "its cause is ",
    None: "it is ",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Offence:
    """What one process did instead: a clause about "it".

    `known` is false where it is a missing fact that fails the check. `hint` is what to look at
    next, `others` the processes whose evidence belongs to it.
    """

    process: ProcessRecord
    actual: str
    known: bool = True
    hint: str = ""
    others: tuple[ProcessRecord, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """A check that does not hold: expected and actual in one sentence, and the offences.

    The sentence has the whole of the offence where there is only one.
    """

    sentence: str
    run: Run
    offences: tuple[Offence, ...]
    hint: str = ""


def on_each(
    processes: tuple[ProcessRecord, ...],
    expected: str,
    check: Callable[[ProcessRecord], Offence | None],
) -> Violation | None:
    """Hold the same against each process; `expected` is an infinitive: "to have returned"."""
    offences = tuple(o for o in map(check, processes) if o is not None)
    if not offences:
        return None
    if len(processes) == 1:
        sentence = f"expected {named(processes[0])} {expected}, but {offences[0].actual}"
    else:
        found = counted(offences)
        if len(offences) == 1:
            found = f"not so {named(offences[0].process)}: {offences[0].actual}"
        sentence = f"expected each of {len(processes)} processes {expected}, but {found}"
    return Violation(sentence=sentence, run=processes[0].run, offences=offences)


def counted(offences: Iterable[Offence]) -> str:
    """For how many it is not so, and for how many it is not known."""
    known = [offence.known for offence in offences]
    parts = [("it is not so for", known.count(True)), ("it is not known for", known.count(False))]
    return " and ".join(f"{words} {count}" for words, count in parts if count)


def named(process: ProcessRecord) -> str:
    """A process in a sentence."""
    return f"{shortened(process.name)} (pid {process.pid})"


def came_to(process: ProcessRecord, *, start_named: bool = False) -> str:
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
