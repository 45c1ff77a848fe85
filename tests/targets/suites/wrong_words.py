"""Comparisons with words that name nothing. What compares is there from the first fixture on."""

from pytest_proclife import Cause, Ending, Joined


def test_uses_it(proclife):
    pass


def test_cause():
    assert Cause.RAISED == "return"


def test_ending():
    assert "exit" == Ending.RAISED  # noqa: SIM300 - either side may be the word


def test_joined():
    assert Joined.EXPLICIT == "yes"


def test_a_cause():
    assert Cause.RAISED == "returned"
