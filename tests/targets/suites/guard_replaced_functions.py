"""Tests that leak while functions are replaced, as pyfakefs and freezegun do."""

import builtins
import multiprocessing
import os
import subprocess
import sys
import time
from unittest import mock

import pytest

OF_OS = ("close", "fstat", "getpid", "listdir", "open", "pread", "read", "readlink", "stat")
kept = []


def not_for_the_guard(name, real):
    def call(*args, **kwargs):
        if sys._getframe(1).f_globals["__name__"].startswith("pytest_proclife"):
            raise RuntimeError(f"{name} is not to be called")
        return real(*args, **kwargs)

    return call


@pytest.fixture(scope="module", autouse=True)
def replaced():
    names = [(os, name) for name in OF_OS] + [(builtins, "open")]
    names += [(time, name) for name in ("monotonic", "monotonic_ns", "sleep")]
    patches = [
        mock.patch.object(module, name, not_for_the_guard(name, getattr(module, name)))
        for module, name in names
    ]
    for patch in patches:
        patch.start()
    yield
    for patch in patches:
        patch.stop()


def test_leaves():
    multiprocessing.get_context("fork").Process(target=len, args=("",)).start()
    kept.append(subprocess.Popen(["sleep", "600"]))


def test_is_fine():
    pass


def test_leaves_an_orphan():
    subprocess.run("sleep 600 >&- 2>&- &", shell=True)
