"""The polling backend: what it tells as the other does, and what it says that it cannot tell."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import importable
import pytest
from conftest import TARGETS, Mark, mostly_slow

import pytest_proclife
from pytest_proclife import (
    Cause,
    Code,
    Ending,
    Joined,
    PollingWarning,
    RunTimeout,
    SupervisorLost,
    TargetError,
    backend,
    runner,
)
from pytest_proclife.polling import loop
from pytest_proclife.supervisor import output

pytestmark = pytest.mark.once  # psutil and the caller's threads do the work

EXAMPLES = Path(__file__).parent.parent / "examples"
METHODS = multiprocessing.get_all_start_methods()
REFUSED = "pidfd_open: [Errno 1] Operation not permitted"


@pytest.fixture(autouse=True)
def polling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROCLIFE_BACKEND", "polling")


@pytest.fixture(autouse=True)
def first_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process that has not run anything."""
    monkeypatch.setattr(runner, "_warned", [])


@pytest.fixture
def refusing_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zygote whose probe finds that the kernel (or the container) refuses something."""
    probe = f"kernel.probe = lambda without: [{REFUSED!r}]"
    refuse = f"from pytest_proclife.supervisor import kernel; {probe}"
    text = backend._ZYGOTE.replace("zygote.main(", f"exec({refuse!r}); zygote.main(")
    monkeypatch.setattr(backend, "_ZYGOTE", text)
    monkeypatch.setattr(backend, "_zygote", backend._Zygote())


@pytest.fixture
def no_channel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform without abstract sockets."""

    def refuse(poll: object) -> None:
        raise OSError("no such sockets")

    monkeypatch.setattr(loop, "Reports", refuse)
    # what the probe found on this platform is kept for others
    probe = functools.cache(loop.shortcomings.__wrapped__)
    monkeypatch.setattr(loop, "shortcomings", probe)


# --- what it tells


@pytest.mark.slow
def test_a_session_that_is_no_daemon_is_joined_and_returns() -> None:
    run = pytest_proclife.run(str(EXAMPLES / "exam_nondaemon.py"))
    (session,) = run.children
    assert (run.main.cause, run.exitcode) == (Cause.RETURNED, 0)
    assert (session.cause, session.joined, session.exitcode) == (
        Cause.RETURNED,
        Joined.IMPLICIT,
        0,
    )
    assert (session.daemon, session.orphaned, session.target_ran) == (False, False, True)


@pytest.mark.slow
def test_a_session_that_is_a_daemon_is_abandoned() -> None:
    run = pytest_proclife.run(str(EXAMPLES / "exam_daemon.py"))
    (session,) = run.children
    assert (session.cause, session.signal, session.ended_by) == (Cause.ABANDONED, "SIGTERM", 0)
    assert (session.daemon, session.orphaned) == (True, False)


@pytest.mark.parametrize(
    ("how", "code", "cause"),
    [
        ("return", 0, Cause.RETURNED),
        ("raise", 1, Cause.RAISED),
        ("exit", 3, Cause.SYS_EXIT),
        ("exit with text", 1, Cause.SYS_EXIT),
        ("os._exit", 4, Cause.OS_EXIT),
        ("abort", -signal.SIGABRT, Cause.SIGNALED),
        ("kill", -signal.SIGKILL, Cause.SIGNALED),
        ("interrupt", -signal.SIGINT, Cause.RAISED),
    ],
)
def test_the_end_of_main_is_known(how: str, code: int, cause: Cause) -> None:
    run = pytest_proclife.run(importable.leave, (how,))
    assert (run.exitcode, run.main.cause) == (code, cause)


@pytest.mark.parametrize("method", mostly_slow(METHODS))
def test_a_child_whose_status_its_parent_collected_has_its_exit_code(method: str) -> None:
    run = pytest_proclife.run(importable.start_one, (method,))
    (child,) = run.children
    assert (run.exitcode, child.exitcode, child.cause) == (0, 0, Cause.RETURNED)
    assert (child.joined, child.start_method) == (Joined.EXPLICIT, method)


def test_the_status_that_a_parent_collects_is_the_childs() -> None:
    run = pytest_proclife.run(Code("import os\nif os.fork() == 0: os._exit(7)\nos.wait()"))
    (child,) = run.children
    assert (child.kind, child.exitcode, child.cause) == ("os_fork", 7, Cause.OS_EXIT)


