"""The account itself: what it offers, and that it survives the ways in which it is sent."""

from __future__ import annotations

import json
import pickle
from dataclasses import FrozenInstanceError

import pytest
from histories import Log

from pytest_proclife.records import Run, TargetInfo


@pytest.fixture(scope="module")
def run() -> Run:
    log = Log()
    outer = log.child(name="outer")
    inner = log.child(outer, name="inner")
    twins = [log.child(name="twin"), log.child(name="twin")]
    server = log.server()
    for process in (inner, outer, *twins):
        process.leaves("raised", "ValueError", "nö") if process is inner else process.leaves()
        process.exits(int(process is inner))
        log.main.collects(process, 0)
    log.main.leaves()
    log.main.last_word()
    log.main.ends(running=(server,))
    server.leaves("sys_exit")
    server.exits(0, "exit")
    return log.run(stdout="out\n", stderr="")


def test_main_its_children_and_the_helpers_are_told_apart(run: Run) -> None:
    assert run.main.role == "main"
    assert [p.name for p in run.children] == ["outer", "twin", "twin"]
    assert [p.name for p in run.descendants] == ["outer", "inner", "twin", "twin"]
    assert [p.name for p in run.helpers] == ["forkserver"]
    assert list(run) == list(run.processes)
    assert not run.orphans


def test_parents_and_children_are_records(run: Run) -> None:
    assert run["inner"].parent is run["outer"]
    assert run["outer"].parent is run.main
    assert run["outer"].children == (run["inner"],)
    assert run["inner"].children == ()
    assert run.main.parent is None
    assert all(p.run is run for p in run)


def test_a_helper_is_nobodys_child(run: Run) -> None:
    assert run["forkserver"].parent is run.main
    assert run["forkserver"] not in run.main.children


def test_a_name_that_is_not_there_is_answered_with_those_that_are(run: Run) -> None:
    with pytest.raises(KeyError) as caught:
        run["Inner"]

    assert caught.value.args[0] == (
        "no process is named 'Inner'; there are 'MainProcess', 'outer', 'inner', "
        "'twin', 'twin', 'forkserver'"
    )


def test_an_ambiguous_name_says_so(run: Run) -> None:
    with pytest.raises(KeyError) as caught:
        run["twin"]

    assert caught.value.args[0] == "2 processes are named 'twin' (pids 103, 104)"


def test_processes_are_found_by_what_they_are(run: Run) -> None:
    assert run.find() == run.processes
    assert [p.name for p in run.find("twin")] == ["twin", "twin"]
    assert run.find(kind="forkserver") == run.helpers
    assert run.find("inner", cause="returned") == ()
    for process in run:
        assert process in run.find(process.name, kind=process.kind, cause=process.cause)
        assert process in run.find(daemon=process.daemon)


@pytest.mark.parametrize("field", ["kind", "cause"])
def test_a_kind_or_a_cause_that_there_is_not_is_an_error(run: Run, field: str) -> None:
    with pytest.raises(ValueError, match=f"unknown {field} 'worker': it must be one of "):
        run.find(**{field: "worker"})  # type: ignore[arg-type]


def test_of_very_many_names_some_are_told() -> None:
    log = Log()
    for _ in range(100):
        log.child()

    with pytest.raises(KeyError, match="'Process-19', and 81 more"):
        log.run()["nobody"]


def test_a_run_goes_through_json_and_back(run: Run) -> None:
    again = Run.from_json(run.to_json())

    assert again == run
    assert again.to_json() == run.to_json()
    assert again["inner"].parent is again["outer"]
    assert str(again) == str(run)


def test_a_run_goes_through_pickle_and_back(run: Run) -> None:
    again = pickle.loads(pickle.dumps(run))

    assert again == run
    assert hash(again) == hash(run)
    assert again.children[0].run is again


def test_a_record_that_is_pickled_alone_keeps_its_run(run: Run) -> None:
    again = pickle.loads(pickle.dumps(run["inner"]))

    assert again == run["inner"]
    assert again.run == run


def test_runs_that_differ_are_not_equal(run: Run) -> None:
    changed = json.loads(run.to_json())
    changed["processes"][1]["exitcode"] = 7

    assert Run.from_json(json.dumps(changed)) != run


def test_nothing_of_a_run_can_be_changed(run: Run) -> None:
    with pytest.raises(FrozenInstanceError):
        run.duration = 0.0  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        run.main.exitcode = 1  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        run.main.evidence[0].at = 0.0  # type: ignore[misc]


def test_text_stands_in_the_document_as_it_is(run: Run) -> None:
    assert '"nö"' in run.to_json()


def test_an_argument_that_is_no_text_can_be_written_and_read() -> None:
    target = TargetInfo(kind="command", text="ls", args=("caf\udce9",))
    run = Log().run(target=target)

    assert run.to_json().encode().isascii()
    assert Run.from_json(run.to_json()).target == target


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Expecting value"),
        ("[]", "not a proclife-run document"),
        ("{}", "not a proclife-run document"),
        ('{"format": "proclife-run", "version": 2}', "of version 2, not 1"),
        ('{"format": "proclife-run", "version": 1}', "without 'target'"),
    ],
)
def test_what_is_no_document_is_a_value_error(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Run.from_json(text)


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("cause", "vanished", "vanished"),
        ("parent", 99, "a parent that is not in it"),
        ("id", 99, "numbered from 0"),
        ("requests", 3, "has the wrong type"),
        ("exception", {"type": "E"}, "without 'message'"),
        ("exception", "E", "has the wrong type"),
        ("ended_by", 99, "names a process that is not in it"),
    ],
)
def test_a_document_that_contradicts_itself_is_a_value_error(
    run: Run, field: str, value: object, words: str
) -> None:
    values = json.loads(run.to_json())
    values["processes"][1][field] = value

    with pytest.raises(ValueError, match=words):
        Run.from_json(json.dumps(values))
