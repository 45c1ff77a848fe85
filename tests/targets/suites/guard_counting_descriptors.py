"""Tests that count their descriptors, below the high numbers."""

import multiprocessing
import os
import subprocess

import pytest


def numbers():
    found = os.listdir("/proc/self/fd")
    return {n for n in found if os.path.exists(f"/proc/self/fd/{n}") and int(n) < 900}


@pytest.fixture(scope="module", autouse=True)
def of_wider_scope():
    pass


@pytest.fixture(autouse=True)
def counted():
    before = numbers()
    yield
    assert numbers() == before


def test_runs():
    subprocess.run(["true"])


def test_leaves_an_orphan():
    subprocess.run("sleep 600 >&- 2>&- &", shell=True)


def test_joins():
    process = multiprocessing.get_context("fork").Process(target=len, args=("",))
    process.start()
    process.join()
    process.close()
