"""Calls that fail, each shown as Python shows it: WHICH, and a start method where it has one."""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable


def divide(by: int = 0) -> float:
    return 1 / by


def leave(text: object = "leaving in words") -> None:
    sys.exit(text)  # type: ignore[arg-type]


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def unprintable() -> None:
    raise Unprintable


def chained() -> None:
    try:
        divide()
    except ZeroDivisionError as error:
        raise ExceptionGroup("two", [ValueError("one"), KeyError("other")]) from error


def has_child(method: str) -> None:
    context = multiprocessing.get_context(method)
    context.Process(target=divide, args=(1,)).start()  # type: ignore[attr-defined]


def run_child(method: str, target: object, *args: object, daemon: bool = False) -> None:
    process = multiprocessing.get_context(method).Process(target=target, args=args, daemon=daemon)  # type: ignore[attr-defined]
    process.start()
    process.join()
    print(process.exitcode)


def starts(method: str) -> None:
    """Process.start() and what the target leaves behind."""
    context = multiprocessing.get_context(method)
    if method != "fork":
        try:
            context.Process(target=lambda: None).start()  # type: ignore[attr-defined]
        except Exception:  # noqa: BLE001 - of which type depends on the version
            traceback.print_exc()
    process = context.Process(target=divide, args=(1,))  # type: ignore[attr-defined]
    process.start()
    try:
        process.start()
    except AssertionError:
        traceback.print_exc()
    process.join()
    for target in (divide, leave, unprintable, chained):
        run_child(method, target)
    run_child(method, leave, 3)
    run_child(method, leave, None)
    run_child(method, os._exit, 4)
    run_child(method, has_child, method, daemon=True)


def executes(method: str) -> None:
    """Programs that cannot be started."""
    descriptor, text = tempfile.mkstemp()
    os.write(descriptor, b"no program")
    os.close(descriptor)
    os.chmod(text, 0o700)
    environment = dict(os.environ)
    calls: list[Callable[[], object]] = [
        lambda: subprocess.run(["/no/such"]),
        lambda: subprocess.Popen(["nope"]),
        lambda: subprocess.Popen("nope", executable="/no/such/python"),
        lambda: subprocess.run([sys.executable, "-c", ""], cwd="/no/such"),
        lambda: subprocess.run(["/no/such"], close_fds=False),
        lambda: subprocess.run(["/etc/passwd"]),
        lambda: subprocess.run([]),
        lambda: subprocess.run([sys.executable, 3]),  # type: ignore[list-item]
        lambda: subprocess.run([sys.executable], env={"a": 3}),  # type: ignore[arg-type]
        lambda: subprocess.run([sys.executable], env={"a=b": "c"}),
        lambda: subprocess.run([sys.executable, "-c", "1/0"], check=True),
        lambda: subprocess.run([sys.executable, "-c", ""], preexec_fn=divide),
        lambda: os.execv("/no/such", ["such"]),
        lambda: os.execve("/no/such", ["such"], environment),
        lambda: os.execvp("nope", ["nope"]),
        lambda: os.execl("/no/such", "such", "x"),
        lambda: os.execlp("nope", "nope"),
        lambda: os.execv(text, ["text"]),
        lambda: os.execve(text, ["text"], environment),
        lambda: os.execv(sys.executable, []),
        lambda: os.execv(sys.executable, [""]),
        lambda: os.execv(sys.executable, 3),  # type: ignore[arg-type]
        lambda: os.execv(),  # type: ignore[call-arg]
        lambda: os.execve(sys.executable, ["python"], {"a": 3}),  # type: ignore[arg-type]
        lambda: os.execve(path=sys.executable, argv=["python"]),  # type: ignore[call-arg]
        lambda: os.execve(-1, ["python"], environment),
        lambda: os.posix_spawn("/no/such", ["such"], environment),
        lambda: os.posix_spawnp("nope", ["nope"], environment),
        lambda: os.posix_spawn(text, ["text"], environment),
        lambda: os.posix_spawn(sys.executable, [], environment),
        lambda: os.posix_spawn(sys.executable, ["python"], environment, what=1),  # type: ignore[call-arg]
        lambda: os.posix_spawn(),  # type: ignore[call-arg]
        lambda: print(os.spawnv(os.P_WAIT, "/no/such", ["such"])),
        lambda: print(os.system("exit 3")),
        lambda: os._exit(),  # type: ignore[call-arg]
        lambda: os._exit("x"),  # type: ignore[arg-type]
        lambda: os._exit(1, 2),  # type: ignore[call-arg]
        lambda: os._exit(code=2),  # type: ignore[call-arg]
        lambda: os.kill(os.getpid(), 999),
        lambda: os.kill("x", 9),  # type: ignore[arg-type]
        lambda: os.kill(2**22 + 1, 0),
        lambda: os.killpg(2**22 + 1, signal.SIGTERM),
        lambda: signal.signal(999, signal.SIG_IGN),
        lambda: signal.signal(signal.SIGKILL, signal.SIG_IGN),
        lambda: signal.signal(signal.SIGTERM, "x"),  # type: ignore[arg-type]
    ]
    for call in calls:
        sys.stderr.flush()
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - whatever comes is shown
            error.add_note(str(call.__code__.co_firstlineno))
            traceback.print_exc()
    os.unlink(text)


def pools(method: str) -> None:
    """What comes back from a worker."""
    import concurrent.futures

    context = multiprocessing.get_context(method)
    with context.Pool(1) as pool:
        for function, args in ((divide, (0,)), (chained, ())):
            try:
                pool.apply(function, args)
            except (ZeroDivisionError, ExceptionGroup):
                traceback.print_exc()
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as executor:
        future = executor.submit(divide)
        concurrent.futures.wait([future])  # result() shows another line where it has to wait
        try:
            future.result()
        except ZeroDivisionError:
            traceback.print_exc()
        try:
            executor.submit(os._exit, 1).result()
        except concurrent.futures.process.BrokenProcessPool as error:
            print(error)


if __name__ == "__main__":
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    method = sys.argv[2]
    {"starts": starts, "executes": executes, "pools": pools}[sys.argv[1]](method)
    divide()
