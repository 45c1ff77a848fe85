import pytest

from pytest_proclife import Code, assert_returned


def test_passes(proclife):
    proclife.run(Code("pass #passing"))


def test_fails(proclife):
    proclife.run(Code("pass #first"))
    run = proclife.run(Code("raise SystemExit(3) #second"))
    assert run.main.cause == "returned"


@pytest.mark.parametrize("text", ["<b>/../x"])
def test_claims(proclife, text):
    assert_returned(proclife.run(Code("raise SystemExit(3) #3")).main)
