"""Watch code objects run, by local events of `sys.monitoring` (3.12 on).

There are six tools. Ours looks free to the program; if the program wants that one, it gets it,
and we take another.
"""

import sys

from pytest_proclife.inside.builtins import stand_in
from pytest_proclife.inside.handlers import is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType
    from typing import Any

    from pytest_proclife.inside.builtins import Args, Caller, Kwargs, Real

_IDS = (4, 3, 5, 2, 1, 0)  # 0 to 2 and 5 are meant for debuggers, coverage, profilers
# What a program calls first with a tool that it has not got. The others are left alone: a tool
# that watches all code would see our frames.
_FUNCTIONS = ("use_tool_id", "free_tool_id", "get_tool")

_id = -1  # of our tool; -1 if the program uses all of them
# called when that has become so: set by `entry`
became_blind: "Callable[[], object] | None" = None
_events: "dict[CodeType, int]" = {}  # the local events of each code object

if sys.version_info >= (3, 12):  # 3.11: nothing imports this
    _monitoring = sys.monitoring
    _START, _RETURN = _monitoring.events.PY_START, _monitoring.events.PY_RETURN
    _CALL, _UNWIND = _monitoring.events.CALL, _monitoring.events.PY_UNWIND
    _FAILED = _monitoring.events.C_RAISE  # it comes where CALL is watched
    _NAMES = {"start": _START, "returned": _RETURN, "call": _CALL, "failed": _FAILED}
    # Those of main are in a tuple. They get None for the frame, since audit hooks would see us ask
    # for it.
    _handlers: "dict[int, dict[CodeType, Callable[..., object] | tuple[Callable[..., object]]]]"
    _handlers = {_START: {}, _RETURN: {}, _CALL: {}, _FAILED: {}, _UNWIND: {}}
    _set_global = _monitoring.set_events
    _use, _free, _get = _monitoring.use_tool_id, _monitoring.free_tool_id, _monitoring.get_tool
    _register, _set_local = _monitoring.register_callback, _monitoring.set_local_events

    def begin() -> None:
        """Take a tool, and be there if the program asks for it."""
        _take_tool()
        for name in _FUNCTIONS:
            stand_in(_monitoring, name, _tool_function)

    def watch(code: "CodeType", **handlers: "Callable[..., object]") -> None:
        """Have the handlers called as the code runs: see `watch.watch`."""
        events = 0
        for name, handler in handlers.items():
            event = _NAMES[name]
            _handlers[event][code] = handler
            events |= _CALL if event == _FAILED else event
        _watch_events(code, events)

    def _watch_events(code: "CodeType", events: int) -> None:
        _events[code] = _events.get(code, 0) | events
        if _id >= 0:
            _set_local(_id, code, _events[code])

    def watch_end(code: "CodeType", end: "Callable[[None, object], object]") -> None:
        """Have `end(None, value)` called as the code returns."""
        _handlers[_RETURN][code] = (end,)
        _watch_events(code, _RETURN)

    def watch_unwind(code: "CodeType", handler: "Callable[..., object]") -> None:
        """Have `handler(frame, exception)` called as an exception leaves the code.

        The frame is None for code of `watch_end`.
        """
        is_main = type(_handlers[_RETURN].get(code)) is tuple
        _handlers[_UNWIND][code] = (handler,) if is_main else handler
        if _id >= 0:  # the event is a global one: it comes for each frame that is left
            _set_global(_id, _UNWIND)

    def is_used(tools: "tuple[int, ...]") -> bool:
        """Whether the program has one of these tools."""
        return any(tool != _id and _get(tool) is not None for tool in tools)

    def is_blind() -> bool:
        """Whether the program uses all tools, so that nothing can be watched any more."""
        return _id < 0

    def find_main(found: "Callable[[CodeType], object]") -> None:
        """Call `found` with the code of the first module that is run from C."""

        def on_start(code: "CodeType", offset: int) -> None:
            if code.co_name == "<module>" and sys._getframe(1).f_back is None:
                _set_global(_id, 0)
                _register(_id, _START, _callbacks[_START])
                found(code)

        _register(_id, _START, on_start)
        _set_global(_id, _START)

    def _callback(event: int) -> "Callable[..., None]":
        handlers = _handlers[event]

        def on_event(code: "CodeType", offset: int, *values: object) -> None:
            handler = handlers.get(code)
            try:
                if isinstance(handler, tuple):
                    handler[0](None, *values)
                elif handler is not None:
                    handler(sys._getframe(1), *values)
            except BaseException as error:
                if not is_ours(error):
                    raise

        return on_event

    _callbacks = {event: _callback(event) for event in _handlers}

    def _take_tool() -> None:
        global _id
        for number in _IDS:
            try:
                _use(number, "proclife")
            except ValueError:
                continue  # in use
            _id = number
            break
        else:
            raise RuntimeError("no free tool of sys.monitoring")
        for event, callback in _callbacks.items():
            _register(_id, event, callback)
        for code, events in _events.items():
            _set_local(_id, code, events)
        if _handlers[_UNWIND]:
            _set_global(_id, _UNWIND)

    def _tool_function(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
        if args and args[0] == _id and type(args[0]) is int:
            if real.__name__ != "use_tool_id":
                return None  # as for a tool that nobody uses
            _give_tool_away()
        return real(*args, **kwargs)

    def _give_tool_away() -> None:
        global _id
        old = _id
        try:
            _take_tool()
        except RuntimeError:
            _id = -1
            if became_blind is not None:
                became_blind()
        for code in _events:
            _set_local(old, code, 0)
        for event in _callbacks:
            _register(old, event, None)
        _set_global(old, 0)
        _free(old)
