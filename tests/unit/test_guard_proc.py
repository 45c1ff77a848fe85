"""What the guard finds in /proc."""

from __future__ import annotations

import errno
import os
import posix

import pytest

from pytest_proclife.guard.proc import TagCarriers, number_in_limits
from pytest_proclife.inside.guard import tags


def test_carriers_are_looked_for_again_if_no_descriptor_was_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(_: str) -> list[str]:
        raise OSError(errno.EMFILE, "Too many open files")

    carriers = TagCarriers()
    monkeypatch.setattr(carriers, "_carries", lambda _: True)
    with monkeypatch.context() as patch:
        patch.setattr(posix, "listdir", fail)
        assert carriers.find_new() == []
    assert os.getpid() in carriers.find_new()
    os.close(vars(carriers)["_loadavg"])


def test_a_look_goes_on_for_what_was_started_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    carriers = TagCarriers()
    last_pids = iter([40, 42, 42])
    monkeypatch.setattr(carriers, "_now", lambda: (0.0, next(last_pids)))
    monkeypatch.setattr(carriers, "_carries", lambda pid: pid in (40, 41, 43))
    vars(carriers)["_before"] = vars(carriers)["_last"] = 0.0, 40
    assert carriers.find_new() == [41]
    os.close(vars(carriers)["_loadavg"])


def test_a_limit_carries_the_number_of_a_start_above_the_mark(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tags, "_mark", 0)
    assert tags.number_in_limit(1 << 62 | 4711) == 0
    monkeypatch.setattr(tags, "_mark", 1 << 62 | 5 << 42)
    number = 1 << 62 | 5 << 42 | 4711
    assert tags.number_in_limit(number) == number
    for other in (0, 1_000_000, 1 << 62 | 4 << 42 | 4711, 1 << 62 | 6 << 42):
        assert tags.number_in_limit(other) == 0


def test_a_process_without_such_a_limit_has_no_number() -> None:
    assert number_in_limits(os.getpid()) == 0
    assert number_in_limits(0) == 0
