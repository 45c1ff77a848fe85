"""A fixture's Pool, which has no worker when the fixture is over: `-k tidy`, `-k left`.

Its thread starts the next one a little later.
"""

import multiprocessing
import threading
from multiprocessing import pool as pools

import pytest

kept = []


@pytest.fixture(scope="module", params=["tidy", "left"])
def pool(request):
    make = pools.Pool.Process
    has_none, go_on = threading.Event(), threading.Event()

    def make_late(*args, **kwargs):
        if threading.current_thread() is not threading.main_thread():
            has_none.set()
            go_on.wait()
        return make(*args, **kwargs)

    pools.Pool.Process = staticmethod(make_late)
    pool = multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1)
    yield pool
    has_none.wait()
    if request.param == "tidy":
        go_on.set()
        pool.close()
        pool.join()
    else:
        kept.append(pool)
        threading.Timer(0.3, go_on.set).start()


def test_it(pool):
    assert pool.apply(len, ["work"]) == 4
