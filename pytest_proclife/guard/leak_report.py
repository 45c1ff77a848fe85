"""How pytest reports leaks: an error beside a test's result, a warning, a property, a summary."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from pytest_proclife.errors import ProcessLeakWarning
from pytest_proclife.guard import leak_text
from pytest_proclife.guard.allowance import Baseline
from pytest_proclife.guard.leak import Leak
from pytest_proclife.guard.settings import Settings

# Attributes of the report of an item's teardown, which cross to the controller of pytest-xdist:
# proclife_leaks, as plain values; proclife_leaked, if the error of the teardown is the guard's own;
# proclife_second_error, the text of another one; proclife_incomplete, if the test closed the
# guard's descriptors; proclife_checked, the names of owners, if there is a baseline.
_ATTRIBUTES = pytest.StashKey[dict[str, Any]]()

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

    def begin(self) -> None:
        """Take part in pytest's reports. Not before there is something to report: hooks cost."""
        manager = self.config.pluginmanager
        if not manager.is_registered(self):
            manager.register(self, "proclife-guard-reports")
            if not hasattr(self.config, "workerinput"):
                summary_of(self.config, self.settings, self.baseline)

    def attributes_of(self, item: pytest.Item) -> dict[str, Any]:
        """The attributes that the report of the item's teardown will have."""
        self.begin()
        return item.stash.setdefault(_ATTRIBUTES, {})

    def report(self, item: pytest.Item, leaks: list[Leak], *, after_error: bool) -> None:
        """Fail or warn. After an error of the teardown itself, a failure is a second report."""
        attributes = self.attributes_of(item)
        attributes["proclife_leaks"] = [leak.to_dict() for leak in leaks]
        for leak in leaks:
            item.user_properties.append(("proclife_leak", leak_text.line(leak)))
        text = self._text(leaks)
        try:
            if text and self.settings.mode == "warn":
                item.warn(ProcessLeakWarning(text))  # a filter may make it an error
            elif text:
                pytest.fail(text, pytrace=False)
        except (ProcessLeakWarning, pytest.fail.Exception):
            if not after_error:
                attributes["proclife_leaked"] = True
                raise
            attributes["proclife_second_error"] = text

    def _text(self, leaks: list[Leak]) -> str:
        return "" if self.settings.writes_baseline else leak_text.account(leaks)

    def report_at_session_end(self, session: pytest.Session, leaks: list[Leak]) -> None:
        """Report the leaks of fixtures that ended with the session, after its last test."""
        end = {"leaks": [leak.to_dict() for leak in leaks], "text": self._text(leaks)}
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output["proclife_guard"] = end
            return
        summary = summary_of(self.config, self.settings, self.baseline)
        summary.add_session_end(end)
        summary.set_exit_status(session)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, Any, Any]:
        report = yield
        if call.when == "teardown":
            report.__dict__.update(item.stash.get(_ATTRIBUTES, {}))
            item.stash[_ATTRIBUTES] = {}
            if getattr(report, "proclife_leaked", False) and hasattr(report, "wasxfail"):
                # the marker xfail expects the test to fail, not to leak
                report.outcome = "failed"
                del report.wasxfail
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
    summary: Summary | None = config.pluginmanager.get_plugin(_SUMMARY)
    if summary is None:
        summary = Summary(config, settings, baseline)
        config.pluginmanager.register(summary, _SUMMARY)
        config.pluginmanager.register(ShortSummary(summary), f"{_SUMMARY}-lines")
    return summary


