"""Tests that each keep a tree which stands, started by HOW, and end in every way."""

import os
import threading

import pytest

STUBBORN, FIFO = os.environ["STUBBORN"], os.environ["FIFO"]


@pytest.fixture
def tree(proclife):
    if os.environ["HOW"] == "start":
        proclife.start(STUBBORN, [FIFO])
    else:
        threading.Thread(target=proclife.run, args=(STUBBORN, [FIFO])).start()
    with open(FIFO) as pipe:
        assert pipe.read() == "ready\n"


@pytest.mark.usefixtures("tree")
def test_passes():
    pass


@pytest.mark.usefixtures("tree")
def test_fails():
    raise AssertionError


@pytest.mark.usefixtures("tree")
def test_is_skipped():
    pytest.skip("later")


@pytest.fixture
def broken(tree):
    yield
    raise LookupError("in the teardown")


@pytest.mark.usefixtures("broken")
def test_breaks():
    pass
