"""The pytest plugin: its options, its hooks, its fixture.

The hooks that pytest calls at each start and for each test are all in this file, since another
import would cost every suite a third of a millisecond. The rest is imported at its first use.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder

import pytest

TYPE_CHECKING = False  # these import most of the package
if TYPE_CHECKING:
    from typing import Any

    from pytest_proclife.plugin.fixture import Proclife
    from pytest_proclife.records import Cause, ProcessRecord, Run

_MARKER = (
    "proclife(start_methods=..., timeout=..., linger=..., seccomp=...): "
    "set the defaults of the fixture"
)
_DEFAULTS = ("timeout", "linger", "start_methods", "seccomp")
_POLLING = pytest.StashKey[bool]()  # a worker's line was written
_GUARD = ("guard", "guard_wait", "guard_keep", "guard_baseline", "guard_write_baseline")
_NO_SETTING = "proclife_guard_write_baseline"  # an option alone
_GUARD_MARKER = "proclife_guard(allow=..., reason=...): processes that the test may leak"
_POINTS_MARKER = (
    "proclife_points(n, name=, visibility=, tags=): what a test of an exercise is worth; "
    "`proclife check` and `proclife grade` run exercises"
)


def pytest_addoption(parser: pytest.Parser) -> None:
    option = parser.getgroup("proclife", "the fixture proclife").addoption
    text = "seconds that main may take; inf for no limit (default: 30)"
    option("--proclife-timeout", metavar="SECONDS", help=text)
    parser.addini("proclife_timeout", text, type="float", default=None)
    text = "seconds to keep watching processes that outlive main, before killing them (default: 1)"
    option("--proclife-linger", metavar="SECONDS", help=text)
    parser.addini("proclife_linger", text, type="float", default=None)
    text = "start methods to run each test with: all, or some of fork,spawn,forkserver"
    option("--proclife-start-methods", metavar="NAMES", help=text)
    parser.addini("proclife_start_methods", text, type="args", default=None)
    text = "have the kernel report what processes do to each other, in whatever language (seccomp)"
    option("--proclife-seccomp", action="store_const", const=True, default=None, help=text)
    parser.addini("proclife_seccomp", text, type="bool", default=None)
    _add_archive(parser)
    _add_guard(parser)


def _add_archive(parser: pytest.Parser) -> None:
    option = parser.getgroup("proclife").addoption
    text = "write an HTML page with the runs of all tests"
    option("--proclife-html", metavar="FILE", help=text)
    text = "folder for the runs of failing tests, each as JSON and as an HTML page"
    option("--proclife-report", metavar="DIR", help=text)
    text = "which runs --proclife-report keeps: those of failed tests or all (default: failed)"
    option("--proclife-report-runs", choices=("failed", "all"), default="failed", help=text)


def _start_archive(config: pytest.Config) -> None:
    if config.getoption("proclife_html") or config.getoption("proclife_report"):
        from pytest_proclife.plugin import archive

        archive.start(config)


def _add_guard(parser: pytest.Parser) -> None:
    option = parser.getgroup("proclife").addoption
    for name, mode, text in (
        (
            "--proclife-guard",
            "error",
            "fail tests that leak processes, and kill the leaked processes",
        ),
        ("--proclife-guard-warn", "warn", "warn of leaked processes, and let them run"),
        ("--no-proclife-guard", "off", "do not look for leaks, whatever the settings say"),
    ):
        option(name, action="store_const", dest="proclife_guard", const=mode, help=text)
    text = "what to do about leaked processes: error, warn or off (default: off)"
    parser.addini("proclife_guard", text, default="off")
    text = "seconds to wait for leaked processes to exit, before killing them (default: 1)"
    option("--proclife-guard-wait", metavar="SECONDS", help=text)
    parser.addini("proclife_guard_wait", text, type="float", default=None)
    text = "do not kill leaked processes"
    option("--proclife-guard-keep", action="store_const", const=True, help=text)
    parser.addini("proclife_guard_keep", text, type="bool", default=None)
    text = "file of known leaks, which do not fail tests"
    option("--proclife-guard-baseline", metavar="FILE", help=text)
    parser.addini("proclife_guard_baseline", text, default=None)
    text = "write the leaks of this run to the baseline, and fail no test for them"
    option("--proclife-guard-write-baseline", action="store_const", const=True, help=text)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)
    if not pluginmanager.has_plugin("proclife"):
        # loaded by `-p pytest_proclife.plugin`: to load the entry point too would be an error
        pluginmanager.set_blocked("proclife")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    config.addinivalue_line("markers", _GUARD_MARKER)
    config.addinivalue_line("markers", _POINTS_MARKER)
    if any(_is_given(config, name) for name in _DEFAULTS):
        from pytest_proclife.plugin import settings

        settings.configured(config)  # reports a bad value before the first test
    _start_archive(config)
    if any(_is_given(config, name) for name in _GUARD):
        sys.meta_path.insert(0, _WithoutRewriting)
        try:
            from pytest_proclife.guard import settings as guard_settings

            given = guard_settings.configured(config)
            if given.mode != "off":
                from pytest_proclife.guard import plugin

                plugin.start(config, given)
        finally:
            sys.meta_path.remove(_WithoutRewriting)


class _WithoutRewriting:
    """Finds our modules before pytest's assertion rewriting does.

    pytest rewrites every module of a plugin. Ours have no test to rewrite, and it would take
    half the time that a guarded suite needs to start.
    """

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, path) if name.startswith("pytest_proclife.") else None


def _is_given(config: pytest.Config, name: str) -> bool:
    """Whether an option or a setting, without `proclife_`, has a value other than the default."""
    name = f"proclife_{name}"
    try:
        if config.getoption(name) is not None:
            return True
        return name != _NO_SETTING and config.getini(name) not in (None, "off")
    except (TypeError, ValueError, pytest.UsageError):
        return True  # and wrong, as `configured` reports


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "proclife" in metafunc.fixturenames:
        from pytest_proclife.plugin import settings

        settings.parametrize(metafunc)
    elif "submission" in metafunc.fixturenames:
        from pytest_proclife.plugin import settings

        settings.check_exercise(metafunc)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Report a wrong marker as an error of the module or class that it is in."""
    report = yield
    for node in (collector, *(report.result or ())):
        if any(mark.name in ("proclife", "proclife_guard") for mark in node.own_markers):
            from pytest_proclife.plugin import settings

            settings.check_markers(collector, report)
            break
    return report


