"""A report comes through, whatever a signal's handler raises while it is written."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from histories import Log

from pytest_proclife import wire
from pytest_proclife.inside import recorder

Heard = Callable[[], list[tuple[str, int, list[str]]]]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[Heard]:
    """What has been reported since the last look: kind, number, fields."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    for name in ("descriptor", "_device", "_inode", "pid", "_number"):
        monkeypatch.setattr(recorder, name, getattr(recorder, name))
    recorder._use(its.fileno())
    recorder.pid = os.getpid()
    recorder._number = iter(range(100)).__next__

    def hear() -> list[tuple[str, int, list[str]]]:
        found = []
        try:
            while True:
                parts = wire.unpack(ours.recv(10_000))
                assert parts is not None
                found.append((parts[0], parts[1], parts[4]))
        except BlockingIOError:
            return found

    with ours, its:
        yield hear


def interrupt(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Have what `name` calls once done, and the error raised then, as a handler would."""
    real = getattr(recorder, name)

    def interrupted(*args: Any) -> Any:
        monkeypatch.setattr(recorder, name, real)
        real(*args)
        raise error

    monkeypatch.setattr(recorder, name, interrupted)


@pytest.mark.parametrize("name", ["_pidfd_open", "_send"])
def test_ctrl_c_in_a_report_about_a_child_goes_on_and_the_report_is_written(
    name: str, monkeypatch: pytest.MonkeyPatch, heard: Heard
) -> None:
    interrupt(monkeypatch, name, KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        recorder.report_about(wire.STARTED, os.getpid(), "4711", "process")
    assert {(kind, tuple(fields)) for kind, _, fields in heard()} == {
        (wire.STARTED, ("4711", "process"))
    }
    recorder.report(wire.EXIT_PATH)
    assert [number for _, number, _ in heard()] == [1]  # none is missing


def test_a_report_that_is_written_twice_is_heard_once() -> None:
    log = Log()
    child = log.child(name="child")
    child.leaves()
    child.last_word("launcher", "0")
    log.entries.append(log.entries[-1])
    child.ends(0)
    assert log.run()["child"].cause == "returned"
