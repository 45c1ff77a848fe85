"""Fixtures that stand on ours, one under its name."""

import pytest

from pytest_proclife import Code


@pytest.fixture
def proclife(proclife):
    yield proclife
    assert proclife.runs


@pytest.fixture
def method(proclife):
    return proclife.run(Code("pass")).start_method


@pytest.mark.proclife(start_methods=["spawn", "fork"])
def test_it(method, request):
    assert request.node.name == f"test_it[{method}]"
