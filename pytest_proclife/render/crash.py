"""The words for crash points, and the table of what happened at each."""

from __future__ import annotations

import signal as signals
from collections.abc import Sequence
from dataclasses import dataclass

from pytest_proclife.records import CrashOutcome, Point, Run, signal_name
from pytest_proclife.render.process import waiting_for
from pytest_proclife.render.text import plain

_ENDS = {"returned": "returned", "raised": "raised an exception", "sys_exit": "called sys.exit()"}
_LINE = 60  # characters of a line of output


def point_words(point: Point) -> str:
    """A point in words that can follow the name of a signal.

    An example: "after Process-2 was started at exam.py:7".
    """
    text = plain(_words(point))
    if point.count > 1:
        text += f" ({_ordinal(point.nth)} of {point.count})"
    return text


_SENTENCES = {
    "begun": "as {who} begins",
    "started": "after {about} was started{by}{where}",
    "target": "as {who} reaches its target",
    "finished": "after the code of {who} {how}",
    "exit_path": "{how} {who}'s exit path",
    "exiting": "as {who} exits",
    "waiting": "as {who} begins to wait for {about}{where}",
    "joined": "after {who} collected {about}{where}",
    "signal": "as {who} sends {how} to {about}{where}",
    "handler": "in {who}'s handler of {how}",
    "exec": "as {who} becomes {about}",
    "output": "after the line {how} on {who}",
    "ended": "after {who} ended",
    "call": "as {who} calls {how}()",
}


def _words(point: Point) -> str:
    return _SENTENCES[point.kind].format(
        who=point.process,
        about=point.about or "another process",
        by="" if point.process == "main" else f" by {point.process}",
        where=f" at {_line(point.where)}" if point.where else "",
        how=_how(point.kind, point.detail),
    )


def _how(kind: str, detail: str) -> str:
    match kind:
        case "finished":
            return _ENDS.get(detail, detail)
        case "exit_path":
            return "in" if detail == "begun" else "after"
        case "signal":
            number, _, via = detail.partition(" ")
            return f"{_signal(number)} by {via}"
        case "handler":
            return _signal(detail)
        case "output":
            return repr(detail if len(detail) <= _LINE else f"{detail[:_LINE]}...")
        case _:
            return detail


def _signal(number: str) -> str:
    return signal_name(int(number)) if number.isdecimal() else number


def _line(where: str) -> str:
    """The file's name and the line of "file:line in function"."""
    return where.rpartition(" in ")[0].rpartition("/")[2] or where


def _ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10)
    return f"{number}{ending or 'th'}"


def failure_words(crash: str, run: Run, outcome: CrashOutcome) -> str:
    """Why a crash proves nothing, with the timeline of its run."""
    if outcome is CrashOutcome.MISSED:
        text = f"{crash}: missed, since the point did not come again; nothing was sent"
    else:
        text = f"{crash}: main hung: {waiting_for(run)}"
    return f"{text}\n\n{run}"


def outcome_words(outcome: CrashOutcome, left: int, exitcode: int | None, signal: str) -> str:
    """What stands in the table: clean, left N, hung, missed; and an exit code that is unusual."""
    text = f"left {left}" if outcome is CrashOutcome.LEFT else str(outcome)
    number = signals.Signals[signal]
    ended = outcome in (CrashOutcome.CLEAN, CrashOutcome.LEFT)
    if ended and exitcode not in (None, 0, -number, 128 + number):
        text += f", exit {exitcode}"
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What happened at a point (`row`) with a signal (`column`)."""

    row: str
    column: str
    text: str


def table(cells: Sequence[Cell]) -> str:
    """A table of points against signals; a cell that was not tried is empty."""
    columns = list(dict.fromkeys(cell.column for cell in cells))
    rows: dict[str, dict[str, str]] = {}
    for cell in cells:
        rows.setdefault(cell.row, {})[cell.column] = cell.text
    first = max(map(len, rows))
    widths = [max(len(c), *(len(row.get(c, "")) for row in rows.values())) for c in columns]
    lines = [
        ["", *columns],
        *([name, *(row.get(c, "") for c in columns)] for name, row in rows.items()),
    ]
    return "\n".join(
        "  ".join(
            text.ljust(width) for text, width in zip(line, [first, *widths], strict=True)
        ).rstrip()
        for line in lines
    )
