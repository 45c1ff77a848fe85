"""The documentation does what it says: its examples run, its tables are complete.

A block of a page that stands below `<!-- file: NAME -->` is that file, in a folder for the page.
Files that are tests are run by one pytest, exercises by `proclife check`. A Python block without a
name is run by itself, but for one below `<!-- not run: REASON -->`.

With PROCLIFE_WRITE_PICTURES=1 the pictures of the causes are drawn anew, to be looked at before
they are kept.
"""

from __future__ import annotations

import argparse
import configparser
import importlib.resources
import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
from conftest import INSTALLED

import pytest_proclife
from pytest_proclife import cli, records
from pytest_proclife import errors as errors_module
from pytest_proclife.records import Cause, EvidenceKind, ProcessRecord, Run
from pytest_proclife.render import picture

pytestmark = pytest.mark.once

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
CAUSES = DOCS / "understand" / "causes"
PLUGIN = "proclife" if INSTALLED else "pytest_proclife.plugin"


@dataclass(frozen=True)
class Block:
    """A block of code: its language, its text, and the comment above it."""

    language: str
    text: str
    name: str
    is_run: bool


def blocks_of(path: Path) -> list[Block]:
    found = re.finditer(
        r"(?:<!-- (file|not run): ([^\n]*) -->\n)?```(\w*)\n(.*?)```", path.read_text(), re.DOTALL
    )
    return [
        Block(
            language=match[3],
            text=match[4],
            name=match[2] if match[1] == "file" else "",
            is_run=match[1] != "not run",
        )
        for match in found
    ]


def written(page: Path, folder: Path) -> list[Block]:
    """Write the files of a page; its blocks."""
    blocks = blocks_of(page)
    for block in blocks:
        if block.name:
            (folder / block.name).write_text(block.text)
    return blocks


def python(*words: str, cwd: Path) -> str:
    """The output of a Python. A failure fails the test."""
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    if not INSTALLED:
        env["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS))


WITH_CODE = [page for page in PAGES if any(b.language == "python" for b in blocks_of(page))]


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_the_examples_of_a_page_run(page: Path, tmp_path: Path) -> None:
    blocks = written(page, tmp_path)
    names = {block.name for block in blocks}
    tests = sorted(name for name in names if name.startswith("test_"))
    if tests:
        python(
            "-W",
            "error",
            "-m",
            "pytest",
            "--rootdir",
            str(tmp_path),
            "-p",
            PLUGIN,
            *tests,
            cwd=tmp_path,
        )
    for name in (name for name in names if name.endswith("exercise.py")):
        answer = name.replace("exercise.py", "answer.py")
        python("-m", "pytest_proclife", "check", name, answer, cwd=tmp_path)  # 0: all points
    for block in blocks:
        if block.language == "python" and not block.name:
            if not block.is_run:
                compile(block.text, block.name, "exec")
            elif "\ndef test_" in block.text:
                (tmp_path / "test_it.py").write_text(block.text)
                words = ["--rootdir", str(tmp_path), "-p", PLUGIN, "test_it.py"]
                python("-W", "error", "-m", "pytest", *words, cwd=tmp_path)
            else:
                python("-W", "error", "-c", block.text, cwd=tmp_path)


@pytest.mark.slow
def test_coverage_measures_what_runs_below(tmp_path: Path) -> None:
    pytest.importorskip("pytest_cov")
    written(DOCS / "howto" / "neighbours.md", tmp_path)
    options = ["-p", PLUGIN, "-p", "pytest_cov", "--cov", "--cov-report=json", "test_work.py"]
    python("-W", "error", "-m", "pytest", "--rootdir", str(tmp_path), *options, cwd=tmp_path)
    report = json.loads((tmp_path / "coverage.json").read_text())
    assert report["files"]["work.py"]["missing_lines"] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_other_blocks_of_a_page_can_be_read(page: Path) -> None:
    for block in blocks_of(page):
        if block.language == "ini":
            configparser.ConfigParser().read_string(block.text)
        elif block.language == "yaml":
            pytest.importorskip("yaml").safe_load(block.text)


# --- options, fields and values


def options_of(verb: str) -> set[str]:
    (verbs,) = (a for a in cli._parser()._actions if isinstance(a, argparse._SubParsersAction))
    words = (word for a in verbs.choices[verb]._actions for word in a.option_strings)
    return {word for word in words if word.startswith("--")} - {"--help"}


def options_of_pytest() -> set[str]:
    plugin = Path(pytest_proclife.__file__).parent / "plugin" / "__init__.py"
    return set(re.findall(r'"(--(?:no-)?proclife[a-z-]*)"', plugin.read_text()))


def words_of(name: str) -> set[str]:
    """What stands in backticks on a page."""
    return set(re.findall(r"`([^`\n]+)`", (DOCS / name).read_text()))


def first_words_of(name: str) -> set[str]:
    return {re.split(r"[ =(]", word)[0] for word in words_of(name)}


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.name)
def test_a_page_names_options_that_there_are(page: Path) -> None:
    ours = set().union(*map(options_of, ("run", "show", "grade", "check"))) | options_of_pytest()
    text = page.read_text()
    named = set(re.findall(r"(?<![\w-])--(?:no-)?proclife[a-z-]*", text))
    for line in re.findall(
        r"^ *(?:\$ )?proclife (?:run|show|grade|check)\b.*$", text, re.MULTILINE
    ):
        named |= set(re.findall(r"(?<![\w-])--[a-z-]+", line))
    assert named - ours == set()


