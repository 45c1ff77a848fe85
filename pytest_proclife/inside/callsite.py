"""Which part of the program a call comes from: read off the stack, outermost reason first."""

import sys

_POOL = "/multiprocessing/pool.py"
_EXECUTOR = "/concurrent/futures/process.py"
_MANAGER = "/multiprocessing/managers.py"
_LIBRARY = (_POOL, _EXECUTOR, _MANAGER)
_PLUMBING = (
    *_LIBRARY,
    "/multiprocessing/process.py",
    "/multiprocessing/popen_fork.py",
    "/multiprocessing/popen_spawn_posix.py",
    "/multiprocessing/popen_forkserver.py",
    "/multiprocessing/forkserver.py",
    "/multiprocessing/resource_tracker.py",
    "/multiprocessing/context.py",
    "/multiprocessing/util.py",
    "/multiprocessing/connection.py",
    "/subprocess.py",
    "/signal.py",
    "/threading.py",
)
_OWN = __file__[: __file__.rindex("/")]


def in_exit_path(frame):
    """Whether multiprocessing's exit function is on the stack (its finalizers run below it)."""
    while frame is not None:
        code = frame.f_code
        if code.co_name == "_exit_function" and code.co_filename.endswith("/util.py"):
            return True
        frame = frame.f_back
    return False


def library(frame):
    """Pool, executor or manager, if the call was made by their code; else an empty string."""
    path = frame.f_code.co_filename if frame is not None else ""
    if path.endswith(_POOL):
        return "Pool"
    if path.endswith(_EXECUTOR):
        return "executor"
    return "manager" if path.endswith(_MANAGER) else ""


def leave_process_module(frame):
    """Climb out of the code that implements Process: (names passed, first frame outside)."""
    passed = []
    while frame is not None and frame.f_code.co_filename.endswith(
        ("/process.py", "/popen_fork.py", "/popen_spawn_posix.py", "/popen_forkserver.py")
    ) and not frame.f_code.co_filename.endswith(_EXECUTOR):
        passed.append(frame.f_code.co_name)
        frame = frame.f_back
    return passed, frame


def where(frame=None):
    """The innermost line that is the program's own: "file:line in function"."""
    if frame is None:
        frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if not path.endswith(_PLUMBING) and not path.startswith((_OWN, "<frozen")):
            return "%s:%d in %s" % (path, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back
    return ""
