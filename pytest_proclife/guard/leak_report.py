"""How pytest reports leaks: an error beside a test's result, a warning, a property, a summary."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any

import pytest

from pytest_proclife.errors import ProcessLeakWarning
from pytest_proclife.guard import leak_text
from pytest_proclife.guard.allowance import Baseline
from pytest_proclife.guard.leak import Leak
from pytest_proclife.guard.settings import Settings

_LEAKS = pytest.StashKey[list[Leak]]()
_IS_LEAK_ERROR = pytest.StashKey[bool]()  # the error of the teardown is the guard's own
_IS_INCOMPLETE = pytest.StashKey[bool]()  # the test closed the guard's descriptors
_SECOND_ERROR = pytest.StashKey[str]()  # text of an error besides that of the teardown

_SUMMARY = "proclife-guard-summary"
_SESSION_END = "the end of the session"  # the title of its leaks


class Reports:
    """Makes the reports, in the process that runs the tests. They carry leaks as plain values."""

    def __init__(
        self, config: pytest.Config, settings: Settings, baseline: Baseline | None
    ) -> None:
        self.config = config
        self.settings = settings
        self.baseline = baseline
        self.checked: list[str] = []  # owners, if there is a baseline

    def begin(self) -> None:
        """Take part in pytest's reports. Not before there is something to report: hooks cost."""
        manager = self.config.pluginmanager
        if not manager.is_registered(self):
            manager.register(self, "proclife-guard-reports")
            if not hasattr(self.config, "workerinput"):
                self._summary().listen(manager)

    def _summary(self) -> Summary:
        return summary_of(self.config, self.settings, self.baseline)

    def mark_incomplete(self, item: pytest.Item) -> None:
        """Note that leaks of a test may be missing. Not a warning: a filter makes it an error."""
        self.begin()
        item.stash[_IS_INCOMPLETE] = True

    def report(self, item: pytest.Item, leaks: list[Leak], mode: str) -> None:
        """Fail or warn after a teardown without errors."""
        text = self._attach(item, leaks)
        if not text:
            return
        item.stash[_IS_LEAK_ERROR] = True
        if mode == "warn":
            item.warn(ProcessLeakWarning(text))  # a filter may make it an error
        else:
            pytest.fail(text, pytrace=False)

    def report_after_error(self, item: pytest.Item, leaks: list[Leak], mode: str) -> None:
        """Add a second error, or warn, after the teardown's own error."""
        text = self._attach(item, leaks)
        if text and mode == "warn":
            try:
                item.warn(ProcessLeakWarning(text))
            except ProcessLeakWarning:
                item.stash[_SECOND_ERROR] = text  # a filter makes it an error
        elif text:
            item.stash[_SECOND_ERROR] = text

    def _attach(self, item: pytest.Item, leaks: list[Leak]) -> str:
        """Attach the leaks to the item. The text for those that are errors."""
        self.begin()
        item.stash[_LEAKS] = leaks
        for leak in leaks:
            item.user_properties.append(("proclife_leak", leak_text.line(leak)))
        return self._text(leaks)

    def _text(self, leaks: list[Leak]) -> str:
        return "" if self.settings.writes_baseline else leak_text.account(leaks)

    def report_at_session_end(self, session: pytest.Session, leaks: list[Leak], mode: str) -> None:
        """Report the leaks of fixtures that ended with the session, after its last test."""
        text = self._text(leaks)
        has_failed = bool(text) and mode == "error"
        end = {"leaks": [leak.to_dict() for leak in leaks], "text": text, "failed": has_failed}
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["proclife_guard"] = end
            return
        self._summary().add_session_end(end)
        if has_failed and session.exitstatus == pytest.ExitCode.OK:
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
            report.proclife_leaked = item.stash.get(_IS_LEAK_ERROR, False) and report.failed
            item.stash[_IS_LEAK_ERROR] = False
        if item.stash.get(_IS_INCOMPLETE, False):
            del item.stash[_IS_INCOMPLETE]
            report.proclife_incomplete = True
        if self.checked:
            report.proclife_checked, self.checked = self.checked, []
        text = item.stash.get(_SECOND_ERROR, None)
        if text is not None:
            del item.stash[_SECOND_ERROR]
            report.proclife_second_error = text
        return report

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: Any) -> None:
        """Log a second report of the teardown, behind its own."""
        text = report.__dict__.pop("proclife_second_error", None)
        if text is not None:
            second: Any = pytest.TestReport(
                nodeid=report.nodeid,
                location=report.location,
                keywords=report.keywords,
                outcome="failed",
                longrepr=text,
                when="teardown",
                start=report.start,
                stop=report.stop,
            )
            second.proclife_leaked = True
            self.config.hook.pytest_runtest_logreport(report=second)


