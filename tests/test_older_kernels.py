"""Features of the kernel that are lacking: what stands in for them tells the same, or nothing.

`PROCLIFE_WITHOUT` has a newer kernel do as an older one. The tests of real older kernels are
those of `.ci/kernels`.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import select
import socket
import struct
import sys
from collections import Counter
from pathlib import Path

import importable
import pytest
from conftest import TARGETS, mostly_slow

import pytest_proclife
from pytest_proclife import Cause, Code, Joined, Run, backend, wire
from pytest_proclife.supervisor import kernel, procfs
from pytest_proclife.supervisor.identity import Identities, Process, open_reporting
from pytest_proclife.supervisor.reports import Report, Source

pytestmark = pytest.mark.once  # what the supervisor sees is the same on every Python

EXAMPLES = Path(__file__).parent.parent / "examples"
METHODS = multiprocessing.get_all_start_methods()
LACKING = ("", ",".join(kernel.FEATURES), "exit,status", "passpidfd,pidfs", *kernel.FEATURES)
ROOT = os.getuid() == 0


@pytest.fixture(params=mostly_slow(LACKING, 3), ids=lambda names: f"without {names or 'nothing'}")
def without(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The features that are not used in the test."""
    monkeypatch.setenv("PROCLIFE_BACKEND", "pidfd")
    monkeypatch.setenv(kernel.WITHOUT, request.param)
    return set(request.param.split(",")) - {""}


def printed(run: Run) -> list[tuple[int, int]]:
    """The pid and the exit code of each child, as the program has seen them."""
    lines = (run.stdout or "").splitlines()
    return [(int(pid), int(code)) for pid, code in map(str.split, lines)]


# --- the record is the same


def test_the_witness_names_the_features_that_were_used(without: set[str]) -> None:
    run = pytest_proclife.run(Code("print(1)"))
    used = run.witness.features
    assert run.witness.backend == "pidfd"
    assert run.witness.complete
    assert without.isdisjoint(used)
    assert [name for name in kernel.FEATURES if name in used] == list(used)
    assert json.loads(run.to_json())["witness"]["features"] == list(used)
    assert Run.from_json(run.to_json()) == run


@pytest.mark.parametrize("method", mostly_slow(METHODS))
def test_a_child_is_recorded_with_its_end(without: set[str], method: str) -> None:
    run = pytest_proclife.run(importable.start_one, (method,))
    (child,) = run.children
    assert (run.exitcode, run.main.cause) == (0, Cause.SYS_EXIT)
    assert (child.exitcode, child.cause, child.joined) == (0, Cause.RETURNED, Joined.EXPLICIT)
    assert (child.start_method, child.orphaned) == (method, False)


def test_each_status_that_a_wait_returns_is_that_of_its_child(without: set[str]) -> None:
    run = pytest_proclife.run(str(TARGETS / "collected.py"))
    assert run.exitcode == 0, run.stderr
    assert [(child.pid, child.exitcode) for child in run.children] == printed(run)


def test_children_that_exit_at_once_are_all_recorded(without: set[str]) -> None:
    run = pytest_proclife.run(str(TARGETS / "storm.py"), ["200"], timeout=120)
    assert run.exitcode == 0, run.stderr
    assert Counter(p.exitcode for p in run.descendants) == Counter(n % 7 for n in range(200))
    assert {p.cause for p in run.descendants} == {Cause.OS_EXIT}
    assert run.witness.complete


@pytest.mark.skipif(not ROOT, reason="only root says which pid comes next")
@pytest.mark.slow
@pytest.mark.own_pids
def test_processes_that_have_the_same_pid_are_told_apart(without: set[str]) -> None:
    run = pytest_proclife.run(str(TARGETS / "pid_again.py"), ["20"], timeout=120)
    assert run.exitcode == 0, run.stderr
    assert [(child.pid, child.exitcode) for child in run.children] == printed(run)
    assert len({child.pid for child in run.children}) < len(run.children)


