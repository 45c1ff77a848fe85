"""The start of a Process of multiprocessing's, as it is noted for the guard."""

import sys

from pytest_proclife.inside import makers, starts, tagging, target, watch
from pytest_proclife.inside.starts import starting

if sys.version_info < (3, 12):
    from pytest_proclife.inside import rewrite

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

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
        starting[id(process)] = _begun(process, frame.f_back)


def _begun(process: "Any", caller: "FrameType | None") -> tagging.Note:
    """Its note, but for what `_started` adds. That has as little to do as can be: while the fork is
    there each page that is written has to be copied.
    """
    kind = target.kind_of(process)  # as long as it has a target, which start() deletes
    facts = "", "", kind, "", "", starts.where_of(caller), makers.maker(caller)
    return tagging.begun(tagging.STARTED, *facts)


def _started(frame: "FrameType", value: object) -> None:
    process = frame.f_locals["self"]
    popen = process._popen
    method = getattr(popen, "method", "")
    note = starting.pop(id(process), None) or _begun(process, frame.f_back)
    if type(method) is not str:
        return  # one that stands in for a Popen has started nothing
    fields = note.fields
    fields[tagging.CHILD], fields[tagging.NAME] = str(popen.pid), process._name
    fields[tagging.METHOD] = method
    if fields[tagging.MAKER]:
        makers.note_pool(fields[tagging.MAKER], frame.f_back)
    tagging.add(note)