def summary_of(config: pytest.Config, settings: Settings, baseline: Baseline | None) -> Summary:
    """The session's summary. The first call registers it as a plugin."""
    summary: Any = config.pluginmanager.get_plugin(_SUMMARY)
    if summary is None:
        summary = Summary(settings, baseline)
        config.pluginmanager.register(summary, _SUMMARY)
    result: Summary = summary
    return result


class Summary:
    """Sums up in the process that shows results: the only one, or pytest-xdist's controller."""

    def __init__(self, settings: Settings, baseline: Baseline | None) -> None:
        self.settings = settings
        self.baseline = baseline
        self.leaks: list[Leak] = []
        self.checked: set[str] = set()
        self.errors: list[tuple[str, str]] = []  # title, text
        self.incomplete: list[str] = []  # tests
        self.failed_at_end = False
        self.write_error = ""  # why the baseline was not written

    def listen(self, manager: pytest.PytestPluginManager) -> None:
        """Receive reports from here on."""
        manager.register(Listener(self), "proclife-guard-listener")

    def add(self, report: Any) -> None:
        self._add_leaks(getattr(report, "proclife_leaks", ()))
        self.checked.update(getattr(report, "proclife_checked", ()))
        if getattr(report, "proclife_incomplete", False):
            self.incomplete.append(report.nodeid)
        if _is_leak_error(report):
            self.errors.append((report.nodeid, str(report.longrepr)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        end = getattr(node, "workeroutput", {}).get("proclife_guard")
        if end is not None:
            self.add_session_end(end)

    def _add_leaks(self, documents: Iterable[dict[str, Any]]) -> None:
        self.leaks += map(Leak.from_dict, documents)

    def add_session_end(self, end: dict[str, Any]) -> None:
        self._add_leaks(end["leaks"])
        if end["text"]:
            self.errors.append((_SESSION_END, end["text"]))
        self.failed_at_end |= end["failed"]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.settings.writes_baseline and self.settings.baseline is not None:
            known = Baseline.of(leak for leak in self.leaks if not leak.is_allowed)
            try:
                known.write(self.settings.baseline)
            except OSError as error:
                self.write_error = str(error)
        if (self.failed_at_end or self.write_error) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        stale = self.baseline.stale(self.leaks, self.checked) if self.baseline else {}
        if self.errors:
            terminalreporter.write_sep("=", "LEAKS", red=True, bold=True)
        for title, text in self.errors:
            terminalreporter.write_sep("_", title, red=True, bold=True)
            terminalreporter.write_line(text)
        if not (self.leaks or stale or self.incomplete or self.write_error):
            return
        terminalreporter.write_sep("=", "proclife guard")
        for name in self.incomplete:
            terminalreporter.write_line(
                f"{name}: it closed the guard's file descriptors: leaks of it may be missing here"
            )
        if self.leaks:
            self._write_leaks(terminalreporter)
        if self.write_error:
            terminalreporter.write_line(f"baseline NOT written: {self.write_error}", red=True)
        elif self.settings.writes_baseline:
            terminalreporter.write_line(f"baseline written to {self.settings.baseline}")
        for (owner, kind, name), count in sorted(stale.items()):
            terminalreporter.write_line(
                f"remove from {self.settings.baseline}: {owner}: {count} x {name} ({kind}): "
                "no longer leaked"
            )

    def _write_leaks(self, terminalreporter: pytest.TerminalReporter) -> None:
        for leak in self.leaks:
            terminalreporter.write_line(f"{leak.owner}: {leak_text.line(leak)}")
        processes, owners = len(self.leaks), len({leak.owner for leak in self.leaks})
        excused = sum(leak.is_excused for leak in self.leaks)
        terminalreporter.write_line(
            f"{processes} process{'' if processes == 1 else 'es'} leaked by "
            f"{owners} {'test or fixture' if owners == 1 else 'tests or fixtures'}, "
            f"{excused} of them allowed or in the baseline"
        )


class Listener:
    """Passes the reports on to the summary."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        if _is_leak_error(report):
            return "leaked", "L", ("LEAKED", {"red": True})
        return None

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.summary.add(report)


def _is_leak_error(report: Any) -> bool:
    """Whether it is the guard's own error, and no other plugin has changed its outcome, as those do
    that run a test again.
    """
    return getattr(report, "proclife_leaked", False) and report.outcome == "failed"
