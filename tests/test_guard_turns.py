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
        loaded = [name for name in sys.modules if name.startswith("pytest_proclife.guard.")]
        assert sorted(loaded) == ["pytest_proclife.guard.notes", "pytest_proclife.guard.turns"]
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
}
PROGRAM = """
import ctypes, json, multiprocessing, os, signal, subprocess, sys, threading, time
from pytest_proclife.guard import ending
from pytest_proclife.guard.turns import OUTSIDE, Owner, of_this_process

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

kept, found = [], []
turns = of_this_process()
for number, deeds in enumerate(json.loads(sys.argv[1])):
    owner = Owner(str(number))
    turns.begin(owner)
    for deed in deeds:
        globals()[deed]()
    if turns.ends_quietly(OUTSIDE):
        found.append(0)
        continue
    turns.settle()
    left = turns.register.left_by([owner])
    found.append(len(left))
    ending.end(turns.register, left)
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
