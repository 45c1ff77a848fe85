"""Who owns a process that was not started by a line of a test or a fixture itself."""

from __future__ import annotations

import json
import os
import random
import re

import pytest
from conftest import mostly_slow
from guard_deeds import LEFT
from guarding import FORK_HEAD, SUITES, accounts, guarded, line_of, output_of

pytestmark = pytest.mark.once


@pytest.mark.parametrize("is_early", mostly_slow([True, False]))
@pytest.mark.parametrize("scope", mostly_slow(["class", "session"]))
def test_a_fixture_owns_the_workers_that_its_executor_starts_for_a_test(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, scope: str, is_early: bool
) -> None:
    monkeypatch.setenv("SCOPE", scope)
    if is_early:
        monkeypatch.setenv("EARLY", "1")
    tests = SUITES / "guard_executor.py"
    result = guarded(suite, tests, "-k", "tidy")
    result.assert_outcomes(passed=2, deselected=2)
    assert result.ret == 0
    result = guarded(suite, tests, "-k", "left")
    result.assert_outcomes(passed=2, deselected=2)
    shown = result.stdout.str()
    assert re.search(rf"fixture executor \({scope}\) of \S+ leaked [12] process(es)?:", shown)
    assert "1 leaked" in shown


def test_a_test_owns_the_workers_of_an_executor_that_an_earlier_test_made(
    suite: pytest.Pytester,
) -> None:
    text = """
    def test_makes_one():
        from concurrent.futures import ProcessPoolExecutor
        kept.append(ProcessPoolExecutor(1, mp_context=FORK))
    def test_uses_it():
        assert kept[0].submit(len, "work").result() == 4
    """
    result = guarded(suite, text, head=FORK_HEAD)
    result.assert_outcomes(passed=2)
    assert "test_suite.py::test_uses_it leaked 1 process" in result.stdout.str()


@pytest.mark.slow
def test_an_executor_of_setupclass_works_in_each_test(suite: pytest.Pytester) -> None:
    text = """
    from concurrent.futures import ProcessPoolExecutor
    class ItsTest(unittest.TestCase):
        @classmethod
        def setUpClass(cls): cls.executor = ProcessPoolExecutor(1, mp_context=FORK)
        @classmethod
        def tearDownClass(cls): cls.executor.shutdown()
        def test_one(self): assert self.executor.submit(len, "work").result() == 4
        def test_two(self): assert self.executor.submit(len, "work").result() == 4
    """
    result = guarded(suite, text, head=FORK_HEAD)
    result.assert_outcomes(passed=2)
    assert result.ret == 0


@pytest.mark.parametrize("method", mostly_slow(["spawn", "fork", "forkserver"]))
def test_an_executor_of_a_wider_fixture_works_in_each_test(
    suite: pytest.Pytester, method: str
) -> None:
    text = """
    from concurrent.futures import ProcessPoolExecutor
    @pytest.fixture(scope="module")
    def executor():
        context = multiprocessing.get_context("METHOD")
        with ProcessPoolExecutor(1, mp_context=context) as made:
            yield made
    def test_one(executor): assert executor.submit(len, "work").result() == 4
    def test_two(executor): assert executor.submit(len, "work").result() == 4
    """.replace("METHOD", method)
    result = guarded(suite, text, head=FORK_HEAD)
    result.assert_outcomes(passed=2)
    assert result.ret == 0


@pytest.mark.slow
def test_nobody_owns_an_executor_that_is_made_between_tests(suite: pytest.Pytester) -> None:
    suite.makeconftest("""
    made = []
    def pytest_runtest_logstart():
        if not made:
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor
            made.append(ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")))
    """)
    text = """
    @pytest.mark.parametrize("n", range(2))
    def test_uses(n):
        made = sys.modules["conftest"].made
        assert made[0].submit(len, "abc").result() == 3
    """
    result = guarded(suite, text, wait=0.1)
    result.assert_outcomes(passed=2)
    assert result.ret == 0


def test_nobody_owns_what_is_started_between_tests(suite: pytest.Pytester) -> None:
    suite.makeconftest("""
    import multiprocessing, time
    FORK = multiprocessing.get_context("fork")
    def pytest_runtest_logfinish():
        FORK.Process(target=time.sleep, args=(600,), daemon=True).start()
    """)
    text = """
    def test_one(): pass
    def test_two(): FORK.Process(target=time.sleep, args=(600,), daemon=True).start()
    def test_three(): pass
    """
    result = guarded(suite, text, head=FORK_HEAD)
    result.assert_outcomes(passed=3)
    assert "1 process leaked by 1 test" in result.stdout.str()
    assert "test_suite.py::test_two leaked 1 process" in result.stdout.str()


