"""What the recorder does at the calls of multiprocessing's own functions."""

from __future__ import annotations

import sys
from types import FrameType

import pytest

from pytest_proclife.inside import exit, multiproc


def test_a_fork_servers_frames_are_read_at_an_exception_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[BaseException] = []
    read: list[FrameType | None] = []

    def in_child(frame: FrameType | None) -> bool:
        read.append(frame)
        return True

    monkeypatch.setattr(multiproc, "_in_child", in_child)
    monkeypatch.setattr(exit, "report_exception", reported.append)
    frame = sys._getframe()
    multiproc._server_calls(frame, len)
    assert read == []
    error = ValueError()
    try:
        raise error
    except ValueError:
        multiproc._server_calls(frame, len)
    assert (read, reported) == ([frame], [error])
