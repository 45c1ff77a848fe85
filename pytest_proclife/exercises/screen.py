"""What a terminal shows of grading: progress, and a student's own view of one result."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pytest_proclife.description import plain, shortened
from pytest_proclife.exercises.results import Mark, Outcome, Result, Status, number

_SIGNS = {
    Outcome.PASSED: "ok",
    Outcome.PARTIAL: "part",
    Outcome.FAILED: "no",
    Outcome.NOT_RUN: "-",
}


class Progress:
    """A line that says how far grading is; one a result where the output is no terminal."""

    def __init__(self, count: int, *, known: int) -> None:
        self.count = count
        self.done = known
        self.live = sys.stderr.isatty()
        if known:
            self._line(f"{known} of {count} have their results already")
            if self.live:
                sys.stderr.write("\n")

    def show(self, result: Result) -> None:
        self.done += 1
        self._line(f"[{self.done}/{self.count}] {shortened(result.submission)}: {in_short(result)}")

    def end(self, results: Sequence[Result], folder: Path) -> None:
        if self.live:
            sys.stderr.write("\n")
        counted = Counter(str(result.status) for result in results)
        words = ", ".join(f"{counted[status]} {status}" for status in Status if counted[status])
        sys.stderr.write(f"{words}: {folder / 'summary.csv'}\n")

    def _line(self, text: str) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{text[:width]}")
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


def in_short(result: Result) -> str:
    if result.status is Status.GRADED:
        return f"{number(result.score)} of {number(result.max_score)}"
    return f"{result.status}: {plain(result.reason)}"


def own_view(result: Result, style: str) -> str:
    """A result as the student sees it: the tests that are visible."""
    if result.status is Status.UNGRADABLE:
        return f"This answer cannot be graded: {plain(result.reason)}"
    if result.status is not Status.GRADED:
        return f"There is no result ({result.status}): {plain(result.reason)}"
    shown = [mark for mark in result.marks if mark.visibility == "visible"]
    lines = [line for mark in shown for line in _lines(mark, style)]
    score = number(sum(mark.points for mark in shown))
    lines.append(f"\n{score} of {number(sum(mark.max_points for mark in shown))} points")
    return "\n".join(lines)


def _lines(mark: Mark, style: str) -> list[str]:
    points = f"{number(mark.points)}/{number(mark.max_points)}"
    lines = [f"{_SIGNS[mark.outcome]:<5}{points:>6}  {plain(mark.name)}"]
    if mark.outcome is not Outcome.PASSED:
        lines += [f"             {line}" for line in mark.feedback(style).splitlines()]
    return lines
