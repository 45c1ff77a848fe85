"""A Process whose `run` is something else than a plain method has its true end."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fidelity import both

import pytest_proclife
from pytest_proclife import Cause, Run

METHODS = ["fork", "spawn", "forkserver"]
RUNS = {
    "run = lambda self: None": Cause.RETURNED,
    "run = lambda self: sys.exit()": Cause.SYS_EXIT,
    "run = lambda self: os._exit(0)": Cause.OS_EXIT,
    "run = Called()": Cause.RETURNED,
    "run = Called('exit')": Cause.SYS_EXIT,
    "run = staticmethod(os.getpid)": Cause.RETURNED,
    "run = staticmethod(sys.exit)": Cause.SYS_EXIT,
    "def run(self): yield": Cause.RETURNED,
    "async def run(self): pass": Cause.RETURNED,
    "run = property(lambda self: print('asked', flush=True) or self.work)": Cause.RETURNED,
    "def run(self): util.Finalize(None, os._exit, [0], exitpriority=9); sys.exit()": (
        Cause.SYS_EXIT
    ),
}
TEXT = """
import multiprocessing, os, sys
from multiprocessing import util
class Called:
    def __init__(self, how=None): self.how = how
    def __call__(self):
        if self.how: sys.exit()
class Own(multiprocessing.{method_class}Process):
    {run}
    def work(self): pass
if __name__ == "__main__":
    child = Own(name="child")
    child.start()
    child.join()
    print(child.exitcode)
"""
CLASSES = {"fork": "context.Fork", "spawn": "context.Spawn", "forkserver": "context.ForkServer"}


def observed(text: str, script: Callable[[str], str]) -> Run:
    path = script(text)
    bare, seen, run = both([path])
    assert seen == bare
    return run


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("run", RUNS)
def test_the_end_of_a_run_of_any_kind_is_its_own_or_unknown(
    run: str, method: str, script: Callable[[str], str]
) -> None:
    account = observed(TEXT.format(run=run, method_class=CLASSES[method]), script)
    assert account["child"].exitcode == 0
    assert account["child"].cause in (RUNS[run], Cause.UNKNOWN), str(account)
    assert account["child"].target_ran
    if "lambda" in run and "property" not in run:
        assert account["child"].cause is RUNS[run]


def test_a_run_that_is_given_to_the_process_is_it(script: Callable[[str], str]) -> None:
    path = script(
        "import multiprocessing, sys\n"
        "child = multiprocessing.get_context('fork').Process(name='child')\n"
        "child.run = lambda: sys.exit()\n"
        "child.start(); child.join()\n"
    )
    run = pytest_proclife.run(path)
    assert (run["child"].cause, run["child"].target_ran) == (Cause.SYS_EXIT, True)
