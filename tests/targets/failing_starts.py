"""Starts that fail, each in a way of its own, named by the arguments; main goes on."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import resource
import subprocess
import sys
import threading
from typing import Any


def work() -> None:
    pass


def start_from_a_daemon() -> None:
    multiprocessing.Process(target=work, name="grandchild").start()


@contextlib.contextmanager
def no_descriptor_left() -> Any:
    held = []
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, before[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))
        yield
    finally:
        for descriptor in held:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Unpicklable(multiprocessing.Process):
    def __init__(self) -> None:
        super().__init__(name="unpicklable")
        self.lock = threading.Lock()


def start_a_process(context: Any, how: str) -> None:
    match how:
        case "pickle":
            context.Process(target=work, args=(threading.Lock(),), name="unpicklable").start()
        case "pickle while handling":
            try:
                raise LookupError("earlier")
            except LookupError:
                context.Process(target=work, args=(threading.Lock(),), name="unpicklable").start()
        case "subclass":
            multiprocessing.set_start_method(context.get_start_method())
            Unpicklable().start()
        case "descriptors":
            context.Process(target=work, name="first").start()
            process = context.Process(target=work, name="without descriptors")
            with no_descriptor_left():
                process.start()
        case "closed":
            process = context.Process(target=work, name="closed")
            process.start()
            process.join()
            process.close()
            process.start()
        case "twice":
            process = context.Process(target=work, name="twice")
            process.start()
            process.join()
            process.start()
        case "daemon":
            process = context.Process(target=start_from_a_daemon, name="daemon", daemon=True)
            process.start()
            process.join()
        case "leaves":
            setattr(os, "_exit", sys.exit)  # noqa: B010 - of another type; an exception leaves start(), in the child
            process = context.Process(target=work, name="leaves")
            process.start()
            process.join()
        case _:
            raise ValueError(how)


def start_a_program(how: str, route: str) -> None:
    routes: dict[str, dict[str, Any]] = {
        "posix_spawn": {"close_fds": False},
        "fork_exec": {"close_fds": True, "start_new_session": True},
        "vfork": {"close_fds": True},
        "preexec": {"preexec_fn": work},
    }
    options = routes[route]
    match how:
        case "missing":
            subprocess.run(["/no/such/program", "a"], **options)
        case "path":
            subprocess.run("no-such-program", **options)
        case "denied":
            subprocess.run([os.devnull], **options)
        case "folder":
            subprocess.run(["true"], cwd="/no/such/folder", **options)
        case _:
            raise ValueError(how)


def main() -> None:
    kind, *words = sys.argv[1:]
    try:
        if kind == "process":
            start_a_process(multiprocessing.get_context(words[0]), words[1])
        elif kind == "program":
            start_a_program(words[0], words[1])
        elif kind == "in a fork of C":
            pid = ctypes.CDLL(None).fork()
            if pid:
                os.waitpid(pid, 0)
            else:
                start_a_process(multiprocessing.get_context(words[0]), words[1])
        else:
            os.posix_spawn("/no/such/program", ["other-name"], os.environ)
    except (AssertionError, OSError, TypeError, ValueError) as error:
        print(type(error).__name__)


if __name__ == "__main__":
    main()
