"""The maker of a worker: the Pool or executor that the worker is started for.

The line that starts a worker does not always tell: an executor starts its workers when work
comes, and a Pool's own thread starts new workers for those that have exited.
"""

import sys

from pytest_proclife.inside import watch
from pytest_proclife.inside.builtins import borrow
from pytest_proclife.inside.guard import lines, tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

EXECUTORS = (
    "concurrent.futures.process",
    "loky.process_executor",
    "joblib.externals.loky.process_executor",
)
# the functions that call start() of a worker -> its variable that identifies the maker
STARTERS = {
    "_repopulate_pool_static": "pool",  # multiprocessing.pool: the list of the Pool's workers
    "_spawn_process": "self",  # concurrent.futures.process
    "_adjust_process_count": "self",  # the same, and loky's
}

_watched: "set[str]" = set()


def maker_of(caller: "FrameType") -> str:
    """The maker of the worker whose start() is called there; empty if it has none."""
    name, variables = STARTERS[caller.f_code.co_name], caller.f_locals
    return str(id(variables[name])) if name in variables else ""


def note_pool(maker: str, caller: "FrameType | None") -> None:
    """Note a new Pool, if this is the start of one of its first workers."""
    if caller is None or STARTERS.get(caller.f_code.co_name) != "pool":
        return
    above = caller.f_back.f_back if caller.f_back is not None else None
    if above is not None and above.f_code.co_name == "__init__":
        _note(maker, above)


def watch_executors() -> bool:
    """Note each executor that is made from here on, and those that exist. False if a module of
    them has been imported and has not run yet.
    """
    complete = True
    for name in EXECUTORS:
        if name in sys.modules and name not in _watched:
            executor: Any = getattr(sys.modules[name], "ProcessPoolExecutor", None)
            if not isinstance(executor, type):
                complete = False
                continue
            watch.ensure()
            # only this class's own: a subclass calls it
            watch.watch_function(executor.__init__, start=_on_init)  # type: ignore[misc]
            for existing in borrow("gc").get_objects():
                if executor in type(existing).__mro__:
                    _note(str(id(existing)), None)
            _watched.add(name)
    return complete


def _on_init(frame: "FrameType") -> None:
    _note(str(id(frame.f_locals["self"])), frame.f_back)


def _note(maker: str, frame: "FrameType | None") -> None:
    tags.note(tags.MADE, maker, *lines.line_of(frame))
