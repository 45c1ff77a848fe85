"""The JSON document: a `Run` as plain values, and back. `schema.json` describes it."""

from __future__ import annotations

import enum
import json
from typing import Any

from pytest_proclife.records import (
    Cause,
    Ending,
    Evidence,
    ExceptionInfo,
    Joined,
    ProcessRecord,
    Request,
    Role,
    Run,
    TargetInfo,
    Witness,
)

FORMAT = "proclife-run"
VERSION = 1


def to_text(run: Run) -> str:
    """The document as text."""
    values = document(run)
    text = json.dumps(values, indent=1, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # bytes of an argument that are no text are lone surrogates (os.fsdecode), which
        # cannot be written to a file but as escapes
        return json.dumps(values, indent=1)
    return text


def from_text(text: str) -> Run:
    """Read the text of a document. ValueError where it is none, or of another version."""
    return from_document(json.loads(text))


def document(run: Run) -> dict[str, Any]:
    """A run as the plain values of its JSON document."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "target": {
            "kind": run.target.kind,
            "text": run.target.text,
            "args": list(run.target.args),
        },
        "python": run.python,
        "platform": run.platform,
        "start_method": run.start_method,
        "witness": {
            "backend": run.witness.backend,
            "complete": run.witness.complete,
            "missing": list(run.witness.missing),
        },
        "started_at": run.started_at,
        "duration": run.duration,
        "timed_out": run.timed_out,
        "stdout": run.stdout,
        "stderr": run.stderr,
        "output_truncated": run.output_truncated,
        "processes": [_process_document(process) for process in run.processes],
    }


_PLAIN = (
    *("id", "pid", "role", "kind", "name", "daemon", "start_method"),
    *("started_at", "finished_at", "ended_at", "exitcode", "signal", "cause", "ending"),
    *("ended_by", "joined", "joined_at", "orphaned", "target_ran"),
)


def _process_document(process: ProcessRecord) -> dict[str, Any]:
    error = process.exception
    return {
        "id": process.id,
        "pid": process.pid,
        "parent": process.parent_id,
        "role": str(process.role),
        "kind": process.kind,
        "name": process.name,
        "daemon": process.daemon,
        "start_method": process.start_method,
        "argv": None if process.argv is None else list(process.argv),
        "started_at": process.started_at,
        "finished_at": process.finished_at,
        "ended_at": process.ended_at,
        "exitcode": process.exitcode,
        "signal": process.signal,
        "cause": _word(process.cause),
        "ending": _word(process.ending),
        "ended_by": process.ended_by,
        "requests": [
            {"at": r.at, "by": r.by, "signal": r.signal, "via": r.via} for r in process.requests
        ],
        "joined": _word(process.joined),
        "joined_at": process.joined_at,
        "orphaned": process.orphaned,
        "target_ran": process.target_ran,
        "exception": error
        and {"type": error.type, "message": error.message, "traceback": error.traceback},
        "evidence": [{"at": e.at, "source": e.source, "fact": e.fact} for e in process.evidence],
    }


def _word(value: enum.StrEnum | None) -> str | None:
    return None if value is None else str(value)


def from_document(values: Any) -> Run:
    """A run from the plain values of its JSON document; ValueError where they are none."""
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"not a {FORMAT} document")
    if values.get("version") != VERSION:
        raise ValueError(f"a {FORMAT} document of version {values.get('version')}, not {VERSION}")
    try:
        return _run_from(values)
    except KeyError as error:
        raise ValueError(f"a {FORMAT} document without {error}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"a {FORMAT} document with a value of the wrong type: {error}") from error


def _run_from(values: dict[str, Any]) -> Run:
    target, witness = values["target"], values["witness"]
    rest = {k: values[k] for k in ("python", "platform", "start_method", "started_at", "duration")}
    output = {k: values[k] for k in ("timed_out", "stdout", "stderr", "output_truncated")}
    processes = tuple(_process_from(p) for p in values["processes"])
    ids = range(len(processes))
    if not processes or [p.id for p in processes] != list(ids):
        raise ValueError("the processes of a document are numbered from 0, in their order")
    if any(p.parent_id is not None and p.parent_id not in ids for p in processes):
        raise ValueError("a process of the document has a parent that is not in it")
    return Run(
        target=TargetInfo(kind=target["kind"], text=target["text"], args=tuple(target["args"])),
        witness=Witness(
            backend=witness["backend"],
            complete=witness["complete"],
            missing=tuple(witness["missing"]),
        ),
        processes=processes,
        **rest,
        **output,
    )


def _process_from(values: dict[str, Any]) -> ProcessRecord:
    plain = {name: values[name] for name in _PLAIN}
    closed = {"role": Role, "cause": Cause, "ending": Ending, "joined": Joined}
    for name, kind in closed.items():
        plain[name] = None if plain[name] is None else kind(plain[name])
    error = values["exception"]
    return ProcessRecord(
        parent_id=values["parent"],
        argv=None if values["argv"] is None else tuple(values["argv"]),
        requests=tuple(Request(**r) for r in values["requests"]),
        exception=None if error is None else ExceptionInfo(**error),
        evidence=tuple(Evidence(**e) for e in values["evidence"]),
        **plain,
    )
