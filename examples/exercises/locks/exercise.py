"""A counter that loses nothing, two printers for four, and an answer that is waited for."""

# Nothing is read line by line: several processes write, and a line end is a write of its own.

import re

import pytest

from pytest_proclife import assert_joined


@pytest.fixture
def run(submission):
    return submission.run(timeout=5)


@pytest.mark.proclife_points(2, name="Lock: nothing is lost when four count")
def test_lock(run):
    counted = re.findall(r"counter:\s*(-?[\d.]+)", run.stdout)
    assert counted, "Main did not say what the counter is."
    assert counted == ["12"], (
        "The counter is not 12: between reading and writing it, another process wrote, or it is "
        "not shared. Hold a Lock from the one to the other."
    )


@pytest.mark.proclife_points(2, name="Semaphore: two printers for four")
def test_semaphore(run):
    inside, most = 0, 0
    for word in re.findall("printer: (in|out)", run.stdout):
        inside += {"in": 1, "out": -1}[word]
        most = max(most, inside)
    assert run.stdout.count("printer: out") == 4, "Not all four came to print."
    assert most <= 2, f"There are two printers, and {most} were in at once."
    assert most == 2, (
        "Only one was in at once, and there are two printers. (What is printed without flush=True "
        "is seen when its process ends.)"
    )


@pytest.mark.proclife_points(1, name="Condition: the answer is waited for")
def test_condition(run):
    assert re.search(r"answer:\s+42", run.stdout), "Nobody said the answer."


@pytest.mark.proclife_points(1, name="main waits for all")
def test_joined(run):
    assert_joined(run.children, "explicit")
