"""A fixture's thread starts a process when a test asks for it: `-k tidy`, `-k left`."""

import os
import subprocess
import threading

import pytest

kept = []


@pytest.fixture(scope="module", params=["tidy", "left"])
def server(request):
    requests, answers = os.pipe(), os.pipe()
    started = []

    def serve():
        while os.read(requests[0], 1):
            started.append(subprocess.Popen(["sleep", "600"]))
            os.write(answers[1], b".")

    thread = threading.Thread(target=serve)
    thread.start()
    yield requests[1], answers[0], started
    os.close(requests[1])
    thread.join()
    if request.param == "tidy":
        started[0].kill()
        started[0].wait()
    else:
        kept.append(started)


def test_asks(server):
    os.write(server[0], b".")
    os.read(server[1], 1)


def test_finds_it_there(server):
    assert server[2][0].poll() is None