def pytest_exception_interact(
    call: pytest.CallInfo[Any], report: pytest.CollectReport | pytest.TestReport
) -> None:
    """Name the process and the fact in the short summary, for tests without the fixture too."""
    error = call.excinfo.value if call.excinfo is not None else None
    if error is not None and type(error).__module__ == "pytest_proclife":
        from pytest_proclife.plugin import report as ours

        ours.shorten(report, error)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended: show once what it could not."""
    line = getattr(node, "workeroutput", {}).get("proclife_polling")
    if line and not node.config.stash.get(_POLLING, False):
        from pytest_proclife.plugin import fixture

        node.config.stash[_POLLING] = True
        fixture.write_line(node.config, line)


@pytest.fixture
def proclife(request: pytest.FixtureRequest) -> Iterator[Proclife]:
    """Run programs in real main processes, with the test's defaults; ends them with the test."""
    yield from _proclife_of(request)


@pytest.fixture(scope="module")
def proclife_module(request: pytest.FixtureRequest) -> Iterator[Proclife]:
    """As `proclife`, for fixtures of module scope; ends its programs with the module's tests."""
    yield from _proclife_of(request)


@pytest.fixture(scope="session")
def proclife_session(request: pytest.FixtureRequest) -> Iterator[Proclife]:
    """As `proclife`, for fixtures of session scope; ends its programs with the session."""
    yield from _proclife_of(request)


def _proclife_of(request: pytest.FixtureRequest) -> Iterator[Proclife]:
    from pytest_proclife.plugin import fixture, report

    manager = request.config.pluginmanager
    if not manager.has_plugin(report.__name__):  # its hooks cost nothing before the first use
        manager.register(report, report.__name__)
        report.fit_into_terminal(request.config)
    method = getattr(request, "param", None)
    runner = fixture.Proclife(request.node, start_method=method, request=request)
    report.show_on_failure(request.node, str(request.fixturename), runner)
    yield runner
    runner.close()


class Hooks:
    """Hooks that other plugins and conftest.py files can implement."""

    @pytest.hookspec
    def pytest_proclife_run_finished(self, run: Run, item: pytest.Item) -> None:
        """A run of the fixture is over, after a timeout too; none of its processes is left.

        For a main that `proclife.start` started, pytest calls this when the test is over. Of the
        fixtures `proclife_module` and `proclife_session`, `item` is the module or the session.
        """

    @pytest.hookspec(firstresult=True)
    def pytest_proclife_cause(self, run: Run, process: ProcessRecord) -> Cause | str | None:
        """Return why a process ended if proclife does not know; None if you do not know either.

        Called only if the cause would be `exited` or `unknown`. The first answer is the cause,
        and the evidence names the plugin that gave it. An answer that is not a cause raises
        ValueError.
        """
