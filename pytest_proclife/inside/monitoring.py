"""Our place among the tools of `sys.monitoring` (3.12 on), which the program does not see.

There are six. The one that we have looks free; a program that wants it gets it, and we move.
"""

import sys

from pytest_proclife import wire
from pytest_proclife.inside import recorder
from pytest_proclife.inside.builtins import stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType
    from typing import Any

_ids = (4, 3, 5, 2, 1, 0)  # 0 to 2 and 5 are meant for debuggers, coverage, profilers
_id = -1
_wanted: "dict[CodeType, int]" = {}  # code -> local events
_callbacks: "tuple[tuple[int, Callable[..., object]], ...]" = ()
# What a program calls first with a tool that it has not got. The others are left alone: a tool
# that watches all that runs would be told of our frames.
_FUNCTIONS = ("use_tool_id", "free_tool_id", "get_tool")

if sys.version_info >= (3, 12):
    _monitoring = sys.monitoring
    _START, _RETURN = _monitoring.events.PY_START, _monitoring.events.PY_RETURN
    _CALL = _monitoring.events.CALL
    _set_global = _monitoring.set_events
    _use, _free = _monitoring.use_tool_id, _monitoring.free_tool_id
    _register, _set_local = _monitoring.register_callback, _monitoring.set_local_events

    def claim(
        start: "Callable[..., object]",
        returned: "Callable[..., object]",
        call: "Callable[..., object]",
    ) -> None:
        global _callbacks
        _callbacks = (_START, start), (_RETURN, returned), (_CALL, call)
        _take()
        for name in _FUNCTIONS:
            stand_in(_monitoring, name, _asked)

    def watch(code: "CodeType", starts: bool, returns: bool, calls: bool) -> None:
        """Have the callbacks called for these events of a code object."""
        events = starts * _START | returns * _RETURN | calls * _CALL
        _wanted[code] = events
        if _id >= 0:
            _set_local(_id, code, events)

    def is_lost() -> bool:
        """Whether the program has all tools, so that nothing is seen to run any more."""
        return _id < 0

    def find_main(found: "Callable[[CodeType], object]") -> None:
        """Call `found` with the code of the first module that is run from C."""

        def on_start(code: "CodeType", offset: int) -> None:
            if code.co_name == "<module>" and sys._getframe(1).f_back is None:
                _set_global(_id, 0)
                _register(_id, *_callbacks[0])
                found(code)

        _register(_id, _START, on_start)
        _set_global(_id, _START)

    def _take() -> None:
        global _id
        for number in _ids:
            try:
                _use(number, "proclife")
            except ValueError:
                continue  # in use
            _id = number
            break
        else:
            raise RuntimeError("no free tool of sys.monitoring")
        for event, callback in _callbacks:
            _register(_id, event, callback)
        for code, events in _wanted.items():
            _set_local(_id, code, events)

    def _asked(
        real: "Callable[..., Any]",
        caller: "FrameType | None",
        args: "tuple[Any, ...]",
        kwargs: "dict[str, Any]",
    ) -> "Any":
        if args and args[0] == _id and type(args[0]) is int:
            if real.__name__ != "use_tool_id":
                return None  # as for one that nobody has
            _make_room()
        return real(*args, **kwargs)

    def _make_room() -> None:
        global _id
        old = _id
        try:
            _take()
        except RuntimeError:
            _id = -1
            recorder.report(wire.UNSEEN, "sys.monitoring: the program uses all tools")
        for code in _wanted:
            _set_local(old, code, 0)
        for event, _ in _callbacks:
            _register(old, event, None)
        _free(old)