@pytest.mark.parametrize(
    ("which", "codes"),
    [("gone_with_new_connections", [3, 4, 5]), ("gone_below_gone", [3, 4])],
)
def test_what_was_reaped_before_anybody_looked_is_recorded_once(
    without: set[str], which: str, codes: list[int]
) -> None:
    run = pytest_proclife.run(str(TARGETS / "odd_members.py"), [which], linger=10)
    assert run.main.cause is Cause.RETURNED, run.stderr
    assert len(run.descendants) == len(codes)
    for process, code in zip(run.descendants, codes, strict=True):
        # if the kernel keeps no exit code, a wait that is reported only by chance tells it
        known = code if kernel.EXIT in run.witness.features else process.exitcode
        assert (process.exitcode, process.orphaned) == (known, False)
        assert process.exitcode in (code, None)
        assert process.cause in (Cause.OS_EXIT, Cause.UNKNOWN)


def test_an_orphan_and_what_is_left_are_ended_and_named(without: set[str]) -> None:
    program = "import os, time\nif os.fork() == 0:\n    os.fork()\n    time.sleep(600)"
    run = pytest_proclife.run(Code(program), linger=0.2)
    assert [p.cause for p in run.descendants] == [Cause.CLEANED_UP] * 2
    assert [p.exitcode for p in run.descendants] == [-9, -9]


def test_a_program_that_does_not_report_is_found_with_its_children(without: set[str]) -> None:
    run = pytest_proclife.run(Code("import os; os.system('sleep 0.3; sh -c \"sleep 0.3\"; true')"))
    found = {p.argv for p in run.descendants if p.argv}
    assert ("sleep", "0.3") in found
    assert {p.exitcode for p in run.descendants} <= {0, None}


def test_a_child_that_the_kernel_reaps_has_no_exit_code_if_the_kernel_keeps_none(
    without: set[str],
) -> None:
    run = pytest_proclife.run(importable.ignore_sigchld)
    (child,) = run.children
    if kernel.EXIT in run.witness.features:
        assert (child.cause, child.exitcode) == (Cause.OS_EXIT, 3)
    else:
        assert (child.cause, child.exitcode) == (Cause.UNKNOWN, None)
        assert child.unknown_reason
    assert child.joined is None


def test_a_main_without_free_descriptors_still_reports(without: set[str]) -> None:
    program = (
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))\n"
        "held = []\n"
        "try:\n    while True: held.append(os.open('/dev/null', os.O_RDONLY))\n"
        "except OSError: pass\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(4)\n"
        "os.waitpid(pid, 0)"
    )
    run = pytest_proclife.run(Code(program))
    (child,) = run.children
    assert (child.exitcode, child.cause) == (4, Cause.OS_EXIT)


# --- two reports of one process, and of two that have the same pid


class Reaped:
    """A process that was reaped before anybody looked, as a supervisor knows it."""

    def __init__(self, identities: Identities, number: int, pid: int, report: Report) -> None:
        child, self.handle = ended_child("pass")
        os.waitpid(child, 0)
        self.process = Process(number, pid, self.handle)
        identities.add(self.process, report)
        self.process.last_at = report.written_at or 0

    def named_by(self, identities: Identities, report: Report) -> Process | None:
        """The process that a report is about, which came with a pidfd of this one."""
        return identities.of(self.handle, self.process.pid, report)


def report_of(kind: str, pid: int, at: int, *fields: str) -> Report:
    credentials = (socket.SOL_SOCKET, socket.SCM_CREDENTIALS, struct.pack("iii", pid, 0, 0))
    source = Source(socket.socket(socket.AF_UNIX), proven=True)
    source.socket.close()
    return Report(source, wire.pack(kind, 0, pid, at, fields), [credentials])


MAIN, CHILD = 4711, 4712


def test_a_number_that_only_a_group_has_is_that_of_no_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(pid: int) -> int:  # as Linux 6.14 does
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr("posix.pidfd_open", refuse)
    with pytest.raises(ProcessLookupError):
        kernel.open_pidfd(CHILD)
    assert open_reporting(CHILD, report_of(wire.HELLO, CHILD, 100)) is None


def test_the_number_of_an_error_is_no_pidfd() -> None:
    source = report_of(wire.HELLO, CHILD, 100).source
    for number, expected in ((-errno.EINVAL, None), (-errno.EMFILE, None), (7, 7)):
        attached = (socket.SOL_SOCKET, kernel.SCM_PIDFD, struct.pack("i", number))
        assert Report(source, b"", [attached]).sender == expected


