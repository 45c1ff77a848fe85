"""A fixture's shell starts processes when tests ask for them."""

import subprocess

import pytest


@pytest.fixture(scope="module")
def shell():
    process = subprocess.Popen(
        ["sh"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )
    yield process
    process.stdin.close()
    process.stdout.close()
    process.wait()


def test_has_it_start_one(shell):
    shell.stdin.write("sleep 600 >&- & echo started\n")
    assert shell.stdout.readline()


def test_has_it_start_an_orphan(shell):
    shell.stdin.write("(sleep 601 >&- &) ; echo started\n")
    assert shell.stdout.readline()
