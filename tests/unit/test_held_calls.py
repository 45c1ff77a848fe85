"""Calls that are held and cannot be looked at: they go on, and the account says what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_proclife.supervisor import protocol
from pytest_proclife.supervisor.held_calls import HeldCalls
from pytest_proclife.supervisor.identity import Process
from pytest_proclife.supervisor.seccomp import Call


class Listener:
    """A listener on which one call waits; `goes_on` is whether it still can."""

    def __init__(self, call: Call, goes_on: bool) -> None:
        self.call, self.goes_on = call, goes_on
        self.reader, self.writer = os.pipe()
        os.write(self.writer, b".")

    def fileno(self) -> int:
        return self.reader

    def receive(self) -> Call:
        os.read(self.reader, 1)
        return self.call

    def let_go_on(self, call: Call) -> bool:
        return self.goes_on


class Tree:
    """A tree of main alone; `found` is the process that makes a call, or why it cannot be had."""

    def __init__(self, found: Process | OSError | None) -> None:
        self.main = Process(0, 100, -1)
        self.found = found
        self.log: list[Any] = []
        self.points = None

    def process_of_thread(self, tid: int) -> Process | None:
        if isinstance(self.found, OSError):
            raise self.found
        return self.found


@pytest.fixture(params=[True, False], ids=["goes on", "killed"])
def listener(request: pytest.FixtureRequest) -> Iterator[Listener]:
    found = Listener(Call(1, 101, "kill", (102, 15, 0, 0, 0, 0)), request.param)
    yield found
    os.close(found.reader)
    os.close(found.writer)


@pytest.mark.parametrize("found", [OSError(24, "no descriptor is left"), None])
def test_a_call_that_goes_on_without_a_look_is_missing(
    listener: Listener, found: OSError | None
) -> None:
    tree = Tree(found)
    assert HeldCalls(listener, tree).answer()  # type: ignore[arg-type]
    kinds = [(kind, number) for _, kind, number in tree.log]
    assert kinds == [(protocol.UNREADABLE, 0)] * listener.goes_on
