"""The guard, as a suite sees it: which leaks it reports, for whom, with which line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from conftest import mostly_slow
from guarding import FORK_HEAD, SUITES, accounts, guarded, line_of

LEAKING = SUITES / "guard_leaking.py"


def test_each_of_twelve_kinds_of_leak_is_named_with_the_line_that_started_it(
    suite: pytest.Pytester,
) -> None:
    result = guarded(suite, LEAKING, wait=0.2)
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
        prefix = "" if owner.startswith("fixture") else "test_suite.py::"
        leaks = accounts(result, prefix + owner)
        assert leaks, owner
        assert re.search(rf"\({kind}, pid \d+\)", leaks[0])
        assert f"test_suite.py:{line_of(LEAKING, comment)} in " in leaks[0]
    shown = result.stdout.str()
    assert "13 processes leaked by 12 tests or fixtures, 12 of them killed by the guard" in shown
    line = line_of(LEAKING, "1")
    assert "\nLEAKED test_suite.py::test_process_running - ForkProcess-1 (pid " in shown
    assert f"), started at test_suite.py:{line}\n" in shown
    result.assert_outcomes(passed=12, failed=1)
    assert "12 leaked" in result.stdout.str()


def test_a_leak_that_runs_python_has_the_line_in_which_it_stands(suite: pytest.Pytester) -> None:
    text = """
    reader, writer = os.pipe()
    def consume(queue):
        os.write(writer, b"."), queue.get()  # here
    def test_leaves_a_consumer():
        FORK.Process(target=consume, args=(FORK.Queue(),), name="consumer").start()
        os.read(reader, 1)
    """
    result = guarded(suite, text, head=FORK_HEAD)
    number = line_of(suite.path / "test_suite.py", "here")
    assert re.search(rf", (in Queue\.get )?at test_suite\.py:{number}\n", result.stdout.str())


def test_a_suite_that_ends_what_it_starts_gets_no_report(suite: pytest.Pytester) -> None:
    result = guarded(suite, SUITES / "guard_tidy.py", wait=1)
    result.assert_outcomes(passed=13)
    assert result.ret == 0
    assert "guard" not in result.stdout.str()


@pytest.mark.once
def test_a_suite_that_joins_its_processes_imports_nothing_for_reports(
    suite: pytest.Pytester,
) -> None:
    text = """
    @pytest.mark.parametrize("n", range(3))
    def test_joins(n):
        process = FORK.Process(target=len, args=("",))
        process.start()
        process.join()
    def test_has_imported():
        modules = {name for name in sys.modules if name.startswith("pytest_proclife.guard.")}
        assert not {name for name in modules if name.endswith(("cleanup", "leak", "leak_report"))}
    """
    result = guarded(suite, text, head=FORK_HEAD)
    result.assert_outcomes(passed=4)
    assert result.ret == 0


def test_leaks_are_killed_before_the_next_test(suite: pytest.Pytester) -> None:
    text = """
    def test_leaves():
        leave()
    def test_next():
        assert kept[0].poll() == -9
    """
    result = guarded(suite, text)
    result.assert_outcomes(passed=2)
    assert "1 leaked" in result.stdout.str()


@pytest.mark.once
def test_leaks_run_on_with_the_option_to_keep_them(suite: pytest.Pytester) -> None:
    text = """
    def test_leaves():
        leave()
    def test_next():
        assert kept[0].poll() is None
        kept[0].kill()
        kept[0].wait()
    """
    result = guarded(suite, text, "--proclife-guard-keep")
    result.assert_outcomes(passed=2)
    assert "1 leaked" in result.stdout.str()


def test_a_process_that_exits_within_the_wait_and_is_waited_for_is_not_a_leak(
    suite: pytest.Pytester,
) -> None:
    result = guarded(suite, SUITES / "guard_waiting_thread.py", wait=30)
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    assert result.duration < 20


def test_the_tests_own_failure_comes_first_and_the_leak_is_an_error_beside_it(
    suite: pytest.Pytester,
) -> None:
    text = """
    import atexit
    atexit.register(lambda: [process.kill() for process in kept])  # for the run without the guard
    def test_both():
        leave()
        assert kept == 'its own'
    """
    bare = guarded(suite, text, "--tb=short", guard="--no-proclife-guard")
    result = guarded(suite, text, "--tb=short")
    result.assert_outcomes(failed=1)
    shown = result.stdout.str()
    failure = re.compile(r"=+ FAILURES =+\n(.*?)\n=+ ", re.DOTALL)
    address = re.compile(r"0x[0-9a-f]+|pid \d+")
    own, with_guard = (failure.search(r.stdout.str()) for r in (bare, result))
    assert own is not None
    assert with_guard is not None
    assert address.sub("", own[1]) == address.sub("", with_guard[1])
    assert shown.index("FAILURES") < shown.index("= LEAKS =")


def test_an_error_of_the_teardown_stays_and_the_leak_is_another(suite: pytest.Pytester) -> None:
    text = """
    @pytest.fixture
    def broken():
        yield
        leave()
        raise OSError("the fixture's own")
    def test_it(broken):
        pass
    """
    result = guarded(suite, text, "--junit-xml=junit.xml")
    result.assert_outcomes(passed=1, errors=1)
    shown = result.stdout.str()
    assert "1 leaked" in shown
    assert shown.index("OSError: the fixture's own") < shown.index("= LEAKS =")
    assert "OSError: the fixture's own" in shown.partition("= ERRORS =")[2]


@pytest.mark.parametrize(
    ("mark", "body", "outcomes"),
    [
        ("xfail", "leave(); assert 0", {"xfailed": 1}),
        ("xfail", "leave()", {"xpassed": 1}),
        ("xfail(strict=True)", "leave()", {"failed": 1}),
        ("xfail(raises=OSError)", "leave(); raise OSError", {"xfailed": 1}),
    ],
)
def test_the_leak_of_a_test_that_is_expected_to_fail_is_an_error_of_its_own(
    suite: pytest.Pytester, mark: str, body: str, outcomes: dict[str, int]
) -> None:
    result = guarded(suite, f"@pytest.mark.{mark}\ndef test_it(): {body}\n")
    result.assert_outcomes(**outcomes)
    assert "1 leaked" in result.stdout.str()
    assert result.ret == 1


def test_an_error_of_the_teardown_of_such_a_test_stays_expected(suite: pytest.Pytester) -> None:
    text = """
    @pytest.fixture
    def broken():
        yield
        raise OSError
    @pytest.mark.xfail
    def test_leaves(broken):
        leave()
        assert 0
    @pytest.mark.xfail
    def test_is_tidy(broken):
        assert 0
    """
    result = guarded(suite, text)
    result.assert_outcomes(xfailed=4)
    assert "1 leaked" in result.stdout.str()
    assert result.ret == 1


ONE_LEAK = "def test_it():\n    leave()\n"


@pytest.mark.once
def test_a_leak_is_a_warning_with_the_option_to_warn_and_runs_on(suite: pytest.Pytester) -> None:
    text = f"{ONE_LEAK}def test_next():\n    assert kept[0].poll() is None\n    kept[0].kill()\n"
    result = guarded(suite, text, guard="--proclife-guard-warn")
    assert result.ret == 0
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(["*ProcessLeakWarning: test_suite.py::test_it leaked 1 process*"])


@pytest.mark.once
@pytest.mark.slow
def test_a_filter_makes_its_warning_an_error(suite: pytest.Pytester) -> None:
    strict = ("-W", "error::pytest_proclife.ProcessLeakWarning")
    result = guarded(suite, ONE_LEAK, *strict, guard="--proclife-guard-warn")
    assert result.ret == 1
    assert "1 leaked" in result.stdout.str()


@pytest.mark.once
def test_it_is_off_by_default_and_a_setting_switches_it_on(suite: pytest.Pytester) -> None:
    text = ONE_LEAK + "    kept[0].kill()\n"
    assert guarded(suite, text, guard="").ret == 0
    suite.makeini("[pytest]\nproclife_guard = error\nproclife_guard_wait = 0\n")
    result = guarded(suite, text, guard="")
    assert result.ret == 1
    assert "1 leaked" in result.stdout.str()
    assert guarded(suite, text, guard="--no-proclife-guard").ret == 0
    result = guarded(suite, text, guard="--proclife-guard-warn")
    assert result.ret == 0
    result.assert_outcomes(passed=1, warnings=1)


def test_a_folder_may_follow_its_option(suite: pytest.Pytester) -> None:
    folder = suite.mkdir("tests")
    (folder / "test_it.py").write_text("def test_it(): pass\n")
    result = suite.runpytest_subprocess("--proclife-guard", "tests")
    result.assert_outcomes(passed=1)


def test_settings_may_stand_without_the_guard(suite: pytest.Pytester) -> None:
    settings = "proclife_guard_wait = 2\nproclife_guard_keep = true\nproclife_guard_baseline = x"
    suite.makeini(f"[pytest]\nproclife_guard = off\n{settings}\n")
    assert guarded(suite, "def test_it(): pass\n", guard="").ret == 0


def test_a_fixture_of_wider_scope_owns_what_it_starts(suite: pytest.Pytester) -> None:
    scopes = ("class", "module", "package", "session")
    fixtures = "".join(
        f"""
    @pytest.fixture(scope="{scope}")
    def server_{scope}():
        leave()
        yield kept[-1]
    """
        for scope in scopes
    )
    names = ", ".join(f"server_{scope}" for scope in scopes)
    text = f"""
    {fixtures}
    class TestIt:
        def test_one(self, {names}):
            assert [server.poll() for server in ({names})] == [None] * 4
        def test_two(self, {names}):
            assert [server.poll() for server in ({names})] == [None] * 4
    def test_after_the_class(server_module):
        assert server_module.poll() is None
    """
    result = guarded(suite, text)
    result.assert_outcomes(passed=3)
    for scope in scopes:
        owner = rf"fixture server_{scope} \({scope}\) of \S*test_suite\.py\S* leaked 1 process"
        assert re.search(owner, result.stdout.str()), scope
    assert "2 leaked" in result.stdout.str()  # at the end of the class, and of the session


def test_the_set_up_of_a_module_or_a_class_owns_what_it_starts(suite: pytest.Pytester) -> None:
    text = """
    def setup_module():
        leave()
    def test_it(): pass
    class TestIt:
        @classmethod
        def setup_class(cls): leave()
        def test_it(self): pass
    class ItsTest(unittest.TestCase):
        @classmethod
        def setUpClass(cls): leave()
        def test_it(self): pass
    """
    result = guarded(suite, text)
    result.assert_outcomes(passed=3)
    for name in (
        *("setup_module/teardown_module", "setup_class/teardown_class"),
        "setUpClass/tearDownClass",
    ):
        owner = rf"{name} of test_suite\.py\S* leaked 1 process"
        assert re.search(owner, result.stdout.str()), name


def test_a_fixture_owns_what_its_server_starts_later(suite: pytest.Pytester) -> None:
    result = guarded(suite, SUITES / "guard_shell_server.py")
    result.assert_outcomes(passed=2)
    shown = result.stdout.str()
    assert "fixture shell (module) of test_suite.py leaked 2 processes" in shown
    assert "command line: sleep 600" in shown
    assert "command line: sleep 601" in shown
    assert "1 leaked" in shown


def test_a_fixture_that_ends_with_a_test_does_not_own_what_the_test_starts(
    suite: pytest.Pytester,
) -> None:
    text = """
    @pytest.fixture(scope="module", autouse=True)
    def innocent():
        yield
    def test_it():
        leave()
    """
    result = guarded(suite, text)
    assert "test_suite.py::test_it leaked 1 process" in result.stdout.str()


def test_the_line_of_a_library_is_reported_with_the_line_that_called_it(
    suite: pytest.Pytester,
) -> None:
    library = suite.mkdir("site-packages") / "library.py"
    library.write_text(
        "import subprocess\n\ndef serve():\n    subprocess.Popen(['sleep', '600'])\n"
    )
    text = """
    sys.path.append("site-packages")
    import library
    def test_it():
        library.serve()
    """
    result = guarded(suite, text)
    result.stdout.fnmatch_lines(
        "*started at test_suite.py:9 in test_it, through site-packages/library.py:4 in serve"
    )


def test_the_tests_own_line_comes_before_that_of_a_library_beside_the_tests(
    suite: pytest.Pytester,
) -> None:
    Path(suite.path, "library.py").write_text(
        "import subprocess\n\ndef serve():\n    subprocess.Popen(['sleep', '600'])\n"
    )
    suite.makeconftest("""
    import pytest
    from library import serve
    @pytest.fixture(scope="session")
    def server():
        serve()
    """)
    text = """
    from library import serve
    def helper():
        serve()
    def test_calls(server):
        helper()
    def test_calls_in_a_thread():
        thread = threading.Thread(target=helper)
        thread.start()
        thread.join()
    """
    result = guarded(suite, text)
    result.assert_outcomes(passed=2)
    through = "through library.py:4 in serve"
    for test in ("test_calls", "test_calls_in_a_thread"):
        (leak,) = accounts(result, f"test_suite.py::{test}")
        assert f" started at test_suite.py:8 in helper, {through} " in leak
    (leak,) = accounts(result, "fixture server (session) of the suite")
    assert f" started at conftest.py:5 in server, {through} " in leak


@pytest.mark.once
def test_leaks_are_reported_when_the_session_is_stopped(suite: pytest.Pytester) -> None:
    text = """
    @pytest.fixture(scope="session")
    def server():
        leave()
    def test_one(server):
        assert 0
    def test_two(server):
        pass
    """
    result = guarded(suite, text, "-x")
    result.assert_outcomes(failed=1)
    assert "fixture server (session) of test_suite.py leaked 1 process" in result.stdout.str()


def test_multiprocessings_own_helpers_are_not_leaks(suite: pytest.Pytester) -> None:
    text = """
    import multiprocessing
    @pytest.mark.parametrize("method", ["spawn", "forkserver"])
    def test_it(method):
        process = multiprocessing.get_context(method).Process(target=len, args=("",))
        process.start()
        process.join()
        assert process.exitcode == 0
    """
    result = guarded(suite, text, wait=1)
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    assert "guard" not in result.stdout.str()


def test_a_process_of_a_fork_server_that_nobody_joined_is_a_leak(suite: pytest.Pytester) -> None:
    text = """
    import multiprocessing, select
    def test_it():
        process = multiprocessing.get_context("forkserver").Process(target=len, args=("",))
        process.start()
        select.select([process.sentinel], [], [])
        kept.append(process)
    def test_next():
        pass
    """
    result = guarded(suite, text, wait=1)
    result.assert_outcomes(passed=2)
    shown = result.stdout.str()
    assert re.search(r"ForkServerProcess-\d+ \(process, pid \d+\), exited, never joined", shown)
    assert "1 leaked" in shown


def test_it_takes_no_wait_status_and_handles_no_signal(suite: pytest.Pytester) -> None:
    result = guarded(suite, SUITES / "guard_statuses.py")
    result.assert_outcomes(passed=2)
    assert "1 leaked" in result.stdout.str()


@pytest.mark.slow
def test_nobody_owns_what_was_started_before_the_tests(suite: pytest.Pytester) -> None:
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
    result = guarded(suite, "def test_it(): pass\ndef test_next(): pass\n")
    result.assert_outcomes(passed=2)
    assert result.ret == 0


def test_the_processes_of_the_fixture_proclife_are_not_leaks(suite: pytest.Pytester) -> None:
    text = """
    from pytest_proclife import Code
    def test_it(proclife):
        proclife.run(Code("import os; os.fork(); os.fork()"))
        main = proclife.start(Code("import time; time.sleep(600)"))
        assert main.pid
    """
    result = guarded(suite, text, wait=1)
    result.assert_outcomes(passed=1)
    assert result.ret == 0


@pytest.mark.parametrize("options", [(), ("-rN",), ("-rA",), ("-q",), ("--tb=no", "-q")], ids=str)
def test_each_leak_has_its_line_in_the_short_summary_and_the_last_line_is_red(
    suite: pytest.Pytester, options: tuple[str, ...]
) -> None:
    text = ONE_LEAK + "def test_next(): pass\n"
    result = guarded(suite, text, *options, "--color=yes")
    shown = re.sub(r"\x1b\[\d+m", "", result.stdout.str())
    assert shown.count("short test summary info") == 1
    summary = shown.partition("short test summary info")[2]
    line = r"\nLEAKED test_suite.py::test_it - sleep \(pid \d+\), started at test_suite.py:4\n"
    assert re.search(line, summary)
    assert ("PASSED test_suite.py::test_it" in summary) == ("-rA" in options)
    assert "\x1b[31m" in result.outlines[-1]  # the colour of the whole line
    assert "\x1b[33m\x1b[1m1 passed" not in result.outlines[-1]
    if "-q" in options:
        assert "proclife guard" not in shown
        assert ("= LEAKS =" in shown) == ("--tb=no" not in options)
    assert result.ret == 1


@pytest.mark.parametrize("option", ["-x", "--maxfail=2"])
def test_a_leak_counts_as_a_failure(suite: pytest.Pytester, option: str) -> None:
    text = """
    @pytest.mark.parametrize("n", range(3))
    def test_leaves(n): leave()
    """
    result = guarded(suite, text, option)
    number = 1 if option == "-x" else 2
    result.assert_outcomes(passed=number)
    assert f"{number} leaked" in result.stdout.str()


def test_a_leak_is_in_the_report_of_its_test(suite: pytest.Pytester) -> None:
    suite.makeconftest("""
    import json
    def pytest_runtest_logreport(report, config=None):
        with open("reports.json", "a") as file:
            print(json.dumps(report._to_json()), file=file)  # what pytest-reportlog writes
    """)
    guarded(suite, ONE_LEAK)
    lines = Path(suite.path, "reports.json").read_text().splitlines()
    reports = [json.loads(line) for line in lines]
    (report,) = [report for report in reports if report.get("proclife_leaks")]
    assert report["when"] == "teardown"
    assert report["outcome"] == "failed"
    assert report["proclife_leaks"][0]["name"] == "sleep"


@pytest.mark.once
@pytest.mark.slow
def test_a_leak_is_a_property_in_junits_file(suite: pytest.Pytester) -> None:
    guarded(suite, ONE_LEAK, "--junit-xml=junit.xml")
    found = Path(suite.path, "junit.xml").read_text()
    assert re.search(r'<property name="proclife_leak" value="sleep \(subprocess, pid \d+\)', found)
    assert 'errors="1"' in found


@pytest.mark.once
@pytest.mark.parametrize(
    ("options", "message"),
    mostly_slow(
        [
            (
                ("--proclife-guard", "--proclife-guard-wait=soon"),
                "guard-wait must be a number of sec",
            ),
            (("--proclife-guard-wait=soon",), "--proclife-guard-wait must be a number of seconds"),
            (("--no-proclife-guard", "--proclife-guard-wait=-1"), "guard-wait must be a number"),
            (
                ("-o", "proclife_guard=maybe"),
                "proclife_guard must be error, warn or off, not 'maybe'",
            ),
            (
                ("--proclife-guard", "-o", "proclife_guard="),
                "proclife_guard must be error, warn or off, not ''",
            ),
            (("-o", "proclife_guard_wait=soon"), "soon"),
            (("-o", "proclife_guard_wait=inf"), "proclife_guard_wait must be a number of seconds"),
            (("-o", "proclife_guard_keep=perhaps"), "perhaps"),
            (
                ("--proclife-guard", "--proclife-guard-write-baseline"),
                "needs a file: --proclife-guard-baseline=FILE",
            ),
            (
                ("--proclife-guard", "--proclife-guard-baseline=none.json"),
                "none.json cannot be read: ",
            ),
            (
                ("--proclife-guard-wait=1",),
                "--proclife-guard-wait needs the guard: --proclife-guard",
            ),
            (("--proclife-guard-keep",), "--proclife-guard-keep needs the guard"),
            (("--proclife-guard-baseline=x",), "--proclife-guard-baseline needs the guard"),
            (
                ("--proclife-guard-write-baseline",),
                "--proclife-guard-write-baseline needs the guard",
            ),
        ],
        4,
    ),
)
def test_a_wrong_option_is_an_error_that_says_what_is_right(
    suite: pytest.Pytester, options: tuple[str, ...], message: str
) -> None:
    result = guarded(suite, "def test_it(): pass\n", *options, guard="")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert message in result.stderr.str()


def test_with_the_option_that_switches_it_off_others_are_ignored(suite: pytest.Pytester) -> None:
    options = ("--proclife-guard", "--proclife-guard-keep", "--no-proclife-guard")
    result = guarded(suite, ONE_LEAK + "    kept[0].kill()\n", *options)
    assert result.ret == 0
    assert "leaked" not in result.stdout.str()
