"""Looks after each test for processes of its tree, and tells of each run."""

import os
import pathlib
import sys

import pytest


@pytest.hookimpl(trylast=True)
def pytest_runtest_logfinish():
    wanted = b"PROCLIFE_TEST_MARK=" + os.environb[b"PROCLIFE_TEST_MARK"]
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if wanted in place.joinpath("environ").read_bytes():
                line = place.joinpath("cmdline").read_bytes()
                assert b"stubborn" not in line, line
        except OSError:
            pass


def pytest_proclife_run_finished(run, item):
    # in one write: pytest's own output comes from another thread
    sys.stdout.write(f"finished: {item.name} {run.main.cause}\n")
