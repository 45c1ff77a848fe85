"""A logger, a monitor and a clean-up daemon: they work in the background, and end with main."""

import multiprocessing
import os
import pathlib

import pytest

from pytest_proclife import (
    assert_abandoned,
    assert_daemon,
    assert_joined,
    assert_not_held_up,
    assert_nothing_left,
    assert_returned,
)


def logger(lines, path):
    with open(path, "a") as log:
        for line in iter(lines.get, None):
            log.write(f"{line}\n")
            log.flush()
            lines.task_done()
    lines.task_done()


def monitor(requests, path):
    while True:
        requests.get()
        path.write_text(f"load: {os.getloadavg()}\n")
        requests.task_done()


def clean_up(requests, path):
    while True:
        requests.get()
        path.unlink()
        requests.task_done()


def background(target, path):
    """Start a daemon that works on what is put into its queue."""
    queue = multiprocessing.JoinableQueue()
    args, name = (queue, path), target.__name__
    process = multiprocessing.Process(target=target, args=args, name=name, daemon=True)
    process.start()
    return process, queue


def service(folder, stop_logger):
    scratch = pathlib.Path(folder, "scratch")
    scratch.touch()
    writer, lines = background(logger, pathlib.Path(folder, "log"))
    _, measurements = background(monitor, pathlib.Path(folder, "load"))
    _, litter = background(clean_up, scratch)
    for queue in (lines, measurements, litter):
        queue.put("lesson begins")
        queue.join()  # without it the daemon may be ended before it has done its work
    if stop_logger:
        lines.put(None)
        writer.join()


@pytest.mark.proclife(start_methods="all")
def test_the_daemons_end_with_main_and_their_work_is_done(proclife, tmp_path):
    run = proclife.run(service, [str(tmp_path), False])
    assert {process.name for process in run.children} == {"logger", "monitor", "clean_up"}
    assert_daemon(run.children)
    assert_abandoned(run.children)
    assert_not_held_up(run.main)
    assert_nothing_left(run)
    assert (tmp_path / "log").read_text() == "lesson begins\n"
    assert {path.name for path in tmp_path.iterdir()} == {"log", "load"}


def test_a_daemon_that_is_told_to_stop_and_joined_is_not_cut_off(proclife, tmp_path):
    run = proclife.run(service, [str(tmp_path), True])
    assert_returned(run["logger"])
    assert_joined(run["logger"], how="explicit")
    assert_abandoned([run["monitor"], run["clean_up"]])