def test_a_child_whose_status_nobody_collects_is_unknown_and_says_why() -> None:
    text = "import os\nreader, writer = os.pipe()\nif os.fork() == 0: os._exit(7)\n"
    run = pytest_proclife.run(Code(text + "os.close(writer); os.read(reader, 1)"))
    (child,) = run.children
    assert (child.kind, child.exitcode, child.cause) == ("os_fork", None, Cause.UNKNOWN)
    assert "unknown: its wait status could not be read" in [str(e) for e in child.evidence]


@pytest.mark.slow
def test_children_killed_at_birth_are_killed_or_unknown_but_nothing_else() -> None:
    run = pytest_proclife.run(str(TARGETS / "killed_at_birth.py"), ["fork", "20"])
    assert len(run.children) == 20
    assert {child.cause for child in run.children} <= {Cause.KILLED, Cause.UNKNOWN}
    run = pytest_proclife.run(str(TARGETS / "killed_at_birth.py"), ["os.fork", "20"])
    assert {child.cause for child in run.children} <= {Cause.KILLED, Cause.UNKNOWN}


@pytest.mark.slow
def test_children_that_report_are_recorded_however_short_they_live() -> None:
    run = pytest_proclife.run(str(TARGETS / "storm.py"), ["200"])
    assert Counter(child.exitcode for child in run.children) == Counter(n % 7 for n in range(200))


def test_a_child_that_was_alive_when_main_had_ended_was_orphaned(mark: Mark) -> None:
    text = "import os, signal\nif os.fork() == 0: signal.pause()\nos._exit(0)"
    run = pytest_proclife.run(Code(text), linger=0.2, env=mark.env)
    (child,) = run.orphans
    assert child.cause is Cause.CLEANED_UP
    assert child.ended_by == "proclife"
    assert mark.living() == []


def test_an_order_that_nothing_proves_is_not_claimed() -> None:
    # the child ends when it has lost its parent: later than main, but perhaps in the same look
    text = (
        "import os, time\nmain = os.getpid()\n"
        "if os.fork() == 0:\n"
        "    while os.getppid() == main: pass\n"
        "os._exit(0)"
    )
    for _ in range(5):
        (child,) = pytest_proclife.run(Code(text)).children
        assert child.orphaned in (True, None)


def test_what_main_reports_is_read_though_it_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_alone(watch: loop.Watch, tree: object, until: float) -> None:
        time.sleep(max(0.0, until - time.monotonic()))

    # reports are read once a look has found an end
    monkeypatch.setattr(loop.Watch, "_wait", look_alone)
    run = pytest_proclife.run(Code("import os\nif os.fork() == 0: os._exit(3)\nos._exit(7)"))
    assert (run.main.cause, run.main.exitcode) == (Cause.OS_EXIT, 7)
    assert len(run.children) == 1


def test_a_callable_gets_its_arguments() -> None:
    run = pytest_proclife.run(importable.show, (1, "two"), {"three": 3.0})
    assert run.stdout == "['-c'] importable None (1, 'two') {'three': 3.0}\n"
    assert run.stderr == ""


@pytest.mark.slow
def test_input_environment_folder_and_group_are_mains(tmp_path: Path) -> None:
    text = "import os; print(input(), os.environ['A'], os.getcwd(), os.getpgrp() == os.getpid())"
    run = pytest_proclife.run(Code(text), input="typed\n", env={"A": "b"}, cwd=tmp_path)
    assert run.stdout == f"typed b {tmp_path} True\n", run.stderr


@pytest.mark.slow
def test_the_head_and_the_tail_of_much_output_are_kept() -> None:
    text = "import sys; sys.stdout.write('first' + 'x' * 3_000_000 + 'last'); sys.exit(2)"
    run = pytest_proclife.run(Code(text))
    assert run.exitcode == 2
    assert run.output_truncated
    assert run.stdout is not None
    left_out = 3_000_009 - 2 * output.KEPT
    assert run.stdout.startswith("firstxxx")
    assert run.stdout.endswith("xxxlast")
    assert f"\n[proclife: {left_out} bytes left out]\n" in run.stdout


