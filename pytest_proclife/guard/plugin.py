"""The guard's pytest plugin: it sets the current owner, and checks each owner that is over."""

from __future__ import annotations

import posix
import re
from collections.abc import Generator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from pytest_proclife.guard import owners
from pytest_proclife.guard.owners import Owner
from pytest_proclife.guard.settings import MARKER, Settings

TYPE_CHECKING = False  # most suites do not leak, and need none of these
if TYPE_CHECKING:
    from pytest_proclife.guard.allowance import Baseline
    from pytest_proclife.guard.leak import Leak
    from pytest_proclife.guard.leak_report import Reports

_FIXTURES = "proclife-guard-fixtures"  # the name of the plugin `Fixtures`

# the names of the fixtures that pytest makes of these functions of a module or a class
_XUNIT = r"_(?:xunit|unittest)_(\w+?)_fixture_(.*)"


def start(config: pytest.Config, settings: Settings) -> None:
    """Guard this process's tests; with pytest-xdist the workers do, and the controller sums up."""
    is_worker = hasattr(config, "workerinput")
    path = settings.baseline
    baseline = None if path is None else _baseline(settings, path, is_worker)
    runs_tests = is_worker or getattr(config.option, "dist", "no") == "no"
    if not is_worker and (path is not None or not runs_tests):
        from pytest_proclife.guard import leak_report  # else it is imported at the first leak

        leak_report.summary_of(config, settings, baseline)
    if runs_tests:
        guard = Guard(config, settings, baseline)
        config.pluginmanager.register(guard, "proclife-guard")


def _baseline(settings: Settings, path: Path, is_worker: bool) -> Baseline | None:
    """The baseline; None if it is to be written, after a check that it can be."""
    from pytest_proclife.guard.allowance import Baseline

    try:
        if not settings.writes_baseline:
            return Baseline.read(path)
        if not is_worker:
            Baseline.try_writing(path)
    except (OSError, ValueError) as error:
        verb, advice = "read", "; --proclife-guard-write-baseline writes one"
        if settings.writes_baseline:
            verb, advice = "written", ""
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise pytest.UsageError(f"the baseline {path} cannot be {verb}: {reason}{advice}") from None
    return None


# the hook itself, since a call costs
pytest.hookimpl(tryfirst=True)(owners.Ownership.begin_test)


