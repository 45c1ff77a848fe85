"""Two tests as others write them: one passes by each start method, one fails."""

import pytest

from pytest_proclife import Code


@pytest.mark.proclife(start_methods="all", timeout=20)
def test_passes(proclife):
    code = Code("import multiprocessing; print(multiprocessing.get_start_method())")
    assert proclife.run(code).stdout == proclife.start_method + "\n"


def test_fails(proclife):
    run = proclife.run(Code("1/0"))
    assert run.main.cause == "returned"
