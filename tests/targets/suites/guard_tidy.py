"""The twin of `guard_leaking`: the same twelve, and each ends what it started."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ProcessPoolExecutor

import pytest

FORK = multiprocessing.get_context("fork")


def wait_for_ever():
    threading.Event().wait()


def end(process):
    process.terminate()
    process.wait()


def test_process_running():
    process = FORK.Process(target=wait_for_ever)
    process.start()
    process.terminate()
    process.join()


def test_daemon_left():
    process = FORK.Process(target=wait_for_ever, daemon=True, name="housekeeper")
    process.start()
    process.kill()
    process.join()


def test_zombie():
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    process.stdout.read()
    process.stdout.close()
    process.wait()


def test_grandchild_of_a_shell():
    command = "sleep 600 & echo $!; exec >&-; wait"
    shell = subprocess.Popen(command, shell=True, stdout=subprocess.PIPE)
    os.kill(int(shell.stdout.readline()), signal.SIGTERM)
    shell.stdout.close()
    shell.wait()


def test_pool_not_closed():
    with FORK.Pool(2) as pool:
        pool.apply(len, ["work"])
        pool.close()
        pool.join()


def test_executor_not_shut_down():
    with ProcessPoolExecutor(1, mp_context=FORK) as executor:
        executor.submit(len, "work").result()


def test_manager():
    with FORK.Manager() as manager:
        manager.list()


def test_os_fork():
    child = os.fork()
    if child == 0:
        wait_for_ever()
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_double_fork():
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        grandchild = os.fork()
        if grandchild == 0:
            os._exit(0)  # nobody has to wait for it: its parent goes at once
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    os.read(reader, 1)  # the end of the file: the grandchild is gone too
    os.close(reader)


@pytest.fixture
def server():
    process = subprocess.Popen(["sleep", "600"])
    yield
    end(process)


def test_leak_in_setup(server):
    pass


@pytest.fixture
def careful():
    yield
    subprocess.run(["true"], check=True)


def test_leak_in_teardown_after_a_failure(careful):
    pass


@pytest.fixture(scope="session")
def database():
    process = subprocess.Popen(["sleep", "600"])
    yield process
    end(process)


def test_leak_from_a_session_fixture(database):
    assert database.poll() is None


def test_that_is_innocent(database):
    assert database.poll() is None
