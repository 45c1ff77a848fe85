"""An exercise about functions, of which the answer has one."""

import pytest

from pytest_proclife import run


@pytest.mark.proclife_points(1)
def test_square(submission):
    assert "return" in submission.functions["square"]
    assert run(submission.call("show", 7, ["x"])).stdout == "49 ['x']\n"


@pytest.mark.proclife_points(1)
def test_missing(submission):
    run(submission.call("cube", 3))
