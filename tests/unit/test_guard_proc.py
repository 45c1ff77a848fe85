"""What the guard finds in /proc."""

from __future__ import annotations

import errno
import os
import posix

import pytest

from pytest_proclife.guard.proc import TagCarriers


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
