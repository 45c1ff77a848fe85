"""A plugin for `guard.py`: turn the guard off and on within one run, and time the tests of both.

Other programs on the machine slow both alike, so a difference of a hundredth can be seen.
"""

from __future__ import annotations

import functools
import operator
import os
import posix
import statistics
import sys
import time
from collections.abc import Callable, Generator
from typing import Any

import pytest

import pytest_proclife.plugin
from pytest_proclife.inside import monitoring

TURN = 4  # tests; the first of each is not counted, since the caches hold nothing for it
_monitoring: Any = getattr(sys, "monitoring", None)
_times: dict[bool, list[float]] = {True: [], False: []}
_start = [0.0]
_configure = pytest_proclife.plugin.pytest_configure
_register_at_fork: Callable[..., None] = posix.register_at_fork
_at_fork: list[tuple[list[Any], Any]] = []  # the list called at a fork, and the callback for it


def _switchable(**callbacks: Any) -> None:
    """A registered function cannot be removed. So register one of C, which calls the functions in a
    list: no frame is added between these and the fork.
    """
    for when, callback in callbacks.items():
        listed = [callback]
        _at_fork.append((listed, callback))
        calls = functools.partial(map, operator.call, listed)
        iterable = type("Calls", (), {"__iter__": staticmethod(calls)})()
        _register_at_fork(**{when: functools.partial(any, iterable)})


def _timed(config: pytest.Config) -> None:
    if _monitoring is None:
        raise pytest.UsageError("functions that were rewritten on 3.11 cannot be switched back")
    posix.register_at_fork = _switchable
    began = time.perf_counter()
    try:
        _configure(config)
    finally:
        posix.register_at_fork = _register_at_fork
    _start[0] = time.perf_counter() - began


# before it is registered, which comes after this plugin
pytest_proclife.plugin.pytest_configure = _timed


class Switch:
    """Removes and restores the guard's pytest hooks, its fork hooks and its watch over Process."""

    def __init__(self, manager: pytest.PytestPluginManager) -> None:
        self.manager = manager
        self.plugins = {
            name: plugin
            for name in ("proclife-guard", "proclife-guard-fixtures")
            if (plugin := manager.get_plugin(name)) is not None
        }
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
        for listed, callback in _at_fork:
            listed[:] = [callback] if is_on else []
        for code, events in monitoring._events.items():
            _monitoring.set_local_events(monitoring._id, code, events if is_on else 0)


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
    """Write seconds: of the start, then the lower quartile and median of a test, off and on."""
    quartiles = [statistics.quantiles(_times[is_on], n=4)[:2] for is_on in (False, True)]
    with open(os.environ["SWITCHED"], "w", encoding="utf-8") as file:
        print(_start[0], *quartiles[0], *quartiles[1], file=file)
