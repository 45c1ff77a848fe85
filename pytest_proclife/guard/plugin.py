"""The guard at work: whose turn it is, and the verdict when a test or a fixture is over."""

from __future__ import annotations

import posix
import re
from collections.abc import Generator
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from pytest_proclife.guard import owners
from pytest_proclife.guard.owners import Owner
from pytest_proclife.guard.settings import MARKER, Settings

TYPE_CHECKING = False  # what tells of leaks is imported at the first one
if TYPE_CHECKING:
    from pytest_proclife.guard.allowance import Baseline
    from pytest_proclife.guard.leak import Leak
    from pytest_proclife.guard.leak_report import Reports

# the fixtures that pytest makes of these functions of a module or a class
_XUNIT = r"_(?:xunit|unittest)_(\w+?)_fixture_(.*)"

_TELLING = (
    "pytest_proclife.guard.allowance",
    "pytest_proclife.guard.cleanup",
    "pytest_proclife.guard.leak",
    "pytest_proclife.guard.leak_report",
)
_FIXTURES = "proclife-guard-fixtures"  # the plugin that hears of their ends

_XUNIT_NAMES = {
    "setup_module": "setup_module/teardown_module",
    "setup_class": "setup_class/teardown_class",
    "setUpModule": "setUpModule/tearDownModule",
    "setUpClass": "setUpClass/tearDownClass",
}


def start(config: pytest.Config, settings: Settings) -> None:
    """Guard this process's tests; with pytest-xdist the workers do, and the controller sums up."""
    worker = hasattr(config, "workerinput")
    baseline = None if settings.baseline is None else _baseline(settings, settings.baseline, worker)
    runs_tests = worker or getattr(config.option, "dist", "no") == "no"
    if not worker and (settings.baseline is not None or not runs_tests):
        from pytest_proclife.guard import leak_report  # else it is made when there is a leak

        summary = leak_report.begun(config, settings, baseline)
        if not runs_tests:
            summary.listen(config.pluginmanager)
    if runs_tests:
        guard = Guard(config, settings, baseline)
        config.pluginmanager.register(guard, "proclife-guard")


def _baseline(settings: Settings, path: Path, worker: bool) -> Baseline | None:
    """What it says; where it is to be written, whether that can be."""
    from pytest_proclife.guard.allowance import Baseline

    try:
        if not settings.writes_baseline:
            return Baseline.read(path)
        if not worker:
            Baseline.try_writing(path)
    except (OSError, ValueError) as error:
        deed, advice = "read", "; --proclife-guard-write-baseline writes it"
        if settings.writes_baseline:
            deed, advice = "written", ""
        raise pytest.UsageError(f"the baseline {path} cannot be {deed}: {error}{advice}") from None
    return None


