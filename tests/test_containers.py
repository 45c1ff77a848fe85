"""What a run tells in a container: as outside, or less with the reason, and nothing that is wrong.

`container.py` makes what a container is made of, from the calls that Docker's profile refuses to a
/proc of its own. `docs/platforms.md` has the table of what this gave.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import container
import pytest
from conftest import TARGETS, Mark

from pytest_proclife import Cause, Joined, Run

# what the kernel shows and what the containers do is the same on every Python
pytestmark = [pytest.mark.once, pytest.mark.slow]

ROOT = os.getuid() == 0
CONTAINED = str(TARGETS / "contained.py")
OBSERVE = (
    "import sys, pytest_proclife\n"
    "run = pytest_proclife.run(sys.argv[1], linger=0.3, timeout=90)\n"
    "print(run.to_json())"
)
STEPS = ("fork", "spawn", "terminated", "forked", "shell", "pool", "left", "daemon")
# the cause of each step's process, and who collected it
ENDS = {
    "fork": (Cause.SYS_EXIT, Joined.EXPLICIT),
    "spawn": (Cause.SYS_EXIT, Joined.EXPLICIT),
    "terminated": (Cause.TERMINATED, Joined.EXPLICIT),
    "forked": (Cause.OS_EXIT, Joined.EXPLICIT),
    "shell": (Cause.EXITED, Joined.EXPLICIT),
    "left": (Cause.CLEANED_UP, None),
    "daemon": (Cause.ABANDONED, Joined.IMPLICIT),
}
KINDS = {"forked": "os_fork", "left": "os_fork", "shell": "subprocess"}  # the others have names
CODES = {"fork": 0, "spawn": 3, "terminated": -15, "forked": 7, "shell": 5, "left": -9}
CODES |= {"daemon": -15}
DOCKER = "--docker --seccomp docker"

# Options of a container in which all is seen, and the steps that the program cannot do there.
SEEN: dict[str, tuple[str, ...]] = {
    "--user 1000 --no-new-privs": (),
    "--user-namespace --pids --proc own": (),
    "--pids --proc own": (),
    "--proc hidepid1 --user 1000": (),
    "--no-shm": ("pool",),  # its locks need /dev/shm
    DOCKER: (),
    f"{DOCKER} --pids --proc own": (),
    f"{DOCKER} --pids --proc own --user 1000 --read-only": ("pool",),
    f"{DOCKER} --pids --proc hidepid2 --user 1000 --no-new-privs": (),
    "--files 32": (),
    "--user 54321 --processes 64": (),
}
# Polled, since a pidfd cannot be had: what is lacking.
POLLED = {
    "--docker --seccomp docker-19": "pidfd_open: [Errno 1] Operation not permitted",
    "--docker --seccomp docker-19 --proc hidepid2 --user 1000": "pidfd_open: [Errno 1]",
    "--seccomp no-pidfd-signals": "pidfd_send_signal: [Errno 1] Operation not permitted",
}
# No run is possible: what the error says.
REFUSED = {
    "--proc none": "/proc is not mounted (mount -t proc proc /proc)",
    "--pids": "/proc is that of another pid namespace (mount -t proc proc /proc)",
    "--docker --seccomp no-threads": "processes cannot be polled: can't start new thread",
    "--files 8": "",  # one of several, according to who meets the limit first
    "--files 16": "",
    "--user 54322 --processes 1": "",
    "--user 54323 --processes 3": "",
}


def contained(options: str, *command: str, mark: Mark) -> subprocess.CompletedProcess[str]:
    """Run a command in a container; the test is skipped where that cannot be made."""
    if not ROOT and options:
        pytest.skip("only root makes containers here")
    words = [sys.executable, container.__file__, *options.split(), "--", *command]
    folder = Path(__file__).parent
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=150, env=mark.env, cwd=folder, check=False
    )
    if done.returncode == container.NOT_POSSIBLE:
        pytest.skip(done.stderr.strip().splitlines()[-1])
    assert mark.gone_within(10)  # a zygote ends when its caller has
    return done


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A run of `contained.py`, and what that has printed."""

    run: Run
    known: dict[str, tuple[int, int]]  # by step, the pid and the exit code
    refused: tuple[str, ...]


def account(options: str, mark: Mark) -> Account:
    done = contained(options, sys.executable, "-c", OBSERVE, CONTAINED, mark=mark)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "PollingWarning" not in line]
    assert "".join(lines).strip() in ("", OBSERVE.splitlines()[1])
    run = Run.from_json(done.stdout)
    printed = [line.split() for line in (run.stdout or "").splitlines()]
    known = {words[0]: (int(words[1]), int(words[2])) for words in printed if words[0] in STEPS}
    refused = tuple(words[1] for words in printed if words[0] == "REFUSED")
    return Account(run=run, known=known, refused=refused)


def processes_of(found: Account) -> Iterator[tuple[str, list[object], list[object]]]:
    """Each step, with what its process is recorded as, and what is right."""
    for step, (pid, code) in found.known.items():
        # a pid may be used again in a moment: other tests see to that
        (process,) = (
            p
            for p in found.run.processes
            if p.pid == pid and (p.name == step or p.kind == KINDS.get(step))
        )
        cause, joined = ENDS[step]
        orphaned = step == "left"
        recorded: list[object] = [process.exitcode, process.cause, process.joined, process.orphaned]
        yield step, recorded, [code, cause, joined, orphaned]


def check_main(run: Run) -> None:
    assert (run.exitcode, run.main.cause) == (0, Cause.RETURNED), run.stderr
    assert all(p.pid > 0 for p in run.processes)


