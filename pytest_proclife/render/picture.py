"""Runs side by side as an SVG picture, for a README or for slides.

All have the same scale, so that their lengths can be compared. The picture follows the light or
dark colours of the page that it is in.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator, Sequence
from html import escape

from pytest_proclife.records import ProcessRecord, Run
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
from pytest_proclife.render.process import describe
from pytest_proclife.render.text import plain, shortened, wrapped
from pytest_proclife.render.timeline import depths_of, title_of, tree_of

ROWS = 30  # processes of each run, the first ones; the others are counted
_PANEL, _GAP, _EDGE = 440, 36, 16  # pixels: of a run, between two, around all
_TOP, _ROW, _LINE = 74, 66, 15  # of the heading, of a process, of a line of words
_COLUMNS = 66  # of the words below a bar
_LEVELS = 5
_LETTER = 7  # pixels of a letter in the legend, which fits below one run

_LIGHT = {
    Group.RETURNED: "#1a7f37",
    Group.LEFT: "#0969da",
    Group.FAILED: "#cf222e",
    Group.ASKED: "#9a6700",
    Group.CLEANED_UP: "#8250df",
    Group.UNKNOWN: "#57606a",
    Group.RUNNING: "#1b7c83",
}
_DARK = {
    Group.RETURNED: "#3fb950",
    Group.LEFT: "#58a6ff",
    Group.FAILED: "#ff7b72",
    Group.ASKED: "#d29922",
    Group.CLEANED_UP: "#bc8cff",
    Group.UNKNOWN: "#9198a1",
    Group.RUNNING: "#56d4dd",
}


def render(runs: Sequence[Run]) -> str:
    """The picture of one run, or of several beside each other."""
    longest = max(run.duration for run in runs) or 1.0
    rows = max(min(len(run.processes), ROWS) for run in runs)
    width = len(runs) * _PANEL + (len(runs) - 1) * _GAP + 2 * _EDGE
    height = _TOP + rows * _ROW + 56
    title = "; ".join(title_of(run) for run in runs)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}"',
        f'width="{width}" height="{height}" role="img" aria-labelledby="title words">',
        f'<title id="title">{_text(title)}</title>',
        f'<desc id="words">{_text(_words(runs))}</desc>',
        f"<style>\n{_style()}</style>",
        *_patterns(),
        f'<rect class="paper" width="{width}" height="{height}" rx="8"/>',
    ]
    for number, run in enumerate(runs):
        left = _EDGE + number * (_PANEL + _GAP)
        parts += _panel(run, left, longest)
    parts += _legend(_EDGE, height - 22)
    return "\n".join([*parts, "</svg>\n"])


def image(run: Run) -> str:
    """The picture of one run as an element of a page, whose styles and ids it leaves alone."""
    data = base64.b64encode(render([run]).encode()).decode()
    return f'<img alt="{_text(_words([run]))}" src="data:image/svg+xml;base64,{data}">'


def _words(runs: Sequence[Run]) -> str:
    return " ".join(
        f"{plain(process.name)}: {plain(describe(process))}."
        for run in runs
        for process in tree_of(run)[:ROWS]
    )


def _style() -> str:
    """The colours; a class for each group gives its bars and its words theirs."""
    lines = [
        "text { font: 13px system-ui, sans-serif; fill: #1b1f24 }",
        ".head { font-size: 15px; font-weight: 600 }",
        ".paper { fill: #fff } .faint { fill: #57606a }",
        ".tick { stroke: #d0d7de } .ink { fill: #1b1f24 } .line { stroke: #1b1f24 }",
        *(f".{group} {{ color: {color} }}" for group, color in _LIGHT.items()),
        "@media (prefers-color-scheme: dark) {",
        "text, .ink { fill: #e6edf3 } .paper { fill: #0d1117 } .faint { fill: #9198a1 }",
        ".tick { stroke: #30363d } .line { stroke: #e6edf3 }",
        *(f".{group} {{ color: {color} }}" for group, color in _DARK.items()),
        "}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _patterns() -> Iterator[str]:
    """Hatching for the exit path: a pattern has no colour of its own user, so one a group."""
    yield "<defs>"
    for group in Group:
        yield (
            f'<pattern id="{group}" class="{group}" width="6" height="6" '
            'patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
            '<rect width="2.5" height="6" fill="currentColor"/></pattern>'
        )
    yield "</defs>"


def _panel(run: Run, left: int, longest: float) -> Iterator[str]:
    scale = _PANEL / longest
    processes = tree_of(run)
    bottom = _TOP + min(len(processes), ROWS) * _ROW - 12
    yield f'<text class="head" x="{left}" y="30">{_text(title_of(run))}</text>'
    for at in _ticks(longest):
        x = _number(left + at * scale)
        yield f'<line class="tick" x1="{x}" y1="46" x2="{x}" y2="{bottom}"/>'
        yield f'<text class="faint" x="{_number(left + at * scale + 3)}" y="56">{at:g} s</text>'
    depths = depths_of(run)
    for index, process in enumerate(processes[:ROWS]):
        yield from _process(process, depths[process.id], left, _TOP + index * _ROW, scale)
    if len(processes) > ROWS:
        y = _TOP + ROWS * _ROW
        yield f'<text class="faint" x="{left}" y="{y}">... and {len(processes) - ROWS} more</text>'


def _ticks(longest: float) -> Iterator[float]:
    power = 10.0 ** len(str(int(longest))) / 100
    step = next(n * power for n in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20) if longest / (n * power) <= 6)
    return itertools.takewhile(
        lambda at: at < longest * 0.95, (round(n * step, 6) for n in itertools.count())
    )


def _process(
    process: ProcessRecord, depth: int, left: int, top: int, scale: float
) -> Iterator[str]:
    group = group_of(process)
    daemon = '<tspan class="faint">, daemon</tspan>' if process.daemon else ""
    indent = left + 12 * min(depth, _LEVELS)
    yield f'<g class="{group}">'
    yield f'<text x="{indent}" y="{top + 4}">{_text(shortened(process.name))}{daemon}</text>'
    bar = top + 10
    for phase in phases_of(process):
        x, end = left + phase.begin * scale, left + phase.end * scale
        box = f'x="{_number(x)}" width="{_number(max(end - x, 1.5))}" height="12" y="{bar}"'
        match phase.kind:
            case PhaseKind.CODE:
                yield f'<rect {box} fill="currentColor"/>'
            case PhaseKind.EXIT_PATH:
                yield f'<rect {box} fill="url(#{group})" stroke="currentColor"/>'
            case PhaseKind.ZOMBIE:
                yield _zombie(x, end, bar)
    for event in events_of(process):
        yield _mark(event.kind, left + event.at * scale, bar)
    for number, line in enumerate(wrapped(plain(describe(process)), _COLUMNS)[:2]):
        y = bar + 27 + number * _LINE
        yield f'<text class="faint" x="{indent}" y="{y}">{escape(line)}</text>'
    yield "</g>"


def _zombie(x: float, end: float, bar: int) -> str:
    return (
        f'<line x1="{_number(x)}" x2="{_number(end)}" y1="{bar + 6}" y2="{bar + 6}" '
        'stroke="currentColor" stroke-width="2" stroke-dasharray="2 3"/>'
    )


def _mark(kind: EventKind, x: float, bar: int) -> str:
    if kind is EventKind.SIGNAL:
        points = f"{_number(x - 5)},{bar - 7} {_number(x + 5)},{bar - 7} {_number(x)},{bar + 1}"
        return f'<polygon class="ink" points="{points}"/>'
    x1 = _number(x)
    return (
        f'<line class="line" x1="{x1}" x2="{x1}" y1="{bar - 3}" y2="{bar + 15}" stroke-width="3"/>'
    )


def _legend(left: int, y: int) -> Iterator[str]:
    x, bar = left, y - 11
    yield f'<g class="{Group.UNKNOWN}">'
    for kind, words in PHASE_WORDS.items():
        match kind:
            case PhaseKind.CODE:
                yield f'<rect x="{x}" y="{bar}" width="26" height="12" fill="currentColor"/>'
            case PhaseKind.EXIT_PATH:
                fill = f'fill="url(#{Group.UNKNOWN})" stroke="currentColor"'
                yield f'<rect x="{x}" y="{bar}" width="26" height="12" {fill}/>'
            case PhaseKind.ZOMBIE:
                yield _zombie(x, x + 26, bar)
        yield f'<text class="faint" x="{x + 32}" y="{y}">{words}</text>'
        x += 46 + _LETTER * len(words)
    for event, words in EVENT_WORDS.items():
        yield _mark(event, x + 6, bar)
        yield f'<text class="faint" x="{x + 18}" y="{y}">{words}</text>'
        x += 32 + _LETTER * len(words)
    yield "</g>"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _text(text: str) -> str:
    return escape(plain(text))
