"""A fixture's executor, which starts its workers when a test has work: `-k tidy`, `-k left`.

SCOPE is the fixture's. With EARLY the executor's module is imported before the fixture is set up.
"""

import multiprocessing
import os
from importlib import import_module

import pytest

if "EARLY" in os.environ:
    import_module("concurrent.futures.process")

kept = []


@pytest.fixture(scope=os.environ["SCOPE"], params=["tidy", "left"])
def executor(request):
    from concurrent.futures import ProcessPoolExecutor

    executor = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))
    yield executor
    if request.param == "tidy":
        executor.shutdown()
    else:
        kept.append(executor)


class TestIt:
    def test_has_it_work(self, executor):
        assert executor.submit(len, "work").result() == 4

    def test_has_it_work_again(self, executor):
        assert executor.submit(len, "work").result() == 4
