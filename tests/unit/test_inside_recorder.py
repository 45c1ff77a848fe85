"""A report comes through, whatever a signal's handler raises while it is written."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import pytest
from histories import Log

from pytest_proclife import wire
from pytest_proclife.inside import exit, handlers, recorder

Received = Callable[[], list[tuple[str, int, list[str]]]]


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[Received]:
    """The reports since the last call: kind, number, fields."""
    supervisors, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    supervisors.setblocking(False)
    monkeypatch.setattr(recorder, "connection", recorder._Connection())
    monkeypatch.setattr(recorder, "identity", recorder._Identity())
    recorder._use(own.fileno())
    recorder.identity.pid = os.getpid()

    def receive() -> list[tuple[str, int, list[str]]]:
        found = []
        try:
            while True:
                parts = wire.unpack(supervisors.recv(10_000))
                assert parts is not None
                found.append((parts[0], parts[1], parts[4]))
        except BlockingIOError:
            return found

    with supervisors, own:
        yield receive


def interrupt(
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    error: BaseException,
    module: ModuleType = recorder,
    before: bool = False,
) -> None:
    """Have the error raised, as by a handler, when the function has returned for the first time.

    Or `before` it does anything.
    """
    real = getattr(module, name)

    def interrupted(*args: Any, **named: Any) -> Any:
        monkeypatch.setattr(module, name, real)
        if not before:
            real(*args, **named)
        raise error

    monkeypatch.setattr(module, name, interrupted)


@pytest.mark.parametrize("name", ["_pidfd_open", "_send"])
def test_ctrl_c_in_a_report_about_a_child_goes_on_and_the_report_is_written(
    name: str, monkeypatch: pytest.MonkeyPatch, received: Received
) -> None:
    interrupt(monkeypatch, name, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        recorder.report_about(wire.STARTED, os.getpid(), "4711", "process")
    assert {(kind, tuple(fields)) for kind, _, fields in received()} == {
        (wire.STARTED, ("4711", "process"))
    }
    recorder.report(wire.EXIT_PATH)
    assert [number for _, number, _ in received()] == [1]  # none is missing


def test_ctrl_c_as_a_fork_announces_itself_goes_on_and_its_report_is_written(
    monkeypatch: pytest.MonkeyPatch, received: Received
) -> None:
    recorder.identity.introduced = False
    interrupt(monkeypatch, "_introduce_fork", KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        recorder.report(wire.EXIT_PATH)
    assert [(kind, number) for kind, number, _ in received()] == [
        (wire.HELLO, 0),
        (wire.EXIT_PATH, 1),
    ]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(("module", "name"), [(handlers, "handled"), (recorder, "report")])
def test_sys_exit_by_a_handler_as_the_end_is_reported_goes_on_and_that_is_written(
    module: ModuleType,
    name: str,
    before: bool,
    monkeypatch: pytest.MonkeyPatch,
    received: Received,
) -> None:
    monkeypatch.setattr(exit, "own", exit._OwnCode())
    interrupt(monkeypatch, name, SystemExit(5), module, before)
    with pytest.raises(SystemExit):
        exit.report_end(exit.RETURNED)
    exit.report_end(exit.SYS_EXIT)
    written = received()
    assert {(kind, fields[0]) for kind, _, fields in written} == {(wire.FINISHED, "returned")}
    assert [number for _, number, _ in written] == list(range(len(written)))  # none is missing


def test_the_end_has_the_time_when_it_came_however_often_it_is_written(
    monkeypatch: pytest.MonkeyPatch, received: Received
) -> None:
    monkeypatch.setattr(exit, "own", exit._OwnCode())
    times: list[int] = []
    real = wire.pack

    def pack(kind: str, number: int, pid: int, at: int, fields: tuple[str, ...]) -> bytes:
        times.append(at)
        return real(kind, number, pid, at, fields)

    monkeypatch.setattr(wire, "pack", pack)
    interrupt(monkeypatch, "report", SystemExit(5))
    with pytest.raises(SystemExit):
        exit.report_end(exit.RAISED, LookupError("once"))
    assert len(received()) == len(times) == 2
    assert set(times) == {exit.own.reported_at}


def test_the_message_of_what_ended_it_is_asked_for_once(
    monkeypatch: pytest.MonkeyPatch, received: Received
) -> None:
    monkeypatch.setattr(exit, "own", exit._OwnCode())
    asked = []

    class Error(Exception):
        def __str__(self) -> str:
            asked.append(1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        exit.report_end(exit.RAISED, Error())
    ((_, _, fields),) = received()
    assert fields[2] == "(its __str__ was interrupted)"
    assert asked == [1]


def test_the_message_is_asked_for_if_the_interruption_came_before(
    monkeypatch: pytest.MonkeyPatch, received: Received
) -> None:
    monkeypatch.setattr(exit, "own", exit._OwnCode())
    interrupt(monkeypatch, "handled", SystemExit(5), handlers)
    with pytest.raises(SystemExit):
        exit.report_end(exit.RAISED, ValueError("the reason"))
    ((_, _, fields),) = received()
    assert fields[1:3] == ["ValueError", "the reason"]


@pytest.mark.parametrize("kind", [TimeoutError, FileNotFoundError])
def test_what_a_handler_raises_goes_on_though_the_kernel_has_such_errors(
    monkeypatch: pytest.MonkeyPatch, received: Received, kind: type[OSError]
) -> None:
    real = recorder._fstat

    def handler(number: int, frame: FrameType | None) -> None:
        raise kind(2, "gone")

    def fstat(descriptor: int) -> os.stat_result:
        monkeypatch.setattr(recorder, "_fstat", real)
        signal.raise_signal(signal.SIGUSR1)
        return real(descriptor)

    monkeypatch.setattr(recorder, "_fstat", fstat)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(kind):
            recorder.report(wire.EXIT_PATH)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert [(kind, number) for kind, number, _ in received()] == [(wire.EXIT_PATH, 0)]


def test_what_a_handler_raises_goes_on_though_the_report_cannot_be_written(
    monkeypatch: pytest.MonkeyPatch, received: Received
) -> None:
    interrupt(monkeypatch, "usable_descriptor", SystemExit(5), before=True)
    monkeypatch.setattr(recorder, "_write", lambda *_: 1 / 0)
    with pytest.raises(SystemExit):
        recorder.report(wire.EXIT_PATH)


def test_each_report_has_a_number_of_its_own_though_a_program_traces_lines(
    received: Received,
) -> None:
    def trace(frame: FrameType, event: str, argument: object) -> Any:
        time.sleep(0)  # another thread's turn
        return trace

    def report() -> None:
        sys.settrace(trace)
        for _ in range(20):
            recorder.report(wire.EXIT_PATH)

    threads = [threading.Thread(target=report) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(number for _, number, _ in received()) == list(range(80))


class Interruption(TimeoutError):
    """What handlers of SIGALRM usually raise: it has no error number."""


def test_whenever_a_handler_raises_its_exception_goes_on_and_no_report_is_missing(
    received: Received,
) -> None:
    ran = caught = 0
    place: FrameType | None = None  # that it interrupted last
    kinds = Counter[str]()

    def handler(number: int, frame: FrameType | None) -> None:
        nonlocal ran, place
        ran, place = ran + 1, frame
        raise Interruption

    def report_until_it_ran(before: int) -> None:
        signal.setitimer(signal.ITIMER_REAL, draw.uniform(2e-6, 60e-6))
        for _ in range(8):
            recorder.report(wire.EXIT_PATH, "4711")
        again = time.monotonic() + 0.1
        while ran == before:
            # up to 3.12 an interpreter can forget that a signal came, until the next one comes: it
            # sets what says so from what it read before (COMPUTE_EVAL_BREAKER, ceval_gil.c)
            if time.monotonic() > again:
                signal.setitimer(signal.ITIMER_REAL, 1e-3)
                again += 0.1

    before = signal.signal(signal.SIGALRM, handler)
    draw = random.Random(1)
    numbers: set[int] = set()
    try:
        for runs in range(3000):
            try:
                report_until_it_ran(runs)
                pytest.fail(f"swallowed in {place}")
            except Interruption:
                caught += 1
            for kind, number, _ in received():
                numbers.add(number)
                kinds[kind] += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert caught == ran == 3000
    assert set(kinds) == {wire.EXIT_PATH}
    assert numbers == set(range(len(numbers)))  # none is missing


def test_a_report_that_is_written_twice_counts_once() -> None:
    log = Log()
    child = log.child(name="child")
    child.leaves()
    child.last_word("launcher", "0")
    log.entries.append(log.entries[-1])
    child.ends(0)
    assert log.run()["child"].cause == "returned"


def test_a_report_that_is_written_twice_counts_once_if_the_handler_reported_between() -> None:
    log = Log()
    child = log.child(name="child")
    child.leaves()
    child.last_word("launcher", "0")
    written = log.entries[-1]
    child.catches(15)
    log.entries.append(written)
    child.last_word("exit", "")
    child.ends(5)
    assert log.run()["child"].cause == "returned"
    assert log.run().witness.complete


def test_a_report_that_is_written_twice_counts_once_if_the_handler_reported_much_between() -> None:
    log = Log()
    child = log.child(name="child")
    child.leaves()
    child.last_word("launcher", "0")
    written = log.entries[-1]
    for _ in range(300):
        child.catches(15)
    log.entries.append(written)
    child.last_word("exit", "")
    child.ends(5)
    assert log.run()["child"].cause == "returned"
    assert log.run().witness.complete
