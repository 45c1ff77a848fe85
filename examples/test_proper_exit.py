"""In the manner of PyTorch's test_proper_exit: whatever way a main with two workers goes, each
process has the end that it should, by every start method."""

import signal

import pytest
import two_workers

SIGNALS = ["SIGINT", "SIGTERM", "SIGKILL"]
NO_EXIT_PATH = ["os._exit", "SIGTERM", "SIGKILL"]
MAIN = {"return": "returned", "raise": "raised", "sys.exit": "sys_exit", "os._exit": "os_exit"}
MAIN |= {"SIGINT": "terminated", "SIGTERM": "terminated", "SIGKILL": "killed"}


@pytest.mark.proclife(start_methods="all", linger=0.0)
@pytest.mark.parametrize("daemon", [True, False], ids=["daemon", "no daemon"])
@pytest.mark.parametrize("way", MAIN)
def test_proper_exit(proclife, way, daemon):
    ended = "cleaned_up" if way in NO_EXIT_PATH else "abandoned" if daemon else "terminated"
    with proclife.start(two_workers.main, (way, daemon)) as running:
        running.wait_for_output("ready")
        if way in SIGNALS:
            running.send_signal(signal.Signals[way])
        if ended == "terminated":  # main's exit path waits for them
            for worker in running.wait_for(lambda run: run.main.finished_at).children:
                running.terminate(worker)
        run = running.wait()
    assert run.main.cause == MAIN[way]
    assert [worker.cause for worker in run.children] == [ended, ended]