class Guard:
    def __init__(
        self, config: pytest.Config, settings: Settings, baseline: Baseline | None
    ) -> None:
        self.config = config
        self.settings = settings
        self.baseline = baseline
        self.root = f"{config.rootpath}/"
        self.turns = owners.of_this_process()
        self.outer = self.turns.current  # of a session around this one
        self.fixtures: dict[object, Owner] = {}  # those of wider scope that are set up
        self.over: list[Owner] = []  # those that are over and wait for their verdict
        self.made: Reports | None = None
        if baseline is not None:
            self.reports.begin()  # it says of each test that it was checked
        self.turns.settle()

    @property
    def reports(self) -> Reports:
        if self.made is None:
            from pytest_proclife.guard.leak_report import Reports

            self.made = Reports(self.config, self.settings, self.baseline)
        return self.made

    # --- whose turn it is

    def pytest_collection_finish(self) -> None:
        self.turns.turn(self.outer)  # what was imported and started before belongs to no test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        # what came since the last test is nobody's
        self.turns.begin(item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        manager = self.config.pluginmanager
        if not manager.has_plugin(_FIXTURES):
            manager.register(Fixtures(self), _FIXTURES)
        owner = Owner(_name(fixturedef), is_fixture=True)
        outer = self.turns.turn(owner)
        self.fixtures[fixturedef] = owner
        try:
            return (yield)
        finally:
            self.turns.turn(outer)

    def finalized(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        if not self.fixtures:
            return
        owner = self.fixtures.pop(fixturedef, None)
        if owner is None:
            self.turns.settle()  # before one of wider scope is over, whose start it could seem
            return
        outer, self.turns.current = self.turns.current, owner
        self.turns.turn(outer)
        self.over.append(owner)

    # --- the verdict

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        if self.fixtures:
            self.turns.settle()  # before one of wider scope is over, whose start it could seem
        try:
            result = yield
        except (Exception, pytest.fail.Exception, pytest.skip.Exception):
            leaks = self._verdict(item)
            if leaks:
                self.reports.tell_beside(item, leaks, self.settings.mode)
            raise
        leaks = self._verdict(item)
        if leaks:
            self.reports.tell(item, leaks, self.settings.mode)
        return result

    def _verdict(self, item: pytest.Item) -> list[Leak]:
        """What the test left, and the fixtures that are over with it; what has to go is ended."""
        if not self.over and self.baseline is None and self.turns.end_quietly(self.outer):
            return []
        owner, owners, self.over = self.turns.current, self.over, []
        if owner is not self.outer:
            owners.append(owner)
        if posix.getpid() != self.turns.pid:
            return []
        if self.baseline is not None:
            self.reports.checked += [one.name for one in owners]
        try:
            return self._left(item, owners)
        finally:
            self.turns.hand_over(self.outer)
            for one in owners:
                one.is_over = one is not self.outer
            if self.turns.notes.is_lost:
                self.turns.begin_again()
                self.reports.blind(item)

    def _left(self, item: pytest.Item | None, owners: list[Owner]) -> list[Leak]:
        self.turns.settle()
        register = self.turns.register
        if not (register.served or register.left_by(owners) or register.makers_of(owners)):
            return []
        if item is not None and not _can_tell():
            self.over += owners
            return []
        unjoined = register.take_unjoined(owners)
        if not (unjoined or register.left_by(owners) or register.makers_of(owners)):
            return []
        from pytest_proclife.guard import cleanup

        left = cleanup.await_ends(register, owners, self.settings.wait)
        if not left and not unjoined:
            return []
        from pytest_proclife.guard.leak import of_process, of_start

        leaks = [*map(of_process, left), *(of_start(*pair) for pair in unjoined)]
        leaks = [_below(self.root, leak) for leak in leaks]
        if item is not None:
            leaks = _allowed(item, leaks)
        if self.baseline is not None:
            leaks = self.baseline.excuse(leaks)
        allowed = {leak.pid for leak in leaks if leak.is_allowed}
        doomed = [one for one in left if one.seen.pid not in allowed]
        for one in left:
            one.excused = True
        if doomed and not self.settings.keep:
            cleanup.end(register, doomed)
        return leaks

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """What ended with the session itself, as after -x, has no test to be told with."""
        result = yield
        owner = self.turns.turn(self.outer)
        if owner is not self.outer:
            self.over.append(owner)  # a test that was interrupted
        if self.over and posix.getpid() == self.turns.pid:
            leaks = self._left(None, self.over)
            if leaks:
                self.reports.tell_at_end(session, leaks, self.settings.mode)
        return result


class Fixtures:
    """Hears of their ends, from the first one of wider scope on."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        self.guard.finalized(fixturedef)


def _can_tell() -> bool:
    """Whether what tells of leaks could be loaded: not while tests keep files from being read, or
    have used up all descriptors. What was left is told of later then.
    """
    try:
        for name in _TELLING:
            import_module(name)
    except Exception:  # noqa: BLE001 - what a test has put in place of `open` may raise anything
        return False
    return True


def _below(root: str, leak: Leak) -> Leak:
    """The same leak, the files of its lines as from the root of the suite."""
    return replace(leak, where=leak.where.replace(root, ""))


def _allowed(item: pytest.Item, leaks: list[Leak]) -> list[Leak]:
    """The same leaks, those of the test's own that its markers allow with the reason."""
    from pytest_proclife.guard.allowance import allowance

    for mark in item.iter_markers(MARKER):
        own = [leak for leak in leaks if leak.owner == item.nodeid]
        others = [leak for leak in leaks if leak.owner != item.nodeid]
        leaks = [*others, *allowance(**mark.kwargs).of(own)]
    return leaks


def _name(fixturedef: pytest.FixtureDef[Any]) -> str:
    place = fixturedef.baseid or "the suite"
    made = re.fullmatch(_XUNIT, fixturedef.argname)
    if made is not None:
        return f"{_XUNIT_NAMES.get(made[1], made[1])} of {place}"
    return f"fixture {fixturedef.argname} ({fixturedef.scope}) of {place}"
