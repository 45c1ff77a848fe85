"""The line that starts a process: the test's own, and that of the library that it has called."""

import sys

from pytest_proclife.inside import callsite
from pytest_proclife.inside.handlers import OURS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_LIBRARIES = ("/site-packages/", "/dist-packages/")
_POPEN_FORK = callsite.files("popen_fork")
_PYTEST = "/_pytest/"  # calls tests and fixtures

_os_file = sys.modules["os"].__file__ or ""
# the standard library, ours, and what of the standard library is part of the interpreter
_NOT_THE_SUITES = (_os_file[: _os_file.rfind("/") + 1], *OURS, "<frozen")

# What a file is, in bits.
PASSED = 1  # its lines are not where a process is started: see `callsite`
_CALLS_TESTS = 2
_SUITES = 4  # of the tests, or beside them
FORKS_PROCESSES = 8  # what forks there is a Process of multiprocessing

parts: "dict[str, int]" = {}  # by the path of the file
_PARTS_KEPT = 1000


def line_of(frame: "FrameType | None") -> "tuple[str, str, str]":
    """The place ("file:line") and function of the suite's own code, and the line in a library that
    it has called, which starts the process: "file:line in function". Empty if there is none.

    The suite's own code is the file of the test or the fixture that is running, or else of the
    outermost function that is not in an installed library: a library may lie beside the tests.
    All in one function, since each call costs: see `tags`.
    """
    inner: FrameType | None = None  # starts the process
    innermost: dict[str, FrameType] = {}  # by file
    path = ""
    while frame is not None:
        code = frame.f_code
        file = code.co_filename
        part = parts.get(file)
        if part is None:
            part = part_of(file)
        if inner is None:
            if part & PASSED:
                if callsite.is_outermost(code):
                    return "", "", ""
                frame = frame.f_back
                continue
            inner = frame
        if part & _CALLS_TESTS:
            break
        if part & _SUITES:
            path = file
            innermost.setdefault(file, frame)
        frame = frame.f_back
    if inner is None:
        return "", "", ""
    code, own = inner.f_code, innermost.get(path)
    if own is None or own is inner:
        return f"{code.co_filename}:{inner.f_lineno}", code.co_name, ""
    through = f"{code.co_filename}:{inner.f_lineno} in {code.co_name}"
    return f"{own.f_code.co_filename}:{own.f_lineno}", own.f_code.co_name, through


def part_of(file: str) -> int:
    """What a file is, from here on in `parts`."""
    part = PASSED if callsite.is_passed(file) else 0
    if _PYTEST in file:
        part |= _CALLS_TESTS
    elif not file.startswith(_NOT_THE_SUITES) and not any(name in file for name in _LIBRARIES):
        part |= _SUITES
    if file.endswith(_POPEN_FORK):
        part |= FORKS_PROCESSES
    if len(parts) >= _PARTS_KEPT:
        parts.clear()  # as of code that is made while the program runs
    parts[file] = part
    return part