class Guard:
    def __init__(
        self, config: pytest.Config, settings: Settings, baseline: Baseline | None
    ) -> None:
        self.config = config
        self.settings = settings
        self.baseline = baseline
        self.root = f"{config.rootpath}/"
        self.ownership = owners.of_this_process()
        self.pytest_runtest_setup = self.ownership.begin_test
        self.outer = self.ownership.current  # that of a session around this one, or nobody
        self.fixtures: dict[object, Owner] = {}  # those of wider scope that are set up
        self.unchecked: list[Owner] = []  # those that are over
        self.is_simple = True  # as long as both were always empty: costs less than to ask them
        # a baseline, or a session around this one, needs more than `end_if_clean` does
        self.checks_all = baseline is not None or self.outer is not owners.NOBODY
        if baseline is not None:
            self.reports.begin()  # each report says which owners were checked
        self.ownership.update()

    @cached_property
    def reports(self) -> Reports:
        from pytest_proclife.guard.leak_report import Reports

        return Reports(self.config, self.settings, self.baseline)

    # --- the current owner

    def pytest_collection_finish(self) -> None:
        self.ownership.change_to(self.outer)  # what imports have started belongs to no test

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        if fixturedef.scope == "function":
            return (yield)
        manager = self.config.pluginmanager
        if not manager.has_plugin(_FIXTURES):
            manager.register(Fixtures(self), _FIXTURES)
            self.is_simple = False
        owner = Owner(_name_of(fixturedef), is_fixture=True)
        outer = self.ownership.change_to(owner)
        self.fixtures[fixturedef] = owner
        try:
            return (yield)
        finally:
            self.ownership.change_to(outer)

    def finalized(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        if not self.fixtures:
            return
        owner = self.fixtures.pop(fixturedef, None)
        if owner is None:
            self.ownership.update()  # else a fixture of wider scope may get what this one started
            return
        outer, self.ownership.current = self.ownership.current, owner
        self.ownership.change_to(outer)
        self.unchecked.append(owner)

    # --- the check

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, None, None]:
        if not self.is_simple and self.fixtures:
            self.ownership.update()  # else a fixture torn down here may get what the test started
        try:
            result = yield
        except (Exception, pytest.fail.Exception, pytest.skip.Exception):
            if leaks := self._check(item):
                self.reports.report(item, leaks, after_error=True)
            raise
        test_alone = (self.is_simple or not self.unchecked) and not self.checks_all
        # this is all that runs after most tests
        if test_alone and self.ownership.end_if_clean():
            return result
        if leaks := self._check(item):
            self.reports.report(item, leaks, after_error=False)
        return result

    def _check(self, item: pytest.Item) -> list[Leak]:
        """The leaks of the test, and of the fixtures that are over with it, after the clean-up."""
        ownership = self.ownership
        owner, checked, self.unchecked = ownership.current, self.unchecked, []
        if owner is not self.outer:
            checked.append(owner)
        if posix.getpid() != ownership.register.pid:
            return []
        if self.baseline is not None:
            names = [owner.name for owner in checked]
            self.reports.attributes_of(item)["proclife_checked"] = names
        try:
            return self._leaks_of(checked, item)
        finally:
            ownership.replace_by(self.outer)
            for owner in checked:
                owner.is_over = owner is not self.outer
            if ownership.register.starts.is_lost:
                ownership.register.reopen()
                # not a warning, since a filter could make it an error
                self.reports.attributes_of(item)["proclife_incomplete"] = True

    def _leaks_of(self, checked: list[Owner], item: pytest.Item | None) -> list[Leak]:
        """The leaks of these owners. Those that are not excused are killed, if that is wanted."""
        self.ownership.update()
        register = self.ownership.register
        may_be_left = register.may_be_left_by(checked)
        if not (may_be_left or register.of_fork_server):
            return []
        if item is not None and not _can_import_reports():
            self.unchecked += checked
            self.is_simple = False
            return []
        unjoined = register.take_unjoined(checked)
        if not (may_be_left or unjoined):
            return []
        from pytest_proclife.guard import cleanup

        left = cleanup.await_exits(self.ownership, checked, self.settings.wait)
        if not left and not unjoined:
            return []
        from pytest_proclife.guard.leak import of_process, of_start, with_lines

        leaks = [*map(of_process, left), *(of_start(*pair) for pair in unjoined)]
        leaks = [self._with_short_paths(leak) for leak in leaks]
        if item is not None:
            leaks = _allowed(item, leaks)
        if self.baseline is not None:
            leaks = self.baseline.excuse(leaks)
        leaks = [self._with_short_paths(leak) for leak in with_lines(leaks, left)]
        for process in left:
            process.is_reported = True
        if not self.settings.kills:
            return leaks
        excused = {leak.pid for leak in leaks if leak.is_excused}
        doomed = [process for process in left if process.stat.pid not in excused]
        killed = {process.stat.pid for process in doomed if not process.stat.is_zombie}
        if doomed:
            cleanup.kill(self.ownership, doomed)
        return [replace(leak, killed=leak.pid in killed) for leak in leaks]

    def _with_short_paths(self, leak: Leak) -> Leak:
        """The same, with paths from the root folder on."""
        paths = {name: getattr(leak, name) for name in ("place", "through", "line")}
        return replace(leak, **{k: path.replace(self.root, "") for k, path in paths.items()})

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, None, None]:
        """Check the fixtures that ended with the session, as after -x: no test reports them."""
        result = yield
        owner = self.ownership.change_to(self.outer)
        if owner is not self.outer:
            self.unchecked.append(owner)  # a test that was interrupted
        if self.unchecked and posix.getpid() == self.ownership.register.pid:
            leaks = self._leaks_of(self.unchecked, None)
            if leaks:
                self.reports.report_at_session_end(session, leaks)
        return result


class Fixtures:
    """Receives the ends of fixtures. Registered with the first one of wider scope: hooks cost."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard

    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        self.guard.finalized(fixturedef)


def _can_import_reports() -> bool:
    """Import all that reports need. It fails while a test keeps files from being read, or has used
    up all descriptors: the check is made later then.
    """
    try:
        # imported for later
        from pytest_proclife.guard import (  # noqa: F401
            allowance,
            cleanup,
            leak,
            leak_report,
            pools,
        )
    except Exception:  # noqa: BLE001 - a test's replacement of `open` may raise anything
        return False
    return True


def _allowed(item: pytest.Item, leaks: list[Leak]) -> list[Leak]:
    """The same leaks; the test's own that its markers allow have the reason."""
    from pytest_proclife.guard.allowance import allowance

    for mark in item.iter_markers(MARKER):
        own = [leak for leak in leaks if leak.owner == item.nodeid and not leak.of_fixture]
        others = [leak for leak in leaks if leak not in own]
        leaks = [*others, *allowance(**mark.kwargs).apply(own)]
    return leaks


def _name_of(fixturedef: pytest.FixtureDef[Any]) -> str:
    place = fixturedef.baseid or "the suite"
    match = re.fullmatch(_XUNIT, fixturedef.argname)
    if match is not None:
        tear_down = match[1].replace("setup", "teardown").replace("setUp", "tearDown")
        return f"{match[1]}/{tear_down} of {place}"
    return f"fixture {fixturedef.argname} ({fixturedef.scope}) of {place}"
