"""In other people's suites: beside other plugins, under strict settings, loaded or not."""

from __future__ import annotations

import tomllib
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import INSTALLED, copy_into, mostly_slow

pytestmark = pytest.mark.once
ROOT = Path(__file__).parent.parent
SHOWN = ["*- proclife: run 1 of 1 -*", "*MainProcess *raised ZeroDivisionError, exit code 1"]


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


@pytest.fixture
def announced(suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite beside which our package is installed, so that pytest finds its entry point."""
    monkeypatch.delenv("PYTEST_PLUGINS")
    if not INSTALLED:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        points = project["entry-points"]["pytest11"]
        folder = suite.mkdir("installed") / "pytest_proclife-0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: pytest-proclife\nVersion: 0")
        lines = [f"{name} = {module}\n" for name, module in points.items()]
        (folder / "entry_points.txt").write_text("".join(["[pytest11]\n", *lines]))
        monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{folder.parent}")
    return suite


# --- how it is loaded


@pytest.mark.parametrize("name", mostly_slow(["proclife", "pytest_proclife.plugin"]))
def test_it_is_loaded_by_name_where_autoload_is_off(announced: pytest.Pytester, name: str) -> None:
    copy_into(announced, "beside_others.py")
    result = announced.runpytest_subprocess("-Werror", "-p", name)
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(SHOWN)


@pytest.fixture
def autoloaded(announced: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Every plugin that is installed is loaded, ours among them."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    return announced


@pytest.mark.parametrize(
    "options", mostly_slow([[], ["-p", "proclife"], ["-p", "pytest_proclife.plugin"]])
)
def test_it_is_loaded_where_it_is_installed(
    autoloaded: pytest.Pytester, options: list[str]
) -> None:
    copy_into(autoloaded, "beside_others.py")
    result = autoloaded.runpytest_subprocess(*options)
    result.assert_outcomes(passed=3, failed=1)


@pytest.mark.slow
def test_it_can_be_left_out(autoloaded: pytest.Pytester) -> None:
    autoloaded.makepyfile("""
        import sys

        def test_it(request):
            assert "pytest_proclife" not in sys.modules
            assert not hasattr(request.config.option, "proclife_timeout")
    """)
    autoloaded.runpytest_subprocess("-p", "no:proclife").assert_outcomes(passed=1)


@pytest.mark.slow
def test_its_name_is_in_pytests_list_of_plugins(autoloaded: pytest.Pytester) -> None:
    names = [point.name for point in entry_points(group="pytest11")]
    assert names.count("proclife") == INSTALLED
    result = autoloaded.runpytest_subprocess("--trace-config", "--collect-only")
    result.stdout.fnmatch_lines(["*proclife *: *plugin*__init__.py"])


# --- strict settings


@pytest.mark.slow
def test_strict_settings_change_nothing(suite: pytest.Pytester) -> None:
    strict = "strict = true\n" if pytest.version_tuple >= (9,) else ""
    suite.makeini(f"[pytest]\n{strict}proclife_timeout = 20\n")
    copy_into(suite, "beside_others.py")
    result = suite.runpytest_subprocess("--strict-markers", "--strict-config", "-Werror")
    result.assert_outcomes(passed=3, failed=1)


@pytest.mark.parametrize(
    ("settings", "methods"),
    [
        ("proclife_timeout = inf", "None"),
        ("proclife_timeout = 20\nproclife_linger = 0.5", "None"),
        ('proclife_start_methods = ["spawn"]', "'spawn'"),
    ],
)
def test_settings_have_the_types_of_toml(
    suite: pytest.Pytester, settings: str, methods: str
) -> None:
    table = "tool.pytest" if pytest.version_tuple >= (9,) else "tool.pytest.ini_options"
    suite.makepyprojecttoml(f"[{table}]\n{settings}\n")
    suite.makepyfile(f"""
        def test_it(proclife):
            assert proclife.start_method == {methods}
            assert proclife.run(["true"]).exitcode == 0
    """)
    suite.runpytest("-Werror").assert_outcomes(passed=1)


# --- beside other plugins


@needs("xdist")
def test_beside_xdist(suite: pytest.Pytester) -> None:
    copy_into(suite, "beside_others.py")
    result = suite.runpytest_subprocess("-Werror", "-p", "xdist", "-n", "2")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(SHOWN)


@pytest.mark.slow
@needs("xdist")
@pytest.mark.parametrize("base", mostly_slow(["object", "unittest.TestCase"]))
def test_a_bad_marker_is_told_beside_xdist(suite: pytest.Pytester, base: str) -> None:
    suite.makepyfile(f"""
        import unittest
        import pytest

        class TestIt({base}):
            @pytest.mark.proclife(timeout=-1)
            @pytest.mark.usefixtures("proclife")
            def test_it(self):
                pass
    """)
    result = suite.runpytest_subprocess("-Werror", "-p", "xdist", "-n", "2")
    assert result.ret != 0
    assert "timeout must be a number of seconds, 0 or more, not -1" in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()


@pytest.mark.slow
@needs("pytest_cov")
def test_beside_pytest_cov(suite: pytest.Pytester) -> None:
    copy_into(suite, "beside_others.py")
    result = suite.runpytest_subprocess("-Werror", "-p", "pytest_cov", "--cov=.", "--cov-branch")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines([*SHOWN, "test_it.py *100%"])


@pytest.mark.slow
@needs("pytest_timeout")
@pytest.mark.parametrize("method", mostly_slow(["signal", "thread"]))
def test_beside_pytest_timeout(suite: pytest.Pytester, method: str) -> None:
    copy_into(suite, "beside_others.py")
    options = ["-p", "timeout", "--timeout=60", f"--timeout-method={method}"]
    suite.runpytest_subprocess("-Werror", *options).assert_outcomes(passed=3, failed=1)


@pytest.mark.slow
@needs("pytest_asyncio")
def test_beside_pytest_asyncio(suite: pytest.Pytester) -> None:
    suite.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
    copy_into(suite, "beside_asyncio.py")
    suite.runpytest_subprocess("-Werror", "-p", "asyncio").assert_outcomes(passed=3)


@pytest.mark.slow
@needs("pytest_randomly")
def test_beside_pytest_randomly(suite: pytest.Pytester) -> None:
    copy_into(suite, "beside_others.py")
    result = suite.runpytest_subprocess("-Werror", "-p", "randomly")
    result.assert_outcomes(passed=3, failed=1)


@pytest.mark.skipif(
    pytest.version_tuple < (9,) and find_spec("pytest_subtests") is None,
    reason="pytest_subtests is not installed",
)
def test_beside_subtests(suite: pytest.Pytester) -> None:
    suite.makepyfile("""
        import pytest
        from pytest_proclife import Code

        def test_it(proclife, subtests):
            for text in ("pass", "1/0", "1/0"):
                with subtests.test(text):
                    assert proclife.run(Code(text)).exitcode == 0
    """)
    options = [] if pytest.version_tuple >= (9,) else ["-p", "subtests"]
    result = suite.runpytest_subprocess("-Werror", *options)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*- proclife: run 2 of 2 -*", "*- proclife: run 3 of 3 -*"])
    assert sum("proclife: run" in line for line in result.outlines) == 3
