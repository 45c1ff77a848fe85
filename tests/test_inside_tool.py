"""Programs that use `sys.monitoring`, trace or profile functions work as they do bare."""

from __future__ import annotations

import sys

import pytest
from conftest import TARGETS
from fidelity import both

import pytest_proclife
from pytest_proclife import Cause
from pytest_proclife.records import EvidenceKind

TOOLS = str(TARGETS / "tools.py")

if sys.version_info >= (3, 12):

    @pytest.mark.parametrize("tool", range(6))
    def test_each_tool_is_the_programs_to_use(tool: int) -> None:
        bare, observed, run = both([TOOLS, "uses", str(tool)])
        assert observed == bare
        assert run["later"].cause is Cause.RETURNED
        assert run["later"].joined == "explicit"
        assert run.witness.complete

    def test_where_the_program_takes_all_tools_the_account_says_what_is_not_seen() -> None:
        bare, observed, run = both([TOOLS, "takes_all"])
        assert observed == bare
        assert not run.witness.complete
        assert [p.cause for p in run.processes] == [Cause.UNKNOWN] * 2

    def test_each_run_of_a_handler_is_seen_though_the_audit_hook_runs() -> None:
        run = pytest_proclife.run(TOOLS, ["is_interrupted_in_audit_hooks", "50"])
        ran = [fact for fact in run.main.evidence if fact.kind is EvidenceKind.HANDLER_RAN]
        assert (run.stdout, len(ran)) == ("50\n", 50), run.stderr


TRACERS = ["settrace", "setprofile", *["sys.monitoring"] * (sys.version_info >= (3, 12))]


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("setting", TRACERS)
def test_a_tracer_sees_no_hook_of_ours_though_a_handler_is_set(setting: str, order: str) -> None:
    bare, observed, _ = both([TOOLS, "traces_with_a_handler", setting, order])
    assert observed == bare


@pytest.mark.parametrize("setting", ["sys.settrace", "sys.setprofile", "threading.settrace"])
def test_under_a_trace_function_all_is_seen(setting: str) -> None:
    run = pytest_proclife.run(TOOLS, ["traces", setting])
    assert run["later"].cause is Cause.RETURNED
    assert run["later"].joined == "explicit"
    assert run.main.cause is Cause.RETURNED
    assert run.witness.complete


def test_an_audit_hook_of_the_programs_own_stops_nothing() -> None:
    bare, observed, run = both([TOOLS, "audits"])
    assert observed == bare
    assert run["later"].cause is Cause.RETURNED
