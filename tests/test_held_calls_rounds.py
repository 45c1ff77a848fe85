"""No process waits for ever for the second witness, whatever the run does and is done to.

Programs of processes and threads that start, trace, signal and wait for each other are drawn, and
what is done to them from outside: stopped, killed, interrupted, their supervisor killed.
PROCLIFE_ROUNDS says how many are drawn.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import TARGETS
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import pytest_proclife
from pytest_proclife import SupervisorLost

pytestmark = [pytest.mark.slow, pytest.mark.once]
SOURCE = TARGETS / "in_c" / "held.c"
TARGETS_OF_SIGNALS = {"m": "0UITK", "p": "0UITK", "c": "0UITKS", "g": "0UI"}
SIMPLE = ["v", "p", "w", "n", "i", "a", "A", "x"]
SIGNALS = [f"k{to}{signal}" for to, signals in TARGETS_OF_SIGNALS.items() for signal in signals]
steps = st.lists(st.sampled_from([*SIMPLE, *SIGNALS]), max_size=5).map("".join)
programs = st.recursive(
    steps,
    lambda inner: st.lists(
        st.tuples(steps, st.sampled_from("ffdrt"), inner, steps).map(
            lambda part: f"{part[0]}{part[1]}({part[2]}){part[3]}"
        ),
        min_size=1,
        max_size=4,
    ).map("".join),
    max_leaves=12,
)
acts = st.lists(
    st.tuples(st.sampled_from(["stop", "kill", "interrupt"]), st.integers(0, 9)), max_size=6
)


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no compiler of C is here")
    program = tmp_path_factory.mktemp("in_c") / "held"
    subprocess.run([compiler, "-O1", "-pthread", "-o", program, SOURCE], check=True)
    return program


def living(token: str) -> Iterator[int]:
    """The pids of the processes with a word among their arguments; a zombie has no arguments."""
    for name in os.listdir("/proc"):
        with suppress(OSError, ValueError):
            if token.encode() in Path("/proc", name, "cmdline").read_bytes().split(b"\0"):
                yield int(name)


def send(descriptor: int, *signals: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        for number in signals:
            signal.pidfd_send_signal(descriptor, number)


def disturb(token: str, todo: list[tuple[str, int]], end: threading.Event) -> None:
    for what, which in todo:
        pids = sorted(living(token))
        if not pids:
            if end.wait(0.001):
                return
            continue
        with suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pids[which % len(pids)])
            try:
                if pids[which % len(pids)] not in living(token):  # the pid became another's
                    continue
                if what == "stop":
                    send(descriptor, signal.SIGSTOP)
                    end.wait(0.002)
                    send(descriptor, signal.SIGCONT)
                elif what == "kill":
                    send(descriptor, signal.SIGKILL)
                else:
                    send(descriptor, *[signal.SIGUSR1] * 20)
            finally:
                os.close(descriptor)


def nothing_lives(token: str) -> bool:
    until = time.monotonic() + 20
    while any(living(token)):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


rounds = settings(
    max_examples=int(os.environ.get("PROCLIFE_ROUNDS", "25")),
    deadline=None,
    phases=(Phase.explicit, Phase.generate),  # what hangs once may not hang again
    suppress_health_check=list(HealthCheck),
)


@rounds
@given(program=programs, todo=acts)
def test_a_run_ends_whatever_its_processes_do(
    held: Path, program: str, todo: list[tuple[str, int]]
) -> None:
    token = uuid.uuid4().hex
    end = threading.Event()
    disturbing = threading.Thread(target=disturb, args=(token, todo, end))
    disturbing.start()
    try:
        run = pytest_proclife.run([str(held), program, token], seccomp=True, timeout=60, linger=0.5)
    finally:
        end.set()
        disturbing.join()
    assert not run.timed_out
    assert nothing_lives(token)


@rounds
@given(program=programs, when=st.integers(0, 20))
def test_nothing_stays_when_the_supervisor_is_killed(held: Path, program: str, when: int) -> None:
    token = uuid.uuid4().hex
    end = threading.Event()

    def kill() -> None:
        while not end.wait(0.0001):
            for pid in sorted(living(token)):
                with suppress(OSError, ValueError):
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    supervisor = int(fields[1])
                    descriptor = os.pidfd_open(supervisor)
                    try:
                        name = Path(f"/proc/{supervisor}/cmdline").read_bytes()
                        if b"pytest_proclife" in name:  # main's parent, not a process of the run
                            end.wait(when / 10_000)
                            send(descriptor, signal.SIGKILL)
                            return
                    finally:
                        os.close(descriptor)

    killing = threading.Thread(target=kill)
    killing.start()
    try:
        with suppress(SupervisorLost):
            pytest_proclife.run([str(held), program, token], seccomp=True, timeout=60, linger=0.5)
    finally:
        end.set()
        killing.join()
    assert nothing_lives(token)