def test_a_child_that_reports_before_its_parent_does_is_one_process(features: set[str]) -> None:
    identities = Identities()
    child = Reaped(identities, 1, CHILD, report_of(wire.HELLO, CHILD, 200, f"{CHILD}.1"))
    # the parent lost the processor between the look at the clock and the write
    start = report_of(wire.STARTED, MAIN, 100, str(CHILD), "process")
    assert child.named_by(identities, start) is child.process
    assert identities.that_had(CHILD, report_of(wire.RUN, CHILD, 300)) is child.process


def test_a_child_gets_a_signal_before_it_has_written_its_first_report(features: set[str]) -> None:
    identities = Identities()
    child = Reaped(identities, 1, CHILD, report_of(wire.HELLO, CHILD, 200, f"{CHILD}.1"))
    kill = report_of(wire.KILL, MAIN, 150, str(CHILD), "9", "os.kill()")
    assert child.named_by(identities, kill) is child.process
    # but not before another had that pid
    later = Reaped(identities, 2, CHILD, report_of(wire.HELLO, CHILD, 400, f"{CHILD}.2"))
    kill = report_of(wire.KILL, MAIN, 350, str(CHILD), "9", "os.kill()")
    child.process.reaped_at = 300
    assert later.named_by(identities, kill) is later.process
    kill = report_of(wire.KILL, MAIN, 250, str(CHILD), "9", "os.kill()")
    assert later.named_by(identities, kill) is child.process


def test_a_child_that_was_reaped_before_its_report_was_read_is_the_one_that_was_started(
    features: set[str],
) -> None:
    features.update((kernel.PIDFS, kernel.PASSPIDFD))
    identities = Identities()
    hello = report_of(wire.HELLO, CHILD, 200, f"{CHILD}.1")
    child = Process(1, CHILD, -1)  # the kernel attached no pidfd of it any more
    identities.add(child, hello)
    reaped, handle = ended_child("pass")
    os.waitpid(reaped, 0)
    start = report_of(wire.STARTED, MAIN, 250, str(CHILD), "process")
    assert identities.of(handle, CHILD, start) is child
    child.announced.add(start.announcement)
    # a later one with that pid is another
    later, its_handle = ended_child("pass")
    os.waitpid(later, 0)
    start = report_of(wire.STARTED, MAIN, 400, str(CHILD), "process")
    assert identities.of(its_handle, CHILD, start) is None
    assert identities.of(handle, CHILD) is child


def test_a_child_with_the_pid_of_one_that_was_reaped_is_another(features: set[str]) -> None:
    identities = Identities()
    first = Reaped(identities, 1, CHILD, report_of(wire.HELLO, CHILD, 200, f"{CHILD}.1"))
    start = report_of(wire.STARTED, MAIN, 100, str(CHILD), "process")
    first.process.announced.add(start.announcement)
    # the parent's report comes first: it is not known yet
    start = report_of(wire.STARTED, MAIN, 300, str(CHILD), "process")
    assert first.named_by(identities, start) is None
    # the child's report comes first
    second = Reaped(identities, 2, CHILD, report_of(wire.HELLO, CHILD, 400, f"{CHILD}.2"))
    assert second.named_by(identities, start) is second.process
    # the same process is reported by another module, too
    program = report_of(wire.STARTED, MAIN, 300, str(CHILD), "subprocess")
    assert second.named_by(identities, program) is second.process
    # a signal that was sent before it was started was for the first
    for at in (150, 250):
        kill = report_of(wire.KILL, MAIN, at, str(CHILD), "15")
        assert second.named_by(identities, kill) is first.process
    assert identities.that_had(CHILD, report_of(wire.RUN, CHILD, 250)) is first.process


# --- a zombie's status


