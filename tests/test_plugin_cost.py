"""A suite that does not use the plugin does not pay for it."""

from __future__ import annotations

import pytest
from conftest import copy_into


def loaded(suite: pytest.Pytester, plugin: str) -> set[str]:
    """The modules that a pytest has at its end which loads a plugin by its name."""
    suite.makeconftest("""
        import sys

        def pytest_unconfigure():
            print("loaded:", *sys.modules)
    """)
    copy_into(suite, "without_fixture.py")
    result = suite.runpytest_subprocess("-s", "-p", plugin)
    result.assert_outcomes(passed=4)
    (line,) = [line for line in result.outlines if "loaded: " in line]
    return set(line.partition("loaded: ")[2].split())


def test_it_loads_two_modules_of_its_own_and_no_other(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTEST_PLUGINS")
    more = loaded(suite, "pytest_proclife.plugin") - loaded(suite, "no:proclife")
    assert more == {"pytest_proclife", "pytest_proclife.plugin"}


def test_it_adds_nothing_to_what_runs_with_a_test(suite: pytest.Pytester) -> None:
    suite.makeconftest("""
        def pytest_sessionfinish(session):
            manager = session.config.pluginmanager
            plugin = manager.get_plugin("pytest_proclife.plugin")
            hooks = sorted(caller.name for caller in manager.get_hookcallers(plugin))
            print("hooks:", *hooks)
    """)
    copy_into(suite, "without_fixture.py")
    result = suite.runpytest("-s")
    (line,) = [line for line in result.outlines if "hooks: " in line]
    assert line.partition("hooks: ")[2].split() == [
        "pytest_addhooks",
        "pytest_addoption",
        "pytest_configure",
        "pytest_exception_interact",  # of a failure
        "pytest_generate_tests",
        "pytest_make_collect_report",
        "pytest_testnodedown",  # of a session with pytest-xdist
    ]
