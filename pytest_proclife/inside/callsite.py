"""Which part of the program makes a call: read off the stack, by the paths of its files."""

from pytest_proclife.inside.handlers import OURS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType

# multiprocessing, and the libraries that are copies of it, with functions of the same names
PACKAGES = ("multiprocessing", "multiprocess", "billiard")


def files(*names: str) -> "tuple[str, ...]":
    return tuple([f"/{package}/{name}.py" for package in PACKAGES for name in names])


_POOL = files("pool")
_EXECUTOR = "/concurrent/futures/process.py"
_MANAGER = files("managers")
_UTIL = files("util")
_SERVER = files("forkserver")
_LOKY = "/loky/process_executor.py"
PROCESS_MODULES = (
    *files("process", "popen_fork", "popen_spawn_posix", "popen_forkserver"),
    "/loky/backend/process.py",
    "/loky/backend/popen_loky_posix.py",
)
# the files whose lines are not shown as where a process was started, signalled or joined
_PLUMBING = (
    *_POOL,
    _EXECUTOR,
    "/concurrent/futures/_base.py",
    *_MANAGER,
    _LOKY,
    *_UTIL,
    *PROCESS_MODULES,
    *_SERVER,
    *files("resource_tracker", "context", "connection"),
    "/subprocess.py",
    "/signal.py",
    "/threading.py",
    "/os.py",  # popen, spawn*
    "/pty.py",
    "/asyncio/base_events.py",
    "/asyncio/base_subprocess.py",
    "/asyncio/events.py",
    "/asyncio/runners.py",
    "/asyncio/subprocess.py",
    "/asyncio/unix_events.py",
    "/pytest_proclife/notebook_kernel.py",
)


def in_exit_path(frame: "FrameType | None") -> bool:
    """Whether multiprocessing's exit function is on the stack; it runs the finalizers too."""
    while frame is not None:
        if is_exit_function(frame.f_code):
            return True
        frame = frame.f_back
    return False


def is_exit_function(code: "CodeType") -> bool:
    return code.co_name == "_exit_function" and code.co_filename.endswith(_UTIL)


def is_process_module(path: str) -> bool:
    """Whether the file of this path implements a Process."""
    return path.endswith(PROCESS_MODULES)


def library(frame: "FrameType | None") -> str:
    """Pool, executor or manager, if their code made the call; else an empty string."""
    path = frame.f_code.co_filename if frame is not None else ""
    if path.endswith(_POOL):
        return "Pool"
    if path.endswith((_EXECUTOR, _LOKY)):
        return "executor"
    return "manager" if path.endswith(_MANAGER) else ""


def leave_process_module(frame: "FrameType | None") -> "tuple[list[str], FrameType | None]":
    """Climb out of the code that implements Process: (names passed, first frame outside)."""
    passed = []
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.endswith(PROCESS_MODULES):
            break
        passed.append(code.co_name)
        frame = frame.f_back
    return passed, frame


def where(frame: "FrameType | None") -> str:
    """The line of `own_frame`: "file:line in function"; "" if there is none."""
    frame = own_frame(frame)
    if frame is None:
        return ""
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"


def own_frame(frame: "FrameType | None") -> "FrameType | None":
    """The innermost frame of the program's own code.

    None for what no line of the program called: multiprocessing's exit function (in a fork, the
    line that started it is further out), and the loop of a fork server.
    """
    while frame is not None:
        code = frame.f_code  # read once: each access is an audit event
        if is_outermost(code):
            break
        if not is_passed(code.co_filename):
            return frame
        frame = frame.f_back
    return None


def is_outermost(code: "CodeType") -> bool:
    """Whether no line of the program called what this code calls: see `own_frame`."""
    return is_exit_function(code) or (code.co_name == "main" and code.co_filename.endswith(_SERVER))


def is_passed(path: str) -> bool:
    """Whether a file is passed over, in the search for the line that has done something."""
    return path.endswith(_PLUMBING) or path.startswith((*OURS, "<frozen"))
