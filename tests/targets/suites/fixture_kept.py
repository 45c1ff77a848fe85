"""A test that uses the fixture of one that is over."""

import pytest

from pytest_proclife import Code

kept = []


def test_one(proclife):
    kept.append(proclife)


@pytest.mark.parametrize("verb", ["run", "start"])
def test_two(verb):
    with pytest.raises(RuntimeError, match="test_one has ended"):
        getattr(kept[0], verb)(Code("pass"))
