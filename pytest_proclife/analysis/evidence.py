"""What is known of a process, in words: the facts, each with its time and who says so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from pytest_proclife import wire
from pytest_proclife.analysis.cause import Verdict
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.history import History
from pytest_proclife.analysis.log import Asked, Report, Sighting
from pytest_proclife.records import signal_name

# Looked for where a run is judged or told; the waits stand only where what began did not end.
WAITED = "was waiting for "
IN_EXIT_PATH = "its exit path began, and did not end"
CLEANED_UP = "sent SIGKILL (clean-up)"
ENDED_OF = ", and it ended of this one"  # stands where the same sender sent several signals

_STATES = {
    "caught": ", which it caught",
    "ignored": ", which it ignored",
    "blocked": ", which it had blocked",
}
_MESSAGE_LIMIT = 300  # characters of an exception's message: the whole stands in `exception`


class Fact(NamedTuple):
    """One fact; `at` in monotonic ns, None where it has no time."""

    at: int | None
    source: str
    text: str


def facts(
    one: Sighting, family: Family, history: History, verdict: Verdict | None
) -> Iterator[Fact]:
    """The facts about a process in the order of their times, the reasons of the verdict last."""
    found = [
        *_start(one, family),
        *_requests(history, family, verdict),
        *_own(one, history),
        *_waits(one, family),
        *_end(one, family, history),
    ]
    yield from sorted(found, key=lambda fact: fact.at or 0)
    for reason in verdict.reasons if verdict is not None else ():
        yield Fact(None, "proclife", f"unknown: {reason}")


def end_time(one: Sighting) -> int | None:
    """When a process ended, as closely as is known: the kernel's word for it comes late."""
    if one.end is None:
        return None
    end = one.end
    if one.collected:
        end = min(end, one.collected[0][1].at)  # it had ended when its status was taken
    last = [r.at for r in one.reports[-1:] if r.at <= one.end]
    return max([end, one.began, *last])


def _start(one: Sighting, family: Family) -> Iterator[Fact]:
    for by, report in one.told[:1]:
        yield Fact(report.at, family.names[by], f"started it{_at(report.field(6))}")


def _requests(history: History, family: Family, verdict: Verdict | None) -> Iterator[Fact]:
    ended_of = None if verdict is None else verdict.request
    for request in history.asked:
        words = _request_words(request)
        if request is ended_of and any(
            r.by == request.by and r.signal != request.signal for r in history.asked
        ):
            words += ENDED_OF
        yield Fact(request.at, _sender(request, family), words)


def _sender(request: Asked, family: Family) -> str:
    if isinstance(request.by, str):
        return request.by
    return family.names[family.order[request.by].number]


def _request_words(request: Asked) -> str:
    name = signal_name(request.signal)
    if not request.sure:
        return f"sent {name} ({request.via}), perhaps to it, perhaps to another process"
    if request.alive is False:
        return f"sent {name} ({request.via}) when it had ended"
    return f"sent {name} ({request.via}){_STATES.get(request.state or '', '')}"


def _own(one: Sighting, history: History) -> Iterator[Fact]:
    for signal, at in history.caught:
        yield Fact(at, "itself", f"its handler of {signal_name(signal)} ran")
    left, word = one.latest(wire.LEFT), one.latest(wire.LAST_WORD)
    if left is not None:
        yield Fact(left.at, "itself", _left_words(left))
    if word is not None and history.last_word == "os_exit":
        yield Fact(word.at, "itself", f"called os._exit({word.field(1)[:20]})")


def _left_words(left: Report) -> str:
    kind, message = left.field(1)[:_MESSAGE_LIMIT], left.field(2)[:_MESSAGE_LIMIT]
    match left.field(0):
        case "returned":
            return "its code returned"
        case "sys_exit":
            return (
                f"SystemExit left its code ({message})" if message else "SystemExit left its code"
            )
        case _:
            return f"{kind}: {message} left its code" if message else f"{kind} left its code"


def _waits(one: Sighting, family: Family) -> Iterator[Fact]:
    """Joins that blocked and whose end was not seen; an exit path that did not come to its end."""
    begun, done = one.latest(wire.EXIT_PATH), one.latest(wire.EXIT_PATH_DONE)
    if begun is not None and done is None and one.latest(wire.LAST_WORD) is None:
        yield Fact(begun.at, "itself", IN_EXIT_PATH)
    waits = [r for r in one.reports if r.kind == wire.WAITING]
    if not waits:
        return
    over = {r.field(0) for r in one.reports if r.kind == wire.COLLECTED}
    open_waits = {r.field(0): r for r in waits if r.field(0) not in over}
    if not open_waits:
        return
    children = {str(family.sightings[n].pid): n for n in family.children[one.number]}
    for pid, report in open_waits.items():
        who = f"{family.names[children[pid]]} (pid {pid})" if pid in children else f"pid {pid[:12]}"
        yield Fact(report.at, "itself", f"{WAITED}{who}{_at(report.field(1))}")


def _end(one: Sighting, family: Family, history: History) -> Iterator[Fact]:
    for at in one.cleanups[:1]:
        yield Fact(at, "proclife", CLEANED_UP)
    if one.end is not None:
        yield Fact(end_time(one), "kernel", _status_words(history))
    for index, (by, report) in enumerate(_telling(one)):
        did = "joined it then" if index else "collected its status"
        yield Fact(report.at, family.names[by], did + _at(report.field(3)))
    if not one.collected and one.reaped is not None and one.number:
        text = "it was an orphan when it was reaped" if one.reaped_by_us else "it was reaped"
        yield Fact(one.reaped, "kernel", text)


def _telling(one: Sighting) -> Iterable[tuple[int, Report]]:
    """Who took its status, and the join that came later, if that was another call."""
    first = one.collected[:1]
    later = [c for c in one.collected[1:] if c[1].field(2)]
    return [*first, *later[:1]] if first and not first[0][1].field(2) else first


def _status_words(history: History) -> str:
    if history.exitcode is None:
        return "ended; its wait status was not seen"
    if history.signal is not None:
        return f"died of {signal_name(history.signal)}"
    return f"exited with {history.exitcode}"


def _at(where: str) -> str:
    return f" at {where[:_MESSAGE_LIMIT]}" if where else ""
