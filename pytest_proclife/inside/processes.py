"""The start of a Process of multiprocessing's, as it is noted for the guard."""

import _thread
import sys

from pytest_proclife.inside import makers, starts, tagging, target, watch

if sys.version_info < (3, 12):
    from pytest_proclife.inside import rewrite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

_is_watched = False
_kinds: "dict[int, str]" = {}  # id of a Process that is being started -> its kind


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
        watch.watch(function.__code__, start=_starts, returned=_started)
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_code is function.__code__:
                _starts(frame)
            frame = frame.f_back
    else:
        rewrite.instrument(function, _starts, _started)
    _is_watched = True
    return True


def _starts(frame: "FrameType") -> None:
    process = frame.f_locals["self"]
    if process._popen is None:
        _kinds[id(process)] = target.kind_of(process)  # start() deletes the target


def _started(frame: "FrameType", value: object) -> None:
    process, caller = frame.f_locals["self"], frame.f_back
    popen = process._popen
    method = getattr(popen, "method", "")
    kind = _kinds.pop(id(process), "process")
    number = starts.numbers.pop(_thread.get_ident(), 0)
    if type(method) is not str:
        return  # one that stands in for a Popen has started nothing
    tagging.note(
        tagging.STARTED,
        str(popen.pid),
        str(number) if number and method == "fork" else "",
        kind,
        process._name,
        method,
        starts.where_of(caller),
        makers.maker(caller),
    )