@pytest.mark.slow
def test_runs_in_several_threads_do_not_mix() -> None:
    runs: dict[int, pytest_proclife.Run] = {}

    def one(number: int) -> None:
        runs[number] = pytest_proclife.run(Code(f"print({number}); raise SystemExit({number})"))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: (run.exitcode, run.stdout) for number, run in runs.items()} == {
        number: (number, f"{number}\n") for number in range(4)
    }


# --- what it says that it cannot tell


def test_an_account_by_polling_is_never_complete_and_says_why() -> None:
    witness = pytest_proclife.run(Code("pass")).witness
    assert (witness.backend, witness.complete) == ("polling", False)
    assert "processes were polled: PROCLIFE_BACKEND=polling" in map(str, witness.missing)
    assert "processes that live for less than 10 ms can be missed" in map(str, witness.missing)


@pytest.mark.usefixtures("refusing_kernel")
def test_where_the_kernel_refuses_something_runs_are_polled_and_say_what(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PROCLIFE_BACKEND")
    for number in range(2):
        with pytest.warns(PollingWarning) if number == 0 else nullcontext():
            run = pytest_proclife.run(importable.start_one)
        assert (run.exitcode, len(run.children)) == (0, 1)
        assert run.witness.backend == "polling"
        assert f"processes were polled: {REFUSED}" in map(str, run.witness.missing)


@pytest.mark.slow
def test_where_no_zygote_can_be_started_runs_are_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROCLIFE_BACKEND")
    monkeypatch.setattr(backend, "_ZYGOTE", "raise SystemExit({requests} * {caller})")
    monkeypatch.setattr(backend, "_zygote", backend._Zygote())
    with pytest.warns(PollingWarning, match="the zygote could not be started"):
        witness = pytest_proclife.run(Code("pass")).witness
    assert witness.backend == "polling"
    assert any("the zygote could not be started" in str(missing) for missing in witness.missing)


@pytest.mark.usefixtures("refusing_kernel")
def test_the_first_run_of_a_process_that_is_polled_warns_of_it_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PROCLIFE_BACKEND")
    with pytest.warns(PollingWarning) as warned:
        main = pytest_proclife.start(Code("pass"))
    with main:
        main.wait()
    pytest_proclife.run(Code("pass"))  # another warning would be an error
    (warning,) = warned
    assert warning.filename == __file__
    assert "\n" not in str(warning.message)
    assert str(warning.message).endswith(f"for less than 10 ms: {REFUSED}")


@pytest.mark.parametrize(
    "words", [(), pytest.param(("-n", "2"), marks=pytest.mark.slow)], ids=["one process", "xdist"]
)
def test_a_session_of_pytest_says_once_that_it_polls(
    suite: pytest.Pytester, words: tuple[str, ...]
) -> None:
    suite.makepyfile(
        "import pytest\n"
        "@pytest.mark.parametrize('number', range(4))\n"
        "def test_it(proclife, number):\n"
        "    for _ in range(2):\n"
        "        assert proclife.run(['true']).exitcode == 0\n"
    )
    plugin = ("-p", "xdist") if words else ()
    result = suite.runpytest_subprocess(*plugin, *words)
    result.assert_outcomes(passed=4)
    (line,) = [line for line in result.outlines if "polling" in line]
    # behind xdist's dots, which pytest does not know of
    assert line.lstrip(".") == f"{backend.POLLING}: PROCLIFE_BACKEND=polling"


def test_proclife_run_says_with_the_timeline_that_it_polls() -> None:
    command = [sys.executable, "-m", "pytest_proclife", "run", "--", "true"]
    errors = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr
    assert errors.count("not seen: processes were polled: PROCLIFE_BACKEND=polling\n") == 1


@pytest.mark.usefixtures("refusing_kernel")
def test_a_kernel_backend_that_is_demanded_but_refused_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROCLIFE_BACKEND", "pidfd")
    with pytest.raises(SupervisorLost, match="pidfd_open"):
        pytest_proclife.run(Code("pass"))


@pytest.mark.usefixtures("no_channel")
def test_without_a_channel_processes_are_seen_from_outside(mark: Mark) -> None:
    text = "import os, signal\nif os.fork() == 0: signal.pause()\nsignal.pause()"
    run = pytest_proclife.run(Code(text), timeout=0.5, allow_timeout=True, env=mark.env)
    (child,) = run.children
    assert (child.kind, child.cause, child.exitcode) == ("subprocess", Cause.CLEANED_UP, -9)
    assert (run.main.cause, run.exitcode) == (Cause.CLEANED_UP, -9)
    assert "nothing is reported from inside: no such sockets" in map(str, run.witness.missing)
    assert mark.living() == []


@pytest.mark.slow
@pytest.mark.usefixtures("no_channel")
def test_without_a_channel_a_program_is_what_it_is() -> None:
    run = pytest_proclife.run(Code("import sys; print(sys.orig_argv[1:2]); sys.exit(3)"))
    assert (run.exitcode, run.main.cause, run.main.ending) == (3, Cause.EXITED, Ending.EXITED)
    assert (run.stdout, run.stderr) == ("['-c']\n", "")


# --- nothing stays


def test_a_tree_is_ended_whole_at_the_timeout(mark: Mark, fifo: Path) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(RunTimeout) as caught:
        pytest_proclife.run(str(TARGETS / "stubborn.py"), [str(fifo)], timeout=1.0, env=mark.env)
    os.close(reader)
    assert mark.living() == []
    assert caught.value.run.main.cause is Cause.CLEANED_UP
    assert {p.cause for p in caught.value.run.main.children} == {Cause.CLEANED_UP, Cause.UNKNOWN}


def test_a_tree_that_outlives_main_is_ended_after_the_linger(mark: Mark, fifo: Path) -> None:
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    stubborn = str(TARGETS / "stubborn.py")
    run = pytest_proclife.run(stubborn, [str(fifo), "leave"], linger=0.0, env=mark.env)
    os.close(reader)
    assert run.exitcode == 3
    assert mark.living() == []


class Lesson(Exception):
    pass


@pytest.mark.parametrize("how", [KeyboardInterrupt, Lesson])
def test_a_tree_is_ended_when_an_exception_leaves_the_caller(
    how: type[BaseException], mark: Mark, fifo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def handler(number: int, frame: object) -> None:
        raise how

    def interrupt() -> None:
        fifo.read_text()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, handler)
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(how):
            pytest_proclife.run(str(TARGETS / "stubborn.py"), [str(fifo)], env=mark.env)
    finally:
        signal.signal(signal.SIGUSR1, before)
        thread.join()
    assert mark.living() == []


@pytest.mark.slow
def test_a_tree_is_ended_when_its_caller_is_interrupted(mark: Mark, fifo: Path) -> None:
    command = [sys.executable, str(TARGETS / "caller.py"), str(TARGETS / "stubborn.py"), str(fifo)]
    env = {**mark.env, "PROCLIFE_BACKEND": "polling"}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE) as caller:
        assert fifo.read_text() == "ready\n"
        caller.send_signal(signal.SIGINT)
        _, errors = caller.communicate(timeout=10)
    assert b"KeyboardInterrupt" in errors
    assert mark.living() == []


