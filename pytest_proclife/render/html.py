"""Runs as one HTML page, which needs nothing else: no network, no other file, no library.

Each run is a table with a bar for each process, complete without JavaScript; that adds zoom,
filters and what is known of a process. What comes from a target is escaped, or put in by
`textContent`; and the page's policy lets no script run but its own, and no request out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from urllib.parse import quote

from pytest_proclife.records import Cause, ProcessRecord, Run
from pytest_proclife.render.evidence import fact_words, source_words
from pytest_proclife.render.hang import process_stacks
from pytest_proclife.render.phases import (
    EVENT_WORDS,
    GROUPS,
    PHASE_WORDS,
    events_of,
    group_of,
    phases_of,
)
from pytest_proclife.render.process import cause_words, describe
from pytest_proclife.render.text import plain, seconds
from pytest_proclife.render.timeline import depths_of, title_of, tree_of

_RUNNING = "running"  # stands for the cause of a process that has none yet
_HEAD = '<th role="columnheader" scope="col"'
_LEVELS = 8  # of indentation at most
_TEXT = 20_000  # characters of a traceback
_STACK_COLUMNS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A run on the page. `test` and `outcome` are "" if it was not made by a test."""

    run: Run
    test: str = ""
    outcome: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A run in the index: its page and its document are names of files beside the index."""

    shown: Shown
    page: str
    document: str


def render(shown: Sequence[Shown]) -> str:
    """The page of one run, or of several."""
    tests = list(dict.fromkeys(entry.test for entry in shown if entry.test))
    data = {"runs": [_data(entry, tests) for entry in shown]}
    count = f"{len(shown)} {'run' if len(shown) == 1 else 'runs'}"
    title = title_of(shown[0].run) if len(shown) == 1 else count
    script = _asset("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = [
        _head(title, f"script-src 'sha256-{digest}'"),
        f"<body>\n<header>\n<h1>{count}</h1>",
        *_filters(shown, tests),
        *_legend(),
        "</header>\n<main>",
        *(part for number, entry in enumerate(shown, 1) for part in _section(number, entry)),
        "</main>",
        f'<script type="application/json" id="data">{_json(data)}</script>',
        f"<script>{script}</script>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def render_index(kept: Sequence[Kept], note: str) -> str:
    """The page that lists the runs that were kept; `note` says which these are."""
    rows = [
        f"<tr><td>{_text(entry.shown.test)}</td><td>{_text(entry.shown.outcome)}</td>"
        f'<td><a href="{quote(entry.page)}">{_text(title_of(entry.shown.run))}</a></td>'
        f'<td><a href="{quote(entry.document)}">JSON</a></td>'
        f'<td class="number">{seconds(entry.shown.run.duration)}</td>'
        f"<td>{_text(describe(entry.shown.run.main))}</td>"
        f"<td>{_text(_causes(entry.shown.run.descendants))}</td></tr>"
        for entry in kept
    ]
    heads = ("test", "outcome", "run", "document", "duration", "main", "its processes")
    table = [
        f"<table><thead><tr>{''.join(f'<th scope=col>{head}</th>' for head in heads)}</tr></thead>",
        "<tbody>",
        *rows,
        "</tbody></table>",
    ]
    return "\n".join(
        [
            _head("Runs that were kept", "script-src 'none'"),
            f'<body class="runs">\n<main>\n<h1>Runs that were kept</h1>\n<p>{_text(note)}</p>',
            *(table if kept else ()),
            "</main>\n</body>\n</html>\n",
        ]
    )


def _head(title: str, policy: str) -> str:
    policy = f"default-src 'none'; style-src 'unsafe-inline'; {policy}"
    policy += "; img-src data:; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{_text(title)} - proclife</title>\n<style>\n{_asset('page.css')}</style>\n</head>"
    )


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _text(text: str) -> str:
    """Text on one line, as markup."""
    return escape(plain(text))


def _json(data: object) -> str:
    """For a script element, which ends at the first "</script" whatever it is in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


# --- filters and legend


