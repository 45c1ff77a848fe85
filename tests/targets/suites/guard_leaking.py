"""Twelve kinds of leak, one a test. Each line that starts one ends with a comment: its number."""

import multiprocessing
import os
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest

FORK = multiprocessing.get_context("fork")
kept = []  # holds on to what is left, as a module's globals do


def wait_for_ever():
    threading.Event().wait()


def test_process_running():
    process = FORK.Process(target=wait_for_ever)
    process.start()  # 1


def test_daemon_left():
    process = FORK.Process(target=wait_for_ever, daemon=True, name="housekeeper")
    process.start()  # 2


def test_zombie():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)  # 3
    process.stdout.read()
    process.stdout.close()
    kept.append(process)


def test_grandchild_of_a_shell():
    subprocess.run("sleep 600 &", shell=True)  # 4


def test_pool_not_closed():
    pool = FORK.Pool(2)  # 5
    pool.apply(len, ["work"])
    kept.append(pool)


def test_executor_not_shut_down():
    executor = ProcessPoolExecutor(1, mp_context=FORK)
    executor.submit(len, "work").result()  # 6
    kept.append(executor)


def test_manager():
    kept.append(FORK.Manager())  # 7


def test_os_fork():
    if os.fork() == 0:  # 8
        wait_for_ever()


def test_double_fork():
    reader, writer = os.pipe()
    child = os.fork()  # 9
    if child == 0:
        os.setsid()
        if os.fork() == 0:  # 9 too: the line of the fork itself, which Python reports
            os.closerange(3, 10_000)
            wait_for_ever()
        os._exit(0)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)


@pytest.fixture
def server():
    kept.append(subprocess.Popen(["sleep", "600"]))  # 10


def test_leak_in_setup(server):
    pass


@pytest.fixture
def careless():
    yield
    kept.append(subprocess.Popen(["sleep", "600"]))  # 11


def test_leak_in_teardown_after_a_failure(careless):
    raise ValueError("the test's own")


@pytest.fixture(scope="session")
def database():
    process = subprocess.Popen(["sleep", "600"])  # 12
    kept.append(process)
    return process


def test_leak_from_a_session_fixture(database):
    assert database.poll() is None


def test_that_is_innocent(database):
    assert database.poll() is None
