"""The JSON document: a `Run` as plain values, and back. `schema.json` describes it.

The document has the fields of the records under their own names, so it follows from their types;
a field with another name there says so in its metadata.
"""

from __future__ import annotations

import enum
import json
import types
import typing
from dataclasses import fields, is_dataclass
from typing import Any

from pytest_proclife.records import EVIDENCE, Evidence, EvidenceKind, ProcessRecord, Run, Witness

FORMAT = "proclife-run"
# Fields that a document need not have: those that came later.
_OPTIONAL: dict[type, tuple[str, ...]] = {ProcessRecord: ("stacks", "hangs")}
VERSION = 1


def to_text(run: Run) -> str:
    """The document as text."""
    values = document(run)
    text = json.dumps(values, indent=1, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        # bytes of an argument that are not text are lone surrogates (os.fsdecode), which can be
        # written to a file only as escapes
        return json.dumps(values, indent=1)
    return text


def from_text(text: str) -> Run:
    """Read the text of a document. ValueError if it is not one, or has another version."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON ({error})") from error
    return from_document(values)


def document(run: Run) -> dict[str, Any]:
    """A run as the plain values of its JSON document."""
    return {"format": FORMAT, "version": VERSION, **_values(run)}


def from_document(values: Any) -> Run:
    """A run from the plain values of its JSON document; ValueError if they are not one."""
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise ValueError(f"it is not a {FORMAT} document")
    if values.get("version") != VERSION:
        raise ValueError(
            f"it is a {FORMAT} document of version {values.get('version')}, not {VERSION}"
        )
    try:
        run = _read_record(Run, values)
    except KeyError as error:
        raise ValueError(f"it is a {FORMAT} document without {error}") from error
    except (TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"a value of the {FORMAT} document has the wrong type: {error}") from error
    assert isinstance(run, Run)
    return run


# --- writing


def _values(record: Any) -> dict[str, Any]:
    values = {key: _plain(getattr(record, name)) for name, key, _ in _fields(type(record))}
    return {"kind": str(record.kind), **values} if isinstance(record, Evidence) else values


def _plain(value: Any) -> Any:
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return _values(value) if is_dataclass(value) else value


# --- reading


def _read_record(kind: type, values: dict[str, Any]) -> Any:
    if kind is Evidence:
        kind = EVIDENCE[EvidenceKind(values["kind"])]
    optional = _OPTIONAL.get(kind, ())
    given = {
        name: _read(wanted, values[key])
        for name, key, wanted in _fields(kind)
        if key in values or name not in optional
    }
    if kind is Run:
        _check_ids(given["processes"], given["witness"])
    return kind(**given)


def _read(wanted: Any, value: Any) -> Any:
    """A value of a type that a field of a record can have."""
    if value is None:
        if wanted is type(None) or type(None) in typing.get_args(wanted):
            return None
        raise TypeError(f"null for {wanted}")
    if isinstance(wanted, types.UnionType):
        wanted = next(
            (kind for kind in typing.get_args(wanted) if _may_be(kind, value)), type(None)
        )
    if typing.get_origin(wanted) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} for a list")
        return tuple(_read(typing.get_args(wanted)[0], item) for item in value)
    if is_dataclass(wanted):
        return _read_record(typing.cast("type", wanted), value)
    if not _may_be(wanted, value):
        raise TypeError(f"{value!r} for {wanted.__name__}")
    return wanted(value)


def _may_be(kind: Any, value: Any) -> bool:
    """Whether a plain value can stand for a value of this type."""
    kind = typing.get_origin(kind) or kind
    if kind is tuple:
        return isinstance(value, list)
    if is_dataclass(kind):
        return isinstance(value, dict)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if issubclass(kind, enum.Enum):
        return isinstance(value, str)
    return type(value) is kind


def _check_ids(processes: tuple[ProcessRecord, ...], witness: Witness) -> None:
    """Each id has to be that of a process in the document."""
    ids = range(len(processes))
    if not processes or [process.id for process in processes] != list(ids):
        raise ValueError("the processes of a document are numbered from 0, in their order")
    if any(p.parent_id is not None and p.parent_id not in ids for p in processes):
        raise ValueError("a process of the document has a parent that is not in it")
    others: list[int | str | None] = [missing.process for missing in witness.missing]
    for process in processes:
        others.append(process.ended_by)
        others += [request.by for request in process.requests]
        others += [wait.process for wait in process.waiting_for]
        others += [fact.about for fact in process.evidence]
        others += [o.process for s in process.stacks for a in s.awaited for o in a.open_in]
        others += [other for hang in process.hangs for other in hang.others]
    if any(isinstance(other, int) and other not in ids for other in others):
        raise ValueError("the document names a process that is not in it")


_known_fields: dict[type, list[tuple[str, str, Any]]] = {}


def _fields(kind: type) -> list[tuple[str, str, Any]]:
    """The fields of a record: (name, key in the document, type)."""
    if kind not in _known_fields:
        hints = typing.get_type_hints(kind)
        _known_fields[kind] = [
            (field.name, field.metadata.get("json", field.name), hints[field.name])
            for field in fields(kind)
            if field.init
        ]
    return _known_fields[kind]
