"""See functions run, without a frame of ours in any traceback: one interface, two ways.

`monitoring` (3.12 on) watches code objects by `sys.monitoring` local events, which replace
nothing. `rewrite` (3.11) changes the few functions in question when their module has run. The
module's code object comes with the audit event `exec` before the module runs, and the code
objects of its functions are among its constants, so that no import has to be hooked. A module
that had run before the recorder came has its functions instead (`early`). Neither audit hooks nor
the callbacks of `sys.monitoring` are seen by trace and profile functions.
"""

import _weakref
import sys

from pytest_proclife.inside.builtins import audit_function
from pytest_proclife.inside.handlers import is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType, ModuleType
    from typing import Any, TypedDict, Unpack

    # what a handler of on_module() gets: the code that is about to run, or the module that has run
    Module = CodeType | ModuleType

    class Handlers(TypedDict, total=False):
        start: Callable[[FrameType], object]
        returned: Callable[[FrameType, object], object]  # with the value
        call: Callable[..., object]  # with the function that it calls, and its first argument
        # an exception leaves a function of C, or a class, that it calls; 3.11: it leaves itself
        failed: Callable[..., object]


if sys.version_info >= (3, 12):
    from pytest_proclife.inside import monitoring

    BEFORE_RUN = AFTER_RUN = ""  # not used
    is_blind = monitoring.is_blind
else:  # 3.11:
    from pytest_proclife.inside import rewrite

    BEFORE_RUN, AFTER_RUN = rewrite.BEFORE_RUN, rewrite.AFTER_RUN

    def is_blind() -> bool:
        """Whether functions run that should be seen and are not."""
        return False


_LOADED = "_proclife.loaded"  # an audit event: the index of an action in `_loaded`

modules: "dict[str, list[Callable[[Module], object]]]" = {}  # by "folder/file.py"
# by a name that the module's code uses
_by_name: "dict[str, Callable[[CodeType], object]]" = {}
_events: "dict[str, Callable[[tuple[Any, ...]], object]]" = {}  # by the audit event's name
# finds a function of a module that has run: set by `early`
find_function: "Callable[[ModuleType, tuple[str, ...]], Any] | None" = None
_MODULE: "type[ModuleType]" = type(sys)
_loaded: "list[tuple[object, Callable[[], object]]]" = []  # (weak reference, action)


def on_event(event: str, handler: "Callable[[tuple[Any, ...]], object]") -> None:
    """Have `handler(arguments)` called at an audit event."""
    _events[event] = handler


def on_module(tail: str, handler: "Callable[[Module], object]") -> None:
    """Have `handler(code)` called when a module is about to run whose path ends in `tail`.

    It is `handler(module)` for one that had run before the recorder came.
    """
    modules.setdefault(tail, []).append(handler)


def on_name(name: str, handler: "Callable[[CodeType], object]") -> None:
    """Have `handler(code)` called when a module is about to run whose own code uses a name."""
    _by_name[name] = handler


def begin() -> "Callable[[str, tuple[Any, ...]], None]":
    """Begin to watch; returns the audit hook, which is the caller's to install."""
    on_event(_LOADED, lambda arguments: _loaded[arguments[0]][1]())
    if sys.version_info >= (3, 12):
        monitoring.begin()
    else:  # 3.11:
        on_event(rewrite.EVENT, rewrite.on_instrumented)
    return _on_audit


def ensure() -> None:
    """Begin to watch once, in a process that needs functions only and no audit events."""
    if _LOADED not in _events:
        hook = begin()
        if sys.version_info < (3, 12):  # 3.11: an instrumented function raises one
            sys.addaudithook(hook)


def _on_audit(event: str, arguments: "tuple[Any, ...]") -> None:
    try:
        handler = _events.get(event)
        if handler is not None:
            handler(arguments)
    except BaseException as error:
        if not is_ours(error):
            raise  # an error of ours that is raised here would make the program's call fail


# The interpreter calls a signal's handler wherever it is, in the audit hook too, and there nothing
# is seen to run unless the hook says that it may be traced: sys_audit_tstate (Python/sysmodule.c).
# Then the program's own tracer would see the hook, so that this is for programs without one.
_TRACERS = ("sys.settrace", "sys.setprofile", "sys.monitoring.register_callback")
_TOOLS = (0, 2)  # sys.monitoring.DEBUGGER_ID, PROFILER_ID


def see_handlers_in_hook() -> None:
    """Have handlers seen that run while the audit hook does, from now on, if that shows to nobody.

    Called when a handler has been set.
    """
    if sys.version_info >= (3, 12):  # 3.11: none are seen
        if not hasattr(_on_audit, "__cantrace__"):
            traced = sys.gettrace() or sys.getprofile() or monitoring.is_used(_TOOLS)
            _on_audit.__cantrace__ = not traced  # type: ignore[attr-defined]
            for event in _TRACERS:
                on_event(event, _hide_hook)


def _hide_hook(arguments: object) -> None:
    _on_audit.__cantrace__ = False  # type: ignore[attr-defined]


def module_runs(code: "CodeType", path: str) -> None:
    """A module is about to run: call the handlers that `on_module` was given for it."""
    for handler in modules.get(path[path.rfind("/", 0, path.rfind("/")) + 1 :], ()):
        handler(code)
    for name, by_name in _by_name.items():
        if name in code.co_names:
            by_name(code)


def watch(code: "CodeType | None", **handlers: "Unpack[Handlers]") -> None:
    """Have the handlers called as `code` runs."""
    if sys.version_info >= (3, 12):  # 3.11: a code object alone cannot be watched
        if code is not None:
            monitoring.watch(code, **handlers)


def watch_function(function: "Any", **handlers: "Unpack[Handlers]") -> None:
    """Watch a function of Python, as `watch` does."""
    if sys.version_info >= (3, 12):
        monitoring.watch(function.__code__, **handlers)
    else:  # 3.11:
        rewrite.instrument(function, **handlers)


def watch_in_module(module: "Module", *names: str, **handlers: "Unpack[Handlers]") -> None:
    """Watch a function of a module that is about to run, or that has run already."""
    if isinstance(module, _MODULE):  # it has run
        function = None if find_function is None else find_function(module, names)
        if function is not None:
            watch_function(function, **handlers)
        return
    code = _nested(module, names)  # type: ignore[arg-type]  # mypy does not see what it is
    if code is None:
        return
    if sys.version_info >= (3, 12):
        monitoring.watch(code, **handlers)
    else:  # 3.11:
        path = code.co_filename
        when_loaded(module, lambda: rewrite.instrument(rewrite.find(path, names), **handlers))


def _nested(code: "CodeType", names: "tuple[str, ...]") -> "CodeType | None":
    """The code object of a function or method inside that of a module; None if it has none."""
    for name in names:
        for constant in code.co_consts:
            if getattr(constant, "co_name", None) == name:
                code = constant
                break
        else:
            return None
    return code


def when_loaded(module: "Module", action: "Callable[[], object]") -> None:
    """Call `action` once the module has run.

    The import system drops a module's code object when it has executed it
    (`importlib._bootstrap_external._LoaderBasics.exec_module`), so a weak reference to it dies
    at that very moment; an audit event comes only when a module begins.
    """
    if isinstance(module, _MODULE):
        action()
        return
    _loaded.append((_weakref.ref(module, audit_function(_LOADED, len(_loaded))), action))
