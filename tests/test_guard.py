"""The guard, as a suite sees it: what is flagged, whose it is, where it was started."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import TARGETS

Suite = Callable[..., pytest.RunResult]

LEAKING = (TARGETS / "suite_leaking.py").read_text()
TIDY = (TARGETS / "suite_tidy.py").read_text()


@pytest.fixture
def guarded(suite: pytest.Pytester) -> Suite:
    """Run a suite in a process of its own, with the guard."""

    def run(text: str, *options: str, guard: str = "--proclife-guard=error") -> pytest.RunResult:
        suite.makepyfile(test_suite=text)
        plain = ("-p", "no:cacheprovider")
        return suite.runpytest_subprocess(guard, *plain, *options, timeout=120)

    return run


def line_of(comment: str) -> int:
    lines = LEAKING.splitlines()
    return next(n for n, line in enumerate(lines, 1) if line.endswith(f"# {comment}"))


LEAVE_ONE = """
    import subprocess
    kept = []
    def leave(program="sleep"):
        kept.append(subprocess.Popen([program, "600"]))
"""


def test_each_of_twelve_kinds_of_leak_is_named_with_the_line_that_started_it(
    guarded: Suite,
) -> None:
    result = guarded(LEAKING, "--proclife-guard-wait=0.2")
    said = result.stdout.str().partition("= proclife guard =")[2]
    expected = {
        "test_process_running": ("process", "1"),
        "test_daemon_left": ("process", "2"),
        "test_zombie": ("subprocess", "3"),
        "test_grandchild_of_a_shell": ("other", "4"),
        "test_pool_not_closed": ("pool_worker", "5"),
        "test_executor_not_shut_down": ("executor_worker", "6"),
        "test_manager": ("manager", "7"),
        "test_os_fork": ("os_fork", "8"),
        "test_double_fork": ("os_fork", "9 too: the line of the fork itself, which Python reports"),
        "test_leak_in_setup": ("subprocess", "10"),
        "test_leak_in_teardown_after_a_failure": ("subprocess", "11"),
        "fixture database (session) of test_suite.py": ("subprocess", "12"),
    }
    for owner, (kind, comment) in expected.items():
        found = re.search(rf"{re.escape(owner)}: .*\({kind}, pid \d+\).*", said)
        assert found is not None, owner
        assert f"test_suite.py:{line_of(comment)} in " in found[0]
    assert "13 processes left by 12 tests or fixtures" in said
    result.assert_outcomes(passed=12, failed=1)
    assert "12 leaked" in result.stdout.str()


def test_a_suite_that_ends_what_it_starts_hears_nothing(guarded: Suite) -> None:
    result = guarded(TIDY)
    result.assert_outcomes(passed=13)
    assert result.ret == 0
    assert "guard" not in result.stdout.str()


def test_what_was_left_is_gone_before_the_next_test(guarded: Suite) -> None:
    result = guarded(
        LEAVE_ONE
        + """
    def test_leaves():
        leave()
    def test_next():
        assert kept[0].poll() == -9
    """
    )
    result.assert_outcomes(passed=2)
    assert "1 leaked" in result.stdout.str()


def test_what_was_left_runs_on_where_it_is_to_be_kept(guarded: Suite) -> None:
    result = guarded(
        LEAVE_ONE
        + """
    def test_leaves():
        leave()
    def test_next():
        assert kept[0].poll() is None
        kept[0].kill()
        kept[0].wait()
    """,
        "--proclife-guard-keep",
        "--proclife-guard-wait=0",
    )
    result.assert_outcomes(passed=2)
    assert "1 leaked" in result.stdout.str()


def test_a_process_that_ends_by_itself_within_the_wait_and_is_waited_for_is_no_leak(
    guarded: Suite,
) -> None:
    result = guarded(
        """
        import os, subprocess, threading
        def test_thread_waits():
            reader, writer = os.pipe()
            process = subprocess.Popen(["cat"], stdin=reader)
            os.close(reader)
            def later():
                os.close(writer)
                process.wait()
            threading.Timer(0.2, later).start()
        """,
        "--proclife-guard-wait=30",
    )
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert result.duration < 20


def test_the_tests_own_failure_comes_first_and_the_leak_is_an_error_beside_it(
    guarded: Suite,
) -> None:
    # for the run without the guard
    end = "    import atexit\n    atexit.register(lambda: [one.kill() for one in kept])\n"
    test = "    def test_both():\n        leave()\n        assert kept == 'its own'\n"
    text = LEAVE_ONE + end + test
    bare = guarded(text, "--tb=short", guard="--proclife-guard=off")
    result = guarded(text, "--tb=short", "--proclife-guard-wait=0")
    result.assert_outcomes(failed=1)
    shown = result.stdout.str()
    failure = re.compile(r"=+ FAILURES =+\n(.*?)\n=+ ", re.DOTALL)
    address = re.compile(r"0x[0-9a-f]+|pid \d+")
    own, with_guard = (failure.search(r.stdout.str()) for r in (bare, result))
    assert own is not None
    assert with_guard is not None
    assert address.sub("", own[1]) == address.sub("", with_guard[1])
    assert shown.index("FAILURES") < shown.index("= LEAKS =")


def test_an_error_of_the_teardown_stays_and_the_leak_is_another(guarded: Suite) -> None:
    result = guarded(
        LEAVE_ONE
        + """
    import pytest
    @pytest.fixture
    def broken():
        yield
        leave()
        raise OSError("the fixture's own")
    def test_it(broken):
        pass
    """,
        "--proclife-guard-wait=0",
        "--junit-xml=junit.xml",
    )
    result.assert_outcomes(passed=1, errors=1)
    shown = result.stdout.str()
    assert "1 leaked" in shown
    assert shown.index("OSError: the fixture's own") < shown.index("= LEAKS =")
    assert "OSError: the fixture's own" in shown.partition("= ERRORS =")[2]


def test_it_warns_where_it_is_to_warn(guarded: Suite) -> None:
    text = LEAVE_ONE + "    def test_it():\n        leave()\n"
    result = guarded(text, "--proclife-guard-wait=0", guard="--proclife-guard=warn")
    assert result.ret == 0
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*ProcessLeakWarning: test_suite.py::test_it left 1 process*"])


def test_a_filter_makes_its_warning_an_error(guarded: Suite) -> None:
    text = LEAVE_ONE + "    def test_it():\n        leave()\n"
    strict = ("-W", "error::pytest_proclife.ProcessLeakWarning")
    result = guarded(text, "--proclife-guard-wait=0", *strict, guard="--proclife-guard=warn")
    assert result.ret == 1
    assert "1 leaked" in result.stdout.str()


def test_it_is_off_by_default_and_a_setting_switches_it_on(
    guarded: Suite, suite: pytest.Pytester
) -> None:
    text = LEAVE_ONE + "    def test_it():\n        leave()\n        kept[0].kill()\n"
    assert guarded(text, guard="-q").ret == 0
    suite.makeini("[pytest]\nproclife_guard = error\nproclife_guard_wait = 0\n")
    result = guarded(text, guard="-q")
    assert result.ret == 1
    assert "1 leaked" in result.stdout.str()


@pytest.mark.parametrize("scope", ["class", "module", "package", "session"])
def test_a_fixture_of_wider_scope_owns_what_it_starts(guarded: Suite, scope: str) -> None:
    result = guarded(
        LEAVE_ONE
        + f"""
    import pytest
    @pytest.fixture(scope="{scope}")
    def server():
        leave()
        yield kept[0]
    class TestIt:
        def test_one(self, server):
            assert server.poll() is None
        def test_two(self, server):
            assert server.poll() is None
    """,
        "--proclife-guard-wait=0",
    )
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert f"fixture server ({scope}) of test_suite.py" in said
    assert "1 leaked" in said


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("def setup_module():\n    leave()\ndef test_it(): pass\n", "setup_module/teardown_module"),
        (
            """