POOL = SUITES / "guard_pool.py"


def test_workers_that_replace_others_belong_to_the_pools_owner(suite: pytest.Pytester) -> None:
    result = guarded(suite, POOL, "-k", "tidy")
    result.assert_outcomes(passed=2, deselected=2)
    assert result.ret == 0


@pytest.mark.slow
def test_workers_that_replace_others_have_the_line_of_the_pool(suite: pytest.Pytester) -> None:
    result = guarded(suite, POOL, "-k", "left", wait=0.3)
    result.assert_outcomes(passed=2, deselected=2)
    (leak,) = accounts(result, "fixture pool (module) of test_suite.py")
    line = line_of(POOL, "the Pool")
    assert re.search(rf"\(pool_worker, pid \d+\), .* started at test_suite.py:{line} in", leak)


@pytest.mark.parametrize("wait", mostly_slow([0, 0.3]))
def test_a_pool_that_is_just_replacing_its_only_worker_is_a_leak(
    suite: pytest.Pytester, wait: float
) -> None:
    tests = SUITES / "guard_pool_replacing.py"
    result = guarded(suite, tests, "-k", "left", wait=wait)
    result.assert_outcomes(passed=1, deselected=1)
    assert "fixture pool (module) of test_suite.py leaked 1 process" in result.stdout.str()
    result = guarded(suite, tests, "-k", "tidy", wait=wait)
    result.assert_outcomes(passed=1, deselected=1)
    assert result.ret == 0


@pytest.mark.slow
def test_an_executor_that_is_just_replacing_its_only_worker_is_a_leak(
    suite: pytest.Pytester,
) -> None:
    result = guarded(suite, SUITES / "guard_executor_replacing.py", "-W", "ignore")
    result.assert_outcomes(passed=1)
    assert "test_suite.py::test_it leaked 1 process" in result.stdout.str()


@pytest.mark.slow
def test_a_process_that_a_thread_is_just_starting_has_its_name_and_line(
    suite: pytest.Pytester,
) -> None:
    tests = SUITES / "guard_starting_thread.py"
    result = guarded(suite, tests, "-W", "ignore")
    result.assert_outcomes(passed=1)
    start = rf"started at .*:{line_of(tests, 'the start')} in start"
    (leak,) = accounts(result, "test_suite.py::test_it")
    assert re.match(rf"ForkProcess-1 \(process, pid \d+\), .* {start}", leak)


STARTS = {
    "a wrapped fork": """
    from unittest import mock
    def test_it():
        with mock.patch("os.fork", wraps=os.fork):
            FORK.Process(target=time.sleep, args=(600,), name="known").start()  # the start
    """,
    "a fork of the suite's own": """
    def test_it(monkeypatch):
        real = os.fork
        monkeypatch.setattr(os, "fork", lambda: real())
        FORK.Process(target=time.sleep, args=(600,), name="known").start()  # the start
    """,
    "a class of the test's own": """
    def test_it():
        class Own(multiprocessing.context.ForkProcess):
            @staticmethod
            def _Popen(process):
                from multiprocessing.popen_spawn_posix import Popen
                return Popen(process.real)
        own = Own(name="known")
        own.real = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
        own.start()  # the start
    """,
    "a decorator": """
    import functools
    def in_process(function):
        @functools.wraps(function)
        def start():
            FORK.Process(target=function, name="known").start()  # the start
        return start
    @in_process
    def work(): time.sleep(600)
    def test_it(): work()
    """,
}


@pytest.mark.parametrize("how", mostly_slow(list(STARTS)))
def test_a_process_has_its_name_and_line_however_it_is_started(
    suite: pytest.Pytester, how: str
) -> None:
    result = guarded(suite, STARTS[how], head=FORK_HEAD)
    (leak,) = accounts(result, "test_suite.py::test_it")
    line = line_of(suite.path / "test_suite.py", "the start")
    assert re.match(rf"known \(process, pid \d+\), .* started at test_suite.py:{line} ", leak)


def test_a_fixture_owns_what_its_thread_starts(suite: pytest.Pytester) -> None:
    tests = SUITES / "guard_thread_server.py"
    result = guarded(suite, tests, "-k", "tidy")
    result.assert_outcomes(passed=2, deselected=2)
    assert result.ret == 0
    result = guarded(suite, tests, "-k", "left")
    result.assert_outcomes(passed=2, deselected=2)
    assert "fixture server (module) of test_suite.py leaked 1 process" in result.stdout.str()