def _filters(shown: Sequence[Shown], tests: Sequence[str]) -> Iterator[str]:
    counts = Counter(_cause(process) for entry in shown for process in entry.run.processes)
    yield '<form id="filters" hidden>'
    yield '<label>Find <input type="search" id="find" placeholder="name, pid or words"></label>'
    if len(tests) > 1:
        yield '<label>Test <select id="test"><option value="">all tests</option>'
        outcomes = {entry.test: entry.outcome for entry in shown}
        for number, test in enumerate(tests):
            outcome = f" ({outcomes[test]})" if outcomes[test] else ""
            yield f'<option value="{number}">{_text(test + outcome)}</option>'
        yield "</select></label>"
    yield "<fieldset><legend>Cause</legend>"
    for cause in (*Cause, None):
        value = _RUNNING if cause is None else str(cause)
        if counts[value]:
            words = _RUNNING if cause is None else cause_words(cause)
            yield (
                f'<label><input type="checkbox" checked value="{value}">'
                f'<span class="{GROUPS[cause]}"><i class="dot"></i></span>'
                f"{words} <span>{counts[value]}</span></label>"
            )
    yield '</fieldset><output id="count"></output></form>'


def _legend() -> Iterator[str]:
    yield '<ul class="legend">'
    for kind, words in PHASE_WORDS.items():
        yield f'<li><span class="sample"><i class="{kind}"></i></span>{words}</li>'
    for event, words in EVENT_WORDS.items():
        yield f'<li><span class="sample"><b class="{event}"></b></span>{words}</li>'
    yield "</ul>"
    yield (
        '<p class="keys faint" hidden>Click a process for its evidence. Zoom with + and - or '
        "Ctrl and the wheel, 0 for all of it; pan with the arrows or by dragging; / to find.</p>"
    )


# --- a run


def _section(number: int, entry: Shown) -> Iterator[str]:
    run = entry.run
    title = _text(title_of(run))
    yield f'<section class="run" aria-label="run {number}: {title}">'
    yield f'<div class="head"><div><h2>{title}</h2>'
    yield f'<p class="facts">{_text(_facts(entry))}</p></div>'
    yield f'<div class="zoom" hidden role="group" aria-label="zoom of run {number}">'
    yield '<button type="button" value="-" aria-label="zoom out">&minus;</button>'
    yield '<button type="button" value="+" aria-label="zoom in">+</button>'
    yield '<button type="button" value="0">all</button></div></div>'
    if run.witness.missing:
        yield '<p>Not seen:</p>\n<ul class="missing">'
        yield from (f"<li>{_text(str(missing))}</li>" for missing in run.witness.missing)
        yield "</ul>"
    span = _number(run.duration or 1.0)
    yield f'<div class="chart" style="--from:0;--span:{span}">'
    yield f'<table role="table"><caption class="unseen">The processes of {title}</caption>'
    yield '<thead role="rowgroup"><tr role="row">'
    yield f'{_HEAD} class="name">process</th>{_HEAD} class="pid number">pid</th>'
    yield f'{_HEAD} class="time"><span class="unseen">what happened to it</span>'
    yield f'<div class="axis" aria-hidden="true"><span style="--a:0">{seconds(0.0)}</span>'
    yield f'<span class="last">{seconds(run.duration)}</span></div></th>'
    yield f'{_HEAD} class="start number">start</th>{_HEAD} class="end number">end</th>'
    yield f'{_HEAD} class="why">why it ended</th></tr></thead>\n<tbody role="rowgroup">'
    depths = depths_of(run)
    yield from (_row(process, depths[process.id]) for process in _order(run))
    yield "</tbody></table></div>\n</section>"


def _facts(entry: Shown) -> str:
    run = entry.run
    words = [f"{entry.test} {entry.outcome}".strip()] if entry.test else []
    code = "not known" if run.exitcode is None else run.exitcode
    words += ["timed out"] if run.timed_out else []
    words += [seconds(run.duration), f"exit code {code}", f"Python {run.python}"]
    words += [f"start method {run.start_method}"] if run.start_method else []
    if run.target.args:
        words.append(f"arguments {shlex.join(run.target.args)}")
    when = _date(run.started_at)
    return " · ".join([*words, when] if when else words)


def _date(at: float) -> str:
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OverflowError, ValueError, OSError):
        return ""  # no time that a calendar has


def _order(run: Run) -> list[ProcessRecord]:
    """As in the timeline: each parent before its children, helpers last."""
    return [*tree_of(run), *run.helpers]


