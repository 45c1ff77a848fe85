"""Five tests that leak, and one that finds every status where it was."""

import multiprocessing
import os
import signal
import subprocess
import threading

import pytest

FORK = multiprocessing.get_context("fork")
kept = []


def test_tidy():
    assert subprocess.run(["true"]).returncode == 0
    process = FORK.Process(target=len, args=("",))
    process.start()
    process.join()


def test_leaves_a_zombie():
    kept.append(os.fork())
    if not kept[-1]:
        os._exit(7)
    os.waitid(os.P_PID, kept[-1], os.WEXITED | os.WNOWAIT)


def test_leaves_a_process():
    kept.append(FORK.Process(target=threading.Event().wait))
    kept[-1].start()


def test_leaves_a_program():
    kept.append(os.posix_spawn("/bin/sleep", ["sleep", "600"], os.environ))


def test_leaves_an_orphan():
    reader, _ = os.pipe()  # without the guard the orphan exits with pytest
    orphan = "exec 3<&0; cat <&3 >/dev/null 2>&1 &"
    subprocess.run(orphan, shell=True, stdin=reader)


@pytest.fixture(scope="class")
def server():
    kept.append(subprocess.Popen(["sleep", "600"]))


class TestIt:
    def test_has_its_fixture_leave_one(self, server):
        pass


def test_statuses_are_there():
    for pid in (kept[1].pid, kept[2], kept[3].pid):
        os.kill(pid, signal.SIGKILL)
    assert os.WEXITSTATUS(os.waitpid(kept[0], 0)[1]) == 7
    kept[1].join()
    assert os.waitpid(kept[2], 0)[1] == 9
    kept[3].wait()
