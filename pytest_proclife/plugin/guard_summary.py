"""What all tests left, summed up where results are shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from pytest_proclife.plugin.guard_options import Settings

TYPE_CHECKING = False  # what is imported at the first leak
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
