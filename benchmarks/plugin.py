"""Print what the plugin costs a suite that does not use it.

    python benchmarks/plugin.py [--rounds N] [--tests N] [--only start] [--here]

Every round runs pytest without the plugin and with it, one after the other, over tests that do
nothing; a ratio is taken within its round. The start is timed inside pytest: from the import of
the plugin to the end of its `pytest_configure`, its bytecode being there, and compared with a
plugin that is empty.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import wheel
from costs import Spread, settle

ARGUMENTS = ["-q", "-p", "no:cacheprovider"]
# Loads a plugin as -p does; notes the processor time in seconds of its import and of all of it.
STOPWATCH = """
import importlib
import os
import pathlib
import time

def pytest_load_initial_conftests(early_config):
    name, manager = os.environ["PLUGIN"], early_config.pluginmanager
    manager.rewrite_hook.mark_rewrite(name)
    before = time.thread_time()
    importlib.import_module(name)
    imported = time.thread_time()
    manager.import_plugin(name)
    manager.get_plugin(name).pytest_configure(early_config)
    after = time.thread_time()
    pathlib.Path(__file__).with_name("start").write_text(f"{imported - before} {after - before}")
"""
PLUGIN, EMPTY = "pytest_proclife.plugin", "empty.plugin"


def main() -> None:
    parser = argparse.ArgumentParser(description="What the plugin costs who does not use it.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--tests", type=int, default=1000, help="that do nothing (1000)")
    parser.add_argument("--only", choices=["tests", "start"], help="one of the two")
    parser.add_argument(
        "--here",
        action="store_true",
        help="measure the package that this interpreter imports, not a wheel of the checkout",
    )
    options = parser.parse_args()
    if not options.here:
        with tempfile.TemporaryDirectory() as folder:
            python = wheel.install(Path(folder))
            sys.exit(subprocess.call([str(python), __file__, *sys.argv[1:], "--here"]))
    with tempfile.TemporaryDirectory() as name:
        report(Path(name), options.rounds, options.tests, options.only)


def report(folder: Path, rounds: int, tests: int, only: str | None) -> None:
    empty = folder / "empty" / "plugin.py"
    empty.parent.mkdir()
    (folder / "empty" / "__init__.py").touch()
    empty.write_text("def pytest_configure(config): pass\n")
    (folder / "stopwatch.py").write_text(STOPWATCH)
    many, one = folder / "test_many.py", folder / "test_one.py"
    many.write_text("".join(f"def test_{number}(): pass\n" for number in range(tests)))
    one.write_text("def test_it(): pass\n")
    print(
        f"CPython {platform.python_version()}, Linux {platform.release()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}.\n"
    )
    if only != "start":
        pairs = [(ratio(folder, many, PLUGIN), ratio(folder, many, EMPTY)) for _ in range(rounds)]
        ours, others = map(list, zip(*pairs, strict=True))
        print(f"- {tests} tests, with the plugin by without: {Spread.of(ours):.3f}.")
        print(f"  With an empty plugin by without: {Spread.of(others):.3f}.")
    if only != "tests":
        for plugin in (PLUGIN, EMPTY):
            pairs = [start(folder, one, plugin) for _ in range(1 + rounds)][1:]  # one compiled
            imports, starts = zip(*pairs, strict=True)
            for what, figures in (("import", imports), ("whole start", starts)):
                spread = f"{Spread.of(list(figures)):.2f}, at best {min(figures):.2f}"
                print(f"- Processor time of the {what} of {plugin}, ms: {spread}.")


def ratio(folder: Path, tests: Path, plugin: str) -> float:
    """How many times as long pytest takes with a plugin as without."""
    without = measured(folder, tests)
    return measured(folder, tests, "-p", plugin) / without


def start(folder: Path, tests: Path, plugin: str) -> tuple[float, float]:
    """Milliseconds for importing a plugin, and for all until it is configured."""
    measured(folder, tests, "-p", "stopwatch", PLUGIN=plugin)
    imported, configured = map(float, (folder / "start").read_text().split())
    return imported * 1000, configured * 1000


def measured(folder: Path, tests: Path, *options: str, **more: str) -> float:
    """Seconds that a pytest takes."""
    settle()
    command = [sys.executable, "-m", "pytest", *ARGUMENTS, *options, str(tests)]
    env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(folder), **more}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # each start would compile anew
    before = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - before
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return seconds


if __name__ == "__main__":
    main()