class TestIt:
    @classmethod
    def setup_class(cls): leave()
    def test_it(self): pass
""",
            "setup_class/teardown_class",
        ),
        (
            """
import unittest
class ItsTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls): leave()
    def test_it(self): pass
""",
            "setUpClass/tearDownClass",
        ),
    ],
    ids=["module", "class", "unittest"],
)
def test_what_the_set_up_of_a_module_or_a_class_starts_is_its_own(
    guarded: Suite, text: str, name: str
) -> None:
    head = "import subprocess\ndef leave(): subprocess.Popen(['sleep', '600'])\n"
    result = guarded(head + text, "--proclife-guard-wait=0", "-W", "ignore")
    result.assert_outcomes(passed=1)
    assert re.search(rf"{name} of test_suite\.py\S* left 1 process behind", result.stdout.str())


def test_what_a_fixtures_server_starts_later_is_the_fixtures(guarded: Suite) -> None:
    result = guarded(
        """
        import subprocess, pytest
        @pytest.fixture(scope="module")
        def shell():
            process = subprocess.Popen(
                ["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
            )
            yield process
            process.stdin.close()
            process.stdout.close()
            process.wait()
        def test_has_it_start_one(shell):
            shell.stdin.write("sleep 600 >&- & echo started\\n")
            assert shell.stdout.readline()
        def test_has_it_start_an_orphan(shell):
            shell.stdin.write("(sleep 601 >&- &) ; echo started\\n")
            assert shell.stdout.readline()
        """,
        "--proclife-guard-wait=0",
    )
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert "fixture shell (module) of test_suite.py left 2 processes behind" in said
    assert "command line: sleep 600" in said
    assert "command line: sleep 601" in said
    assert "1 leaked" in said


def test_what_a_test_starts_is_no_fixtures_that_ends_with_it(guarded: Suite) -> None:
    result = guarded(
        LEAVE_ONE
        + """
    import pytest
    @pytest.fixture(scope="module", autouse=True)
    def innocent():
        yield
    def test_it():
        leave()
    """,
        "--proclife-guard-wait=0",
    )
    assert "test_suite.py::test_it left 1 process behind" in result.stdout.str()


def test_what_a_library_starts_is_said_with_the_line_that_called_it(
    guarded: Suite, suite: pytest.Pytester
) -> None:
    library = suite.mkdir("site-packages") / "library.py"
    library.write_text(
        "import subprocess\n\ndef serve():\n    subprocess.Popen(['sleep', '600'])\n"
    )
    result = guarded(
        """
        import sys
        sys.path.append("site-packages")
        import library
        def test_it():
            library.serve()
        """,
        *("--proclife-guard-wait=0", "-W", "ignore"),
    )
    result.stdout.fnmatch_lines(
        "*started at site-packages/library.py:4 in serve, called at test_suite.py:5 in test_it"
    )


def test_what_is_left_when_the_session_is_stopped_is_told_too(guarded: Suite) -> None:
    result = guarded(
        LEAVE_ONE
        + """
    import pytest
    @pytest.fixture(scope="session")
    def server():
        leave()
    def test_one(server):
        assert 0
    def test_two(server):
        pass
    """,
        "-x",
        "--proclife-guard-wait=0",
    )
    result.assert_outcomes(failed=1)
    assert "fixture server (session) of test_suite.py left 1 process" in result.stdout.str()


def test_multiprocessings_own_helpers_are_no_leaks(guarded: Suite) -> None:
    result = guarded(
        """
        import multiprocessing, pytest
        @pytest.mark.parametrize("method", ["spawn", "forkserver"])
        def test_it(method):
            process = multiprocessing.get_context(method).Process(target=len, args=("",))
            process.start()
            process.join()
            assert process.exitcode == 0
        """
    )
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert "guard" not in result.stdout.str()


def test_a_process_of_a_fork_server_that_nobody_joined_is_one(guarded: Suite) -> None:
    result = guarded(
        """
        import multiprocessing, select
        kept = []
        def test_it():
            process = multiprocessing.get_context("forkserver").Process(target=len, args=("",))
            process.start()
            select.select([process.sentinel], [], [])
            kept.append(process)
        def test_next():
            pass
        """
    )
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert re.search(r"ForkServerProcess-\d+ \(process, pid \d+\), ended, never joined", said)
    assert "1 leaked" in said


def test_it_takes_no_wait_status_and_handles_no_signal(guarded: Suite) -> None:
    result = guarded(
        """
        import os, signal, subprocess, ctypes
        kept = []
        def test_leaves():
            kept.append(subprocess.Popen(["sh", "-c", "exit 7"], stdout=subprocess.PIPE))
            kept[0].stdout.read()
            kept[0].stdout.close()
            kept.append(os.fork())
            if kept[1] == 0:
                signal.pause()
        def test_statuses_are_there():
            assert kept[0].wait() == 7
            assert os.waitpid(kept[1], 0) == (kept[1], 9)
            assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
            is_reaper = ctypes.c_int()
            assert ctypes.CDLL(None).prctl(37, ctypes.byref(is_reaper), 0, 0, 0) == 0
            assert is_reaper.value == 0
        """,
        "--proclife-guard-wait=0",
    )
    result.assert_outcomes(passed=2)
    assert "1 leaked" in result.stdout.str()


def test_what_was_there_before_the_tests_is_nobodys(guarded: Suite, suite: pytest.Pytester) -> None:
    suite.makeconftest(
        """
        import subprocess
        early = subprocess.Popen(["sleep", "600"])
        def pytest_collection_finish():
            global late
            late = subprocess.Popen(["sleep", "600"])
        def pytest_unconfigure():
            for process in (early, late):
                assert process.poll() is None
                process.kill()
                process.wait()
        """
    )
    result = guarded("def test_it(): pass\ndef test_next(): pass\n", "--proclife-guard-wait=0")
    result.assert_outcomes(passed=2)
    assert result.ret == 0


def test_the_programs_of_the_fixture_proclife_are_its_runs_and_not_the_guards(
    guarded: Suite,
) -> None:
    result = guarded(
        """
        from pytest_proclife import Code
        def test_it(proclife):
            proclife.run(Code("import os; os.fork(); os.fork()"))
            main = proclife.start(Code("import time; time.sleep(600)"))
            assert main.pid
        """
    )
    result.assert_outcomes(passed=1)
    assert result.ret == 0


def test_a_leak_is_a_property_in_junits_file(guarded: Suite, suite: pytest.Pytester) -> None:
    text = LEAVE_ONE + "    def test_it():\n        leave()\n"
    guarded(text, "--proclife-guard-wait=0", "--junit-xml=junit.xml")
    found = Path(suite.path, "junit.xml").read_text()
    assert re.search(r'<property name="proclife_leak" value="sleep \(subprocess, pid \d+\)', found)
    assert 'errors="1"' in found


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--proclife-guard=tests",), "--proclife-guard is error, warn or off, not 'tests'"),
        (("--proclife-guard-wait=soon",), "proclife_guard_wait must be a number of seconds"),
        (("--proclife-guard-write-baseline",), "needs a file: --proclife-guard-baseline=FILE"),
        (("--proclife-guard-baseline=none.json",), "none.json cannot be read: "),
    ],
)
def test_a_wrong_option_says_what_is_right(
    guarded: Suite, options: tuple[str, ...], words: str
) -> None:
    result = guarded("def test_it(): pass\n", *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert words in result.stderr.str()
