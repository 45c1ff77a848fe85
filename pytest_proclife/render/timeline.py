"""A run as text: when each process lived, and why it ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pytest_proclife.records import Cause, ProcessRecord, Role, Run
from pytest_proclife.render.phases import (
    EVENT_WORDS,
    PHASE_WORDS,
    EventKind,
    Group,
    PhaseKind,
    events_of,
    group_of,
    phases_of,
)
from pytest_proclife.render.process import cause_words, describe
from pytest_proclife.render.screen import Screen, plain_screen
from pytest_proclife.render.text import plain, seconds, shortened, width, wrapped

ROWS = 40  # lines of processes, helpers left out
_LEVELS = 5  # of indentation at most
_ALIKE = 3  # processes that are folded into one line
_REASONS = 5  # of what was not seen
_BAR = (16, 60)  # columns
_WORDS = 24  # columns for why it ended, at least; below that it stands in lines of its own
_WITH_FLAG = 100  # columns from which on the daemon flag has a column
_TITLE = 60  # characters of the target's text

# What a reader looks for first, if not all can be shown.
_UNUSUAL = (
    *(Cause.UNKNOWN, Cause.CLEANED_UP, Cause.SIGNALED, Cause.KILLED, Cause.RAISED),
    *(Cause.ABANDONED, Cause.TERMINATED, Cause.OS_EXIT, Cause.EXITED, Cause.SYS_EXIT),
)
# As pytest's colours: green is fine, red is a failure; the codes are those of SGR.
_COLORS = {
    Group.RETURNED: "32",
    Group.LEFT: "36",
    Group.FAILED: "31",
    Group.ASKED: "33",
    Group.CLEANED_UP: "35",
    Group.UNKNOWN: "1;35",
    Group.RUNNING: "1",
}
_FAINT = "2"
_SIGNS: dict[PhaseKind | EventKind, str] = {
    PhaseKind.CODE: "━",
    PhaseKind.EXIT_PATH: "╌",
    PhaseKind.ZOMBIE: "·",
    EventKind.SIGNAL: "!",
    EventKind.JOINED: "┫",
}
_ASCII: dict[PhaseKind | EventKind, str] = {
    PhaseKind.CODE: "=",
    PhaseKind.EXIT_PATH: "-",
    PhaseKind.ZOMBIE: ".",
    EventKind.SIGNAL: "!",
    EventKind.JOINED: "|",
}
# What a cell shows if it could show more than one.
_BEFORE: dict[PhaseKind, tuple[PhaseKind, ...]] = {
    PhaseKind.CODE: (),
    PhaseKind.EXIT_PATH: (PhaseKind.CODE,),
    PhaseKind.ZOMBIE: (PhaseKind.CODE, PhaseKind.EXIT_PATH),
}


def render(
    run: Run,
    *,
    rows: int | None = ROWS,
    about: Iterable[ProcessRecord] | None = None,
    screen: Screen | None = None,
) -> str:
    """The timeline: a line for main, one for each process, and what was not seen.

    If there are more than `rows` processes (None: no limit), those that are alike are folded into
    one line; of more lines than that, those with unusual causes are shown, and the other processes
    are counted. With `about`, only these are shown, main, and the processes that started them.
    """
    screen = plain_screen() if screen is None else screen
    processes = [p for p in run.processes if p.role is not Role.HELPER]
    limit = len(run.processes) if rows is None else rows
    depths = depths_of(run)
    if about is None:
        lines = [_Line(processes=(p,)) for p in tree_of(run)]
        lines = _selected(_folded(lines) if len(lines) > limit else lines, limit)
        helpers = list(run.helpers[:limit])
    else:
        wanted = _with_ancestors(about, run.main)
        shown = [p for p in tree_of(run) if p.id in wanted]
        lines = _selected([_Line(processes=(p,)) for p in shown], limit)
        helpers = [p for p in run.helpers if p.id in wanted][:limit]
    for line in lines:
        line.name = "  " * min(depths[line.first.id], _LEVELS) + line.name
    others = [_Line(processes=(p,)) for p in helpers]
    table = _Table(run, [*lines, *others], screen)
    text = [*_title(run, screen.columns), "", *table.head()]
    text += [part for line in lines for part in table.row(line)]
    text += _left_out(processes, lines, screen)
    if others:
        text += table.note("helpers of multiprocessing")
        text += [part for line in others for part in table.row(line)]
    if about is None and len(run.helpers) > len(helpers):
        text.append(f"... and {len(run.helpers) - len(helpers)} more helpers")
    return "\n".join([*text, *table.legend(), *_not_seen(run, screen.columns)])


@dataclass(slots=True)
class _Line:
    """A process, or several that are alike."""

    processes: tuple[ProcessRecord, ...]
    name: str = ""

    def __post_init__(self) -> None:
        names = shortened(self.first.name)
        if len(self.processes) > 1 and self.processes[-1].name != self.first.name:
            names = shortened(f"{self.first.name} ... {self.processes[-1].name}")
        self.name = names

    @property
    def first(self) -> ProcessRecord:
        return self.processes[0]

    @property
    def number(self) -> str:
        """The pid, or of how many processes it is."""
        return str(self.first.pid) if len(self.processes) == 1 else f"{len(self.processes)} x"


class _Table:
    """The columns and their widths: in a row, or below each other where there is no room."""

    def __init__(self, run: Run, lines: list[_Line], screen: Screen) -> None:
        self.duration = run.duration
        self.screen = screen
        self.used: set[PhaseKind | EventKind] = set()
        self.number = max([3, *(len(line.number) for line in lines)])
        self.name = max([7, *(width(line.name) for line in lines)])
        flags = any(line.first.daemon for line in lines)
        self.flag = 6 if flags and screen.columns >= _WITH_FLAG else 0
        left = self.number + 2 + self.name + 2 + (self.flag + 2 if self.flag else 0)
        rest = screen.columns - left - 2
        self.in_rows = rest >= _BAR[0] + _WORDS
        if self.in_rows:
            longest = max([_WORDS, *(width(self._words(line)) for line in lines)])
            self.bar = max(_BAR[0], rest // 4, min(rest - longest, _BAR[1]))
            self.words = rest - self.bar
        else:
            self.words, self.bar = screen.columns - 2, screen.columns

    def head(self) -> list[str]:
        scale = f"0 s{seconds(self.duration):>{self.bar - 3}}"
        if not self.in_rows:
            return [self._faint(scale)]
        flag = "daemon" if self.flag else ""
        return [self._faint(self._join("pid", "process", flag, scale, "why it ended"))]

    def row(self, line: _Line) -> Iterator[str]:
        bar, color = self._bar(line), _COLORS[group_of(line.first)]
        words = wrapped(self._words(line), self.words)
        if not self.in_rows:
            daemon = ", daemon" if line.first.daemon else ""
            number = line.number if len(line.processes) > 1 else f"pid {line.number}"
            yield from wrapped(f"{line.name.strip()} ({number}){daemon}", self.screen.columns)
            yield self._colored(bar, color)
            yield from (f"  {self._colored(part, color)}" for part in words)
            return
        flag = "daemon" if line.first.daemon and self.flag else ""
        bar = bar.ljust(self.bar)
        yield self._join(
            line.number, line.name, flag, self._colored(bar, color), self._colored(words[0], color)
        )
        for part in words[1:]:
            left = self._join("", "", "", " " * self.bar, "")
            yield f"{left}{self._colored(part, color)}"

    def note(self, text: str) -> list[str]:
        return [self._faint(f"{'':{self.number}}  {text}" if self.in_rows else text)]

    def legend(self) -> list[str]:
        """The meaning of each sign in the bars; empty if all bars are plain lines."""
        if self.used <= {PhaseKind.CODE}:
            return []
        signs = _SIGNS if self.screen.lines else _ASCII
        words = [
            *(f"{signs[kind]} {text}" for kind, text in PHASE_WORDS.items() if kind in self.used),
            *(f"{signs[kind]} {text}" for kind, text in EVENT_WORDS.items() if kind in self.used),
        ]
        # a sign stays with its word
        text = "  ".join(word.replace(" ", "\0") for word in words)
        lines = wrapped(text, self.screen.columns)
        return ["", *(self._faint(line.replace("\0", " ")) for line in lines)]

    def _words(self, line: _Line) -> str:
        words = describe(line.first)
        return f"daemon, {words}" if line.first.daemon and self.in_rows and not self.flag else words

    def _join(self, number: str, name: str, flag: str, bar: str, words: str) -> str:
        name += " " * (self.name - width(name))
        parts = [f"{number:>{self.number}}", name, f"{flag:<{self.flag}}", bar, words]
        kept = [part for part in parts[:3] if part] + parts[3:]
        return "  ".join(kept)

    def _bar(self, line: _Line) -> str:
        """Of several processes: what any of them did."""
        cells: list[PhaseKind | EventKind | None] = [None] * self.bar
        for process in line.processes:
            for phase in phases_of(process):
                for cell in self._cells(phase.begin, phase.end):
                    if cells[cell] not in _BEFORE[phase.kind]:
                        cells[cell] = phase.kind
        if len(line.processes) == 1:
            events = sorted(events_of(line.first), key=lambda e: e.kind is EventKind.SIGNAL)
            for event in events:
                cells[self._cell(event.at)] = event.kind
        self.used.update(kind for kind in cells if kind is not None)
        signs = _SIGNS if self.screen.lines else _ASCII
        return "".join(" " if kind is None else signs[kind] for kind in cells).rstrip()

    def _cell(self, at: float) -> int:
        scale = self.bar / self.duration if self.duration else 0.0
        return max(0, min(int(at * scale), self.bar - 1))

    def _cells(self, begin: float, end: float) -> range:
        """At least one, and not the next phase's."""
        scale = self.bar / self.duration if self.duration else 0.0
        first = self._cell(begin)
        return range(first, max(first + 1, min(round(end * scale), self.bar)))

    def _colored(self, text: str, color: str) -> str:
        return f"\x1b[{color}m{text}\x1b[0m" if self.screen.color and text.strip() else text

    def _faint(self, text: str) -> str:
        return self._colored(text, _FAINT)


