"""A run as text: who lived when, and why each process ended. No colours: it goes anywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pytest_proclife.records import Cause, ProcessRecord, Role, Run
from pytest_proclife.render.process import cause_words, describe
from pytest_proclife.render.text import plain, seconds, shortened, width

_BAR = 32  # columns of the bar
_LEVELS = 5  # of indentation at most
ROWS = 40  # processes shown, helpers left out
_REASONS = 5  # of what was not seen

# What a reader looks for first, if not all can be shown.
_UNUSUAL = (
    *(Cause.UNKNOWN, Cause.CLEANED_UP, Cause.SIGNALED, Cause.KILLED, Cause.RAISED),
    *(Cause.ABANDONED, Cause.TERMINATED, Cause.OS_EXIT, Cause.EXITED, Cause.SYS_EXIT),
)


def render(run: Run, *, rows: int = ROWS, first: Iterable[ProcessRecord] = ()) -> str:
    """The timeline: a line for main, one for each process, and what was not seen.

    Of more than `rows` processes, those of `first` and those with unusual causes are shown, and
    the others are counted.
    """
    processes = [p for p in run.processes if p.role is not Role.HELPER]
    shown = _selected(processes, rows, frozenset(p.id for p in first))
    depths = _depths(run)
    lines = [(p, "  " * min(depths[p.id], _LEVELS) + shortened(p.name)) for p in _tree(run, shown)]
    helpers = [(p, shortened(p.name)) for p in run.helpers[:rows]]
    table = _Table(run, [*lines, *helpers])
    text = [f"{_title(run)}: {seconds(run.duration)}, Python {run.python}", "", table.head()]
    text += [table.row(process, name) for process, name in lines]
    if len(shown) < len(processes):
        text.append(_left_out(processes, shown))
    if helpers:
        text.append(f"{'':{table.pid}}  helpers of multiprocessing")
        text += [table.row(process, name) for process, name in helpers]
    if len(run.helpers) > len(helpers):
        text.append(f"... and {len(run.helpers) - len(helpers)} more helpers")
    return "\n".join([*text, *_not_seen(run)])


class _Table:
    """The columns and their widths."""

    def __init__(self, run: Run, lines: list[tuple[ProcessRecord, str]]) -> None:
        self.duration = run.duration
        self.pid = max([3, *(len(str(p.pid)) for p, _ in lines)])
        self.name = max([7, *(width(name) for _, name in lines)])
        self.flag = 6 if any(p.daemon for p, _ in lines) else 0

    def head(self) -> str:
        scale = f"0 s{seconds(self.duration):>{_BAR - 3}}"
        return self._line("pid", "process", "daemon" if self.flag else "", scale, "why it ended")

    def row(self, process: ProcessRecord, name: str) -> str:
        flag, bar = "daemon" if process.daemon else "", _bar(process, self.duration)
        return self._line(str(process.pid), name, flag, bar, describe(process))

    def _line(self, pid: str, name: str, flag: str, bar: str, words: str) -> str:
        name += " " * (self.name - width(name))
        parts = [f"{pid:>{self.pid}}", name, f"{flag:<{self.flag}}", f"{bar:<{_BAR}}", words]
        return "  ".join(part for part in parts if part)


def _title(run: Run) -> str:
    lines = run.target.text.splitlines() or [""]
    text = plain(lines[0])
    cut = len(lines) > 1 or len(text) > 60
    return f"{run.target.kind} {text[:60]}" + ("..." if cut else "")


# --- which processes, in which order


def _selected(
    processes: list[ProcessRecord], rows: int, first: frozenset[int]
) -> list[ProcessRecord]:
    if len(processes) <= rows:
        return processes

    def rank(process: ProcessRecord) -> tuple[bool, bool, int, int]:
        not_main = process.role is not Role.MAIN
        return not_main, process.id not in first, _rank(process), process.id

    return sorted(processes, key=rank)[:rows]


def _rank(process: ProcessRecord) -> int:
    if process.cause is None or process.orphaned:
        return 0
    return _UNUSUAL.index(process.cause) + 1 if process.cause in _UNUSUAL else len(_UNUSUAL) + 1


def _depths(run: Run) -> dict[int, int]:
    """How far below main each process is; without a known parent, it counts as main's child."""
    depths = {run.main.id: 0}
    for start in run.processes:
        path = []
        process: ProcessRecord | None = start
        while process is not None and process.id not in depths:
            path.append(process.id)
            process = process.parent
        depth = 0 if process is None else depths[process.id]
        for number in reversed(path):
            depth = depths[number] = depth + 1
    return depths


def _tree(run: Run, shown: Iterable[ProcessRecord]) -> list[ProcessRecord]:
    """Each parent before its children, siblings in the order of their starts."""
    wanted = {p.id for p in shown}
    strays = [p for p in run.processes[1:] if p.parent is None and p.role is not Role.HELPER]
    below_helpers = [p for h in run.helpers for p in h.children]
    waiting = [*reversed(below_helpers), *reversed(strays), run.main]
    order = []
    while waiting:
        process = waiting.pop()
        if process.id in wanted:
            order.append(process)
        waiting.extend(reversed(process.children))
    return order


def _left_out(processes: list[ProcessRecord], shown: list[ProcessRecord]) -> str:
    there = {p.id for p in shown}
    rest = [p for p in processes if p.id not in there]
    causes = Counter("running" if p.cause is None else cause_words(p.cause) for p in rest)
    words = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
    return f"... and {len(rest)} more: {words}"


def _not_seen(run: Run) -> list[str]:
    missing = run.witness.missing
    lines = [f"not seen: {plain(str(reason))}" for reason in missing[:_REASONS]]
    if len(missing) > _REASONS:
        lines.append(f"not seen: {len(missing) - _REASONS} more of that kind")
    return ["", *lines] if lines else []


def _bar(process: ProcessRecord, duration: float) -> str:
    """A heavy line while its own code ran, a light one in its exit path."""
    end = process.ended_at if process.ended_at is not None else duration
    scale = _BAR / duration if duration else 0.0
    first = max(0, min(int(process.started_at * scale), _BAR - 1))
    last = max(first + 1, min(round(end * scale), _BAR))
    done = process.finished_at
    middle = last if done is None else max(first, min(round(done * scale), last))
    return " " * first + "━" * (middle - first) + "╌" * (last - middle)