@pytest.mark.slow
def test_no_descriptor_and_no_thread_stays() -> None:
    def left() -> tuple[list[str], int]:
        for thread in threading.enumerate():
            if thread.name == "proclife":
                thread.join()  # it ends as soon as it has told all
        return os.listdir("/dev/fd"), threading.active_count()

    pytest_proclife.run(Code("pass"))  # what the first run imports and keeps
    before = left()
    pytest_proclife.run(importable.show, (1,), input="text")
    with pytest.raises(TargetError):
        pytest_proclife.run(["/dev/null"])
    assert left() == before


# --- what can go wrong on the way in


def test_an_unknown_backend_is_an_error_that_names_the_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PROCLIFE_BACKEND", "strace")
    with pytest.raises(ValueError, match="'pidfd' or 'polling', not 'strace'"):
        pytest_proclife.run(Code("pass"))


def test_a_file_that_cannot_be_executed_is_a_target_error(
    script: Callable[[str], str],
) -> None:
    path = script("no program")
    os.chmod(path, 0o755)
    with pytest.raises(TargetError, match="cannot be executed: Exec format error"):
        pytest_proclife.run([path])


def test_a_program_that_failed_is_a_result() -> None:
    run = pytest_proclife.run(Code("1 / 0"))
    assert (run.main.cause, run.exitcode) == (Cause.RAISED, 1)
    assert run.stderr is not None
    assert run.stderr.endswith("ZeroDivisionError: division by zero\n")
