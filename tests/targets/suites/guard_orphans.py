"""Programs whose child outlives them: each way to start one, and the program returns or is killed.

`WORK` in the environment is what the child does. `TOOLS` is a folder with compiled programs.
"""

import os
import shlex
import subprocess
import sys
import threading

import pytest

WORK = shlex.split(os.environ["WORK"])
TOOLS = os.environ.get("TOOLS", "")

PROGRAM = """
import os, shlex, subprocess, sys, time
how, end, *work = sys.argv[1:]
quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
options = {
    "default": {},
    "session": {"start_new_session": True},
    "close_fds": {"close_fds": False},
    "no_environment": {"env": {}},
    "no_environment_in_a_session": {"env": {}, "start_new_session": True},
}
if how in options:
    subprocess.Popen(work, **quiet, **options[how])
elif how == "pass_fds":
    subprocess.Popen(work, **quiet, pass_fds=[os.pipe()[0]])
elif how == "shell":
    subprocess.run(f"{shlex.join(work)} &", shell=True, **quiet)
elif how == "double_fork":
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.closerange(0, 5000)
            os.execve(work[0], work, {})
        os._exit(0)
    os.wait()
else:
    subprocess.Popen([*shlex.split(how), *work], **quiet)
print("started", flush=True)
if end == "is_killed":
    time.sleep(600)
"""
PYTHON = [sys.executable, "-c", PROGRAM]
COMMANDS = {
    how: [*PYTHON, how]
    for how in (
        *("default", "session", "close_fds", "no_environment", "no_environment_in_a_session"),
        *("pass_fds", "shell", "double_fork", "nohup", "setsid", "setsid --fork"),
    )
}
COMMANDS |= {name: [f"{TOOLS}/{name}"] for name in (os.listdir(TOOLS) if TOOLS else ())}


@pytest.mark.parametrize("end", ["returns", "is_killed"])
@pytest.mark.parametrize("how", COMMANDS)
def test_it(how, end):
    program = subprocess.Popen([*COMMANDS[how], end, *WORK], stdout=subprocess.PIPE)  # the start
    assert program.stdout.readline() == b"started\n"
    if end == "is_killed":
        program.kill()
    program.wait()
    program.stdout.close()


def test_with_descriptors_of_its_own():
    reader, writer = os.pipe()
    command = f"{shlex.join(WORK)} &"
    subprocess.run(command, shell=True, pass_fds=[reader], env={})  # with pass_fds
    os.close(reader)
    os.close(writer)


def test_by_a_fork_server():
    import multiprocessing

    def start(target):
        process = multiprocessing.get_context("forkserver").Process(target=target)
        process.start()
        process.join()

    start(threading.active_count)  # the server is this test's
    start(leave)


def leave():
    subprocess.Popen(WORK, start_new_session=True)


def test_by_a_later_process_of_that_fork_server():
    import multiprocessing

    process = multiprocessing.get_context("forkserver").Process(target=leave)
    process.start()
    process.join()
