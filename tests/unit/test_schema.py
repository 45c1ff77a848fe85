"""The JSON Schema that ships with the package, held against documents, right and wrong ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import pytest
from histories import Log

from pytest_proclife import wire
from pytest_proclife.records import (
    KINDS,
    AwaitedKind,
    Cause,
    Ending,
    HangKind,
    Joined,
    NoStackKind,
    Role,
    StackSource,
)
from pytest_proclife.supervisor import protocol

jsonschema = pytest.importorskip("jsonschema", reason="needs jsonschema, to read a JSON Schema")


@pytest.fixture(scope="module")
def schema() -> Any:
    text = resources.files("pytest_proclife").joinpath("schema.json").read_text("utf-8")
    return json.loads(text)


@pytest.fixture(scope="module")
def validator(schema: Any) -> Any:
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def busy_log() -> Log:
    """A run in which nearly every field has a value somewhere."""
    log = Log()
    daemon = log.child(name="session", daemon=True)
    worker = log.child(name="worker")
    sleeper = log.program()
    worker.leaves("raised", "ValueError", "no")
    worker.exits(1)
    log.main.waits(daemon)
    log.main.collects(worker, 1)
    log.main.leaves()
    log.main.begins_exit_path(daemon)
    log.main.abandons(daemon)
    daemon.ends(signal=15)
    log.main.collects(daemon, -15, "implicit")
    log.main.last_word()
    log.main.ends(0, running=(sleeper,))
    sleeper.asked_by_test(10)
    sleeper.cleaned_up()
    return log


def snapshot() -> Log:
    log = Log()
    log.child()
    return log


def lost() -> Log:
    log = Log()
    log.child().ends(None)
    log.main.ends(0)
    return log


def deaths() -> Log:
    """Deaths by signals that nobody reported, each with what it may have come from."""
    log = Log()
    alarmed, limited = log.child(), log.child()
    alarmed.says(wire.ALARM, "1")
    limited.says(wire.CPU_LIMIT, "1", "")
    log.program(log.main, "/bin/sh", "-c", "kill -9 102")
    alarmed.ends(signal=14)
    limited.ends(signal=24, orphan=True)
    log.main.ends(signal=9)
    return log


def hung() -> Log:
    """Main waits for a child that waits for data, and a program sleeps."""
    log = Log()
    child, sleeper = log.child(), log.program()
    log.main.stands(
        "f job.py:1", awaits=((protocol.CHILD_ENDS, child.pid, "", "", False),), call="wait4"
    )
    reads = ((protocol.PIPE, 3, "r", "pipe:[1]", False),)
    child.stands("g job.py:2", awaits=reads, opened=(("pipe:[1]", 3, "r"),), call="read")
    sleeper.stands(missing="not_python", awaits=((protocol.TIME, 0, "", "", False),))
    return log


@pytest.mark.parametrize("build", [busy_log, snapshot, lost, deaths, hung])
def test_a_document_is_as_the_schema_says(validator: Any, build: Callable[[], Log]) -> None:
    validator.validate(json.loads(build().run().to_json()))


def change(path: list[Any], value: Any) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        document[path[-1]] = value

    return edit


def drop(path: list[Any]) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        for step in path[:-1]:
            document = document[step]
        del document[path[-1]]

    return edit


def only_main_is_first(document: Any) -> None:
    document["processes"].reverse()


WRONG: dict[str, Callable[[Any], None]] = {
    "another format": change(["format"], "proclife-walk"),
    "a later version": change(["version"], 2),
    "no processes": change(["processes"], []),
    "a field that nobody knows": change(["colour"], "green"),
    "a field of a process that nobody knows": change(["processes", 0, "colour"], "green"),
    "no cause": drop(["processes", 0, "cause"]),
    "a cause that is none": change(["processes", 1, "cause"], "vanished"),
    "a null cause of what has ended": change(["processes", 1, "cause"], None),
    "a kind that is none": change(["processes", 1, "kind"], "thread"),
    "a second main": change(["processes", 1, "role"], "main"),
    "main not first": only_main_is_first,
    "main with a parent": change(["processes", 0, "parent"], 1),
    "an exit code as text": change(["processes", 0, "exitcode"], "0"),
    "an exit code out of range": change(["processes", 0, "exitcode"], 256),
    "a signal without a negative exit code": change(["processes", 0, "signal"], "SIGTERM"),
    "a signal by number": change(["processes", 1, "signal"], 15),
    "a pid of 0": change(["processes", 0, "pid"], 0),
    "a request by nobody": change(["processes", 1, "requests", 0, "by"], None),
    "joined at no time": change(["processes", 1, "joined_at"], None),
    "complete, and yet something is missing": change(["witness", "complete"], True),
    "evidence without a source": drop(["processes", 0, "evidence", 0, "source"]),
    "a daemon by number": change(["processes", 1, "daemon"], 1),
}


@pytest.mark.parametrize("edit", WRONG.values(), ids=WRONG.keys())
def test_a_wrong_document_is_refused(validator: Any, edit: Callable[[Any], None]) -> None:
    document = json.loads(busy_log().run().to_json())
    validator.validate(document)
    edit(document)

    assert not validator.is_valid(document)


def test_the_schema_lists_the_closed_sets_whole(schema: Any) -> None:
    process = schema["$defs"]["process"]["properties"]

    assert schema["$defs"]["cause"]["enum"] == list(Cause)
    assert process["ending"]["enum"] == [*Ending, None]
    assert set(process["joined"]["enum"]) == {*Joined, None}
    assert process["role"]["enum"] == list(Role)
    assert schema["$defs"]["kind"]["enum"] == list(KINDS)
    stack, hang = (schema["$defs"][name]["properties"] for name in ("stack", "hang"))
    assert schema["$defs"]["awaited_kind"]["enum"] == list(AwaitedKind)
    assert stack["source"]["enum"] == list(StackSource)
    assert stack["missing"]["enum"] == [*NoStackKind, None]
    assert hang["kind"]["enum"] == list(HangKind)
    assert set(process) == set(process_fields())


def process_fields() -> list[str]:
    return list(json.loads(snapshot().run().to_json())["processes"][0])
