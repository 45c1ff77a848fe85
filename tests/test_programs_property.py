"""Programs drawn at random against a model of what becomes of their processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import drawn
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import pytest_proclife
from pytest_proclife import Cause

pytestmark = pytest.mark.slow
ORDERLY = ("return", "raise", "sys_exit")  # these run the exit path
ENDS = (*ORDERLY, "os_exit", "signal")
CAUSES = {
    "return": (Cause.RETURNED, 0),
    "raise": (Cause.RAISED, 1),
    "sys_exit": (Cause.SYS_EXIT, 3),
    "os_exit": (Cause.OS_EXIT, 4),
    "signal": (Cause.SIGNALED, -9),
}


@dataclass(frozen=True)
class Fate:
    """What the model says of a process; `by` is the name of who ended it.

    `orphaned` is None where it is open: a child that was told to end and not waited for races
    with a parent that leaves without an exit path.
    """

    cause: Cause
    exitcode: int
    by: str | None
    parent: str
    daemon: bool
    orphaned: bool | None


@st.composite
def processes(draw: st.DrawFn, name: str = "0", depth: int = 2, may_stay: bool = False) -> Any:
    """A process of a program: its children first, then how it ends."""
    daemon = name != "0" and draw(st.booleans())
    end = draw(st.sampled_from(ENDS))
    if may_stay and draw(st.booleans()):
        end = drawn.STAYS
    actions: list[tuple[str, Any]] = []
    count = 0 if daemon else draw(st.integers(0, 3 if depth else 0))
    for number in range(count):
        child = draw(processes(f"{name}.{number}", depth - 1, may_stay=True))
        actions.append(("start", child))
        actions += draw(st.sampled_from(_dealings(child, end)))
    return {"name": name, "daemon": daemon, "actions": actions, "end": end}


def _dealings(child: dict[str, Any], end: str) -> list[list[tuple[str, str]]]:
    """What a parent that ends so may do with a child; nothing that would wait for ever."""
    name = child["name"]
    if child["end"] != drawn.STAYS:
        return [[], [("join", name)]]
    asked = [[(verb, name)] for verb in ("terminate", "kill")]
    dealings = asked + [[*request, ("join", name)] for request in asked]
    if child["daemon"] or end not in ORDERLY:
        dealings.append([])
    return dealings


def fates(process: dict[str, Any], cut_off: bool = False) -> dict[str, Fate]:
    """What becomes of the children of a process; `cut_off`: it was ended from outside."""
    orderly = process["end"] in ORDERLY and not cut_off
    found: dict[str, Fate] = {}
    verbs = {argument: action for action, argument in process["actions"] if action in VERBS}
    for action, child in process["actions"]:
        if action != "start":
            continue
        name, parent = child["name"], process["name"]
        verb = verbs.get(name)
        cause, exitcode, by = _end_of(child, parent, verb, orderly)
        waited_for = orderly or ("join", name) in process["actions"]
        orphaned = None if verb and not waited_for else cause is Cause.CLEANED_UP
        found[name] = Fate(cause, exitcode, by, parent, child["daemon"], orphaned)
        found.update(fates(child, cut_off=child["end"] == drawn.STAYS))
    return found


VERBS = ("terminate", "kill")


def _end_of(
    child: dict[str, Any], parent: str, verb: str | None, orderly: bool
) -> tuple[Cause, int, str | None]:
    if child["end"] != drawn.STAYS:
        return *CAUSES[child["end"]], None
    if verb == "terminate":
        return Cause.TERMINATED, -15, parent
    if verb == "kill":
        return Cause.KILLED, -9, parent
    if orderly:
        return Cause.ABANDONED, -15, parent
    return Cause.CLEANED_UP, -9, "proclife"


def check(program: dict[str, Any], method: str) -> None:
    run = pytest_proclife.run(drawn.live, (program, method), timeout=60, linger=0.2)
    model = fates(program)
    assert {p.name for p in run.descendants} == set(model), f"{run}\n{run.stderr}"
    names = {p.id: p.name for p in run.processes} | {0: "0"}
    seen = {
        p.name: Fate(
            cause=p.cause or Cause.UNKNOWN,
            exitcode=p.exitcode if p.exitcode is not None else -999,
            by=names[p.ended_by] if isinstance(p.ended_by, int) else p.ended_by,
            parent=names[p.parent_id if p.parent_id is not None else -1],
            daemon=bool(p.daemon),
            orphaned=_orphaned(p.orphaned, model[p.name].orphaned),
        )
        for p in run.descendants
    }
    assert seen == model, f"{run}\n{run.stderr}"
    cause, exitcode = CAUSES[program["end"]]
    assert (run.main.cause, run.exitcode) == (cause, exitcode), f"{run}\n{run.stderr}"
    assert run.witness.complete


def _orphaned(seen: bool | None, model: bool | None) -> bool | None:
    """Where the two ended so close together that nothing proves the order, None is right too."""
    return model if model is None or (seen is None and not model) else seen


# The same programs each time: what is new is looked for by raising the number of examples.
drawing = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate],  # a program is short enough to be read as it is
    suppress_health_check=list(HealthCheck),
)


@settings(drawing, max_examples=60)
@given(processes())
def test_each_process_of_a_drawn_program_has_the_end_of_the_model(program: Any) -> None:
    check(program, "fork")


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@settings(drawing, max_examples=8)
@given(program=processes())
def test_it_has_by_the_other_start_methods_too(method: str, program: Any) -> None:
    check(program, method)
