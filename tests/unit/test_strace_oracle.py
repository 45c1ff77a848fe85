"""What the tool of the drawn programs reads in strace's output, and finds in a document."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from programs import grammar, strace
from programs.contradictions import Case, contradictions
from programs.model import Expectations
from programs.source import source

TRACE = """\
10 100.000000 vfork( <unfinished ...>
11 100.001000 execve("/bin/python", ["python", "program.py"], 0x1 /* 3 vars */ <unfinished ...>
10 100.001100 <... vfork resumed>) = 11
11 100.001200 <... execve resumed>) = 0
11 100.002000 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x1) = 12
11 100.003000 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0} => {parent_tid=[13]}, 88) = 13
13 100.004000 pidfd_send_signal(7<pid:12>, SIGTERM, NULL, 0) = 0
12 100.004100 --- SIGTERM {si_signo=SIGTERM, si_code=SI_USER, si_pid=11, si_uid=0} ---
12 100.004200 +++ killed by SIGTERM +++
13 100.004300 wait4(12, [{WIFSIGNALED(s) && WTERMSIG(s) == SIGTERM}], WNOHANG, NULL) = 12
13 100.004400 +++ exited with 0 +++
11 100.004500 kill(12, SIGKILL) = -1 ESRCH (No such process)
11 100.005000 exit_group(3) = ?
11 100.006000 +++ exited with 3 +++
"""


@pytest.fixture
def kernel(tmp_path: Path) -> strace.Kernel:
    (tmp_path / "trace").write_text(TRACE)
    return strace.read(tmp_path / "trace")


def test_threads_belong_to_their_process_and_calls_in_two_lines_are_one(
    kernel: strace.Kernel,
) -> None:
    assert kernel.main("program.py") == 11
    assert list(kernel.below(11)) == [12]
    child = kernel.processes[12]
    assert (child.parent, child.exitcode, kernel.processes[11].exitcode) == (11, -15, 3)
    assert child.reaped is not None
    assert (child.reaped.by, child.reaped.blocking) == (11, False)
    sent = [(signal.by, signal.to, signal.name) for signal in kernel.signals]
    assert sent == [(11, 12, "SIGTERM")]


def test_another_process_that_had_the_pid_before_or_after_is_left_out(tmp_path: Path) -> None:
    before = "12 99.000000 kill(1, SIGKILL) = 0\n12 99.100000 +++ killed by SIGKILL +++\n"
    after = "12 100.100000 exit_group(0) = ?\n12 100.200000 +++ exited with 0 +++\n"
    (tmp_path / "trace").write_text(before + TRACE + after)
    kernel = strace.read(tmp_path / "trace", "program.py")
    child = kernel.processes[12]
    assert (child.parent, child.exitcode) == (11, -15)
    assert child.exits is None
    sent = [(signal.by, signal.to, signal.name) for signal in kernel.signals]
    assert sent == [(11, 12, "SIGTERM")]


def record(pid: int, number: int, parent: int | None, **values: Any) -> dict[str, Any]:
    base: dict[str, Any] = {
        "id": number,
        "pid": pid,
        "parent": parent,
        "kind": "os_fork",
        "name": "python",
    }
    base |= {"role": "main" if parent is None else "child", "start_method": None}
    base |= {"exitcode": None, "cause": "returned", "ended_by": None, "requests": []}
    return base | {"joined": None, "orphaned": None, "evidence": []} | values


ABOUT_THE_CHILD: dict[str, Any] = {
    "exitcode": -15,
    "cause": "terminated",
    "ended_by": 0,
    "requests": [{"by": 0, "signal": "SIGTERM"}],
    "orphaned": False,
    "evidence": [{"kind": "reaped", "orphan": False, "about": None}],
}


@pytest.mark.parametrize(
    ("wrong", "kinds"),
    [
        ({}, []),
        ({"exitcode": -9}, ["exitcode of a os_fork"]),
        ({"parent": None, "role": "child"}, ["parent of a os_fork"]),
        ({"requests": []}, ["a request that is missing"]),
        (
            {"requests": [*ABOUT_THE_CHILD["requests"], {"by": 0, "signal": "SIGKILL"}]},
            ["a request that nobody sent"],
        ),
        ({"orphaned": True}, ["orphaned is True, not False"]),
        ({"orphaned": None}, ["orphaned is None, not False"]),
        ({"cause": "cleaned_up"}, ["cleaned up"]),
        ({"evidence": [{"kind": "reaped", "orphan": True, "about": None}]}, ["who reaped it"]),
        (
            {"evidence": [{"kind": "handler_ran", "signal": "SIGHUP", "about": None}]},
            ["a handler ran without its signal"],
        ),
    ],
)
def test_what_the_kernel_knows_otherwise_is_a_contradiction(
    kernel: strace.Kernel, wrong: dict[str, Any], kinds: list[str]
) -> None:
    child = record(12, 1, 0, **ABOUT_THE_CHILD) | wrong
    document = {
        "witness": {"complete": True, "missing": []},
        "processes": [record(11, 0, None, exitcode=3, role="main"), child],
    }
    case = Case(
        document=document,
        kernel=kernel,
        expectations=Expectations(processes=(), groups=(), complete=True),
        pids={"main": 11, "p1": 12},
        main=11,
    )
    assert [one.kind for one in contradictions(case)] == kinds


def test_a_process_without_a_record_is_a_contradiction(kernel: strace.Kernel) -> None:
    case = Case(
        document={
            "witness": {"complete": True, "missing": []},
            "processes": [record(11, 0, None, exitcode=3)],
        },
        kernel=kernel,
        expectations=Expectations(processes=(), groups=(), complete=True),
        pids={},
        main=11,
    )
    kinds = [one.kind for one in contradictions(case)]
    assert kinds == ["a process without a record", "complete, but for a process"]


def test_a_plan_is_the_same_after_it_was_written_down() -> None:
    last = grammar.draw(lambda count: count - 1)
    first = grammar.draw(lambda count: 0)
    for plan in (first, last):
        assert grammar.from_values(asdict(plan)) == plan
        compile(source(plan), "program.py", "exec")
