"""What all tests share: their runs, shown if they fail, and a way to find leaked processes."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import container
import pytest

from pytest_proclife.records import Run
from pytest_proclife.render import screen

TARGETS = Path(__file__).parent / "targets"
INSTALLED = bool(entry_points(group="pytest11", name="proclife"))
# From a source tree nobody has announced the plugin; where it is installed pytest has it.
pytest_plugins = ["pytester"] if INSTALLED else ["pytester", "pytest_proclife.plugin"]

# A shell starts what it runs in its background with these ignored, and nohup with the last:
# the programs of the tests would inherit that, and no Ctrl-C would end them.
for number, disposition in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, disposition)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With PROCLIFE_NO_SKIP a skipped test is a failure: it shows nothing."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("PROCLIFE_NO_SKIP") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


# set in a pytest that runs one test in a pid namespace of its own
_OWN_PIDS = "PROCLIFE_TEST_OWN_PIDS"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test that chooses pids where no other program is started: others would get them."""
    if pyfuncitem.get_closest_marker("own_pids") is None or _OWN_PIDS in os.environ:
        return None
    words = [sys.executable, "-m", "pytest", "-q", "-m", "", "-p", "no:cacheprovider"]
    words += ["-c", str(pyfuncitem.config.inipath), f"{pyfuncitem.path}::{_own_name(pyfuncitem)}"]
    # a shell first: the first process of a pid namespace inherits orphans
    inner = ["sh", "-c", '"$@"; exit $?', "sh", *words]
    done = subprocess.run(
        [sys.executable, container.__file__, "--pids", "--proc", "own", "--", *inner],
        env={**os.environ, _OWN_PIDS: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == container.NOT_POSSIBLE:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def _own_name(function: pytest.Function) -> str:
    """What a node id has behind the file."""
    return function.nodeid.partition("::")[2]


# The runs of the current test: the last record of each main.
_runs: dict[tuple[int, float], Run] = {}
_SHOWN = 3  # runs of a failing test
_ROWS = 40  # processes of each whose evidence is shown


@pytest.fixture(autouse=True, scope="session")
def kept_runs() -> Iterator[None]:
    """Keep each record of a run that is made in a test, through whatever call."""
    make = Run.__init__

    def keep(run: Run, /, **fields: Any) -> None:
        make(run, **fields)
        _runs[run.main.pid, run.started_at] = run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "__init__", keep)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    _runs.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test shows its runs and their evidence: under load it may not fail twice."""
    report = yield
    if report.failed:
        for run in list(_runs.values())[-_SHOWN:]:
            report.sections.append((f"run of main {run.main.pid}", _with_evidence(run)))
    return report


def _with_evidence(run: Run) -> str:
    lines = [str(run), *(f"missing: {what}" for what in run.witness.missing)]
    for process in run.processes[:_ROWS]:
        lines += ["", f"{process.name} (pid {process.pid})"]
        lines += [f"{evidence.at} {evidence}" for evidence in process.evidence]
    return "\n".join([*lines, "", "its standard error:", (run.stderr or "")[-4000:]])


def mostly_slow(values: Iterable[Any], fast: int = 1) -> list[Any]:
    """Parameters of one thing: the first few for a plain pytest, and all of them for CI."""
    all_of_them = list(values)
    rest = [value if isinstance(value, tuple) else (value,) for value in all_of_them[fast:]]
    slow = [pytest.param(*value, marks=pytest.mark.slow) for value in rest]
    return [*all_of_them[:fast], *slow]


class Mark:
    """A variable in the environment by which all processes of a tree are known."""

    def __init__(self) -> None:
        self.value = uuid.uuid4().hex
        self.env = {**os.environ, "PROCLIFE_TEST_MARK": self.value}

    def living(self) -> list[int]:
        """The pids of the processes that carry the mark and are no zombies."""
        wanted = f"PROCLIFE_TEST_MARK={self.value}".encode()
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit():
                try:
                    text = Path(f"/proc/{name}/environ").read_bytes()
                    state = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()[0]
                except OSError:
                    continue  # it has ended
                if wanted in text and state not in "ZX":
                    found.append(int(name))
        return found

    def gone_within(self, seconds: float) -> bool:
        """Whether none is left in time; in an emulator that is `.ci/kernels`' multiple of it."""
        until = time.monotonic() + seconds * float(os.environ.get("PROCLIFE_SLOWER", "1"))
        while self.living():
            if time.monotonic() > until:
                return False
            time.sleep(0.01)  # /proc cannot be waited for
        return True


# What pytest's words, their lengths and their colours depend on.
_WORDS = ("CI", "BUILD_NUMBER", "COLUMNS", "FORCE_COLOR", "NO_COLOR", "PYTEST_ADDOPTS", "TERM")


@pytest.fixture(autouse=True)
def words_as_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever runs the tests, what another pytest or a program prints is the same."""
    for name in _WORDS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(screen, "_of_pytest", [])


@pytest.fixture(autouse=True)
def no_process_in_unit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test in unit/ that starts a process fails."""
    if request.path.parent.name == "unit":
        for name in ("os.fork", "os.posix_spawn", "subprocess.Popen.__init__"):
            monkeypatch.setattr(name, lambda *_, **__: pytest.fail("a unit test starts a process"))


@pytest.fixture
def mark() -> Iterator[Mark]:
    """A mark for the test's processes; those that a failing test leaves are ended."""
    mark = Mark()
    yield mark
    for pid in mark.living():
        with suppress(ProcessLookupError):  # a zygote ends just after its caller
            os.kill(pid, 9)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A named pipe on which a target says that it is ready."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], str]:
    """Write a program to a file; its path."""

    def write(text: str) -> str:
        path = tmp_path / "program.py"
        path.write_text(text)
        return str(path)

    return write


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Another project's tests, with our plugin and no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "pytest_proclife.plugin")
    if not INSTALLED:
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    return pytester


def copy_into(suite: pytest.Pytester, name: str) -> None:
    """Copy a file of targets/suites/ into another project: its tests, or its conftest."""
    target = "conftest.py" if name.endswith("_conftest.py") else "test_it.py"
    shutil.copy(TARGETS / "suites" / name, suite.path / target)
