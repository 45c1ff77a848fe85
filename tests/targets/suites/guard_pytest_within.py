"""Tests that run pytest with a guard of its own: in this process, in another, in a fork."""

import os

pytest_plugins = ["pytester"]
INNER = "import subprocess\ndef test_it(): subprocess.Popen(['sleep', '600'])\n"
OPTIONS = ("--proclife-guard", "--proclife-guard-wait=0", "-W", "ignore")


def test_in_this_process(pytester):
    pytester.makepyfile(INNER)
    result = pytester.runpytest_inprocess(*OPTIONS)
    assert "1 leaked" in result.stdout.str()


def test_in_another(pytester):
    pytester.makepyfile(INNER)
    result = pytester.runpytest_subprocess(*OPTIONS)
    assert "1 leaked" in result.stdout.str()


def test_in_a_fork(pytester):
    pytester.makepyfile(INNER)
    pid = os.fork()
    if pid == 0:
        try:
            result = pytester.runpytest_inprocess(*OPTIONS)
            os._exit(0 if "1 leaked" in result.stdout.str() else 1)
        finally:
            os._exit(2)
    assert os.waitpid(pid, 0)[1] == 0
