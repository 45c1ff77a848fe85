"""What is asked when a test is over: has anything happened that has to be looked at?"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
Suite = Callable[..., pytest.RunResult]
HEAD = """
    import multiprocessing, os, pytest, subprocess, sys, time
    FORK = multiprocessing.get_context("fork")
    kept = []
"""


@pytest.fixture
def guarded(suite: pytest.Pytester) -> Suite:
    def run(text: str, *options: str) -> pytest.RunResult:
        suite.makepyfile(test_suite=HEAD + text)
        options = ("--proclife-guard-wait=0.1", "-p", "no:cacheprovider", *options)
        return suite.runpytest_subprocess("--proclife-guard", *options, timeout=120)

    return run


@pytest.mark.once
def test_a_suite_that_joins_its_processes_loads_nothing_that_tells_of_leaks(
    guarded: Suite,
) -> None:
    result = guarded("""
    @pytest.mark.parametrize("n", range(3))
    def test_joins(n):
        process = FORK.Process(target=len, args=("",))
        process.start()
        process.join()
    def test_has_loaded():
        assert not {"pytest_proclife.guard.cleanup", "pytest_proclife.guard.leak"} & {*sys.modules}
    """)
    result.assert_outcomes(passed=4)
    assert result.ret == 0


@pytest.mark.once
def test_what_a_joined_process_has_started_is_left_all_the_same(guarded: Suite) -> None:
    result = guarded("""
    def below():
        subprocess.Popen(["sleep", "600"])
        os._exit(0)
    def forks():
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", "601"])
        os._exit(0)
    @pytest.mark.parametrize("target", [below, forks])
    def test_joins(target):
        process = FORK.Process(target=target)
        process.start()
        process.join()
    """)
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert "2 leaked" in said
    assert re.search(r"test_joins\[below\]: sleep .*started at test_suite.py:6 in below", said)
    assert re.search(r"test_joins\[forks\]: .*started at test_suite.py:9 in forks", said)


@pytest.mark.once
def test_what_comes_between_two_tests_is_neithers(guarded: Suite, suite: pytest.Pytester) -> None:
    suite.makeconftest("""
    import multiprocessing, time
    FORK = multiprocessing.get_context("fork")
    def pytest_runtest_logfinish():
        FORK.Process(target=time.sleep, args=(600,), daemon=True).start()
    """)
    result = guarded("""
    def test_one(): pass
    def test_two(): FORK.Process(target=time.sleep, args=(600,), daemon=True).start()
    def test_three(): pass
    """)
    result.assert_outcomes(passed=3)
    assert "1 process left by 1 test" in result.stdout.str()
    assert "test_suite.py::test_two: " in result.stdout.str()


@pytest.mark.once
def test_it_sees_the_same_whatever_tests_put_in_place_of_functions(guarded: Suite) -> None:
    """As pyfakefs and freezegun do, for all tests of a module."""
    result = guarded("""
    import builtins
    from unittest import mock
    NAMES = ("close", "fstat", "getpid", "listdir", "open", "pread", "read", "readlink", "stat")
    def no_function_of(name, real):
        def call(*args, **kwargs):
            if sys._getframe(1).f_globals["__name__"].startswith("pytest_proclife"):
                raise RuntimeError(f"{name} is not to be called")
            return real(*args, **kwargs)
        return call
    @pytest.fixture(scope="module", autouse=True)
    def faked():
        fakes = []
        for name in NAMES:
            fakes.append(mock.patch(f"os.{name}", no_function_of(name, getattr(os, name))))
        fakes.append(mock.patch("builtins.open", no_function_of("open", open)))
        for name in ("monotonic", "monotonic_ns", "sleep"):
            fakes.append(mock.patch(f"time.{name}", no_function_of(name, getattr(time, name))))
        for one in fakes: one.start()
        yield
        for one in fakes: one.stop()
    def test_leaves():
        FORK.Process(target=len, args=("",)).start()
        kept.append(subprocess.Popen(["sleep", "600"]))
    def test_is_fine(): pass
    def test_leaves_an_orphan():
        subprocess.run("sleep 600 >&- 2>&- &", shell=True)
    """)
    result.assert_outcomes(passed=3)
    said = result.stdout.str()
    assert "2 leaked" in said
    assert re.search(r"test_leaves: ForkProcess-1 .*in test_leaves", said)
    assert re.search(r"test_leaves: sleep .*in test_leaves", said)
    assert re.search(r"test_leaves_an_orphan: s(leep|h) .*in test_leaves_an_orphan", said)


@pytest.mark.once
def test_what_is_left_while_no_file_can_be_read_is_told_of_later(guarded: Suite) -> None:
    result = guarded("""
    class TestWithoutFiles:
        @pytest.fixture(scope="class", autouse=True)
        def no_files(self):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("builtins.open", lambda *args, **kwargs: 1 / 0)
                yield
        def test_runs(self): subprocess.run(["true"])
        def test_leaves(self): kept.append(subprocess.Popen(["sleep", "600"]))
        def test_is_fine(self): pass
    def test_after(): pass
    """)
    result.assert_outcomes(passed=4)
    assert "1 process left by 1 test" in result.stdout.str()
    assert "TestWithoutFiles::test_leaves: sleep (" in result.stdout.str()


@pytest.mark.once
def test_the_line_is_known_of_what_is_started_while_no_file_can_be_read(
    suite: pytest.Pytester,
) -> None:
    suite.makepyfile("""
    def test_it(monkeypatch):
        import multiprocessing.popen_fork
        monkeypatch.setattr("builtins.open", lambda *args, **kwargs: 1 / 0)
        multiprocessing.get_context("fork").Process(target=len, args=("",)).start()
    """)
    result = suite.runpytest_subprocess("--proclife-guard", "--proclife-guard-wait=0.1")
    result.assert_outcomes(passed=1)
    assert "ForkProcess-1 (process, " in result.stdout.str()
    assert ".py:4 in test_it" in result.stdout.str()


@pytest.mark.once
def test_it_changes_no_outcome_where_a_test_has_no_descriptor_left(guarded: Suite) -> None:
    result = guarded("""
    @pytest.fixture(scope="module", autouse=True)
    def filled():
        yield
        for number in kept: os.close(number)
    def test_fills():
        FORK.Process(target=len, args=("",)).start()
        with pytest.raises(OSError):
            while True: kept.append(os.open("/dev/null", os.O_RDONLY))
    def test_next(): pass
    """)
    result.assert_outcomes(passed=2)
    assert result.ret == 0


@pytest.mark.once
def test_a_test_that_counts_its_descriptors_finds_none_of_ours_come(guarded: Suite) -> None:
    result = guarded("""
    def numbers():
        found = os.listdir("/proc/self/fd")
        return {n for n in found if os.path.exists(f"/proc/self/fd/{n}") and int(n) < 900}
    @pytest.fixture(scope="module", autouse=True)
    def wider(): yield
    @pytest.fixture(autouse=True)
    def counted():
        before = numbers()
        yield
        assert numbers() == before
    def test_runs(): subprocess.run(["true"])
    def test_leaves_an_orphan(): subprocess.run("sleep 600 >&- 2>&- &", shell=True)
    def test_joins():
        process = FORK.Process(target=len, args=("",))
        process.start()
        process.join()
        process.close()
    """)
    result.assert_outcomes(passed=3)
    assert "1 leaked" in result.stdout.str()


@pytest.mark.once
@pytest.mark.parametrize("what", ["multiprocessing.popen_fork.Popen", "os.fork"])
def test_a_process_whose_popen_is_a_mock_is_none(guarded: Suite, what: str) -> None:
    result = guarded(f"""
    from unittest import mock
    def test_mocked():
        import multiprocessing.popen_fork
        with mock.patch("{what}"):
            FORK.Process(target=len, args=("",)).start()
        multiprocessing.process._children.clear()
    def test_next(): pass
    """)
    result.assert_outcomes(passed=2)
    assert result.ret == 0


@pytest.mark.once
def test_what_replaces_multiprocessing_for_a_while_does_not_blind_it(guarded: Suite) -> None:
    result = guarded("""
    from unittest import mock
    class TestWithout:
        @pytest.fixture(scope="class", autouse=True)
        def faked(self):
            name = "multiprocessing.process"
            with mock.patch.dict(sys.modules, {name: mock.MagicMock()}): yield
        def test_it(self): os.waitpid(os.fork() or os._exit(0), 0)
    def test_leaves(): FORK.Process(target=len, args=("",)).start()
    """)
    result.assert_outcomes(passed=2)
    assert "test_leaves: ForkProcess-1 (process" in result.stdout.str()


@pytest.mark.once
def test_an_executor_that_is_made_between_tests_is_neithers(
    guarded: Suite, suite: pytest.Pytester
) -> None:
    suite.makeconftest("""
    made = []
    def pytest_runtest_logstart():
        if not made:
            import multiprocessing
            from concurrent.futures import ProcessPoolExecutor
            made.append(ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")))
    """)
    result = guarded("""
    @pytest.mark.parametrize("n", range(2))
    def test_uses(n):
        made = sys.modules["conftest"].made
        assert made[0].submit(len, "abc").result() == 3
    """)
    result.assert_outcomes(passed=2)
    assert result.ret == 0


@pytest.mark.once
def test_a_word_that_is_no_text_is_told_as_far_as_it_is(guarded: Suite) -> None:
    result = guarded(r"""
    def test_it():
        kept.append(subprocess.Popen(["true", b"\xff"]))
        os.waitid(os.P_PID, kept[0].pid, os.WEXITED | os.WNOWAIT)
    """)
    result.assert_outcomes(passed=1)
    assert r"command line: true '\udcff'" in result.stdout.str()


@pytest.mark.once
def test_a_name_that_raises_an_error_does_no_harm(guarded: Suite) -> None:
    result = guarded("""
    class Odd(str):
        def __str__(self): return self
        def __contains__(self, one): raise RuntimeError("odd")
    def test_leaves():
        kept.append(FORK.Process(target=time.sleep, args=(600,), name=Odd("odd")))
        kept[0].start()
    def test_next(): pass
    """)
    result.assert_outcomes(passed=2, errors=0)
    said = result.stdout.str()
    assert "1 leaked" in said
    assert "test_suite.py::test_leaves left 1 process behind" in said


@pytest.mark.once
def test_what_c_forks_in_a_thread_is_the_tests_that_joins_a_process_too(guarded: Suite) -> None:
    result = guarded("""
    import ctypes, threading
    def test_leaves():
        forked, over = threading.Event(), threading.Event()
        kept.append(over)
        def forks():
            if ctypes.CDLL(None).fork() == 0:
                os.execv("/bin/sleep", ["sleep", "600"])
            forked.set()
            over.wait()
        threading.Thread(target=forks, daemon=True).start()
        assert forked.wait(60)
        process = FORK.Process(target=len, args=("",))
        process.start()
        process.join()
    def test_next(): subprocess.run(["true"])
    """)
    result.assert_outcomes(passed=2)
    said = result.stdout.str()
    assert "1 leaked" in said
    assert "test_suite.py::test_leaves left 1 process behind" in said


# What may be done in a turn, and how many processes it leaves. The word is the function's name.
DEEDS = {
    "joins": 0,
    "joins_in_a_thread": 0,
    "forks_and_waits": 0,
    "runs": 0,
    "leaves_a_process": 1,
    "leaves_an_ended_one": 1,
    "leaves_a_fork": 1,
    "leaves_a_program": 1,
    "joins_what_leaves_a_fork": 1,
    "joins_what_leaves_a_program": 1,
    "runs_what_leaves_one": 1,
    "forks_by_c": 1,
    "forks_by_c_what_leaves_one": 1,
}
PROGRAM = """
import ctypes, json, multiprocessing, os, signal, subprocess, sys, threading, time
from pytest_proclife.guard import cleanup
from pytest_proclife.guard.owners import OUTSIDE, of_this_process

fork = multiprocessing.get_context("fork")
c = ctypes.CDLL(None)

def joins():
    process = fork.Process(target=len, args=("",))
    process.start()
    process.join()
def joins_in_a_thread():
    thread = threading.Thread(target=joins)
    thread.start()
    thread.join()
def forks_and_waits():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
def runs():
    subprocess.run(["true"], check=True)
def leaves_a_process():
    fork.Process(target=time.sleep, args=(600,)).start()
def leaves_an_ended_one():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
def leaves_a_fork():
    if os.fork() == 0:
        signal.pause()
def leaves_a_program():
    kept.append(subprocess.Popen(["sleep", "600"]))
def joins_what_leaves_a_fork():
    process = fork.Process(target=leaves_a_fork)
    process.start()
    process.join()
def joins_what_leaves_a_program():
    process = fork.Process(target=lambda: (subprocess.Popen(["sleep", "600"]), os._exit(0)))
    process.start()
    process.join()
def runs_what_leaves_one():
    subprocess.run("sleep 600 >&- 2>&- &", shell=True, check=True)
def forks_by_c():
    if c.fork() == 0:
        os.execv("/bin/sleep", ["sleep", "600"])
def forks_by_c_what_leaves_one():
    pid = c.fork()
    if pid == 0:
        subprocess.Popen(["sleep", "600"])
        os._exit(0)
    os.waitpid(pid, 0)

kept, found = [], []
turns = of_this_process()
for number, deeds in enumerate(json.loads(sys.argv[1])):
    turns.begin(str(number))
    for deed in deeds:
        globals()[deed]()
    if turns.end_quietly(OUTSIDE):
        found.append(0)
        continue
    turns.settle()
    owner = turns.current
    left = turns.register.left_by([owner])
    found.append(len(left))
    cleanup.end(turns.register, left)
    for one in left:
        one.excused = True
    turns.hand_over(OUTSIDE)
    owner.is_over = True
    for child in multiprocessing.active_children():
        child.join()
    for process in kept:
        process.wait()
    kept.clear()
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            break
print(json.dumps(found))
"""


@pytest.mark.parametrize("seed", range(4))
def test_each_turn_has_what_was_left_in_it_and_no_other(seed: int) -> None:
    chance = random.Random(seed)
    deeds = [chance.choices(list(DEEDS), k=chance.randrange(4)) for _ in range(40)]
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM, json.dumps(deeds)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    expected = [sum(map(DEEDS.__getitem__, some)) for some in deeds]
    wrong = [pair for pair in zip(deeds, found, strict=True) if pair[1] != expected.pop(0)]
    assert not wrong