def title_of(run: Run) -> str:
    """The target, in one line."""
    lines = [line for line in run.target.text.splitlines() if line.strip()] or [""]
    text = plain(lines[0])
    cut = len(lines) > 1 or len(text) > _TITLE
    return f"{run.target.kind} {text[:_TITLE]}" + ("..." if cut else "")


def _title(run: Run, columns: int) -> list[str]:
    return wrapped(f"{title_of(run)}: {seconds(run.duration)}, Python {run.python}", columns)


# --- which processes, in which order


def _folded(lines: list[_Line]) -> list[_Line]:
    """One line for the children of a process that are alike, in the place of the first."""
    alike: dict[object, list[ProcessRecord]] = {}
    order: list[object] = []
    for process in (line.first for line in lines):
        key: object = process.id
        if process.role is not Role.MAIN and not process.children:
            # alike is what would be shown in the same words
            key = process.parent_id, process.kind, process.daemon, describe(process)
        if key not in alike:
            order.append(key)
        alike.setdefault(key, []).append(process)
    folded = []
    for key in order:
        found = alike[key]
        if len(found) >= _ALIKE:
            folded.append(_Line(processes=tuple(found)))
        else:
            folded += [_Line(processes=(process,)) for process in found]
    return folded


def _selected(lines: list[_Line], rows: int) -> list[_Line]:
    """The lines that a reader looks for first, in their order."""
    if len(lines) <= rows:
        return lines

    def rank(line: _Line) -> tuple[bool, int, int]:
        return line.first.role is not Role.MAIN, _rank(line.first), line.first.id

    kept = {line.first.id for line in sorted(lines, key=rank)[:rows]}
    return [line for line in lines if line.first.id in kept]


