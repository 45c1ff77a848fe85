"""The start of a Process of multiprocessing's, as it is noted for the guard."""

import _thread
import sys

from pytest_proclife.inside import callsite, makers, starts, tagging, watch

if sys.version_info < (3, 12):
    from pytest_proclife.inside import rewrite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

# what it is for, by whose code starts it
_KINDS = {"Pool": "pool_worker", "executor": "executor_worker", "manager": "manager"}

_is_watched = False


def watch_starts() -> bool:
    """Watch them from here on, whether that could be. Where multiprocessing comes late, its first
    start is the moment: a function that is running can be watched too, to its return.
    """
    global _is_watched
    if _is_watched:
        return True
    module: Any = sys.modules["multiprocessing.process"]
    function = getattr(getattr(module, "BaseProcess", None), "start", None)
    if type(function) is not type(watch_starts):
        return False
    watch.ensure()
    if sys.version_info >= (3, 12):
        watch.watch(function.__code__, returned=_started)
    else:
        rewrite.instrument(function, returned=_started)
    _is_watched = True
    return True


def _started(frame: "FrameType", value: object) -> None:
    process, caller = frame.f_locals["self"], frame.f_back
    popen = process._popen
    method = getattr(popen, "method", "") or ""
    number = starts.numbers.pop(_thread.get_ident(), 0)
    path, name = (caller.f_code.co_filename, caller.f_code.co_name) if caller else ("", "")
    kind, where, maker = "process", "", ""
    if name in makers.STARTERS or path.endswith(callsite.PLUMBING) or starts.LIBRARIES in path:
        kind = _KINDS.get(callsite.library(caller), kind)
        where, maker = starts.where_of(caller), makers.maker(caller)
    elif caller:
        where = f"{path}:{caller.f_lineno} in {name}"
    tagging.note(
        tagging.STARTED,
        str(popen.pid),
        str(number) if number and method == "fork" else "",
        kind,
        str(process._name),
        "1" if process._config.get("daemon", False) else "0",
        method,
        where,
        maker,
    )
