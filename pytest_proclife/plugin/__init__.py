"""The pytest plugin: its options, its hooks, its fixture.

What pytest asks for at each start and of each test is in this one file, since every further one
would cost every suite a third of a millisecond. The rest is imported where it is first needed.
"""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder

import pytest

TYPE_CHECKING = False  # the records and the class bring the engine with them
if TYPE_CHECKING:
    from pytest_proclife.plugin.fixture import Proclife
    from pytest_proclife.records import Cause, ProcessRecord, Run

_MARKER = "proclife(start_methods=..., timeout=..., linger=...): the defaults of the fixture"
_GUARD_MARKER = "proclife_guard(allow=..., reason=...): processes that a test may leave behind"


def pytest_addoption(parser: pytest.Parser) -> None:
    option = parser.getgroup("proclife", "the fixture proclife").addoption
    text = "how long main may take (30; inf: no end)"
    option("--proclife-timeout", metavar="SECONDS", help=text)
    parser.addini("proclife_timeout", text, type="float", default=None)
    text = "how long what outlives main is watched, then ended (1)"
    option("--proclife-linger", metavar="SECONDS", help=text)
    parser.addini("proclife_linger", text, type="float", default=None)
    text = "run each test once for each of them: all, or some of fork,spawn,forkserver"
    option("--proclife-start-methods", metavar="NAMES", help=text)
    parser.addini("proclife_start_methods", text, type="args", default=None)
    _add_guard(parser)


def _add_guard(parser: pytest.Parser) -> None:
    option = parser.getgroup("proclife").addoption
    text = "fail tests that leave processes behind, or warn of them: error (if no more is said), "
    text += "warn, off"
    option("--proclife-guard", nargs="?", const="error", metavar="error|warn|off", help=text)
    parser.addini("proclife_guard", text, default="off")
    text = "how long the end of what a test left is awaited (1)"
    option("--proclife-guard-wait", metavar="SECONDS", help=text)
    parser.addini("proclife_guard_wait", text, default="1")
    text = "let the processes run on that were left"
    option("--proclife-guard-keep", action="store_const", const=True, help=text)
    parser.addini("proclife_guard_keep", text, type="bool", default=False)
    text = "a file of known leaks, which are no errors"
    option("--proclife-guard-baseline", metavar="FILE", help=text)
    parser.addini("proclife_guard_baseline", text, default="")
    text = "write the leaks of this run to the baseline, and fail for none of them"
    option("--proclife-guard-write-baseline", action="store_true", help=text)


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    pluginmanager.add_hookspecs(Hooks)
    if not pluginmanager.has_plugin("proclife"):
        # loaded as a module, by `-p pytest_proclife.plugin`: the entry point would be a second
        # registration, which is an error
        pluginmanager.set_blocked("proclife")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARKER)
    config.addinivalue_line("markers", _GUARD_MARKER)
    if any(_is_given(config, name) for name in ("timeout", "linger", "start_methods")):
        from pytest_proclife.plugin import settings

        settings.configured(config)  # a bad value is to be told at once
    guard = config.getoption("proclife_guard")
    if (config.getini("proclife_guard") if guard is None else guard) != "off":
        sys.meta_path.insert(0, _Unwritten)
        try:
            from pytest_proclife.guard import settings as guard_settings

            wanted = guard_settings.configured(config)
            from pytest_proclife.guard import plugin

            plugin.start(config, wanted)
        finally:
            sys.meta_path.remove(_Unwritten)


class _Unwritten:
    """Finds modules of ours before pytest does, which would look for asserts to rewrite in all that
    comes with a plugin. There are none, and it would cost each guarded suite half its start.
    """

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: object = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, path) if name.startswith("pytest_proclife.") else None


def _is_given(config: pytest.Config, name: str) -> bool:
    if config.getoption(f"proclife_{name}") is not None:
        return True
    try:
        return config.getini(f"proclife_{name}") is not None
    except (TypeError, ValueError, pytest.UsageError):
        return True


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "proclife" in metafunc.fixturenames:
        from pytest_proclife.plugin import settings

        settings.multiply(metafunc)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A wrong marker is an error of what it stands in, wherever it stands."""
    report = yield
    for node in (collector, *(report.result or ())):
        if any(mark.name in ("proclife", "proclife_guard") for mark in node.own_markers):
            from pytest_proclife.plugin import settings

            settings.check(collector, report)
            break
    return report


@pytest.fixture
def proclife(request: pytest.FixtureRequest) -> Iterator[Proclife]:
    """Run programs in real main processes, with the test's defaults; none outlives the test."""
    from pytest_proclife.plugin import fixture, report

    manager = request.config.pluginmanager
    if not manager.has_plugin(report.__name__):  # its hooks cost nothing before the first use
        manager.register(report, report.__name__)
    runner = fixture.Proclife(request.node, start_method=getattr(request, "param", None))
    report.show_where_it_fails(request.node, runner)
    yield runner
    runner.close()


class Hooks:
    """What other plugins and conftest.py files can answer."""

    @pytest.hookspec
    def pytest_proclife_run_finished(self, run: Run, item: pytest.Item) -> None:
        """A run of the fixture's is over, one that timed out too; nothing of it is left.

        Of a main that was started, this is told when its test is over.
        """

    @pytest.hookspec(firstresult=True)
    def pytest_proclife_cause(self, run: Run, process: ProcessRecord) -> Cause | str | None:
        """Why a process ended of which proclife cannot tell; None if you cannot tell either.

        Asked only where the cause would be `exited` or `unknown`. The first answer is the cause,
        and the evidence names the plugin that gave it. A word that is no cause is a ValueError.
        """
