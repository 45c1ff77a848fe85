"""How a leak is told: an error of its own beside a test's, a warning, a property for JUnit."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import groupby
from typing import Any

import pytest

from pytest_proclife.guard.leak import Leak, in_words
from pytest_proclife.guard.warning import ProcessLeakWarning
from pytest_proclife.plugin.guard_options import Settings
from pytest_proclife.plugin.guard_summary import Summary, begun

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_proclife.guard.allowance import Baseline

_LEAKS = pytest.StashKey[list[Leak]]()
_TOLD = pytest.StashKey[bool]()  # the error of the teardown is the guard's own
_BLIND = pytest.StashKey[bool]()  # what the guard sees by was closed in the test
_BESIDE = pytest.StashKey[str]()  # what is told in a report of its own


class Reports:
    """Makes the reports, where the tests run. They carry the leaks as plain values."""

    def __init__(
        self, config: pytest.Config, settings: Settings, baseline: Baseline | None
    ) -> None:
        self.config = config
        self.settings = settings
        self.baseline = baseline
        self.checked: list[str] = []  # owners, where a baseline has to know

    def begin(self) -> None:
        """Take part in the reports: not before there is something to say, since each costs."""
        manager = self.config.pluginmanager
        if not manager.is_registered(self):
            manager.register(self, "proclife-guard-reports")
            if not hasattr(self.config, "workerinput"):
                self._summary().listen(manager)

    def _summary(self) -> Summary:
        return begun(self.config, self.settings, self.baseline)

    def blind(self, item: pytest.Item) -> None:
        """Say that not all could be seen of a test: no warning, which a filter makes an error."""
        self.begin()
        item.stash[_BLIND] = True

    def tell(self, item: pytest.Item, leaks: list[Leak], mode: str) -> None:
        """Raise or warn for what the test left, after a teardown that went well."""
        text = self._noted(item, leaks)
        if not text:
            return
        item.stash[_TOLD] = True
        if mode == "warn":
            item.warn(ProcessLeakWarning(text))  # a filter may make it an error
        else:
            pytest.fail(text, pytrace=False)

    def tell_beside(self, item: pytest.Item, leaks: list[Leak], mode: str) -> None:
        """Tell of what the test left beside the error of its teardown, which comes first."""
        text = self._noted(item, leaks)
        if text and mode == "warn":
            try:
                item.warn(ProcessLeakWarning(text))
            except ProcessLeakWarning:
                item.stash[_BESIDE] = text  # a filter makes it an error
        elif text:
            item.stash[_BESIDE] = text

    def _noted(self, item: pytest.Item, leaks: list[Leak]) -> str:
        self.begin()
        item.stash[_LEAKS] = leaks
        for leak in leaks:
            excuse = f" ({leak.excuse})" if leak.excuse else ""
            item.user_properties.append(("proclife_leak", f"{leak}{excuse}"))
        if self.config.getoption("proclife_guard_write_baseline"):
            return ""
        return _text(leaks)

    def tell_at_end(self, session: pytest.Session, leaks: list[Leak], mode: str) -> None:
        """Tell of what was left by fixtures that ended with the session, after its last test."""
        text = _text(leaks)
        if self.config.getoption("proclife_guard_write_baseline"):
            text = ""
        failed = bool(text) and mode == "error"
        told = {"leaks": [leak.to_dict() for leak in leaks], "text": text, "failed": failed}
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["proclife_guard"] = told
            return
        self._summary().take_end(told)
        if failed and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, Any]:
        report = yield
        if call.when != "teardown":
            return report
        leaks = item.stash.get(_LEAKS, None)
        if leaks is not None:
            del item.stash[_LEAKS]
            report.proclife_leaks = [leak.to_dict() for leak in leaks]
            report.proclife_leaked = item.stash.get(_TOLD, False) and report.failed
            item.stash[_TOLD] = False
        if item.stash.get(_BLIND, False):
            del item.stash[_BLIND]
            report.proclife_blind = True
        if self.checked:
            report.proclife_checked, self.checked = self.checked, []
        beside = item.stash.get(_BESIDE, None)
        if beside is not None:
            del item.stash[_BESIDE]
            report.proclife_beside = beside
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """An error of its own behind that of the teardown."""
        text = report.__dict__.pop("proclife_beside", None)
        if text is not None:
            other: Any = pytest.TestReport(
                nodeid=report.nodeid,
                location=report.location,
                keywords=report.keywords,
                outcome="failed",
                longrepr=text,
                when="teardown",
                start=report.start,
                stop=report.stop,
            )
            other.proclife_leaked = True
            self.config.hook.pytest_runtest_logreport(report=other)


def _text(leaks: Sequence[Leak]) -> str:
    """What is to be told of: all but what is excused."""
    told = [leak for leak in leaks if not leak.excuse]
    groups = groupby(told, key=lambda leak: leak.owner)
    return "\n\n".join(in_words(list(group)) for _, group in groups)
