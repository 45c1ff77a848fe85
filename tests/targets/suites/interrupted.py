"""Tests of which one has a tree that stands when the blow comes, started and waited for its way."""

import os
from pathlib import Path

import pytest

STUBBORN, FIFO, GO = os.environ["STUBBORN"], os.environ["FIFO"], Path(os.environ["GO"])


@pytest.fixture
def marked():
    """Where the test asks for it, its worker writes its pid, and the tree has a mark of its own."""
    if "TREE" in os.environ:
        Path(os.environ["WORKER"]).write_text(str(os.getpid()))
        os.environ["PROCLIFE_TEST_MARK"] = os.environ["TREE"]


@pytest.mark.usefixtures("marked")
def test_run(proclife):
    proclife.run(STUBBORN, [FIFO], timeout=None)


@pytest.mark.usefixtures("marked")
def test_linger(proclife):
    proclife.run(STUBBORN, [FIFO, "leave"], linger=600.0)


@pytest.mark.usefixtures("marked")
def test_start(proclife):
    proclife.start(STUBBORN, [FIFO])
    os.read(os.pipe()[0], 1)


@pytest.mark.usefixtures("marked")
def test_wait(proclife):
    proclife.start(STUBBORN, [FIFO]).wait(timeout=None)


def test_fails_with_a_tree(proclife):
    proclife.start(STUBBORN, [FIFO])
    GO.read_text()
    raise AssertionError


def test_fails():
    raise AssertionError


def test_passes():
    pass


def test_waits_for_the_blow():
    GO.read_text()
