"""Orphans: processes whose parents are gone, whatever they have closed, cleared and left."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from guarding import SUITES, accounts, guarded, line_of

ORPHANS = SUITES / "guard_orphans.py"
HOWS = (
    *("default", "session", "close_fds", "no_environment", "no_environment_in_a_session"),
    *("pass_fds", "shell", "double_fork", "nohup", "setsid", "setsid --fork"),
)
COMPILERS = {
    "daemonize.c": ("cc", "-o"),
    "runtime.rs": ("rustc", "-o"),
}


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a program for each compiler that is installed."""
    folder = tmp_path_factory.mktemp("tools")
    for source, (compiler, *options) in COMPILERS.items():
        if shutil.which(compiler) is not None:
            name = source.partition(".")[0]
            command = [compiler, *options, str(folder / name), str(SUITES / source)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
    return folder


def work(monkeypatch: pytest.MonkeyPatch, tools: Path, *command: str) -> None:
    program = shutil.which(command[0])
    assert program is not None
    monkeypatch.setenv("WORK", " ".join((program, *command[1:])))
    monkeypatch.setenv("TOOLS", str(tools))


@pytest.mark.slow
def test_the_child_of_a_program_that_is_gone_is_a_leak_however_it_was_started(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tools: Path
) -> None:
    work(monkeypatch, tools, "sleep", "600")
    result = guarded(suite, ORPHANS, "--tb=short", wait=0.1)
    hows = (*HOWS, *(path.name for path in tools.iterdir()))
    result.assert_outcomes(passed=2 * len(hows) + 3)
    start = f" started at test_suite.py:{line_of(ORPHANS, 'the start')} in test_it"
    missed = []
    for how in hows:
        for end in ("returns", "is_killed"):
            leaks = accounts(result, f"test_suite.py::test_it[{how}-{end}]")
            if not (len(leaks) == 1 and leaks[0].startswith("sleep (") and start in leaks[0]):
                missed.append((how, end, leaks))
    assert missed == []
    (leak,) = accounts(result, "test_suite.py::test_with_descriptors_of_its_own")
    assert f":{line_of(ORPHANS, 'with pass_fds')} in " in leak
    for name in ("test_by_a_fork_server", "test_by_a_later_process_of_that_fork_server"):
        (leak,) = accounts(result, f"test_suite.py::{name}")
        assert leak.startswith("sleep (")


def test_such_a_child_that_ends_by_itself_is_not_a_leak(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tools: Path
) -> None:
    work(monkeypatch, tools, "true")
    result = guarded(suite, ORPHANS, "--tb=short", wait=60)
    assert "leaked" not in result.stdout.str()
    assert result.ret == 0


def test_what_a_test_and_its_programs_see_of_environment_and_limits_is_as_it_was(
    suite: pytest.Pytester,
) -> None:
    text = """
    import resource
    def limits(): return resource.getrlimit(resource.RLIMIT_RTTIME)
    before = limits()
    def test_it():
        variables = dict(os.environb)
        found = subprocess.run(["env", "-0"], stdout=subprocess.PIPE, check=True).stdout
        names = {each.partition(b"=")[0] for each in found.split(b"\\0")[:-1]}
        by_readline = {b"COLUMNS", b"LINES"}  # in C's environment alone
        assert names - by_readline == {*variables} - by_readline
        found = subprocess.run(["/usr/bin/env"], stdout=subprocess.PIPE, env={}).stdout
        assert found == b""
        with pytest.raises(FileNotFoundError):
            subprocess.run(["no-such-program"])
        os.waitpid(os.fork() or os._exit(0), 0)
        os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        os.system("true")
        assert dict(os.environb) == variables
        assert limits() == before
    def test_has_a_limit_of_its_own():
        own = 10**9, before[1]
        resource.setrlimit(resource.RLIMIT_RTTIME, own)
        subprocess.run("sleep 600 &", shell=True)
        assert limits() == own
        resource.setrlimit(resource.RLIMIT_RTTIME, before)
    """
    result = guarded(suite, text)
    result.assert_outcomes(passed=2)
    assert "1 leaked" in result.stdout.str()


def test_where_the_limit_is_set_already_a_descriptor_finds_orphans(
    suite: pytest.Pytester,
) -> None:
    suite.makeconftest("""
    import resource
    resource.setrlimit(resource.RLIMIT_RTTIME, (10**9, 10**9))
    """)
    text = """
    import resource
    def test_leaves():
        subprocess.run("sleep 600 &", shell=True)
        assert resource.getrlimit(resource.RLIMIT_RTTIME) == (10**9, 10**9)
    def test_joins():
        os.waitpid(os.fork() or os._exit(0), 0)
    """
    result = guarded(suite, text)
    result.assert_outcomes(passed=2)
    (leak,) = accounts(result, "test_suite.py::test_leaves")
    assert "started by sh, which was started at test_suite.py:8 in test_leaves" in leak
