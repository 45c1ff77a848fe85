"""The Pool or executor that a process is started for.

It need not have come with the line that runs now: an executor starts its workers when work
comes, and a Pool's own thread replaces those that have ended.
"""

import sys

from pytest_proclife.inside import callsite, watch
from pytest_proclife.inside.builtins import borrow
from pytest_proclife.inside.guard import tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

EXECUTORS = (
    "concurrent.futures.process",
    "loky.process_executor",
    "joblib.externals.loky.process_executor",
)
# what calls the start() of a worker -> its variable that names who has the worker
_STARTERS = {
    "_repopulate_pool_static": "pool",  # multiprocessing.pool: the list of the Pool's workers
    "_spawn_process": "self",  # concurrent.futures.process
    "_adjust_process_count": "self",  # the same, and loky's
}

_watched: "set[str]" = set()


def maker(caller: "FrameType | None") -> str:
    """Who has the worker whose start() is called there; empty where it is for itself."""
    if caller is None:
        return ""
    name = _STARTERS.get(caller.f_code.co_name)
    if name is None or name not in caller.f_locals:
        return ""
    return str(id(caller.f_locals[name]))


def note_pool(number: str, caller: "FrameType | None") -> None:
    """Note a Pool that begins: its first workers come with itself."""
    if caller is None or _STARTERS.get(caller.f_code.co_name) != "pool":
        return
    above = caller.f_back.f_back if caller.f_back is not None else None
    if above is not None and above.f_code.co_name == "__init__":
        _note(number, above)


def watch_executors() -> bool:
    """Note from here on where executors are made; of those made already, that they were. Whether
    that could be: a module may be there that has not run yet.
    """
    complete = True
    for name in EXECUTORS:
        if name in sys.modules and name not in _watched:
            executor: Any = getattr(sys.modules[name], "ProcessPoolExecutor", None)
            if not isinstance(executor, type):
                complete = False
                continue
            _watch(executor)
            _watched.add(name)
    return complete


def _watch(executor: "Any") -> None:
    watch.ensure()
    watch.watch_function(executor.__init__, start=_made)
    for one in borrow("gc").get_objects():
        if executor in type(one).__mro__:
            _note(str(id(one)), None)


def _made(frame: "FrameType") -> None:
    _note(str(id(frame.f_locals["self"])), frame.f_back)


def _note(number: str, frame: "FrameType | None") -> None:
    tags.note(tags.MADE, number, callsite.where(frame))
