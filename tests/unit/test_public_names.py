"""What the package shows to whoever looks: its public names."""

from __future__ import annotations

import pytest_proclife


def test_dir_has_the_public_names_and_no_others() -> None:
    shown = dir(pytest_proclife)
    assert {name for name in shown if not name.startswith("__")} == set(pytest_proclife.__all__)
    assert "__doc__" in shown
