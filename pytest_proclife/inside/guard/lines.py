"""The line that starts a process: the test's own, and that of the library that it has called."""

import sys

from pytest_proclife.inside import callsite
from pytest_proclife.inside.handlers import OWN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType

_LIBRARIES = ("/site-packages/", "/dist-packages/")
_GEVENT = ("/gevent/subprocess.py", "/gevent/os.py")  # what these start is their callers'
_PYTEST = "/_pytest/"  # calls tests and fixtures

_os_file = sys.modules["os"].__file__ or ""
_NOT_THE_SUITES = (
    _os_file[: _os_file.rfind("/") + 1],
    OWN,
    "<frozen",
)  # the standard library's too


def line_of(frame: "FrameType | None") -> "tuple[str, str, str]":
    """The place ("file:line") and function of the suite's own code, and the line in a library that
    it has called, which starts the process: "file:line in function". Empty if there is none.

    The suite's own code is the file of the test or the fixture that is running, or else of the
    outermost function that is not in an installed library: a library may lie beside the tests.
    """
    inner = callsite.own_frame(frame)
    while inner is not None and inner.f_code.co_filename.endswith(_GEVENT):
        inner = callsite.own_frame(inner.f_back)
    if inner is None:
        return "", "", ""
    own = _own_frame(inner)
    if own is None or own is inner:
        return f"{inner.f_code.co_filename}:{inner.f_lineno}", inner.f_code.co_name, ""
    code = inner.f_code
    through = f"{code.co_filename}:{inner.f_lineno} in {code.co_name}"
    return f"{own.f_code.co_filename}:{own.f_lineno}", own.f_code.co_name, through


def _own_frame(frame: "FrameType | None") -> "FrameType | None":
    """The innermost frame of the file whose code pytest, or a thread, has called."""
    innermost: dict[str, FrameType] = {}  # by file
    path = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if _PYTEST in file:
            break
        if not file.startswith(_NOT_THE_SUITES) and not any(part in file for part in _LIBRARIES):
            path = file
            innermost.setdefault(file, frame)
        frame = frame.f_back
    return innermost.get(path)