def _row(process: ProcessRecord, depth: int) -> str:
    group = group_of(process)
    tag = ' <span class="tag">daemon</span>' if process.daemon else ""
    ended = "" if process.ended_at is None else seconds(process.ended_at)
    bars = "".join(
        f'<i class="{p.kind}" style="--a:{_number(p.begin)};--b:{_number(p.end)}"></i>'
        for p in phases_of(process)
    )
    events = events_of(process)
    marks = "".join(f'<b class="{e.kind}" style="--a:{_number(e.at)}"></b>' for e in events)
    # for those who cannot see the bars
    words = "; ".join(f"{seconds(event.at)}: {escape(event.words)}" for event in events)
    return (
        f'<tr role="row" class="process {group}"><th role="rowheader" scope="row" class="name" '
        f'style="--depth:{min(depth, _LEVELS)}"><button type="button" aria-expanded="false">'
        f"{_text(process.name)}</button>{tag}</th>"
        f'<td role="cell" class="pid number">{process.pid}</td>'
        f'<td role="cell" class="time"><div class="track" aria-hidden="true">{bars}{marks}</div>'
        f'<span class="unseen">{words}</span></td>'
        f'<td role="cell" class="start number">{seconds(process.started_at)}</td>'
        f'<td role="cell" class="end number">{ended}</td>'
        f'<td role="cell" class="why"><i class="dot"></i>{_text(describe(process))}</td></tr>'
    )


def _number(value: float) -> str:
    return f"{value:.6f}".rstrip("0").rstrip(".")


# --- what the script knows


def _data(entry: Shown, tests: Sequence[str]) -> dict[str, object]:
    run = entry.run
    return {
        "duration": run.duration,
        "test": tests.index(entry.test) if entry.test else -1,
        "processes": [_process(process) for process in _order(run)],
    }


def _process(process: ProcessRecord) -> dict[str, object]:
    title, words = plain(str(process)), plain(describe(process))
    return {
        "title": title,
        "words": words,
        "find": f"{title} {words}",
        "cause": _cause(process),
        "phases": [(p.begin, p.end, PHASE_WORDS[p.kind]) for p in phases_of(process)],
        "events": [(event.at, event.words) for event in events_of(process)],
        "sections": list(_sections(process)),
    }


def _sections(process: ProcessRecord) -> Iterator[tuple[str, str, object]]:
    """What a click on a process shows: the title, the sort (values, facts, text), the content.

    A sort is what the script makes of it; whatever else is known of a process is one more section.
    """
    yield "Process", "values", list(_values(process))
    facts = [
        (
            "" if fact.at is None else f"{fact.at:.3f} s",
            plain(source_words(fact, process.run)),
            plain(fact_words(fact, process.run)),
        )
        for fact in process.evidence
    ]
    if facts:
        yield "Evidence", "facts", facts
    if process.hangs:
        text = "\n".join(process_stacks(process, _STACK_COLUMNS))
        yield f"Where it stood at {seconds(process.stacks[0].at)}", "text", _lines(text)
    if process.exception is not None and process.exception.traceback:
        yield "Exception", "text", _lines(process.exception.traceback)


def _values(process: ProcessRecord) -> Iterator[tuple[str, str]]:
    parent = process.parent
    values = {
        "kind": process.kind.replace("_", " "),
        "start method": process.start_method,
        "parent": None if parent is None else str(parent),
        "command line": None if process.argv is None else shlex.join(process.argv),
        "cause": _cause(process).replace("_", " "),
        "unknown because": None if process.unknown_reason is None else str(process.unknown_reason),
        "exit code": None if process.exitcode is None else str(process.exitcode),
        "signal": process.signal,
        "exception": _exception(process),
    }
    return ((label, plain(value)) for label, value in values.items() if value)


def _exception(process: ProcessRecord) -> str | None:
    if process.exception is None:
        return None
    return f"{process.exception.type}: {process.exception.message}"[:_TEXT]


def _lines(text: str) -> str:
    """Text of several lines."""
    return "\n".join(plain(line) for line in text[:_TEXT].splitlines())


def _cause(process: ProcessRecord) -> str:
    return _RUNNING if process.cause is None else str(process.cause)


def _causes(processes: Iterable[ProcessRecord]) -> str:
    counts = Counter(_cause(process).replace("_", " ") for process in processes)
    return ", ".join(f"{count} {cause}" for cause, count in counts.most_common())
