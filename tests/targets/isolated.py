"""Starts what can be started, Pythons that look for no module among it."""

import multiprocessing
import os
import subprocess
import sys


def work() -> None:
    sys.exit(3)


if __name__ == "__main__":
    methods = ["fork", "spawn", "forkserver"] if os.path.exists(sys.argv[0]) else ["fork"]
    for method in methods:
        child = multiprocessing.get_context(method).Process(target=work, name=method)  # type: ignore[attr-defined]
        child.start()
        child.join()
    if os.fork() == 0:
        os._exit(4)
    os.wait()
    for flags in ("-I", "-ES", "-Ic"):
        arguments = [sys.executable, flags, *(() if "c" in flags else ["-c"]), "1"]
        subprocess.run(arguments)
        os.waitpid(os.posix_spawn(sys.executable, arguments, os.environ), 0)
    program = [sys.executable, "-I", "-c", "import os; os._exit(5)"]
    if os.fork() == 0:
        os.execv(program[0], program)
    os.wait()
    sys.exit("in words")
