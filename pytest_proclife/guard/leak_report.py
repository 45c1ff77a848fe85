"""How leaks are reported: an error beside a test's result, a warning, a property, a summary."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import groupby
from typing import Any

import pytest

from pytest_proclife.errors import ProcessLeakWarning
from pytest_proclife.guard.leak import Leak, in_words
from pytest_proclife.guard.settings import Settings

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


if TYPE_CHECKING:
    from pytest_proclife.guard.allowance import Baseline
    from pytest_proclife.guard.leak import Leak

_SUITE = "the end of the session"
_NAME = "proclife-guard-summary"


def begun(config: pytest.Config, settings: Settings, baseline: Baseline | None) -> Summary:
    """The session's summary; a plugin from the first call on."""
    summary: Any = config.pluginmanager.get_plugin(_NAME)
    if summary is None:
        summary = Summary(settings, baseline)
        config.pluginmanager.register(summary, _NAME)
    made: Summary = summary
    return made


class Summary:
    """Sums up, where results are shown: the only process, or pytest-xdist's controller."""

    def __init__(self, settings: Settings, baseline: Baseline | None) -> None:
        self.settings = settings
        self.baseline = baseline
        self.leaks: list[Leak] = []
        self.checked: set[str] = set()
        self.texts: list[tuple[str, str]] = []  # title, what is left
        self.blind: list[str] = []  # tests
        self.failed_at_end = False
        self.not_written = ""  # why the baseline is not

    def listen(self, manager: pytest.PytestPluginManager) -> None:
        """Hear of reports from here on."""
        manager.register(Listener(self), "proclife-guard-listener")

    def take(self, report: Any) -> None:
        self._add(getattr(report, "proclife_leaks", ()))
        self.checked.update(getattr(report, "proclife_checked", ()))
        if getattr(report, "proclife_blind", False):
            self.blind.append(report.nodeid)
        if _is_leak(report):
            self.texts.append((report.nodeid, str(report.longrepr)))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get("proclife_guard")
        if told is not None:
            self.take_end(told)

    def _add(self, documents: Iterable[dict[str, Any]]) -> None:
        from pytest_proclife.guard.leak import Leak

        self.leaks += map(Leak.from_dict, documents)

    def take_end(self, told: dict[str, Any]) -> None:
        self._add(told["leaks"])
        if told["text"]:
            self.texts.append((_SUITE, told["text"]))
        self.failed_at_end |= told["failed"]

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.settings.writes_baseline and self.settings.baseline is not None:
            from pytest_proclife.guard.allowance import Baseline

            try:
                Baseline.of(leak for leak in self.leaks if not leak.is_allowed).write(
                    self.settings.baseline
                )
            except OSError as error:
                self.not_written = str(error)
        if (self.failed_at_end or self.not_written) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        stale = self.baseline.stale(self.leaks, self.checked) if self.baseline else {}
        if self.texts:
            terminalreporter.write_sep("=", "LEAKS", red=True, bold=True)
        for title, text in self.texts:
            terminalreporter.write_sep("_", title, red=True, bold=True)
            terminalreporter.write_line(text)
        if not (self.leaks or stale or self.blind or self.not_written):
            return
        terminalreporter.write_sep("=", "proclife guard")
        for name in self.blind:
            terminalreporter.write_line(
                f"{name}: it closed descriptors of the guard's, which cannot say all that it left"
            )
        if self.leaks:
            self._write_leaks(terminalreporter)
        if self.not_written:
            terminalreporter.write_line(f"NOT written: {self.not_written}", red=True)
        elif self.settings.writes_baseline:
            terminalreporter.write_line(f"written to {self.settings.baseline}")
        for (owner, kind, name), count in sorted(stale.items()):
            terminalreporter.write_line(
                f"strike from {self.settings.baseline}: {owner}: {count} x {name} ({kind}): "
                "it is left no more"
            )

    def _write_leaks(self, terminalreporter: pytest.TerminalReporter) -> None:
        excused = [leak for leak in self.leaks if leak.excuse]
        for leak in self.leaks:
            excuse = f" ({leak.excuse})" if leak.excuse else ""
            terminalreporter.write_line(f"{leak.owner}: {leak}{excuse}")
        owners = len({leak.owner for leak in self.leaks})
        number = len(self.leaks)
        terminalreporter.write_line(
            f"{_number(number, 'process', 'es')} left by {_number(owners, 'test or fixture', '')}, "
            f"{len(excused)} of them allowed or in the baseline"
        )


class Listener:
    """Hears of the reports for the summary."""

    def __init__(self, summary: Summary) -> None:
        self.summary = summary

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: Any) -> tuple[str, str, Any] | None:
        if _is_leak(report):
            return "leaked", "L", ("LEAKED", {"red": True})
        return None

    def pytest_runtest_logreport(self, report: Any) -> None:
        self.summary.take(report)


def _is_leak(report: Any) -> bool:
    """Whether it is the guard's own error, and no other plugin has made something else of it, as
    those do that run a test again.
    """
    return getattr(report, "proclife_leaked", False) and report.outcome == "failed"


def _number(number: int, noun: str, plural: str) -> str:
    if noun == "test or fixture":
        return "1 test or fixture" if number == 1 else f"{number} tests or fixtures"
    return f"{number} {noun}{plural if number != 1 else ''}"