def test_every_option_has_its_place() -> None:
    assert options_of_pytest() - first_words_of("reference/pytest.md") == set()
    for verb in ("run", "grade", "check"):
        assert options_of(verb) - first_words_of("reference/command-line.md") == set()


def test_every_field_has_its_place() -> None:
    words = words_of("reference/fields.md")
    for record in (Run, ProcessRecord):
        named = {field.name for field in fields(record) if not field.name.startswith("_")}
        assert named - words == set()
    text = (DOCS / "reference" / "fields.md").read_text()
    for line in re.findall(r"^\| `([a-z_]+)`", text, re.MULTILINE):
        assert hasattr(Run, line) or hasattr(ProcessRecord, line), line


def test_every_value_has_its_place() -> None:
    words = words_of("reference/values.md")
    for values in (records.KINDS, records.Role, records.Joined, Cause, records.Ending):
        assert {str(value) for value in values} - words == set()
    part = (DOCS / "reference" / "values.md").read_text().partition("## Kinds of evidence")[2]
    assert set(re.findall(r"^\| `(\w+)`", part, re.MULTILINE)) == {str(k) for k in EvidenceKind}


def test_every_public_name_has_its_place() -> None:
    text = "".join(page.read_text() for page in PAGES)
    there = set(re.findall(r"\w+", text))
    errors = set(vars(errors_module))  # the page on Python has that module whole
    assert set(pytest_proclife.__all__) - there - errors == set()
    verbs = {name for name in pytest_proclife.__all__ if name.startswith("assert_")}
    assert verbs - first_words_of("reference/assertions.md") == set()


def test_every_variable_has_its_place() -> None:
    package = Path(pytest_proclife.__file__).parent
    texts = [path.read_text() for path in package.rglob("*.py")]
    used = {name for text in texts for name in re.findall(r'"(PROCLIFE_[A-Z]+)"', text)}
    assert used <= words_of("reference/environment.md")


def test_the_schema_is_where_the_page_says() -> None:
    path = importlib.resources.files("pytest_proclife") / "schema.json"
    assert json.loads(path.read_text())["title"]


# --- the pictures of the causes


def test_each_cause_has_its_example_and_its_picture() -> None:
    page = (DOCS / "understand" / "causes.md").read_text()
    assert re.findall(r"^## `(\w+)`", page, re.MULTILINE) == list(Cause)
    for cause in Cause:
        assert f"](causes/{cause}.svg)" in page
        run = Run.from_json((CAUSES / f"{cause}.json").read_text())
        assert picture.render([run]) == (CAUSES / f"{cause}.svg").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("cause", list(Cause))
def test_the_example_of_a_cause_has_that_cause(cause: Cause, tmp_path: Path) -> None:
    written(DOCS / "understand" / "causes.md", tmp_path)
    run = pytest_proclife.run(f"{cause}.py", cwd=tmp_path, linger=0.3)
    (child,) = run.children[:1]
    assert child.cause == cause, f"{child.cause}\n{run}"
    if os.environ.get("PROCLIFE_WRITE_PICTURES"):
        CAUSES.mkdir(exist_ok=True)
        # without the paths of this machine
        text = run.to_json().replace(sys.executable, "python").replace(f"{tmp_path}/", "")
        run = Run.from_json(text)
        (CAUSES / f"{cause}.json").write_text(text + "\n")
        (CAUSES / f"{cause}.svg").write_text(picture.render([run]))