def test_a_test_owns_what_a_thread_of_an_earlier_test_starts(suite: pytest.Pytester) -> None:
    tests = SUITES / "guard_later_thread.py"
    result = guarded(suite, tests)
    result.assert_outcomes(passed=2)
    start = f"started at test_suite.py:{line_of(tests, 'the start')} in later"
    (leak,) = accounts(result, "test_suite.py::test_lets_it_go")
    assert re.match(rf"sleep .* {start}", leak)


@pytest.mark.slow
def test_a_popen_that_was_deleted_is_a_leak_only_while_it_runs(suite: pytest.Pytester) -> None:
    result = guarded(suite, SUITES / "guard_dropped_popens.py", "-W", "ignore")
    result.assert_outcomes(passed=2)
    shown = result.stdout.str()
    assert "test_suite.py::test_runs leaked 1 process" in shown
    assert "1 leaked" in shown


def test_a_test_owns_what_c_code_forks_in_it(suite: pytest.Pytester) -> None:
    text = """
    import ctypes
    def test_starts_one():
        subprocess.run(["true"])
    def test_forks():
        if ctypes.CDLL(None).fork() == 0:
            os.execv("/bin/sleep", ["sleep", "600"])
    """
    result = guarded(suite, text)
    result.assert_outcomes(passed=2)
    (leak,) = accounts(result, "test_suite.py::test_forks")
    assert re.match(r"sleep \(other, pid \d+\), .* started at an unknown line", leak)


@pytest.mark.slow
def test_a_test_owns_what_c_code_forks_in_a_thread_of_it(suite: pytest.Pytester) -> None:
    result = guarded(suite, SUITES / "guard_fork_of_c.py", wait=0.1)
    result.assert_outcomes(passed=2)
    shown = result.stdout.str()
    assert "1 leaked" in shown
    assert "test_suite.py::test_leaves leaked 1 process" in shown


@pytest.mark.slow
def test_what_a_joined_process_has_started_is_a_leak_all_the_same(suite: pytest.Pytester) -> None:
    tests = SUITES / "guard_joined_parents.py"
    result = guarded(suite, tests)
    result.assert_outcomes(passed=2)
    assert "2 leaked" in result.stdout.str()
    program, fork = line_of(tests, "the program"), line_of(tests, "the fork")
    test = "test_suite.py::test_joins"
    (leak,) = accounts(result, f"{test}[starts_a_program]")
    assert re.match(rf"sleep .*started at test_suite.py:{program} in", leak)
    (leak,) = accounts(result, f"{test}[forks]")
    assert f"started at test_suite.py:{fork} in forks" in leak


@pytest.mark.slow
def test_leaks_of_an_interrupted_test_are_reported_at_the_end_and_killed(
    suite: pytest.Pytester,
) -> None:
    text = """
    import signal
    def test_it():
        leave()
        print(f"pid={kept[0].pid}=", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
    """
    result = guarded(suite, text, "-s")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    shown = result.stdout.str()
    assert "test_suite.py::test_it leaked 1 process" in shown
    (pid,) = re.findall(r"pid=(\d+)=", shown)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.mark.parametrize("seed", mostly_slow(range(4)))
def test_each_owner_has_what_it_left_and_nothing_else(seed: int) -> None:
    chance = random.Random(seed)
    names = {deed.__name__: number for deed, number in LEFT.items()}
    deeds = [chance.choices(list(names), k=chance.randrange(4)) for _ in range(40)]
    found = output_of("guard_deeds.py", json.dumps(deeds))
    assert isinstance(found, list)
    expected = [sum(map(names.__getitem__, some)) for some in deeds]
    rows = zip(deeds, found, expected, strict=True)
    assert not [row for row in rows if row[1] != row[2]]


def test_a_test_without_a_name_owns_what_it_starts(suite: pytest.Pytester) -> None:
    suite.makeconftest(
        """
        import pytest, subprocess
        kept = []
        class Nameless(pytest.Item):
            def runtest(self): kept.append(subprocess.Popen(["sleep", "60"]))
        class File(pytest.File):
            def collect(self): yield Nameless.from_parent(self, name="x", nodeid="")
        def pytest_collect_file(file_path, parent):
            if file_path.suffix == ".nameless":
                return File.from_parent(parent, path=file_path)
        """
    )
    suite.makefile(".nameless", it="")
    result = guarded(suite, "", "it.nameless", wait=0.1)
    result.assert_outcomes(passed=1)
    assert "1 leaked" in result.stdout.str()
