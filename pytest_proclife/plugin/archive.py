"""What is kept of a session's runs: a folder for CI (--proclife-report), a page (--proclife-html).

Each test sends its runs with the report of its teardown. Under pytest-xdist that goes from the
worker to the controller, which alone writes.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_proclife.plugin.report import runs_of
from pytest_proclife.records import Run
from pytest_proclife.render import html

_NAME = 80  # characters of a test's name in that of a file
# What an earlier session wrote here; no other file is touched.
_OURS = re.compile(r".+-[0-9a-f]{8}-[0-9]+\.(json|html)")

_OUTCOME = pytest.StashKey[str]()
_FAILED_WITH = pytest.StashKey[list[Run]]()  # runs that an exception carried
_SENT = "proclife_runs"  # the attribute of a report; of a document each


def start(config: pytest.Config) -> None:
    """Keep the runs of this session. UsageError if the folder or the file cannot be made."""
    folder, page = config.getoption("proclife_report"), config.getoption("proclife_html")
    archive = Archive(
        config,
        folder=Path(folder) if folder else None,
        page=Path(page) if page else None,
        keep_all=config.getoption("proclife_report_runs") == "all",
    )
    if not archive.is_worker:
        archive.make_room()
    config.pluginmanager.register(archive, "proclife-archive")


class Archive:
    """The runs of a session, and where they are written."""

    def __init__(
        self, config: pytest.Config, *, folder: Path | None, page: Path | None, keep_all: bool
    ) -> None:
        self.config = config
        self.folder, self.page, self.keep_all = folder, page, keep_all
        self.is_worker = hasattr(config, "workerinput")
        self.kept: list[html.Kept] = []
        self.shown: list[html.Shown] = []
        self._numbers: Counter[str] = Counter()
        self._errors: list[str] = []

    def make_room(self) -> None:
        """Make the folders, and remove what an earlier session wrote."""
        try:
            if self.page is not None:
                self.page.parent.mkdir(parents=True, exist_ok=True)
            if self.folder is None:
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.config.option.collectonly:
                return
            for path in self.folder.iterdir():
                if _OURS.fullmatch(path.name):
                    path.unlink()
        except OSError as error:
            raise pytest.UsageError(f"--proclife-report, --proclife-html: {error}") from None

    # --- where the tests run

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if call.when == "setup":  # the first phase, also where a test is run again
            item.stash[_OUTCOME], item.stash[_FAILED_WITH] = "passed", []
        if report.outcome != "passed" and item.stash.get(_OUTCOME, "") != "failed":
            item.stash[_OUTCOME] = report.outcome
        run = getattr(call.excinfo.value, "run", None) if call.excinfo is not None else None
        if isinstance(run, Run):
            item.stash[_FAILED_WITH].append(run)
        if call.when == "teardown":
            outcome = item.stash[_OUTCOME]
            if self.page is not None or self.keep_all or outcome == "failed":
                runs = {_key(run): run for run in item.stash[_FAILED_WITH]}
                runs.update((_key(run), run) for run in runs_of(item))
                found = sorted(runs.values(), key=lambda run: run.started_at)
                # as text, which goes from a worker to the controller
                setattr(report, _SENT, [outcome, *(run.to_json() for run in found)])
        return report

    # --- where the results are

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write the runs of a test to files, and tell other plugins' reports their paths."""
        if self.is_worker or not hasattr(report, _SENT):
            return
        outcome, *texts = getattr(report, _SENT)
        delattr(report, _SENT)
        for text in texts:
            shown = html.Shown(run=Run.from_json(text), test=report.nodeid, outcome=outcome)
            if self.page is not None:
                self.shown.append(shown)
            if self.folder is not None and (self.keep_all or outcome == "failed"):
                try:
                    self._keep(report, shown, text, self.folder)
                except OSError as error:
                    self._errors.append(f"a run of {report.nodeid} could not be kept: {error}")

    def _keep(self, report: pytest.TestReport, shown: html.Shown, text: str, folder: Path) -> None:
        name = _file_name(report.nodeid)
        self._numbers[name] += 1
        name = f"{name}-{self._numbers[name]}"
        page = folder / f"{name}.html"
        (folder / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        page.write_text(html.render([shown]), encoding="utf-8")
        self.kept.append(html.Kept(shown=shown, page=page.name, document=f"{name}.json"))
        report.user_properties.append(("proclife", str(page)))  # of JUnit and reportlog
        link = {
            "name": f"run {self._numbers[_file_name(report.nodeid)]}",
            "format_type": "url",
            "content": self._path_for_pytest_html(page),
            "mime_type": None,
            "extension": None,
        }
        report.extras = [*getattr(report, "extras", []), link]  # type: ignore[attr-defined]  # of pytest-html

    def _path_for_pytest_html(self, page: Path) -> str:
        beside: Any = getattr(self.config.option, "htmlpath", None)
        return os.path.relpath(page, Path(beside).parent) if beside else str(page)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        if self.is_worker or self.config.option.collectonly:
            return
        try:
            if self.folder is not None:
                which = "every test" if self.keep_all else "each test that failed"
                note = f"The runs of {which}."
                if not self.kept:
                    note += " There are none."
                index = html.render_index(self.kept, note)
                (self.folder / "index.html").write_text(index, encoding="utf-8")
            if self.page is not None:
                self.page.write_text(html.render(self.shown), encoding="utf-8")
        except OSError as error:
            self._errors.append(f"the runs could not be written: {error}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> Generator[None, None, None]:
        """After pytest's own short summary: where the runs are."""
        yield
        for error in self._errors:
            terminalreporter.write_line(f"proclife: {error}", red=True)
        if self.kept and self.folder is not None:
            tests = len({entry.shown.test for entry in self.kept})
            count = f"{_count(len(self.kept), 'run')} of {_count(tests, 'test')}"
            terminalreporter.write_line(f"proclife: {count}: {self.folder / 'index.html'}")
        if self.page is not None and self.page.exists():
            count = _count(len(self.shown), "run")
            terminalreporter.write_line(f"proclife: a page of {count}: {self.page}")


def _key(run: Run) -> tuple[int, float]:
    return run.main.pid, run.started_at


def _file_name(test: str) -> str:
    """For a file of any system, and another one for each test."""
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", test)[-_NAME:].strip("-.")
    return f"{words}-{hashlib.sha256(test.encode(errors='surrogatepass')).hexdigest()[:8]}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
