"""Processes outside of a run report to its supervisor, and change nothing of its account."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from conftest import TARGETS, mostly_slow

import pytest_proclife
from pytest_proclife import Cause, Run, RunningMain
from pytest_proclife.supervisor import kernel

pytestmark = pytest.mark.once  # what the supervisor sees is the same on every Python

HOST = str(TARGETS / "host.py")
STRANGER = str(TARGETS / "stranger.py")
IS_ROOT = os.getuid() == 0  # who may change its user, choose its pid or make a namespace
LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
WAYS = ["stays", "ends", "leaves_a_fork", "passes_descriptors", "takes_mains_descriptor"]
WAYS += ["is_another_user"] if IS_ROOT else []


def supervisor_of(main: RunningMain) -> int:
    """The process that listens: main's parent, or this one if the run is polled."""
    stat = Path(f"/proc/{main.pid}/stat").read_text()
    return int(stat.rpartition(")")[2].split()[1])


def address_of(main: RunningMain) -> str:
    environment = Path(f"/proc/{main.pid}/environ").read_bytes()
    found = re.search(rb"_PROCLIFE=([^,]+),", environment)
    assert found is not None
    return found[1].decode()


@contextmanager
def stranger(way: str, main: RunningMain) -> Iterator[subprocess.Popen[str]]:
    """It has sent what it sends at first."""
    command = [sys.executable, STRANGER, way, address_of(main), str(main.pid)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "sent\n"
        yield process
        process.communicate()  # closes its standard input: it goes on, and ends


@contextmanager
def host(fifo: Path) -> Iterator[tuple[RunningMain, int]]:
    """A main that waits; its last line is the pid of a child that has ended."""
    with pytest_proclife.start(HOST, [str(fifo)]) as main:
        yield main, int(main.wait_for_output(r"(\d+)\n")[1])


def goes_on(main: RunningMain, fifo: Path) -> Run:
    fifo.write_bytes(b"")
    return main.wait()


def check_account(run: Run) -> None:
    """The account is the one without strangers."""
    assert run.witness.complete, run.witness.missing
    assert [(p.name, p.cause, p.exitcode) for p in run.children] == [
        ("first", Cause.RETURNED, 0),
        *[(Path(sys.executable).name, Cause.RETURNED, 0)] * 3,
        ("second", Cause.RAISED, 1),
        (run.children[-1].name, Cause.OS_EXIT, 3),
    ]
    assert len(run.processes) == 7 + len(run.helpers)
    assert run.main.cause is Cause.RETURNED
    assert [p.requests for p in run.processes] == [()] * len(run.processes)


@pytest.mark.parametrize("way", mostly_slow(WAYS, 3))
def test_a_stranger_changes_nothing(way: str, fifo: Path) -> None:
    with host(fifo) as (main, _), stranger(way, main):
        check_account(goes_on(main, fifo))


@pytest.mark.parametrize("way", ["ends", "leaves_a_fork"])
def test_a_stranger_that_was_reaped_when_it_is_looked_at_changes_nothing(
    way: str, fifo: Path
) -> None:
    with host(fifo) as (main, _):
        supervisor = supervisor_of(main)
        os.kill(supervisor, signal.SIGSTOP)
        try:
            with stranger(way, main):
                pass
        finally:
            os.kill(supervisor, signal.SIGCONT)
        check_account(goes_on(main, fifo))


@pytest.mark.slow
def test_a_stranger_that_was_there_before_the_run_changes_nothing(fifo: Path) -> None:
    code = (
        f"import sys; sys.argv[1:] = ['stays', *input().split()]; exec(open({STRANGER!r}).read())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        with host(fifo) as (main, _):
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{address_of(main)} {main.pid}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "sent\n"
            check_account(goes_on(main, fifo))
        process.communicate()


def start_with_pid(pid: int, command: list[str]) -> None:
    """Run a command as a process that has this pid, once no other process has it."""
    started = 0
    while started != pid:
        LAST_PID.write_text(str(pid - 1))
        started = os.fork()
        if started == 0:
            if os.getpid() != pid:  # another process was started meanwhile
                os._exit(0)
            os.execv(command[0], command)
        os.waitpid(started, 0)


if os.access(LAST_PID, os.W_OK):

    @pytest.mark.own_pids
    @pytest.mark.parametrize("stopped", [False, True])
    def test_a_stranger_with_the_pid_of_a_child_that_has_ended_changes_nothing(
        stopped: bool, fifo: Path
    ) -> None:
        with host(fifo) as (main, pid):
            words = [sys.executable, STRANGER, "ends", address_of(main), str(main.pid)]
            supervisor = supervisor_of(main)
            os.kill(supervisor, signal.SIGSTOP if stopped else signal.SIGCONT)
            try:
                start_with_pid(pid, words)
            finally:
                os.kill(supervisor, signal.SIGCONT)
            check_account(goes_on(main, fifo))


@pytest.mark.slow
def test_a_flood_of_strangers_changes_nothing(fifo: Path) -> None:
    with host(fifo) as (main, _):
        descriptors = f"/proc/{supervisor_of(main)}/fd"
        before = len(os.listdir(descriptors))
        with stranger("floods", main), stranger("floods", main):
            fifo.write_bytes(b"")
            main.wait_for(lambda run: len(run.children) >= 3)
            assert len(os.listdir(descriptors)) < before + 100
        run = main.wait()
    if kernel.PASSPIDFD in run.witness.features:
        check_account(run)
    else:
        # It is not known who made a connection until somebody reports on it: some of the run's own
        # are among those that were closed.
        assert {p.exitcode for p in run.children} == {0, 1, 3}
        assert {p.cause for p in run.children} <= {
            *(Cause.RETURNED, Cause.RAISED, Cause.OS_EXIT, Cause.EXITED, Cause.UNKNOWN)
        }


@pytest.mark.slow
def test_few_connections_are_kept_that_nobody_is_known_to_have_made(fifo: Path) -> None:
    with host(fifo) as (main, _):
        supervisor = supervisor_of(main)
        before = len(os.listdir(f"/proc/{supervisor}/fd"))
        os.kill(supervisor, signal.SIGSTOP)
        with ExitStack() as stack:
            try:
                stack.enter_context(stranger("keeps_connections_of_the_gone", main))
            finally:
                os.kill(supervisor, signal.SIGCONT)
            main.snapshot()
            assert len(os.listdir(f"/proc/{supervisor}/fd")) <= before + 64
            check_account(goes_on(main, fifo))


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS[:4])
def test_a_stranger_is_not_a_process_of_a_polled_run(
    way: str, fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROCLIFE_BACKEND", "polling")
    with host(fifo) as (main, _), stranger(way, main) as process:
        run = goes_on(main, fifo)
    assert run.main.cause is Cause.RETURNED
    assert process.pid not in [p.pid for p in run.processes]
    assert {p.name for p in run.children} == {"first", "second", Path(sys.executable).name}
    assert [p.requests for p in run.processes] == [()] * len(run.processes)


@pytest.mark.slow
def test_the_descriptors_that_a_stranger_passes_are_closed(fifo: Path) -> None:
    with host(fifo) as (main, _):
        descriptors = f"/proc/{supervisor_of(main)}/fd"
        before = len(os.listdir(descriptors))
        with stranger("passes_descriptors", main):
            main.snapshot()
            assert len(os.listdir(descriptors)) <= before
        check_account(goes_on(main, fifo))


# Each process below main: its exit code, and whether it outlived its parent.
MEMBERS: dict[str, list[tuple[int, bool | None]]] = {
    "gone_with_new_connections": [(3, False), (4, False), (5, False)],
    "gone_below_gone": [(3, False), (4, False)],
}
if IS_ROOT:
    MEMBERS |= {
        "another_user": [(3, False), (4, False)],
        "daemon_of_another_user": [(0, False), (3, True), (4, False)],
    }
    if sys.version_info >= (3, 12):  # that has os.unshare()
        MEMBERS["namespace_of_pids"] = [(3, False), (0, None), (5, None)]


@pytest.mark.parametrize("which", mostly_slow(MEMBERS, 2))
def test_a_process_of_the_run_is_seen_however_it_reports(which: str) -> None:
    run = pytest_proclife.run(str(TARGETS / "odd_members.py"), [which], linger=10)
    assert run.main.cause is Cause.RETURNED, run.stderr
    members = [(p.exitcode, p.orphaned) for p in run.descendants]
    if which == "namespace_of_pids" and kernel.EXIT not in run.witness.features:
        # its waits name pids that mean nothing outside
        assert [
            (right if code is None else code, orphaned)
            for (code, orphaned), (right, _) in zip(members, MEMBERS[which], strict=True)
        ] == MEMBERS[which]
    else:
        assert members == MEMBERS[which]
    causes = {p.cause for p in run.descendants}
    if {kernel.PIDFS, kernel.EXIT} <= set(run.witness.features):
        assert causes == {Cause.OS_EXIT}
        assert run.witness.complete
    else:
        # by a connection that it made later a process that is gone cannot be told from a stranger
        assert causes <= {Cause.OS_EXIT, Cause.UNKNOWN}
