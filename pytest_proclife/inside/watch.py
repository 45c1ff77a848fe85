"""See functions of the standard library run, without a frame of ours in any traceback.

From 3.12 on by `sys.monitoring` local events, which replace nothing; on 3.11, which has no
such thing, by rewriting the few functions in question (`rewrite`). The module's code object
arrives with the audit event `exec` before it has run, and its functions' code objects stand
in its constants, so that no import has to be hooked. Neither audit hooks nor the callbacks of
`sys.monitoring` are seen by trace and profile functions.
"""

import _weakref
import sys

from pytest_proclife.inside.builtins import borrow
from pytest_proclife.inside.handlers import is_ours

TYPE_CHECKING = False

if sys.version_info >= (3, 12):
    from pytest_proclife.inside import monitoring
else:
    from pytest_proclife.inside import rewrite
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType
    from typing import Any

    Start = Callable[[FrameType], object]
    Returned = Callable[[FrameType, object], object]
    Call = Callable[[FrameType, object], object]

MONITORING = sys.version_info >= (3, 12)
if sys.version_info >= (3, 12):
    is_blind = monitoring.is_lost
else:

    def is_blind() -> bool:
        """Whether functions run without our seeing it."""
        return False


_modules: "dict[str, Callable[[CodeType], object]]" = {}  # by "folder/file.py"
_events: "dict[str, Callable[[tuple[Any, ...]], object]]" = {}  # by the audit event's name
_starts: "dict[CodeType, Start]" = {}
_returns: "dict[CodeType, Returned]" = {}
_calls: "dict[CodeType, Call]" = {}
_ends: "dict[CodeType, Callable[[], object]]" = {}
_loaded: "list[tuple[object, Callable[[], object]]]" = []  # (weak reference, action)
_LOADED = "_proclife.loaded"
_is_ensured = False


def on_event(event: str, handler: "Callable[[tuple[Any, ...]], object]") -> None:
    _events[event] = handler


def on_module(tail: str, handler: "Callable[[CodeType], object]") -> None:
    """Have `handler(code)` called when a module whose file ends so is about to run."""
    _modules[tail] = handler


def begin() -> "Callable[[str, tuple[Any, ...]], None]":
    """Set the watches up; the audit hook is the caller's to install."""
    on_event(_LOADED, _has_loaded)
    if sys.version_info >= (3, 12):
        monitoring.claim(_on_start, _on_return, _on_call)
    else:
        on_event(rewrite.TOLD, rewrite.told)
    return _on_audit


def ensure() -> None:
    """Set the watches up, once, for who needs them alone and no audit event."""
    global _is_ensured
    if not _is_ensured:
        _is_ensured = True
        hook = begin()
        if not MONITORING:
            sys.addaudithook(hook)  # by which a rewritten function tells


def _on_audit(event: str, arguments: "tuple[Any, ...]") -> None:
    handler = _events.get(event)
    if handler is not None:
        try:
            handler(arguments)
        except BaseException as error:
            if not is_ours(error):
                raise  # raising an error of ours would make the program's own call fail


def found(code: "CodeType", path: str) -> None:
    handler = _modules.get(path[path.rfind("/", 0, path.rfind("/")) + 1 :])
    if handler is not None:
        handler(code)


def nested(code: "CodeType", *names: str) -> "CodeType | None":
    """The code object of a function (or a method) inside a module's; None if it has none."""
    for name in names:
        for constant in code.co_consts:
            if getattr(constant, "co_name", None) == name:
                code = constant
                break
        else:
            return None
    return code


def watch(
    code: "CodeType | None",
    *,
    start: "Start | None" = None,
    returned: "Returned | None" = None,
    call: "Call | None" = None,
    end: "Callable[[], object] | None" = None,
) -> None:
    """Call `start(frame)`, `returned(frame, value)`, `call(frame, callable)` as `code` runs.

    `end()` is `returned` without the frame: to ask for one is seen by the program's audit hooks.
    """
    if code is None:
        return
    if end is not None:
        _ends[code] = end
    if start is not None:
        _starts[code] = start
    if returned is not None:
        _returns[code] = returned
    if call is not None:
        _calls[code] = call
    if sys.version_info >= (3, 12):
        returns = code in _returns or code in _ends
        monitoring.watch(code, code in _starts, returns, code in _calls)


def watch_function(
    module_code: "CodeType",
    names: "tuple[str, ...]",
    *,
    start: "Start | None" = None,
    returned: "Returned | None" = None,
    call: "Call | None" = None,
) -> None:
    """Watch a function that will be defined when the module whose code this is has run."""
    code = nested(module_code, *names)
    if code is None:
        return
    if sys.version_info >= (3, 12):
        watch(code, start=start, returned=returned, call=call)
    else:
        path = code.co_filename
        when_loaded(
            module_code,
            lambda: rewrite.instrument(_resolve(path, names), start, returned, call),
        )


def _resolve(path: str, names: "tuple[str, ...]") -> "Any":
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == path:
            found: Any = module
            for name in names:
                found = found.__dict__[name]
            return found
    raise LookupError(path)


def when_loaded(module_code: "CodeType", action: "Callable[[], object]") -> None:
    """Call `action` once the module has run.

    The import system drops a module's code object when it has executed it
    (`importlib._bootstrap_external._LoaderBasics.exec_module`), so its weak reference dies
    at that very moment; the audit events tell only of beginnings.
    """

    _loaded.append((_weakref.ref(module_code, raising(_LOADED, len(_loaded))), action))


def _has_loaded(arguments: "tuple[Any, ...]") -> None:
    _loaded[arguments[0]][1]()


def raising(event: str, *arguments: object) -> "Callable[..., object]":
    """A function of C that raises an audit event of ours: trace functions see none of it."""
    partial: Any = borrow("_functools").partial
    function: Callable[..., object] = partial(sys.audit, event, *arguments)
    return function


def _on_start(code: "CodeType", offset: int) -> None:
    handler = _starts.get(code)
    if handler is not None:
        try:
            handler(sys._getframe(1))
        except BaseException as error:
            if not is_ours(error):
                raise


def _on_return(code: "CodeType", offset: int, value: object) -> None:
    handler, end = _returns.get(code), _ends.get(code)
    try:
        if handler is not None:
            handler(sys._getframe(1), value)
        if end is not None:
            end()
    except BaseException as error:
        if not is_ours(error):
            raise


def _on_call(code: "CodeType", offset: int, function: object, argument: object) -> None:
    handler = _calls.get(code)
    if handler is not None:
        try:
            handler(sys._getframe(1), function)
        except BaseException as error:
            if not is_ours(error):
                raise
