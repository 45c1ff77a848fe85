"""Whose a process is that was not started by a line of the test's or the fixture's own."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

import pytest

pytestmark = pytest.mark.once

Suite = Callable[..., pytest.RunResult]
HEAD = """
    import multiprocessing, os, pytest, subprocess, threading, unittest
    FORK = multiprocessing.get_context("fork")
    kept = []
"""
AT_THE_TOP = "    from concurrent.futures import ProcessPoolExecutor\n"


@pytest.fixture
def guarded(suite: pytest.Pytester) -> Suite:
    def run(text: str, *options: str) -> pytest.RunResult:
        suite.makepyfile(test_suite=HEAD + text)
        options = ("--proclife-guard-wait=0", "-p", "no:cacheprovider", "-W", "ignore", *options)
        return suite.runpytest_subprocess("--proclife-guard", *options, timeout=120)

    return run


@pytest.mark.parametrize("top", [AT_THE_TOP, ""], ids=["imported before", "imported by itself"])
@pytest.mark.parametrize("scope", ["class", "session"])
def test_workers_that_a_fixtures_executor_starts_for_a_test_are_the_fixtures(
    guarded: Suite, scope: str, top: str
) -> None:
    text = f"""
    @pytest.fixture(scope="{scope}")
    def executor():
        from concurrent.futures import ProcessPoolExecutor
        with ProcessPoolExecutor(2, mp_context=FORK) as executor:
            yield executor
    class TestIt:
        def test_has_it_work(self, executor):
            assert executor.submit(len, "work").result() == 4
        def test_has_it_work_again(self, executor):
            assert executor.submit(len, "work").result() == 4
    """
    result = guarded(top + text)
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    forgotten = text.replace("with ", "executor = ").replace(" as executor:", "")
    forgotten = forgotten.replace("    yield", "yield")
    result = guarded(top + forgotten)
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    found = re.search(rf"fixture executor \({scope}\) of \S+ left [12] process(es)? behind", said)
    assert found is not None
    assert "1 leaked" in said


def test_workers_of_an_executor_that_a_test_made_and_forgot_are_the_tests(guarded: Suite) -> None:
    result = guarded(
        """
    def test_makes_one():
        from concurrent.futures import ProcessPoolExecutor
        kept.append(ProcessPoolExecutor(1, mp_context=FORK))
    def test_uses_it():
        assert kept[0].submit(len, "work").result() == 4
    """
    )
    result.assert_outcomes(passed=2)
    assert "test_suite.py::test_uses_it left 1 process behind" in result.stdout.str()


def test_an_executor_of_setupclass_works_in_each_test(guarded: Suite) -> None:
    result = guarded(
        AT_THE_TOP
        + """
    class ItsTest(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            cls.executor = ProcessPoolExecutor(1, mp_context=FORK)
        @classmethod
        def tearDownClass(cls):
            cls.executor.shutdown()
        def test_one(self):
            assert self.executor.submit(len, "work").result() == 4
        def test_two(self):
            assert self.executor.submit(len, "work").result() == 4
    """
    )
    result.assert_outcomes(passed=2)
    assert result.ret == 0


POOL = """
    @pytest.fixture(scope="module")
    def pool():
        pool = FORK.Pool(1, maxtasksperchild=1)
        yield pool
        END
    def test_one(pool):
        first = pool.apply(os.getpid)
        assert pool.apply(os.getpid) != first
    def test_two(pool):
        assert pool.apply(len, ["work"]) == 4
"""


def test_workers_that_replace_others_are_of_the_pools_owner(guarded: Suite) -> None:
    result = guarded(POOL.replace("END", "pool.terminate(); pool.join()"))
    result.assert_outcomes(passed=2)
    assert result.ret == 0


def test_workers_that_replace_others_have_the_line_of_the_pool(guarded: Suite) -> None:
    result = guarded(POOL.replace("END", "kept.append(pool)"), "--proclife-guard-wait=0.3")
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert "fixture pool (module) of test_suite.py left 1 process behind" in said
    assert re.search(r"\(pool_worker, pid \d+\), .*, started at test_suite.py:7 in pool", said)


@pytest.mark.parametrize("wait", ["0", "0.3"])
def test_a_pool_that_is_just_replacing_its_only_worker_is_left(guarded: Suite, wait: str) -> None:
    text = """
    @pytest.fixture(scope="module")
    def pool():
        from multiprocessing import pool
        make = pool.Pool.Process
        without, go_on = threading.Event(), threading.Event()
        def make_late(*args, **kwargs):
            if threading.current_thread() is not threading.main_thread():
                without.set()
                go_on.wait()
            return make(*args, **kwargs)
        pool.Pool.Process = staticmethod(make_late)
        made = FORK.Pool(1, maxtasksperchild=1)
        yield made
        without.wait()
        END
    def test_it(pool):
        assert pool.apply(len, ["work"]) == 4
    """
    late = "kept.append(made); threading.Timer(0.3, go_on.set).start()"
    result = guarded(text.replace("END", late), f"--proclife-guard-wait={wait}")
    result.assert_outcomes(passed=1)
    assert "fixture pool (module) of test_suite.py left 1 process behind" in result.stdout.str()
    tidy = "go_on.set(); made.close(); made.join()"
    result = guarded(text.replace("END", tidy), f"--proclife-guard-wait={wait}")
    result.assert_outcomes(passed=1)
    assert result.ret == 0


def test_a_process_that_a_thread_is_just_starting_is_known_when_it_has_been_started(
    guarded: Suite,
) -> None:
    result = guarded(
        """
    import time
    def test_it():
        forked = threading.Event()
        def hold():
            if threading.current_thread() is not threading.main_thread():
                forked.set()
                time.sleep(0.3)
        def start():
            FORK.Process(target=time.sleep, args=(600,), daemon=True).start()
        os.register_at_fork(after_in_parent=hold)
        threading.Thread(target=start).start()
        forked.wait()
    """
    )
    result.assert_outcomes(passed=1)
    said = result.stdout.str()
    assert re.search(r"ForkProcess-1 \(process, pid \d+\), .*, started at .*:13 in start", said)


def test_an_executor_that_is_just_replacing_its_only_worker_is_left(guarded: Suite) -> None:
    result = guarded(
        """
    def test_it():
        from concurrent.futures import ProcessPoolExecutor
        spawn = multiprocessing.get_context("spawn")
        executor = ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1)
        start = executor._spawn_process
        without, go_on = threading.Event(), threading.Event()
        def start_late():
            if threading.current_thread() is not threading.main_thread():
                without.set()
                go_on.wait()
            start()
        executor._spawn_process = start_late
        executor.submit(len, "work").result()
        executor.submit(len, "work")
        without.wait()
        kept.append(executor)
        threading.Timer(0.3, go_on.set).start()
    """
    )
    result.assert_outcomes(passed=1)
    assert "test_suite.py::test_it left 1 process behind" in result.stdout.str()


def test_what_a_fixtures_thread_starts_is_the_fixtures(guarded: Suite) -> None:
    text = """
    @pytest.fixture(scope="module")
    def server():
        requests, answers = os.pipe(), os.pipe()
        started = []
        def serve():
            while os.read(requests[0], 1):
                started.append(subprocess.Popen(["sleep", "600"]))
                os.write(answers[1], b".")
        thread = threading.Thread(target=serve)
        thread.start()
        yield requests[1], answers[0], started
        os.close(requests[1])
        thread.join()
        END
    def test_asks(server):
        os.write(server[0], b".")
        os.read(server[1], 1)
    def test_finds_it_there(server):
        assert server[2][0].poll() is None
    """
    result = guarded(text.replace("END", "started[0].kill(); started[0].wait()"))
    result.assert_outcomes(passed=2)
    assert result.ret == 0
    result = guarded(text.replace("END", "kept.append(started)"))
    result.assert_outcomes(passed=2)
    assert "fixture server (module) of test_suite.py left 1 process" in result.stdout.str()


def test_what_a_thread_starts_that_a_test_left_is_the_next_tests(guarded: Suite) -> None:
    result = guarded(
        """
    reader, writer = os.pipe()
    started = threading.Event()
    def later():
        os.read(reader, 1)
        kept.append(subprocess.Popen(["sleep", "600"]))
        started.set()
    def test_leaves_a_thread():
        threading.Thread(target=later).start()
    def test_lets_it_go():
        os.write(writer, b".")
        started.wait()
    """
    )
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert re.search(r"test_lets_it_go: sleep .*, started at test_suite.py:9 in later", said)


def test_a_popen_that_was_dropped_is_a_leak_while_it_runs_and_none_when_it_has_ended(
    guarded: Suite,
) -> None:
    result = guarded(
        """
    def test_has_ended():
        process = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        writer = os.dup(process.stdin.fileno())
        process.stdin.close()
        pid = process.pid
        del process
        os.close(writer)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    def test_runs():
        subprocess.Popen(["sleep", "600"])
    """
    )
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert "test_suite.py::test_runs left 1 process behind" in said
    assert "1 leaked" in said


def test_what_c_forks_after_starts_of_other_tests_is_the_tests(guarded: Suite) -> None:
    result = guarded(
        """
    import ctypes
    def test_starts_one():
        subprocess.run(["true"])
    def test_forks():
        if ctypes.CDLL(None).fork() == 0:
            os.execv("/bin/sleep", ["sleep", "600"])
    """
    )
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert re.search(r"test_forks: sleep \(other, pid \d+\), .*by a line that is not known", said)


def test_what_an_interrupted_test_left_is_told_at_the_end_and_gone(guarded: Suite) -> None:
    result = guarded(
        """
    import signal
    def test_it():
        process = subprocess.Popen(["sleep", "600"])
        print(f"pid={process.pid}=", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
    """,
        "-s",
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    said = result.stdout.str()
    assert "test_suite.py::test_it left 1 process behind" in said
    (pid,) = re.findall(r"pid=(\d+)=", said)
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


def test_a_test_that_closes_all_descriptors_blinds_the_guard_for_itself_alone(
    guarded: Suite,
) -> None:
    result = guarded(
        """
    def test_closes():
        os.closerange(20, 5000)
    def test_leaves():
        kept.append(subprocess.Popen(["sleep", "600"]))
    def test_leaves_an_orphan():
        subprocess.run("sleep 600 >&- 2>&- &", shell=True)
    """,
        *("-W", "error"),
    )
    result.assert_outcomes(passed=3)
    said = result.stdout.str()
    assert "2 leaked" in said
    assert "test_suite.py::test_closes: it closed descriptors of the guard's" in said
    assert re.search(r"test_leaves: sleep .*, started at test_suite.py:8 in test_leaves", said)
    assert re.search(r"orphan: s(h|leep) .*, started by sh, which was started at .*:10 in", said)
