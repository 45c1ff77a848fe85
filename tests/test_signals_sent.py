"""Signals by each way to send one: the cause names the sender, and strangers stay outside."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from fidelity import both

import pytest_proclife
from pytest_proclife import Cause, Code, Ending

IMPORTS = "import multiprocessing, os, signal, subprocess, sys, time\n"
PIDFD = IMPORTS + (
    "def wait(ready, exits):\n"
    "    if exits: signal.signal(15, lambda *_: sys.exit(5))\n"
    "    ready.set()\n"
    "    time.sleep(60)\n"
    "def kill(pid, number): signal.pidfd_send_signal(os.pidfd_open(pid), number)\n"
    "def go(method, number, exits, sender):\n"
    "    context = multiprocessing.get_context(method)\n"
    "    ready = context.Event()\n"
    "    child = context.Process(target=wait, args=(ready, exits), name='child')\n"
    "    child.start(); ready.wait()\n"
    "    other = context.Process(target=kill, args=(child.pid, number), name='other')\n"
    "    if sender == 'other': other.start(); other.join()\n"
    "    else: kill(child.pid, number)\n"
    "    child.join()\n"
    "if __name__ == '__main__':\n"
    "    go(sys.argv[1], int(sys.argv[2]), bool(sys.argv[3]), sys.argv[4])\n"
)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process of another run than the one that signals it."""
    process = subprocess.Popen(["sleep", "60"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("sender", ["MainProcess", "other"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize(
    ("number", "exits", "cause", "code"),
    [(9, "", "killed", -9), (15, "", "terminated", -15), (15, "1", "terminated", 5)],
)
def test_a_signal_by_pidfd_is_its_senders(
    tmp_path: object,
    script: object,
    method: str,
    number: int,
    exits: str,
    cause: str,
    code: int,
    sender: str,
) -> None:
    path = script(PIDFD)  # type: ignore[operator]
    run = pytest_proclife.run(path, [method, str(number), exits, sender])
    assert (run["child"].cause, run["child"].exitcode) == (cause, code), str(run)
    assert run["child"].ended_by == run[sender].id
    assert [r.signal for r in run["child"].requests] == [signal.Signals(number).name]
    assert run.witness.complete


def test_a_signal_by_pidfd_to_a_whole_group_is_one_to_each() -> None:
    text = IMPORTS + (
        "group = subprocess.Popen(['sleep', '60'], process_group=0).pid\n"
        "subprocess.Popen(['sleep', '60'], process_group=group)\n"
        "try: signal.pidfd_send_signal(os.pidfd_open(group), 15, None, 4)\n"
        "except OSError: os.killpg(group, 15)  # Linux before 6.9\n"
        "os.wait(), os.wait()\n"
    )
    run = pytest_proclife.run(Code(text))
    assert [(p.cause, p.ended_by) for p in run.children] == [(Cause.TERMINATED, run.main.id)] * 2


def test_a_child_in_a_group_is_terminated_however_soon_its_status_is_taken() -> None:
    text = IMPORTS + (
        "for _ in range(40):\n"
        "    child = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "    os.killpg(child.pid, 15)\n"
        "    child.wait()\n"
    )
    run = pytest_proclife.run(Code(text))
    assert len(run.children) == 40
    assert {(p.cause, p.ended_by) for p in run.children} == {(Cause.TERMINATED, run.main.id)}


def test_signals_that_one_sends_oneself_are_ones_own_beside_a_shell() -> None:
    text = IMPORTS + (
        "import threading\n"
        "shell = subprocess.Popen('read line', shell=True, stdin=subprocess.PIPE)\n"
        "ways = ['os.kill(os.getpid(), 15)', 'signal.pthread_kill(threading.get_ident(), 15)',\n"
        "    'signal.pidfd_send_signal(os.pidfd_open(os.getpid()), 15)']\n"
        "for way in ways:\n"
        "    if os.fork() == 0: exec(way); time.sleep(60)\n"
        "    os.wait()\n"
        "shell.communicate()\n"
    )
    run = pytest_proclife.run(Code(text))
    forks = [p for p in run.children if p.kind == "os_fork"]
    assert [(p.cause, p.signal) for p in forks] == [(Cause.SIGNALED, "SIGTERM")] * 3


def test_numbers_that_are_no_signals_are_refused_as_they_are_bare() -> None:
    text = IMPORTS + (
        "import threading\n"
        "own = os.pidfd_open(os.getpid())\n"
        "for number in (9999, 65, -1, 0):\n"
        "    for call in (\n"
        "        lambda: os.kill(os.getpid(), number),\n"
        "        lambda: os.killpg(os.getpgid(0), number),\n"
        "        lambda: signal.pthread_kill(threading.get_ident(), number),\n"
        "        lambda: signal.pidfd_send_signal(own, number),\n"
        "        lambda: signal.pidfd_send_signal(own, str(number)),\n"
        "        lambda: signal.pidfd_send_signal(own),\n"
        "        lambda: signal.pidfd_send_signal(0, number),\n"
        "    ):\n"
        "        try: print(call())\n"
        "        except (OSError, TypeError, ValueError) as error: print(repr(error))\n"
    )
    bare, observed, run = both(["-c", text])
    assert observed == bare
    assert run.main.cause is Cause.RETURNED
    assert run.main.requests == ()
    assert run.witness.complete


@pytest.mark.parametrize(
    "call",
    [
        "os.kill({}, signal.SIGCONT)",
        "os.killpg({}, signal.SIGCONT)",
        "signal.pidfd_send_signal(os.pidfd_open({}), signal.SIGCONT)",
    ],
)
def test_who_is_signalled_from_another_run_is_neither_told_of_nor_ended(
    call: str, stranger: subprocess.Popen[bytes]
) -> None:
    # the child is there at the end of the linger, when all that is left is ended
    text = IMPORTS + "if os.fork() == 0: time.sleep(60)\n" + call.format(stranger.pid)
    run = pytest_proclife.run(Code(text), linger=0.0)
    assert [p.cause for p in run.processes] == [Cause.RETURNED, Cause.CLEANED_UP]
    assert stranger.poll() is None


def test_who_started_the_run_is_none_of_its_processes() -> None:
    run = pytest_proclife.run(Code("import os, signal; os.kill(os.getppid(), signal.SIGCONT)"))
    assert [p.role for p in run.processes] == ["main"]
    assert os.getpid() not in [p.pid for p in run.processes]


def test_a_program_that_is_not_there_leaves_the_run_complete() -> None:
    # a new session is what subprocess forks for where it could use posix_spawn, which tells at once
    text = IMPORTS + (
        "try: subprocess.run(['/no/such/program'], start_new_session=True)\n"
        "except FileNotFoundError as error: print(error)\n"
    )
    run = pytest_proclife.run(Code(text))
    assert [(p.name, p.cause, p.exitcode) for p in run.children] == [("program", "exited", 255)]
    assert run.witness.complete


MAIN_WITH_A_HANDLER = (
    "import os, signal, sys\n"
    "reader, writer = os.pipe()\n"
    "def leave(number, frame): {handler}\n"
    "signal.signal(signal.SIGHUP, leave)\n"
    "print('ready', flush=True)\n"
    "os.read(reader, 1)\n"  # until a handler writes or leaves
    "sys.exit(6)\n"
)
# 3.11 has no sys.monitoring: nobody sees there where main's SystemExit came from.
SEES_HANDLERS = sys.version_info >= (3, 12)


@pytest.mark.parametrize("leaves", ["sys.exit(5)", "raise SystemExit(5)"])
def test_a_handler_of_any_signal_that_leaves_main_is_the_end_that_was_asked_for(
    leaves: str,
) -> None:
    with pytest_proclife.start(Code(MAIN_WITH_A_HANDLER.format(handler=leaves))) as main:
        main.wait_for_output("ready")
        main.send_signal(signal.SIGHUP)
        end = main.wait().main
    wanted = Cause.TERMINATED if SEES_HANDLERS else Cause.UNKNOWN
    assert (end.cause, end.ending, end.exitcode) == (wanted, Ending.SYS_EXIT, 5)
    assert end.ended_by == ("test" if SEES_HANDLERS else None)


@pytest.mark.parametrize(
    "goes_on",
    [
        "os.write(writer, b'1')",
        "\n    try: sys.exit(5)\n    except SystemExit: os.write(writer, b'1')",
    ],
)
def test_a_handler_that_returns_is_not_what_main_left_by_later(goes_on: str) -> None:
    with pytest_proclife.start(Code(MAIN_WITH_A_HANDLER.format(handler=goes_on))) as main:
        main.wait_for_output("ready")
        main.send_signal(signal.SIGHUP)
        end = main.wait().main
    wanted = Cause.SYS_EXIT if SEES_HANDLERS else Cause.UNKNOWN
    assert (end.cause, end.ended_by, end.exitcode) == (wanted, None, 6)
