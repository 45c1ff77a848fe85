"""Does below Python what its first argument says: by functions of C, or in a subinterpreter."""

import ctypes
import faulthandler
import importlib.util
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.synchronize import Event
from types import FrameType
from typing import Any

libc = ctypes.CDLL(None)
fork = multiprocessing.get_context("fork")


def waits(ready: Event) -> None:
    ready.set()
    time.sleep(60)


def leaves_at_a_signal(ready: Event) -> None:
    def leave(number: int, frame: FrameType | None) -> None:
        sys.exit(5)

    signal.signal(signal.SIGTERM, leave)
    ready.set()
    while True:
        time.sleep(0.1)


def handles_in_c(ready: Event) -> None:
    global handler
    handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: os._exit(0))
    libc.signal(signal.SIGTERM, handler)
    waits(ready)


handler: Any = None


def started(target: Callable[[Event], None] = waits) -> Any:
    ready = fork.Event()
    child = fork.Process(target=target, args=(ready,), name="child")
    child.start()
    ready.wait()
    return child


def brother() -> Any:
    child = fork.Process(target=time.sleep, args=(0.01,), name="brother")
    child.start()
    return child


def kills(name: str = "SIGKILL", target: Callable[[Event], None] = waits) -> None:
    child, other = started(target), brother()
    libc.kill(child.pid, getattr(signal, name))
    child.join()
    other.join()


def asks() -> None:
    kills("SIGTERM", leaves_at_a_signal)


def kills_from_a_fork() -> None:
    """The function was taken by the parent of who calls it."""
    kill, child = libc.kill, started()
    killer = fork.Process(target=kill, args=(child.pid, signal.SIGKILL), name="killer")
    killer.start()
    killer.join()
    child.join()


def kills_by_pointer() -> None:
    child = started()
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)
    prototype(("kill", libc))(child.pid, signal.SIGKILL)
    child.join()


def kills_by_address() -> None:
    """The function is taken by one that is taken by ctypes."""
    child = started()
    libc.dlsym.restype = ctypes.c_void_p
    address = libc.dlsym(None, b"kill")
    ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_int)(address)(child.pid, signal.SIGKILL)
    child.join()


DECLARED = "int kill(int pid, int number);"


def kills_by_cffi(how: str, folder: str = "") -> None:
    import cffi  # type: ignore[import-untyped]

    child, ffi = started(), cffi.FFI()
    if how == "inline":
        ffi.cdef(DECLARED)
        kill = ffi.dlopen(None).kill
    elif how == "declared later":
        library = ffi.dlopen(None)
        ffi.cdef(DECLARED)
        kill = library.kill
    elif how == "variable":
        ffi.cdef("extern char kill;")
        address = ffi.addressof(ffi.dlopen(None), "kill")
        kill = ffi.cast("int (*)(int, int)", address)
    elif how == "backend":
        import _cffi_backend as backend  # type: ignore[import-untyped]

        number = backend.new_primitive_type("int")
        function = backend.new_function_type((number, number), number, False)
        kill = backend.load_library(None, 0).load_function(function, "kill")
    else:  # compiled ahead, as makes_cffi() does
        sys.path.insert(0, folder)
        module = importlib.import_module("compiled")
        library = module.lib if how == "API" else module.ffi.dlopen(None)
        kill = library.kill
    kill(child.pid, signal.SIGKILL)
    child.join()


def declares_others_by_cffi() -> None:
    import cffi

    ffi = cffi.FFI()
    ffi.cdef("int getpid(void); struct kill { int fork; };")
    ffi.dlopen(None).getpid()
    cffi.FFI().cdef(DECLARED)  # and opens no library
    brother().join()


def kills_by_number() -> None:
    child = started()
    libc.syscall(62, child.pid, signal.SIGKILL)  # kill(2) of x86-64; another call elsewhere
    child.kill()
    child.join()


def terminates_who_handles_in_c() -> None:
    child = started(handles_in_c)
    child.terminate()
    child.join()


def leaves(how: str) -> None:
    child = fork.Process(target=getattr(libc, how), args=(3,), name="child")
    child.start()
    child.join()


def forks(how: str) -> None:
    pid = libc.fork()
    if pid == 0:
        if how == "exits":
            sys.exit(4)
        if how == "leaves":
            os._exit(4)
        if how == "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "leaves in C":
            libc._exit(4)
    else:
        os.waitpid(pid, 0)


def leaves_by_faulthandler(exits: str = "exits") -> None:
    """One who catches a request ends beside it."""
    asked = started(leaves_at_a_signal)
    child = fork.Process(target=waits_for_faulthandler, args=(exits,), name="silent")
    child.start()
    child.join()
    asked.terminate()
    asked.join()


def waits_for_faulthandler(exits: str) -> None:
    faulthandler.dump_traceback_later(0.05 if exits else 60, exit=True)
    time.sleep(60 if exits else 0)


def finalizes() -> None:
    ctypes.pythonapi.Py_Exit(3)


def forks_by_number() -> None:
    is_x86 = os.uname().machine == "x86_64"
    # fork(2) of x86-64; elsewhere there is only clone(2)
    pid = libc.syscall(57) if is_x86 else libc.syscall(220, signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(4)
    os.waitpid(pid, 0)


def starts() -> None:
    libc.system(b"sleep 0.5")


def executes() -> None:
    child = fork.Process(target=libc.execl, args=(b"/bin/true", b"true", None), name="child")
    child.start()
    child.join()


def signals_itself() -> None:
    getattr(libc, "raise")(signal.SIGUSR1)


def takes_others() -> None:
    """What libraries do that have nothing to do with processes."""
    libc.getpid()
    libc.strlen(b"")
    ctypes.pythonapi.Py_IncRef  # noqa: B018 - taken
    brother().join()


def _interpreters() -> Any:
    for name in ("_interpreters", "_xxsubinterpreters"):
        if importlib.util.find_spec(name) is not None:
            return importlib.import_module(name)
    raise ImportError


def interprets(text: str) -> None:
    module, child = _interpreters(), started()
    interpreter = module.create()
    run = getattr(module, "exec", None) or module.run_string
    run(interpreter, f"import os; {text.format(pid=child.pid)}")
    child.kill()
    child.join()


def interprets_by_tests() -> None:
    """By the module for CPython's own tests."""
    child = started()
    importlib.import_module("_testcapi").run_in_subinterp(f"import os; os.kill({child.pid}, 9)")
    child.join()


def imports_interpreters() -> None:
    _interpreters()


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