class Summary:
    """Sums up in the process that shows results: the only one, or pytest-xdist's controller."""

    def __init__(
        self, config: pytest.Config, settings: Settings, baseline: Baseline | None
    ) -> None:
        self.config = config
        self.settings = settings
        self.baseline = baseline
        self.leaks: list[Leak] = []
        self.shown: list[Leak] = []  # those with a line in the short summary
        self.others: list[Leak] = []
        self.checked: set[str] = set()
        self.errors: list[tuple[str, str]] = []  # title, text
        self.incomplete: list[str] = []  # tests
        self.failed_at_end = False
        self.write_error = ""  # why the baseline was not written

    def pytest_runtest_logreport(self, report: Any) -> None:
        leaks = [*map(Leak.from_dict, getattr(report, "proclife_leaks", ()))]
        has_failed = report.outcome == "failed" or hasattr(report, "proclife_second_error")
        # else another plugin has changed the outcome, as those do that run a test again
        self._add(leaks, are_shown=has_failed or self.settings.mode == "warn")
        self.checked.update(getattr(report, "proclife_checked", ()))
        if getattr(report, "proclife_incomplete", False):
            self.incomplete.append(report.nodeid)
        if _is_leak_error(report):
            self.errors.append((report.nodeid, str(report.longrepr)))
            self._redden()

    def _add(self, leaks: list[Leak], *, are_shown: bool) -> None:
        self.leaks += leaks
        are_shown &= not self.settings.writes_baseline
        for leak in leaks:
            (self.shown if are_shown and not leak.is_excused else self.others).append(leak)

    def _redden(self) -> None:
        """Have pytest's last line red: its colour follows from which kinds of result there are, and
        pytest does not know ours.
        """
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.stats.setdefault("error", [])

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        if _is_leak_error(report):
            return "leaked", "L", ("LEAKED", {"red": True})
        return None

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        end = getattr(node, "workeroutput", {}).get("proclife_guard")
        if end is not None:
            self.add_session_end(end)

    def add_session_end(self, end: dict[str, Any]) -> None:
        self._add([*map(Leak.from_dict, end["leaks"])], are_shown=True)
        if end["text"]:
            self.errors.append((_SESSION_END, end["text"]))
            if self.settings.mode == "error":
                self.failed_at_end = True
                self._redden()

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, object, object]:
        result = yield  # the guard adds the leaks of an interrupted test
        if self.settings.writes_baseline and self.settings.baseline is not None:
            known = Baseline.of(leak for leak in self.leaks if not leak.reason)
            try:
                known.write(self.settings.baseline)
            except OSError as error:
                self.write_error = f"{self.settings.baseline}: {error.strerror}"
        self.set_exit_status(session)
        return result

    def set_exit_status(self, session: pytest.Session) -> None:
        """Fail the session for errors that are in no report of a test."""
        if (self.failed_at_end or self.write_error) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Below pytest's own sections, and above its short summary."""
        options, write = self.config.option, terminalreporter.write_line
        if self.errors and options.tbstyle != "no" and not options.no_summary:
            terminalreporter.write_sep("=", "LEAKS", red=True, bold=True)
            for title, text in self.errors:
                terminalreporter.write_sep("_", title, red=True, bold=True)
                write(text)
        lines = [*self._lines(is_quiet=options.verbose < 0 or options.no_summary)]
        if self.write_error:
            lines.append(
                (f"the baseline could NOT be written to {self.write_error}", {"red": True})
            )
        if lines:
            terminalreporter.write_sep("=", "proclife guard")
        for line, markup in lines:
            write(line, **markup)

    def _lines(self, *, is_quiet: bool) -> Iterator[tuple[str, dict[str, bool]]]:
        for name in self.incomplete:
            lost = "closed the guard's file descriptors"
            yield f"{name} {lost}, so some of its leaks may be missing here", {}
        if not is_quiet:
            for leak in self.others:
                yield f"{leak.owner}: {leak_text.line(leak)}", {}
            if self.leaks:
                yield leak_text.total(self.leaks), {}
        if self.settings.writes_baseline and not self.write_error:
            known = leak_text.processes(sum(not leak.reason for leak in self.leaks))
            yield f"baseline of {known} written to {self.settings.baseline}", {}
        stale = self.baseline.stale(self.leaks, self.checked) if self.baseline else {}
        for (owner, kind, name), count in sorted(stale.items()):
            gone = f"{owner} no longer leaks {count} x {name} ({kind})"
            yield f"{gone}: remove the entry from {self.settings.baseline}", {}


# the kind of result that each of these letters of -r shows in pytest's short summary
_SHOWN = {
    "f": "failed",
    "E": "error",
    "s": "skipped",
    "x": "xfailed",
    "X": "xpassed",
    "p": "passed",
}


class ShortSummary:
    """Adds a line for each leak to pytest's short summary, whatever -r says."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, object, object]:
        result = yield  # pytest writes its short summary at the end of this
        if self.summary.shown and not terminalreporter.config.option.no_summary:
            shown = (_SHOWN.get(letter) for letter in terminalreporter.reportchars)
            if not any(terminalreporter.stats.get(kind) for kind in shown if kind):
                title = "short test summary info"
                terminalreporter.write_sep("=", title, cyan=True, bold=True)
            color = "red" if self.summary.settings.mode == "error" else "yellow"
            for leak in self.summary.shown:
                terminalreporter.write("LEAKED", **{color: True})
                terminalreporter.write_line(f" {leak.owner} - {leak_text.summary(leak)}")
        return result


def _is_leak_error(report: Any) -> bool:
    """Whether it is the guard's own error, and no other plugin has changed its outcome, as those do
    that run a test again.
    """
    return getattr(report, "proclife_leaked", False) and report.outcome == "failed"
