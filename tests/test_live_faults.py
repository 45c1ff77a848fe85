"""start() where the caller, its supervisor or its patience comes to an end, or is shared."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import blocking
import pytest
from conftest import TARGETS, Mark

import pytest_proclife
from pytest_proclife import Cause, Code, Ending, RunOver, RunTimeout, SupervisorLost

STUBBORN = str(TARGETS / "stubborn.py")
SOON = 2.0  # s, the promise


@contextmanager
def waiter(mark: Mark, fifo: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has started a tree that stands by now, and waits."""
    command = [sys.executable, str(TARGETS / "waiter.py"), STUBBORN, str(fifo), how]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, env=mark.env, stdin=pipe, stdout=pipe, stderr=pipe, text=True
    )
    try:
        assert fifo.read_text() == "ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# --- the caller and the supervisor


@pytest.mark.parametrize("how", ["wait", "body"])
def test_ctrl_c_of_the_caller_ends_everything(mark: Mark, fifo: Path, how: str) -> None:
    with waiter(mark, fifo, how) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        assert "KeyboardInterrupt" in errors
        assert process.returncode == -signal.SIGINT
        assert mark.gone_within(SOON)  # its zygote, too


@pytest.mark.parametrize("how", ["wait", "body"])
def test_sigkill_of_the_caller_ends_everything(mark: Mark, fifo: Path, how: str) -> None:
    with waiter(mark, fifo, how) as process:
        process.kill()
        assert mark.gone_within(SOON)


def test_a_fork_of_the_caller_cannot_act_on_main_nor_end_it(mark: Mark, fifo: Path) -> None:
    with waiter(mark, fifo, "fork") as process:
        output, errors = process.communicate("the tree stands\n", timeout=10)
        assert re.search(r"started by process \d+; a fork of it cannot act on it", output), errors
        assert "then running" in output
        assert mark.gone_within(SOON)


def test_a_supervisor_that_is_killed_ends_the_wait(mark: Mark) -> None:
    with pytest_proclife.start(blocking.block, env=mark.env) as main:
        main.wait_for_output("ready")
        supervisor = parent_of(main.pid)
        timer = threading.Thread(target=os.kill, args=(supervisor, signal.SIGKILL))
        timer.start()
        with pytest.raises(SupervisorLost, match="was killed"):
            main.wait(timeout=None)
        timer.join()
        for verb in (main.snapshot, main.terminate, main.wait):
            with pytest.raises(SupervisorLost, match="was killed"):
                verb()
    assert mark.gone_within(SOON)


def test_a_supervisor_that_is_killed_in_the_body_is_told_at_its_end(mark: Mark) -> None:
    def test() -> None:
        with pytest_proclife.start(blocking.block, env=mark.env) as main:
            main.wait_for_output("ready")
            os.kill(parent_of(main.pid), signal.SIGKILL)

    with pytest.raises(SupervisorLost, match="was killed"):
        test()
    assert mark.gone_within(SOON)


class Impatience(Exception):
    pass


@pytest.fixture
def alarm() -> Iterator[None]:
    """A signal handler that raises, as pytest-timeout has one, whenever it comes."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Impatience

    before = signal.signal(signal.SIGALRM, ring)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_an_exception_of_a_signal_handler_leaves_a_wait_that_can_be_taken_up(alarm: None) -> None:
    with pytest_proclife.start(blocking.block) as main:
        main.wait_for_output("ready")
        for _ in range(5):
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            with pytest.raises(Impatience):
                main.wait(timeout=None)
        main.terminate()
        assert main.wait().main.cause is Cause.TERMINATED


# --- output


def test_output_that_nobody_reads_keeps_nobody_waiting() -> None:
    with pytest_proclife.start(Code("while True: print('x' * 1000)")) as main:
        main.wait_for(lambda run: run.output_truncated)
        with pytest.raises(RunTimeout, match="the middle of the output was not kept"):
            main.wait_for_output("never", timeout=0.5)
        # an answer is on its way to nobody by now, larger than a socket holds
        os.kill(main.pid, signal.SIGKILL)
        run = main.wait()
    assert run.main.signal == "SIGKILL"
    assert run.output_truncated


def test_an_account_larger_than_a_socket_arrives() -> None:
    with pytest_proclife.start(blocking.print_much_and_fork) as main:
        run = main.wait()
    assert len(run.children) == 200
    assert len(run.stdout or "") == 900_001


# --- several threads


def test_several_threads_wait_at_a_time_while_another_acts() -> None:
    with pytest_proclife.start(blocking.block) as main:
        seen: list[object] = []
        waits = [
            lambda: seen.append(main.wait_for_output("ready")[0]),
            lambda: seen.append(main.wait_for(lambda run: run.main.requests).main.requests[0].by),
            lambda: seen.append(main.wait().main.cause),
            lambda: seen.append(main.wait().main.cause),
        ]
        threads = [threading.Thread(target=wait) for wait in waits]
        for thread in threads:
            thread.start()
        main.wait_for_output("ready")
        main.terminate()
        for thread in threads:
            thread.join()
    assert sorted(map(str, seen)) == ["ready", "terminated", "terminated", "test"]


def test_an_async_test_waits_in_a_thread_while_its_loop_goes_on() -> None:
    async def test() -> None:
        with pytest_proclife.start(blocking.block) as main:
            end = asyncio.create_task(asyncio.to_thread(main.wait))
            await asyncio.to_thread(main.wait_for_output, "ready")
            assert not end.done()
            main.terminate()
            assert (await end).main.cause is Cause.TERMINATED

    asyncio.run(test())


def test_leaving_the_context_ends_the_waits_of_other_threads() -> None:
    failures: list[BaseException] = []

    def wait() -> None:
        try:
            main.wait_for_output("never", timeout=None)
        except RunOver as error:
            failures.append(error)

    with pytest_proclife.start(blocking.block) as main:
        thread = threading.Thread(target=wait)
        thread.start()
        main.wait_for_output("ready")
    thread.join()
    assert "it was never there" in str(failures[0])


# --- who must not get a signal


def test_the_callers_own_process_group_gets_no_signal() -> None:
    with pytest_proclife.start(blocking.block_in_group, (os.getpgrp(),)) as main:
        main.wait_for_output("ready")
        with pytest.raises(PermissionError, match="process group of main may not be sent"):
            main.terminate(group=True)
        assert main.snapshot().main.ending is Ending.RUNNING


def test_a_group_of_a_child_gets_its_signal_alone() -> None:
    with pytest_proclife.start(blocking.two_in_a_group) as main:
        main.wait_for_output("there", times=2)
        (leader,) = main.snapshot().children
        main.terminate(leader, group=True)
        run = main.wait_for(lambda run: all(p.cause for p in run.descendants))
    assert [p.cause for p in run.descendants] == [Cause.TERMINATED] * 2
    assert [p.ended_by for p in run.descendants] == ["test"] * 2
    assert run.main.ending is Ending.RUNNING
    assert run.main.requests == ()
