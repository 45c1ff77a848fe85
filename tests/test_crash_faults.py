"""Programs with a fault at one moment of their lives: it is found, and nothing in the mended twin.

Each is made so that what it does before, at and after the moment is the same each time.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from conftest import TARGETS

from pytest_proclife import Crash, crash_points

pytestmark = pytest.mark.once

FORK, CHILD, POOL = "a fork of main", "ForkProcess-1", "ForkPoolWorker-1"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is tried, and the points that are not clean: their kind, process, whom it is about."""

    name: str
    signal: str
    at: tuple[str, ...]
    outcome: str
    points: set[tuple[str, str, str]]
    of: str = "main"


FAULTS = (
    Fault(
        name="late_handler",
        signal="SIGTERM",
        at=("begun", "started", "target", "signal", "joined", "finished"),
        outcome="left",
        points={("begun", FORK, ""), ("started", "main", CHILD), ("target", CHILD, "")},
    ),
    Fault(
        name="dies_in_start",
        signal="SIGTERM",
        at=("begun", "started", "signal", "joined", "finished"),
        outcome="left",
        points={("begun", FORK, "")},
    ),
    Fault(
        name="unregistered",
        signal="SIGTERM",
        at=("started", "signal", "joined"),
        outcome="left",
        points={("started", "main", CHILD), ("started", "main", "ForkProcess-2")},
    ),
    Fault(
        name="replacing",
        signal="SIGTERM",
        at=("waiting", "joined", "started", "signal"),
        outcome="left",
        points={("started", "main", "worker 0")},
    ),
    Fault(
        name="double_fork",
        signal="SIGTERM",
        at=("begun", "exiting", "signal"),
        outcome="left",
        points={("begun", FORK, ""), ("begun", f"a fork of {FORK}", ""), ("exiting", FORK, "")},
    ),
    Fault(
        name="pid_file",
        signal="SIGTERM",
        at=("started", "signal", "joined"),
        outcome="left",
        points={("started", "main", "sh")},
    ),
    Fault(
        name="second_signal",
        signal="SIGTERM",
        at=("begun", "handler", "signal"),
        outcome="left",
        points={("signal", "main", FORK)},
    ),
    Fault(
        name="both_ends",
        signal="SIGKILL",
        at=("begun", "exiting", "joined"),
        outcome="left",
        points={("begun", FORK, "")},
    ),
    Fault(
        name="executor_interrupted",
        signal="SIGINT",
        at=("started", "finished"),
        outcome="hung",
        points={("started", "main", CHILD), ("started", "main", "ForkProcess-2")},
    ),
    Fault(
        name="thread_waits",
        signal="SIGINT",
        at=("started", "finished"),
        outcome="hung",
        points={("started", "main", "true")},
    ),
    Fault(
        name="lock_held",
        signal="SIGKILL",
        of="children",
        at=("target", "started", "finished", "exiting"),
        outcome="hung",
        points={("started", CHILD, "true")},
    ),
    Fault(
        name="pool_task",
        signal="SIGKILL",
        of="children",
        at=("started",),
        outcome="hung",
        points={("started", POOL, "true")},
    ),
    Fault(
        name="keeps_writing_end",
        signal="SIGKILL",
        of="children",
        at=("target", "finished", "exiting"),
        outcome="hung",
        points={("target", CHILD, "")},
    ),
    Fault(
        name="waits_for_event",
        signal="SIGKILL",
        of="children",
        at=("target", "finished", "exiting"),
        outcome="hung",
        points={("target", CHILD, "")},
    ),
)
EVERY_DAY = ("dies_in_start", "pid_file", "thread_waits")  # the others are slow


def crashes_of(fault: Fault, *args: str, timeout: float) -> list[Crash]:
    crashes = crash_points(
        str(TARGETS / "crash" / f"{fault.name}.py"),
        args,
        signals=[fault.signal],
        of=fault.of,
        at=fault.at,
        timeout=timeout,
        linger=0.5,
        jobs=2,
    )
    return list(crashes)


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, id=fault.name, marks=[pytest.mark.slow] * (fault.name not in EVERY_DAY))
        for fault in FAULTS
    ],
)
def test_the_moment_of_a_fault_is_found_and_the_mended_twin_is_clean(fault: Fault) -> None:
    crashes = crashes_of(fault, timeout=3.0 if fault.outcome == "hung" else 10.0)
    wrong = [crash for crash in crashes if crash.outcome != "clean"]
    found = {(c.point.kind, c.point.process, c.point.about) for c in wrong}
    assert found == fault.points
    assert {str(crash.outcome) for crash in wrong} == {fault.outcome}
    assert len(wrong) < len(crashes)
    # a mended program may take its time: it does not wait for the timeout
    mended = crashes_of(fault, "mended", timeout=20.0)
    assert [repr(crash) for crash in mended if crash.outcome != "clean"] == []
    assert len(mended) > 1
