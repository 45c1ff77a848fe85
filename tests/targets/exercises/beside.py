"""An exercise that reads what lies beside it: a conftest, two modules and a file."""

import json
import pathlib

import pytest
from helper import wanted


@pytest.mark.proclife_points(1)
def test_helper(submission, limit):
    assert submission.run().stdout == wanted() == limit, "helper"


@pytest.mark.proclife_points(1)
def test_later(submission):
    submission.run()
    import later

    assert submission.run().stdout == later.WANTED, "later"


@pytest.mark.proclife_points(1)
def test_data(submission):
    out = submission.run().stdout
    assert json.loads(pathlib.Path(__file__).with_name("data.json").read_text()) == out, "data"
