"""What CI keeps: --proclife-report and --proclife-html, alone and beside other reports."""

from __future__ import annotations

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import copy_into

from pytest_proclife.records import Run

# The suite's failing tests have these runs.
KEPT = {"test_it.py::test_fails": ["first", "second"], "test_it.py::test_claims[<b>/../x]": ["3"]}


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


def kept_in(folder: Path) -> dict[str, list[str]]:
    """By test, as the index names it: the targets of its runs."""
    index = (folder / "index.html").read_text()
    found: dict[str, list[str]] = {}
    for test, page, document in re.findall(
        r'<tr><td>([^<]*)</td><td>failed</td><td><a href="([^"]*)">.*?<a href="([^"]*)">', index
    ):
        run = Run.from_json((folder / document).read_text())
        assert run.target.text.partition("#")[0].strip() in (folder / page).read_text()
        name = test.replace("&lt;", "<").replace("&gt;", ">")
        found.setdefault(name, []).append(run.target.text.partition("#")[2])
    return found


@pytest.mark.parametrize(
    "options",
    [[], pytest.param(["-p", "xdist", "-n", "2"], marks=[needs("xdist"), pytest.mark.once])],
)
def test_the_runs_of_failing_tests_are_kept(suite: pytest.Pytester, options: list[str]) -> None:
    copy_into(suite, "archived.py")
    result = suite.runpytest_subprocess(
        *options, "--proclife-report=kept", "--proclife-html=all/runs.html"
    )
    result.assert_outcomes(failed=2, passed=1)
    result.stdout.fnmatch_lines(
        [
            "*short test summary info*",
            "proclife: 3 runs of 2 tests: kept/index.html",
            "proclife: a page of 4 runs: all/runs.html",
        ]
    )
    assert kept_in(suite.path / "kept") == KEPT
    assert len(list((suite.path / "kept").iterdir())) == 7
    page = (suite.path / "all" / "runs.html").read_text()
    assert page.count('<section class="run"') == 4
    assert "test_it.py::test_passes (passed)" in page


def test_all_runs_are_kept_on_demand_and_those_of_an_earlier_session_go(
    suite: pytest.Pytester,
) -> None:
    copy_into(suite, "archived.py")
    folder = suite.mkdir("kept")
    for name in ("test_old-01234567-1.json", "mine.html", "notes.json"):
        (folder / name).write_text("")
    result = suite.runpytest(
        "--proclife-report=kept", "--proclife-report-runs=all", "-k", "test_passes"
    )
    result.stdout.fnmatch_lines(["proclife: 1 run of 1 test: kept/index.html"])
    names = sorted(path.name for path in folder.iterdir())
    assert [re.sub("[0-9a-f]{8}", "digest", name) for name in names] == [
        "index.html",
        "mine.html",
        "notes.json",
        "test_it.py-test_passes-digest-1.html",
        "test_it.py-test_passes-digest-1.json",
    ]


def test_nothing_is_said_where_nothing_is_kept(suite: pytest.Pytester) -> None:
    copy_into(suite, "archived.py")
    result = suite.runpytest("--proclife-report=kept", "-k", "test_passes")
    result.stdout.no_fnmatch_line("proclife: *")
    assert "There are none." in (suite.path / "kept" / "index.html").read_text()
    assert len(list((suite.path / "kept").iterdir())) == 1


def test_a_folder_that_cannot_be_made_is_an_error_before_the_first_test(
    suite: pytest.Pytester,
) -> None:
    copy_into(suite, "archived.py")
    result = suite.runpytest("--proclife-report=test_it.py/folder")
    assert result.ret is pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --proclife-report, --proclife-html: *Not a directory*"])


def test_a_full_disk_is_said_and_changes_no_result(suite: pytest.Pytester) -> None:
    copy_into(suite, "archived.py")
    result = suite.runpytest("--proclife-html=/dev/full", "-k", "test_passes")
    result.assert_outcomes(passed=1, deselected=2)
    result.stdout.fnmatch_lines(["proclife: the runs could not be written: *No space left*"])


@pytest.mark.once
@needs("pytest_html")
@needs("pytest_reportlog")
def test_other_reports_get_a_link(suite: pytest.Pytester) -> None:
    copy_into(suite, "archived.py")
    plugins = ["pytest_html.plugin", "pytest_metadata.plugin", "pytest_reportlog.plugin"]
    suite.runpytest_subprocess(
        *(word for name in plugins for word in ("-p", name)),
        *("--html=reports/all.html", "--report-log=log.json", "--junit-xml=junit.xml"),
        *("--proclife-report=kept", "-k", "test_fails"),
    )
    (first, second) = sorted(path.name for path in (suite.path / "kept").glob("test*.html"))
    junit = (suite.path / "junit.xml").read_text()
    assert re.findall('<property name="proclife" value="([^"]*)"', junit) == [
        f"kept/{first}",
        f"kept/{second}",
    ]
    page = (suite.path / "reports" / "all.html").read_text()
    assert f"../kept/{first}" in page
    lines = (suite.path / "log.json").read_text().splitlines()
    properties = [json.loads(line).get("user_properties") for line in lines]
    assert [["proclife", f"kept/{first}"], ["proclife", f"kept/{second}"]] in properties
    assert "proclife_runs" not in "".join(lines)


def test_the_runs_of_a_failing_test_fit_the_terminal_and_have_its_colours(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_into(suite, "archived.py")
    suite.makeconftest("""
        def pytest_runtest_logreport(report):
            # what other reports get has none
            assert "\\x1b" not in "".join(text for _, text in report.sections)
    """)
    monkeypatch.setenv("COLUMNS", "132")
    result = suite.runpytest("--color=yes", "-k", "test_fails")
    heads = [line for line in result.outlines if "why it ended" in line]
    assert len(heads) == 2
    assert all(line.startswith("\x1b[2m") for line in heads)
    bars = [line.count("━") for line in result.outlines if "MainProcess" in line]
    assert max(bars) > 40  # as wide as there is
