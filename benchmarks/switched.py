"""A plugin for `guard.py`: turn the guard off and on within one run, and time the tests of each.

What other programs do on the machine moves both alike, so a hundredth can be told from nothing.
"""

from __future__ import annotations

import _thread
import os
import statistics
import sys
import time
from collections.abc import Generator
from typing import Any

import pytest

import pytest_proclife.plugin
from pytest_proclife.inside import starts

TURN = 4  # tests; the first of each is not counted, as what it needs is in no cache
_monitoring: Any = getattr(sys, "monitoring", None)
_times: dict[bool, list[float]] = {True: [], False: []}
_start = [0.0]
_configure = pytest_proclife.plugin.pytest_configure


def _timed(config: pytest.Config) -> None:
    if _monitoring is None:
        raise pytest.UsageError("what is rewritten on 3.11 cannot be turned off")
    began = time.perf_counter()
    _configure(config)
    _start[0] = time.perf_counter() - began


# before it is registered, which comes after this plugin
pytest_proclife.plugin.pytest_configure = _timed


class Switch:
    """Takes the guard's hooks out, and has its stand-ins do nothing."""

    def __init__(self, manager: pytest.PytestPluginManager) -> None:
        self.manager = manager
        self.plugins = {
            name: plugin
            for name in ("proclife-guard", "proclife-guard-fixtures")
            if (plugin := manager.get_plugin(name)) is not None
        }
        self.events: list[tuple[int, Any, int]] = []
        self.is_on = True

    def turn(self, is_on: bool) -> None:
        if is_on == self.is_on:
            return
        self.is_on = is_on
        for name, plugin in self.plugins.items():
            if is_on:
                self.manager.register(plugin, name)
            else:
                self.manager.unregister(plugin)
        starts._becoming = 0 if is_on else _thread.get_ident()
        for tool, code, events in self.events or self._watched():
            _monitoring.set_local_events(tool, code, events if is_on else 0)

    def _watched(self) -> list[tuple[int, Any, int]]:
        module: Any = sys.modules.get("multiprocessing.process")
        if module is not None:
            code = module.BaseProcess.start.__code__
            for tool in filter(_monitoring.get_tool, range(6)):
                if events := _monitoring.get_local_events(tool, code):
                    self.events.append((tool, code, events))
        return self.events


_switch: list[Switch] = []


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if not _switch:
        _switch.append(Switch(item.config.pluginmanager))
        item.session.stash[_NUMBER] = 0
    number = item.session.stash[_NUMBER]
    item.session.stash[_NUMBER] += 1
    _switch[0].turn(number // TURN % 2 == 0)
    began = time.perf_counter()
    result = yield
    if number % TURN:
        _times[_switch[0].is_on].append(time.perf_counter() - began)
    return result


_NUMBER = pytest.StashKey[int]()


def pytest_unconfigure() -> None:
    """Say it in seconds: what the start takes, then the quartiles of a test, without and with."""
    quartiles = [statistics.quantiles(_times[is_on], n=4)[:2] for is_on in (False, True)]
    with open(os.environ["SWITCHED"], "w", encoding="utf-8") as file:
        print(_start[0], *quartiles[0], *quartiles[1], file=file)
