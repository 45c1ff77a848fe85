#!/usr/bin/env python3
"""Run the tests on each Python with each pytest, against an installed wheel.

    python .ci/matrix.py                              every Python found, every pytest
    python .ci/matrix.py --python 3.13 --pytest 8.4   one combination
    python .ci/matrix.py --quick --cache FOLDER --keep
    python .ci/matrix.py --python 3.13 --pytest 8.4 --tests 'test_plugin_*.py'

Run it with a Python that has pip. The Pythons are looked for as python3.N on PATH
and among pyenv's versions; one that is not there is named and passed over.
Exit status: 0 where no combination failed, 1 where one did, 5 where none ran.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13", "3.14", "3.15")
PYTESTS = ("8.4", "9.0", "newest")
ROW = "{:<8}{:<10}{:<15}{:>9}  {}"

# Far above what any step takes: a hung test is to end as a failure with a log.
STEP_LIMIT = 900.0  # seconds

# What a Python must have to serve here. The shims of pyenv answer to every name and then
# fail, and some distributions leave ensurepip out: asking is the only way to know.
PROBE = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2], sys.executable)"


class StepFailed(Exception):
    """A step of a combination ended badly; the text says which and how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """One Python with one pytest, and the folder where they meet."""

    python: str
    pytest: str
    executable: Path
    chosen: str  # which tests, as pytest's -m has it
    tests: tuple[Path, ...]
    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "venv" / "bin"

    @property
    def requirements(self) -> list[str]:
        """The pytest, and what stands in for what it does not have yet."""
        if self.pytest == "newest":
            return ["pytest"]
        subtests = ["pytest-subtests"] if self.pytest.startswith("8.") else []
        return [f"pytest=={self.pytest}.*", *subtests]


