"""Mains that close, replace or use up descriptors: WHICH, and its arguments.

What each imports is a part of it: a module that is not loaded yet is looked for in files.
"""

import importlib
import os
import sys


def closes_all() -> None:
    os.closerange(3, 4096)
    if os.fork() == 0:
        os._exit(3)
    os.wait()
    print(os.open(os.devnull, os.O_RDONLY))


def exits_without_any(modules: str, forks: str) -> None:
    for name in modules.split():
        importlib.import_module(name)
    if forks:
        if os.fork() == 0:
            os._exit(1)
        os.wait()
    os.closerange(3, 4096)
    sys.exit(3)


def replaces_all() -> None:
    """What is above 9 becomes a pipe's end; a child lives then, and the pipe is read."""
    import multiprocessing

    numbers = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 9]
    reader, writer = os.pipe()
    for number in numbers:
        os.dup2(writer, number)
    child = multiprocessing.get_context("fork").Process(target=os.getpid)
    child.start()
    child.join()
    os.close(writer)
    for number in numbers:
        os.close(number)
    print(os.read(reader, 100))


def daemonizes() -> None:
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.chdir("/")
        os.umask(0)
        os.dup2(writer, 1)
        os.closerange(3, 4096)
        if os.fork() == 0:
            os._exit(7)
        os.wait()
        os.write(1, b"done")
        sys.exit(4)
    os.close(writer)
    os.wait()
    os.read(reader, 10)


def has_few(limit: str) -> None:
    import resource
    import subprocess

    resource.setrlimit(resource.RLIMIT_NOFILE, (int(limit), int(limit)))
    os.closerange(3, 4096)
    if os.fork() == 0:
        sys.exit(3)
    os.wait()
    show = ["-c", "import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))"]
    subprocess.run([sys.executable, *show])
    os.execv(sys.executable, ["python", *show])


def uses_up_all() -> None:
    os.closerange(3, 4096)
    try:
        while True:
            os.open(os.devnull, os.O_RDONLY)
    except OSError:
        pass
    if os.fork() == 0:
        os._exit(3)
    print(os.wait()[1])


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
