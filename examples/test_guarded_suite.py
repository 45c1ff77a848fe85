"""A suite for `pytest --proclife-guard`: it ends what it starts, and says what it leaves."""

import subprocess
import sys

import pytest

ECHO = [sys.executable, "-c", "import sys; [print(line, end='', flush=True) for line in sys.stdin]"]


@pytest.fixture(scope="module")
def echo():
    """A server for all tests here: it is looked at when this fixture is over, not before."""
    with subprocess.Popen(ECHO, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        yield server
        server.stdin.close()


def test_asks_the_server(echo):
    echo.stdin.write("hello\n")
    echo.stdin.flush()
    assert echo.stdout.readline() == "hello\n"


def test_asks_it_again(echo):
    echo.stdin.write("again\n")
    echo.stdin.flush()
    assert echo.stdout.readline() == "again\n"


@pytest.mark.proclife_guard(allow="*stays-for-the-next-suite*", reason="it warms a cache")
def test_leaves_what_may_be_left(request):
    program = "import sys; sys.stdin.read()"
    command = [sys.executable, "-c", program, "stays-for-the-next-suite"]
    cache = subprocess.Popen(command, stdin=subprocess.PIPE)
    request.session.addfinalizer(cache.communicate)
