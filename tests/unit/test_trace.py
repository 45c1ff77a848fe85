"""The trace: one track a process, arrows from start to child, as the Trace Event format has it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import lives
from histories import Log
from hostile import hostile_run

from pytest_proclife.records import Run
from pytest_proclife.render import trace


def events_of(run: Run) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(trace.render(run))["traceEvents"]
    return events


def test_each_process_is_a_track_with_its_name_and_its_phases() -> None:
    run = lives.ends()
    events = events_of(run)
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    spans = [e for e in events if e["ph"] == "X" and e["pid"] == run["raised"].pid]

    assert names == {process.pid: process.name for process in run}
    assert [(e["name"], e["cat"]) for e in spans] == [
        ("raised", "code"),
        ("exit path", "exit_path"),
        ("zombie", "zombie"),
    ]
    assert spans[0]["ts"] == round(run["raised"].started_at * 1e6, 3)
    assert spans[1]["ts"] == round(spans[0]["ts"] + spans[0]["dur"], 3)
    assert spans[0]["args"]["why it ended"] == "raised job.Broken, exit code 1, joined"


def test_an_arrow_goes_from_a_parent_to_its_child() -> None:
    run = lives.left_grandchild()
    events = events_of(run)
    begins = {e["id"]: e for e in events if e["ph"] == "s"}
    ends = {e["id"]: e for e in events if e["ph"] == "f"}

    assert begins.keys() == ends.keys() == {process.id for process in run.descendants}
    for process in run.descendants:
        assert process.parent is not None
        assert begins[process.id]["pid"] == process.parent.pid
        assert ends[process.id]["pid"] == process.pid
        assert begins[process.id]["ts"] == ends[process.id]["ts"] == process.started_at * 1e6


def test_signals_and_joins_are_moments_on_the_track() -> None:
    run = lives.ends()
    moments = [e for e in events_of(run) if e["ph"] == "i" and e["pid"] == run["killed"].pid]

    assert [e["name"] for e in moments] == ["SIGKILL by MainProcess (kill())", "joined"]


def test_two_processes_with_one_pid_are_two_tracks() -> None:
    run = lives.ends()
    first, *others = run.processes
    same = replace(run, processes=(first, *(replace(p, pid=others[0].pid) for p in others)))
    pids = Counter(e["pid"] for e in events_of(same) if e["name"] == "process_name")

    assert len(pids) == len(run.processes)
    assert set(pids.values()) == {1}


def test_the_trace_can_be_written_whatever_a_target_has_chosen() -> None:
    text = trace.render(hostile_run())

    assert text.encode()
    assert "日本語のプロセス" in text  # Perfetto reads no escapes in names
    assert "\\u202edesrever" not in text.replace("\\\\", "")


def test_a_process_whose_parent_was_not_seen_has_no_arrow() -> None:
    log = Log()
    log.process(how="orphan", argv=("/bin/stray",))

    assert [e["ph"] for e in events_of(log.run()) if e["ph"] in "sf"] == []