def _rank(process: ProcessRecord) -> int:
    if process.cause is None or process.orphaned:
        return 0
    return _UNUSUAL.index(process.cause) + 1 if process.cause in _UNUSUAL else len(_UNUSUAL) + 1


def _with_ancestors(processes: Iterable[ProcessRecord], main: ProcessRecord) -> set[int]:
    wanted = {main.id}
    for start in processes:
        process: ProcessRecord | None = start
        while process is not None and process.id not in wanted:
            wanted.add(process.id)
            process = process.parent
    return wanted


def depths_of(run: Run) -> dict[int, int]:
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


def tree_of(run: Run) -> list[ProcessRecord]:
    """Each parent before its children, siblings in the order of their starts; no helpers."""
    strays = [p for p in run.processes[1:] if p.parent is None and p.role is not Role.HELPER]
    below_helpers = [p for h in run.helpers for p in h.children]
    waiting = [*reversed(below_helpers), *reversed(strays), run.main]
    order = []
    while waiting:
        process = waiting.pop()
        order.append(process)
        waiting.extend(reversed(process.children))
    return order


def _left_out(processes: list[ProcessRecord], lines: list[_Line], screen: Screen) -> list[str]:
    there = {process.id for line in lines for process in line.processes}
    rest = [p for p in processes if p.id not in there]
    if not rest:
        return []
    causes = Counter("running" if p.cause is None else cause_words(p.cause) for p in rest)
    words = ", ".join(f"{count} {cause}" for cause, count in causes.most_common())
    return wrapped(f"... and {len(rest)} more: {words}", screen.columns)


def _not_seen(run: Run, columns: int) -> list[str]:
    missing = run.witness.missing
    words = [f"not seen: {plain(str(reason))}" for reason in missing[:_REASONS]]
    if len(missing) > _REASONS:
        words.append(f"not seen: {len(missing) - _REASONS} more of that kind")
    lines = [line for text in words for line in wrapped(text, columns)]
    return ["", *lines] if lines else []
