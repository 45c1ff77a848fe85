"""The README does what it says: its picture is real, its examples run, its commands are two."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import INSTALLED

import pytest_proclife
from pytest_proclife import cli
from pytest_proclife.records import ProcessRecord, Run
from pytest_proclife.render import picture
from pytest_proclife.render.phases import PhaseKind, phases_of

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", README, re.DOTALL))
EXAMS = ("daemon", "nondaemon")
SUITE = ["-p", "proclife" if INSTALLED else "pytest_proclife.plugin", "-p", "no:cacheprovider"]


def pytest_of(folder: Path, *words: str) -> str:
    """What a pytest prints, in 80 columns, for the files of the README."""
    for name, text in FILES.items():
        (folder / name).write_text(text)
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "COLUMNS": "80"}
    command = [sys.executable, "-W", "error", "-m", "pytest", *SUITE, *words]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    return done.stdout


@pytest.mark.slow
def test_the_first_test_fails_as_it_says(tmp_path: Path) -> None:
    failure = README.partition("<!-- failure -->\n```\n")[2].partition("```\n<!-- end")[0]
    told = pytest_of(tmp_path, "test_report.py")
    begin = told.index(">       assert_returned")
    end = told.index("\n", told.index("FAILED test_report.py"))
    assert _shape(_without_path(failure)) == _shape(_without_path(told[begin:end]))
    assert max(map(len, failure.splitlines()[2:])) <= 80


@pytest.mark.slow
def test_the_guard_finds_the_leak_that_it_says(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```\n(test_server.py::.*?)```", README, re.DOTALL)
    told = pytest_of(tmp_path, "--proclife-guard", "test_server.py")
    begin = told.index("test_server.py::test_the_server_answers leaked")
    account = told[begin:].partition("\n\n  The guard has killed")[0]
    assert _shape(account) == _shape(shown)


def test_the_two_set_up_commands_stand_at_the_end() -> None:
    part = README.partition("## From a clone")[2]
    blocks = re.findall(r"```sh\n(.*?)```", part, re.DOTALL)
    assert len(blocks) == 2
    assert all(block.count("\n") == 1 for block in blocks)


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 150


def test_its_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert link.startswith("https://") or (ROOT / link).exists(), link


def _without_path(text: str) -> str:
    """Without the line that started a process, whose folder may break it into several."""
    return re.sub(r"started it at.*?<module>", "started it", text, flags=re.DOTALL)


def _shape(text: str) -> str:
    """The words, with pids, times, versions, bars and the places of line breaks left out."""
    text = re.sub(r"^━ own code.*", "", text, flags=re.MULTILINE)  # of the signs in the bars
    text = re.sub(r"\d+\.\d+(\.\d+)?", "0.0", text)
    text = re.sub(r"[━╌·!┫]{2,}", "", text)
    return re.sub(r"\b\d{2,7}\b", "pid", " ".join(text.split()))


def test_the_picture_of_the_exams_is_what_their_documents_show() -> None:
    folder = ROOT / "docs" / "exams"
    runs = [Run.from_json((folder / f"{name}.json").read_text()) for name in EXAMS]
    assert picture.render(runs) == (folder / "exams.svg").read_text()
    assert "](docs/exams/exams.svg)" in README


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMS)
def test_the_document_of_an_exam_is_what_it_does(name: str) -> None:
    document = Run.from_json((ROOT / "docs" / "exams" / f"{name}.json").read_text())
    run = pytest_proclife.run(ROOT / document.target.text, start_method="fork")
    assert [_fate(process) for process in run] == [_fate(process) for process in document]
    for process, before in zip(run, document, strict=True):
        kinds, kinds_before = (
            [phase.kind for phase in phases_of(p) if phase.kind is not PhaseKind.ZOMBIE]
            for p in (process, before)
        )
        assert kinds == kinds_before


def _fate(process: ProcessRecord) -> tuple[object, ...]:
    return process.name, process.daemon, process.cause, process.exitcode, process.joined


def test_the_page_on_pictures_names_options_that_there_are() -> None:
    text = (ROOT / "docs" / "pictures.md").read_text()
    there = {word for verb in ("run", "show") for word in _options(cli._parser(), verb)}
    plugin = Path(pytest_proclife.__file__).parent / "plugin" / "__init__.py"
    there |= set(re.findall(r'"(--proclife[a-z-]*)"', plugin.read_text()))
    assert set(re.findall(r"--[a-z][a-z-]+", text)) <= there


def _options(parser: argparse.ArgumentParser, verb: str) -> list[str]:
    (verbs,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return [word for action in verbs.choices[verb]._actions for word in action.option_strings]