def find_python(version: str) -> Path | None:
    """Return the first working interpreter of this version, or None."""
    for candidate in places_of(version):
        probe = subprocess.run(
            [candidate, "-c", PROBE],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        found, _, executable = probe.stdout.strip().partition(" ")
        if probe.returncode == 0 and found == version:
            return Path(executable)
    return None


def places_of(version: str) -> Iterator[str]:
    """Yield where an interpreter of this version is: PATH first, then pyenv, newest first."""
    for entry in os.get_exec_path():
        if found := shutil.which(f"python{version}", path=entry):
            yield found
    if pyenv := shutil.which("pyenv"):
        root = subprocess.check_output([pyenv, "root"], text=True).strip()
        # A full match, so that neither a free-threaded build ("3.13.0t") nor a named
        # environment is taken for the plain interpreter.
        plain = re.compile(re.escape(version) + r"\.(\d+)")
        folders = Path(root, "versions").glob(f"{version}.*")
        matches = filter(None, (plain.fullmatch(folder.name) for folder in folders))
        for match in sorted(matches, key=lambda match: int(match[1]), reverse=True):
            yield f"{root}/versions/{match[0]}/bin/python"


def files_of(pattern: str) -> list[Path]:
    """The files in tests/ of a pattern; it is an error if there are none, as after a renaming."""
    return sorted((ROOT / "tests").glob(pattern)) or sys.exit(f"no test file is {pattern}")


def build_wheel(into: Path) -> Path:
    """Build the project's wheel into a new folder and return its path."""
    shutil.rmtree(into, ignore_errors=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", into, ROOT],
        stdin=subprocess.DEVNULL,
        check=True,
    )
    (wheel,) = into.glob("*.whl")
    return wheel


def run_step(combination: Combination, name: str, command: list[str | Path]) -> str:
    """Run a command as in the activated environment and return the last line that it printed.

    Its output is added to the log. Raises StepFailed where it ends with anything but 0.
    """
    log = combination.folder / "log"
    # An empty folder: "python -c" puts the current one on sys.path, and the package that
    # is to be found is the installed one.
    away = combination.folder / "away"
    away.mkdir(exist_ok=True)
    with log.open("ab") as output:
        output.write(f"\n$ {' '.join(map(str, command))}\n".encode())
        output.flush()
        try:
            status = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=away,
                env={**os.environ, "PATH": f"{combination.bin}:{os.environ['PATH']}"},
                timeout=STEP_LIMIT,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            raise StepFailed(f"{name} did not end in {STEP_LIMIT:.0f} s") from None
    last = log_of(combination)[-1].strip("= ")
    if status:
        raise StepFailed(f"{name} ended with {status}: {last}")
    return last


def log_of(combination: Combination) -> list[str]:
    text = (combination.folder / "log").read_text(encoding="utf-8", errors="backslashreplace")
    return text.rstrip().splitlines()


def prepare(combination: Combination, wheel: Path) -> None:
    """Make a combination's environment, or renew the one that an earlier run kept."""
    combination.folder.mkdir(parents=True, exist_ok=True)
    (combination.folder / "log").unlink(missing_ok=True)
    python = combination.bin / "python"
    pip: list[str | Path] = [python, "-m", "pip"]
    if python.exists():
        # pip takes a wheel of the same version for the one that is installed.
        run_step(combination, "pip", [*pip, "uninstall", "--quiet", "--yes", "pytest-proclife"])
    else:
        venv = combination.folder / "venv"
        run_step(combination, "venv", [combination.executable, "-m", "venv", venv])
    wanted = [f"{wheel}[test]", *combination.requirements]
    run_step(combination, "pip", [*pip, "install", "--quiet", "--upgrade", *wanted])


def run_tests(combination: Combination) -> str:
    cache = f"cache_dir={combination.folder / 'pytest-cache'}"
    settings = ROOT / "pyproject.toml"
    pytest = combination.bin / "pytest"
    chosen = ["-m", combination.chosen, "-n", "2", "--dist", "worksteal"]
    command: list[str | Path] = [pytest, "-c", settings, "-o", cache, *chosen, *combination.tests]
    return run_step(combination, "pytest", command)


def run_cases(combination: Combination, cases: Path) -> str:
    """Hold the observer against programs whose lifecycle is known, one start method each."""
    command: list[str | Path] = [combination.bin / "python", cases, "--quick"]
    notes = []
    folders: dict[str, list[str | Path]] = {
        "cases": [],
        "faults": ["--folder", cases.parent / "faults"],
    }
    for name, more in folders.items():
        try:
            notes.append(run_step(combination, name, [*command, *more]))
        except StepFailed:
            # So it ends where it has no case for this Python, which is no fault of ours.
            if not log_of(combination)[-1].startswith("0 of 0 "):
                raise
            notes.append(f"no {name}")
    return "; ".join(notes)


def run_combination(combination: Combination, wheel: Path, cases: Path | None) -> bool:
    """Run one combination, print its row, and its log where it failed."""
    begun = time.monotonic()
    try:
        prepare(combination, wheel)
        note = run_tests(combination)
        if cases:
            note += "; " + run_cases(combination, cases)
        failure = None
    except StepFailed as error:
        failure = note = str(error)
    seconds = f"{time.monotonic() - begun:.1f} s"
    result = "failed" if failure else "ok"
    print(ROW.format(combination.python, combination.pytest, result, seconds, note), flush=True)
    if failure:
        print(*(f"    {line}" for line in log_of(combination)), sep="\n", flush=True)
    return failure is None


def run_matrix(options: argparse.Namespace, cache: Path) -> int:
    """Run every combination asked for, one after the other, and return the exit status."""
    wheel = build_wheel(cache / "wheel")
    pytests = ["newest"] if options.quick else options.pytest or PYTESTS
    chosen = "not once and not slow" if options.quick else ""
    tests = [path for name in options.tests for path in files_of(name)]
    outcomes = []
    print(ROW.format("Python", "pytest", "result", "time", "").rstrip(), flush=True)
    for python in options.python or PYTHONS:
        executable = find_python(python)
        for number, pytest in enumerate(pytests):
            if executable is None:
                print(ROW.format(python, pytest, "not installed", "-", "").rstrip(), flush=True)
                continue
            folder = cache / f"python{python}-pytest{pytest}"
            combination = Combination(
                python=python,
                pytest=pytest,
                executable=executable,
                chosen=chosen,
                tests=tuple(tests) or (ROOT / "tests",),
                folder=folder,
            )
            # The cases run without pytest, so one of its versions is enough.
            cases = options.cases if number == 0 else None
            outcomes.append(run_combination(combination, wheel, cases))
            if not options.keep:
                shutil.rmtree(folder)
    return int(not all(outcomes)) if outcomes else 5


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    option = parser.add_argument
    option("--python", action="append", metavar="3.N", help="may be repeated")
    option("--pytest", action="append", metavar="M.N", help="or newest; may be repeated")
    option(
        "--quick", action="store_true", help="the newest pytest, not the tests marked once or slow"
    )
    option("--tests", action="append", default=[], metavar="PATTERN", help="of files in tests/")
    option("--cases", type=Path, help="a check.py to run, --quick, on each Python too")
    option("--cache", type=Path, help="folder of the environments (default: a temporary one)")
    option("--keep", action="store_true", help="keep the environments for the next time")
    option("--which", metavar="3.N", help="print where this Python is, and run nothing")
    options = parser.parse_args()
    if options.which:
        found = find_python(options.which)
        print(found or f"no Python {options.which}", file=sys.stdout if found else sys.stderr)
        return int(found is None)
    if options.keep and not options.cache:
        parser.error("--keep needs --cache: a temporary folder is not kept")
    if options.quick and options.pytest:
        parser.error("--quick is the newest pytest only: leave out --pytest")
    if options.cases:
        options.cases = options.cases.resolve()
    if options.cache:
        return run_matrix(options, options.cache.resolve())
    with tempfile.TemporaryDirectory(prefix="proclife-matrix-") as folder:
        return run_matrix(options, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
