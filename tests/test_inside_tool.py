"""Programs that use `sys.monitoring`, trace or profile functions work as they do bare."""

from __future__ import annotations

import sys

import pytest
from fidelity import both

import pytest_proclife
from pytest_proclife import Cause, Code

CHILD = (
    "import multiprocessing, os\n"
    "child = multiprocessing.get_context('fork').Process(target=os.getpid, name='later')\n"
    "child.start(); child.join()\n"
)

if sys.version_info >= (3, 12):

    @pytest.mark.parametrize("tool", range(6))
    def test_each_tool_is_the_programs_to_use(tool: int) -> None:
        text = (
            "import multiprocessing.process, sys\n"
            "monitoring, seen = sys.monitoring, []\n"
            "def function(): return 1\n"
            "def started(code, offset): seen.append(code.co_name)\n"
            f"tool = {tool}\n"
            "print([monitoring.get_tool(n) for n in range(6)])\n"
            "monitoring.use_tool_id(tool, 'mine')\n"
            "print([monitoring.get_tool(n) for n in range(6)])\n"
            "start = monitoring.events.PY_START\n"
            "print(monitoring.register_callback(tool, start, started))\n"
            "monitoring.set_local_events(tool, function.__code__, start)\n"
            "function()\n"
            "monitoring.set_events(tool, start)\n"
            "function()\n"
            "monitoring.set_events(tool, 0)\n"
            "print(seen, monitoring.register_callback(tool, start, None) is started)\n"
            "monitoring.free_tool_id(tool)\n"
            "try: monitoring.set_events(9, 0)\n"
            "except ValueError as error: print(error)\n"
            "try: monitoring.use_tool_id('x', 'y')\n"
            "except TypeError as error: print(error)\n"
        )
        bare, observed, run = both(["-c", text + CHILD])
        assert observed == bare
        assert run["later"].cause is Cause.RETURNED
        assert run["later"].joined == "explicit"
        assert run.witness.complete

    def test_where_the_program_takes_all_tools_the_account_says_what_is_not_seen() -> None:
        text = "import sys\nfor n in range(6): sys.monitoring.use_tool_id(n, str(n))\n"
        show = "print([sys.monitoring.get_tool(n) for n in range(6)])\n"
        bare, observed, run = both(["-c", text + show + CHILD])
        assert observed == bare
        assert not run.witness.complete
        assert [p.cause for p in run.processes] == [Cause.UNKNOWN] * 2


@pytest.mark.parametrize("setting", ["sys.settrace", "sys.setprofile", "threading.settrace"])
def test_under_a_trace_function_all_is_seen(setting: str) -> None:
    text = f"import sys, threading\n{setting}(lambda frame, event, argument: None)\n"
    run = pytest_proclife.run(Code(text + CHILD))
    assert run["later"].cause is Cause.RETURNED
    assert run["later"].joined == "explicit"
    assert run.main.cause is Cause.RETURNED
    assert run.witness.complete


def test_an_audit_hook_of_the_programs_own_stops_nothing() -> None:
    text = (
        "import sys\n"
        "def hook(event, arguments):\n"
        "    if event in ('os.system', 'shutil.rmtree'): raise RuntimeError(event)\n"
        "sys.addaudithook(hook)\n"
        "import os\n"
        "try: os.system('true')\n"
        "except RuntimeError as error: print(error)\n"
    )
    bare, observed, run = both(["-c", text + CHILD])
    assert observed == bare
    assert run["later"].cause is Cause.RETURNED