@pytest.fixture
def features(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The features of this process's own calls."""
    offered: set[str] = set()
    monkeypatch.setattr(kernel, "offered", offered)
    return offered


def ended_child(deed: str) -> tuple[int, int]:
    """A zombie, by a process that does something; its pid and a pidfd of it."""
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", deed], os.environ)
    handle = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    poll.poll()
    return pid, handle


LEADER = (
    "import ctypes, os, threading\n"
    "main = threading.get_native_id()\n"
    "def last():\n"
    "    while open(f'/proc/self/task/{main}/stat').read().rpartition(') ')[2][0] != 'Z': pass\n"
    "    os._exit(7)\n"
    "threading.Thread(target=last).start()\n"
    "ctypes.CDLL(None).pthread_exit(None)"
)


@pytest.mark.parametrize(
    ("deed", "status"),
    [
        ("import os; os._exit(0)", 0),
        ("import os; os._exit(3)", 3 << 8),
        ("import os; os.kill(os.getpid(), 9)", 9),
    ],
)
@pytest.mark.parametrize("names", [(), ("status",)], ids=str)
def test_the_status_of_a_zombie_is_its_wait_status(
    features: set[str], names: tuple[str, ...], deed: str, status: int
) -> None:
    features.update(names)
    pid, handle = ended_child(deed)
    try:
        assert kernel.status_of_zombie(handle) == status
        assert os.waitpid(pid, 0)[1] == status
        assert kernel.status_of_zombie(handle) is None
    finally:
        os.close(handle)


@pytest.mark.parametrize(("ticks", "status"), [(1, 3 << 8), (2, None)])
def test_a_time_that_is_rounded_otherwise_is_not_that_of_another_thread(
    features: set[str], monkeypatch: pytest.MonkeyPatch, ticks: int, status: int | None
) -> None:
    pid, handle = ended_child("import os; os._exit(3)")
    real = procfs.contents

    def contents(path: str) -> bytes:
        """As it is, but the first thread has been in the kernel for some ticks less."""
        text = real(path)
        if "/task/" in path:
            before, end, after = text.rpartition(b") ")
            words = after.split()
            words[12] = b"%d" % (int(words[12]) - ticks)
            text = before + end + b" ".join(words)
        return text

    monkeypatch.setattr(procfs, "contents", contents)
    try:
        assert kernel.status_of_zombie(handle) == status
    finally:
        monkeypatch.undo()
        os.waitpid(pid, 0)
        os.close(handle)


def test_the_status_of_a_first_thread_that_exited_alone_is_not_taken_for_the_processs(
    features: set[str],
) -> None:
    pid, handle = ended_child(LEADER)
    try:
        assert kernel.status_of_zombie(handle) is None
        assert os.waitpid(pid, 0)[1] == 7 << 8
    finally:
        os.close(handle)


@pytest.mark.skipif(not ROOT, reason="another user is needed")
def test_the_status_of_another_users_zombie_is_not_taken_for_0(features: set[str]) -> None:
    pid, handle = ended_child("import os; os._exit(5)")
    reader, writer = os.pipe()
    other = os.fork()
    if other == 0:
        os.setuid(1000)
        os.write(writer, repr(kernel.status_of_zombie(handle)).encode())
        os._exit(0)
    os.waitpid(other, 0)
    try:
        assert os.read(reader, 100) == b"None"
        assert os.waitpid(pid, 0)[1] == 5 << 8
    finally:
        for descriptor in (handle, reader, writer):
            os.close(descriptor)


# --- which feature is which


def test_a_name_that_is_no_feature_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kernel.WITHOUT, "pidfs,inodes")
    with pytest.raises(ValueError, match=r"PROCLIFE_WITHOUT must name features .*, not 'inodes'"):
        backend.choose_backend()


def test_the_schema_has_the_features() -> None:
    schema = json.loads((Path(pytest_proclife.__file__).parent / "schema.json").read_text())
    features = schema["properties"]["witness"]["properties"]["features"]
    assert features["items"]["enum"] == [*kernel.FEATURES, "seccomp"]


# --- as it is here


@pytest.mark.slow
def test_the_examples_tell_the_same_on_this_real_kernel() -> None:
    run = pytest_proclife.run(str(EXAMPLES / "exam_daemon.py"), timeout=120)
    (session,) = run.children
    assert run.witness.backend == "pidfd"
    assert (session.cause, session.signal, session.ended_by) == (Cause.ABANDONED, "SIGTERM", 0)
    run = pytest_proclife.run(str(EXAMPLES / "exam_nondaemon.py"), timeout=120)
    (session,) = run.children
    assert (session.cause, session.joined, session.exitcode) == (Cause.RETURNED, "implicit", 0)
    run = pytest_proclife.run(str(TARGETS / "collected.py"), timeout=120)
    assert [(child.pid, child.exitcode) for child in run.children] == printed(run)
    run = pytest_proclife.run(str(TARGETS / "storm.py"), ["300"], timeout=300)
    assert Counter(p.exitcode for p in run.descendants) == Counter(n % 7 for n in range(300))
