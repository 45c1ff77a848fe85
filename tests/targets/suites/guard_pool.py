"""A fixture's Pool, whose only worker exits after each task: `-k tidy`, `-k left`."""

import multiprocessing
import os

import pytest

kept = []


@pytest.fixture(scope="module", params=["tidy", "left"])
def pool(request):
    pool = multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1)  # the Pool
    yield pool
    if request.param == "tidy":
        pool.terminate()
        pool.join()
    else:
        kept.append(pool)


def test_one(pool):
    first = pool.apply(os.getpid)
    assert pool.apply(os.getpid) != first


def test_two(pool):
    assert pool.apply(len, ["work"]) == 4
