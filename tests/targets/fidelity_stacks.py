"""Where the program is when something looks at its stack: WHICH, and a start method."""

import atexit
import faulthandler
import inspect
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import warnings
from types import FrameType


def show(*_: object) -> None:
    print("--", file=sys.stderr)
    traceback.print_stack()
    print(len(inspect.stack()), file=sys.stderr)
    warnings.warn("here", stacklevel=2)
    warnings.warn("far", stacklevel=99)
    faulthandler.dump_traceback(all_threads=False)
    sys.stderr.flush()


def show_and_raise(*_: object) -> None:
    show()
    raise RuntimeError("from the handler")


def target() -> None:
    show()
    signal.signal(signal.SIGUSR1, show)
    os.kill(os.getpid(), signal.SIGUSR1)
    signal.signal(signal.SIGTERM, show_and_raise)
    os.kill(os.getpid(), signal.SIGTERM)


def waits(pid: int) -> bool:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "S"


def signal_parent(number: int, times: int) -> None:
    """Send a signal to the parent whenever it has nothing to do but wait."""
    parent = os.getppid()
    for _ in range(times):
        quiet = 0
        while quiet < 200:  # looks, in a row
            quiet = quiet + 1 if waits(parent) else 0
        os.kill(parent, number)


def in_target(method: str) -> None:
    process = multiprocessing.get_context(method).Process(target=target)  # type: ignore[attr-defined]
    process.start()
    process.join()
    print(process.exitcode)


def in_join(method: str) -> None:
    signal.signal(signal.SIGUSR1, show)
    process = multiprocessing.get_context("fork").Process(
        target=signal_parent, args=(signal.SIGUSR1, 1)
    )
    process.start()
    process.join()


def interrupted(method: str) -> None:
    process = multiprocessing.get_context("fork").Process(
        target=signal_parent, args=(signal.SIGINT, 1)
    )
    process.start()
    process.join()


def interrupted_at_exit(method: str) -> None:
    multiprocessing.get_context("fork").Process(
        target=signal_parent, args=(signal.SIGINT, 1)
    ).start()


def raised_in_join(method: str) -> None:
    signal.signal(signal.SIGUSR1, show_and_raise)
    in_join_without_handler()


def in_join_without_handler() -> None:
    process = multiprocessing.get_context("fork").Process(
        target=signal_parent, args=(signal.SIGUSR1, 1)
    )
    process.start()
    process.join()


def in_thread(method: str) -> None:
    def work() -> None:
        show()
        process = multiprocessing.get_context(method).Process(target=target)  # type: ignore[attr-defined]
        process.start()
        process.join()
        raise RuntimeError("in a thread")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def in_fork(method: str) -> None:
    pid = os.fork()
    if pid == 0:
        show()
        raise RuntimeError("in a fork")
    os.waitpid(pid, 0)


def with_threads(method: str) -> None:
    """Forks beside a thread, of which 3.12 and later warn."""
    go = threading.Event()
    thread = threading.Thread(target=go.wait)
    thread.start()
    warnings.simplefilter("always")
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    process = multiprocessing.get_context("fork").Process(target=os.getpid)
    process.start()
    process.join()
    import subprocess

    subprocess.run([sys.executable, "-c", ""], preexec_fn=os.getpid)
    go.set()
    thread.join()


def traced(method: str) -> None:
    """What a trace and a profile function are shown, in a child too."""
    events: list[str] = []

    def tell() -> None:
        print("\n".join(events), flush=True)
        events.clear()

    def note(frame: FrameType, event: str, argument: object) -> object:
        code = frame.f_code
        library = "/multiprocessing/" in code.co_filename
        if library or (event != "line" and not code.co_filename.startswith("<frozen")):
            name = getattr(argument, "__name__", "") if event.startswith("c_") else ""
            if name == "waitpid":
                return note  # what stands in for it is no function of C for a profiler
            events.append(f"{event} {code.co_filename}:{frame.f_lineno} {code.co_name} {name}")
        return note

    process = multiprocessing.get_context("fork").Process(target=tell)
    other = multiprocessing.get_context("fork").Process(target=tell)
    sys.settrace(note)  # type: ignore[arg-type]
    process.start()
    process.join()
    sys.settrace(None)
    sys.setprofile(note)
    other.start()
    other.join()
    os.kill(os.getpid(), 0)
    sys.setprofile(None)
    tell()


class Garbage:
    def __del__(self) -> None:
        show()
        raise RuntimeError("in __del__")


def at_exit(method: str) -> None:
    atexit.register(show_and_raise)
    os.register_at_fork(before=show, after_in_child=show_and_raise)
    in_target("fork")
    globals()["garbage"] = Garbage()
    warnings.simplefilter("ignore")
    sys.exit("at exit")


def crash(method: str) -> None:
    faulthandler.enable()
    process = multiprocessing.get_context(method).Process(target=faulthandler._sigabrt)  # type: ignore[attr-defined]
    process.start()
    process.join()
    os.abort()


if __name__ == "__main__":
    {
        function.__name__: function
        for function in (
            in_target,
            in_join,
            interrupted,
            interrupted_at_exit,
            raised_in_join,
            in_thread,
            in_fork,
            with_threads,
            traced,
            at_exit,
            crash,
        )
    }[sys.argv[1]](sys.argv[2])
    show()
