"""A run in the Trace Event format, which Perfetto and chrome://tracing read.

Each process is a track with its phases; an arrow goes from its parent to it. Times are in
microseconds. The format: "Trace Event Format", the Chromium project.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from pytest_proclife.records import ProcessRecord, Role, Run
from pytest_proclife.render.phases import PHASE_WORDS, PhaseKind, events_of, phases_of
from pytest_proclife.render.process import cause_words, describe
from pytest_proclife.render.text import plain
from pytest_proclife.render.timeline import title_of, tree_of

_Event = dict[str, object]


def render(run: Run) -> str:
    """The trace as JSON text."""
    pids = _pids(run)
    order = [*tree_of(run), *run.helpers]
    events: list[_Event] = []
    for index, process in enumerate(order):
        events += _track(process, pids, index)
    other = {
        "target": title_of(run),
        "python": run.python,
        "witness complete": run.witness.complete,
        "not seen": [plain(str(missing)) for missing in run.witness.missing],
    }
    # without escapes, which Perfetto does not read in the names of processes
    values = {"traceEvents": events, "displayTimeUnit": "ms", "otherData": other}
    return json.dumps(values, ensure_ascii=False)


def _pids(run: Run) -> dict[int, int]:
    """A number for each process: its pid, or another one if that has been used before.

    A reader takes two processes with one pid for one.
    """
    taken: dict[int, int] = {}
    free = max([0, *(process.pid for process in run.processes)]) + 1
    for process in run.processes:
        pid = process.pid
        if pid <= 0 or pid in taken:
            pid, free = free, free + 1
        taken[pid] = process.id
    return {id: pid for pid, id in taken.items()}


def _track(process: ProcessRecord, pids: dict[int, int], index: int) -> Iterator[_Event]:
    pid = pids[process.id]
    here: _Event = {"pid": pid, "tid": pid}
    label = f"pid {process.pid}"
    if process.role is Role.HELPER:
        label += ", helper of multiprocessing"
    names = {"process_name": plain(process.name), "thread_name": plain(process.name)}
    for kind, name in names.items():
        yield {"ph": "M", "name": kind, **here, "args": {"name": name}}
    yield {"ph": "M", "name": "process_labels", **here, "args": {"labels": label}}
    yield {"ph": "M", "name": "process_sort_index", **here, "args": {"sort_index": index}}
    for phase in phases_of(process):
        code = phase.kind is PhaseKind.CODE
        begin = _microseconds(phase.begin)
        yield {
            "ph": "X",
            "name": plain(process.name) if code else PHASE_WORDS[phase.kind],
            "cat": str(phase.kind),
            "ts": begin,
            "dur": round(_microseconds(phase.end) - begin, 3),
            **here,
            "args": _facts(process) if code else {},
        }
    for event in events_of(process):
        yield {
            "ph": "i",
            "s": "t",
            "name": event.words,
            "cat": str(event.kind),
            "ts": _microseconds(event.at),
            **here,
        }
    parent = process.parent
    if parent is not None:
        start = {"name": "start", "cat": "start", "id": process.id}
        at = _microseconds(process.started_at)
        above = pids[parent.id]
        yield {"ph": "s", **start, "ts": at, "pid": above, "tid": above}
        yield {"ph": "f", "bp": "e", **start, "ts": at, **here}


def _facts(process: ProcessRecord) -> _Event:
    return {
        "why it ended": plain(describe(process)),
        "cause": "running" if process.cause is None else cause_words(process.cause),
        "exit code": process.exitcode,
        "kind": process.kind,
        "daemon": process.daemon,
        "evidence": [
            ("" if fact.at is None else f"{fact.at:.3f} s: ") + plain(str(fact))
            for fact in process.evidence
        ],
    }


def _microseconds(seconds: float) -> float:
    return round(seconds * 1e6, 3)
