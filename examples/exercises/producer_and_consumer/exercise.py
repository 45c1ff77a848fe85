"""Five loaves of bread through a Queue, and a consumer that knows when there are no more."""

import re

import pytest

from pytest_proclife import assert_joined, assert_overlapped, assert_returned


@pytest.fixture(scope="module")  # one run for all tests
def run(submission):
    # a consumer that never ends keeps the points that it has earned before
    return submission.run(timeout=12, allow_timeout=True)


@pytest.mark.proclife_points(1, name="they work at the same time")
def test_together(run):
    assert_overlapped(run["producer"], run["consumer"])


@pytest.mark.proclife_points(2, name="each loaf is eaten once, in order")
def test_eaten(run):
    eaten = re.findall(r"eaten:\s*(\d+)", run.stdout)
    assert eaten, "Nothing was eaten: no line says so."
    assert eaten == list("01234"), f"The loaves 0 to 4 should be eaten, but it was {eaten}."


@pytest.mark.proclife_points(2, name="the consumer ends by itself")
def test_consumer_ends(run):
    assert_returned(run["consumer"])


@pytest.mark.proclife_points(1, name="main waits for both, and then says so")
def test_joined(run):
    assert_joined([run["producer"], run["consumer"]], "explicit")
    before, closed, _ = run.stdout.partition("closed")
    assert closed, "Main did not say that it closed."
    assert before.count("eaten:") == 5, "Main closed before all loaves were eaten."