@pytest.mark.parametrize("options", SEEN)
def test_all_is_seen_where_a_container_refuses_nothing_that_matters(
    options: str, mark: Mark
) -> None:
    found = account(options, mark)
    witness = found.run.witness
    assert (witness.backend, found.refused) == ("pidfd", SEEN[options])
    assert {step: code for step, (_, code) in found.known.items()} == CODES
    for step, recorded, right in processes_of(found):
        assert (step, recorded) == (step, right)
    check_main(found.run)
    workers = [p for p in found.run.children if p.kind == "pool_worker"]
    assert [(p.exitcode, p.joined) for p in workers] == [
        (0, Joined.LIBRARY) for _ in range(0 if found.refused else 2)
    ]
    # a shell does not report, outside of a container either
    assert {p.process for p in witness.missing} <= {
        p.id for p in found.run.processes if p.name in ("sh", "sleep")
    }


@pytest.mark.parametrize("options", POLLED)
def test_a_run_is_polled_where_pidfds_are_refused_and_says_so(options: str, mark: Mark) -> None:
    found = account(options, mark)
    witness = found.run.witness
    assert (witness.backend, witness.complete, witness.features) == ("polling", False, ())
    assert POLLED[options] in str(witness.missing[0])
    assert found.refused == ()
    for step, recorded, right in processes_of(found):
        unknown = [None, Cause.UNKNOWN, None, None]
        for value, is_right, is_unknown in zip(recorded, right, unknown, strict=True):
            assert value in (is_right, is_unknown), (step, recorded)
    check_main(found.run)


@pytest.mark.parametrize("options", REFUSED)
def test_where_no_run_is_possible_an_error_says_why(options: str, mark: Mark) -> None:
    command = sys.executable, "-m", "pytest_proclife", "run", "--", "true"
    done = contained(options, *command, mark=mark)
    assert done.returncode == 125
    assert "Traceback" not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("proclife: ")
    assert REFUSED[options] in line


# In a container whose limits leave some steps undone; which ones is the kernel's affair
@pytest.mark.parametrize("number", [5, 6, 7])
def test_what_a_limit_of_processes_leaves_undone_is_no_fact(number: int, mark: Mark) -> None:
    found = account(f"--user {54330 + number} --processes {number}", mark)
    assert found.refused
    for step, recorded, right in processes_of(found):
        assert (step, recorded) == (step, right)
    check_main(found.run)


@pytest.mark.parametrize("number", [24, 28])
def test_a_small_limit_of_descriptors_hides_nothing(number: int, mark: Mark) -> None:
    found = account(f"--files {number}", mark)
    for step, recorded, right in processes_of(found):
        assert (step, recorded) == (step, right)
    check_main(found.run)


SUITE = """
import multiprocessing, time
def test_run(proclife):
    assert proclife.run("{script}").exitcode == 0
def test_leak():
    multiprocessing.get_context("fork").Process(target=time.sleep, args=(600,), name="left").start()
"""


@pytest.mark.parametrize(
    "options", [DOCKER, f"{DOCKER} --pids --proc own --user 1000", "--pids --proc own"]
)
def test_the_plugin_and_the_guard_work_in_a_container(options: str, mark: Mark) -> None:
    with tempfile.TemporaryDirectory() as folder:  # the user 1000 may not pass pytest's
        os.chmod(folder, 0o755)
        suite = Path(folder, "test_it.py")
        suite.write_text(SUITE.replace("{script}", CONTAINED))
        words = [
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:asyncio",
            "--proclife-guard",
        ]
        command = sys.executable, *words, "-c", "/dev/null", "--rootdir", folder, str(suite)
        done = contained(options, *command, mark=mark)
    assert "test_leak leaked 1 process" in done.stdout, done.stdout + done.stderr
    assert done.stdout.count("\nLEAKED ") == 1, done.stdout + done.stderr
    assert "2 passed" in done.stdout


def test_a_notebook_needs_a_folder_that_can_be_written_to(mark: Mark) -> None:
    course = str(TARGETS.parent.parent / "examples" / "course.ipynb")
    command = sys.executable, "-m", "pytest_proclife", "run", course
    done = contained("--read-only", *command, mark=mark)
    assert done.returncode == 125
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"proclife: the program of {course!r} cannot be written: ")


@pytest.mark.skipif(not ROOT, reason="only root makes containers here")
def test_the_filter_refuses_what_dockers_profile_does(mark: Mark) -> None:
    program = (
        "import ctypes, errno, os, socket\n"
        "library = ctypes.CDLL(None, use_errno=True)\n"
        "def answer(number, *arguments):\n"
        "    result = library.syscall(number, *arguments)\n"
        "    return errno.errorcode.get(ctypes.get_errno()) if result < 0 else 'ok'\n"
        f"print(answer({container.REFUSED['keyctl']}, 0, 0), answer({container.CLONE3}, 0, 0),\n"
        f"      answer({container.CLONE}, 0x10000000 | 17, 0), answer(1000),\n"
        f"      answer({container.PERSONALITY}, 0), answer({container.PERSONALITY}, 4),\n"
        f"      answer({container.SOCKET}, 40, 1, 0), socket.socket().close(),\n"
        "      os.close(os.pidfd_open(os.getpid())))"
    )
    done = contained("--seccomp docker", sys.executable, "-c", program, mark=mark)
    assert done.stdout.split() == [
        *("EPERM", "ENOSYS", "EPERM", "ENOSYS", "ok", "EPERM", "EPERM", "None", "None")
    ]
