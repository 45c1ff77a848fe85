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
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
EXAMS = ("daemon", "nondaemon")
# An exercise needs a submission: test_grade.py holds it.
EXAMPLES = [block for block in BLOCKS if "(submission)" not in block]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_an_example_of_the_readme_runs(number: int, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error"]
    if "\ndef test_" in EXAMPLES[number]:
        path = tmp_path / "test_example.py"
        path.write_text(EXAMPLES[number])
        plugin = "proclife" if INSTALLED else "pytest_proclife.plugin"
        command += ["-m", "pytest", "--rootdir", str(tmp_path), "-p", plugin, str(path)]
    else:
        command += ["-c", EXAMPLES[number]]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_quick_start_has_two_commands_of_one_line_each() -> None:
    quick_start = README.partition("## Quick start")[2].partition("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 2
    assert all(block.count("\n") == 1 and block in quick_start for block in blocks)


def test_the_picture_is_what_the_terminal_shows() -> None:
    picture = README.partition("<!-- picture -->\n```\n")[2].partition("```\n<!-- end")[0]
    options = ["--start-method", "fork"]  # the other methods would add their helpers
    command = [sys.executable, "-m", "pytest_proclife", "run", *options, "examples/exam_daemon.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert _shape(done.stderr.lstrip("\n")) == _shape(picture)


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
