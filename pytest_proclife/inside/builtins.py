"""Stand-ins for C functions, and C modules borrowed without a trace in `sys.modules`.

No traceback shows a stand-in: its frames are removed from the exceptions that leave it. It is not
a method of a class that holds it, `inspect` takes it for a builtin, and it is pickled by name.
"""

import _imp
import _thread
import posix
import sys

from pytest_proclife.inside.handlers import without_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType
    from typing import Any

    # of a function that is called instead: see stand_in()
    Real = Callable[..., Any]
    Caller = FrameType | None
    Args = tuple[Any, ...]
    Kwargs = dict[str, Any]
    Instead = Callable[[Real, Caller, Args, Kwargs], Any]

_BUILTIN = type(sys.exit)


class builtin_function_or_method:  # noqa: N801 - the name that the type of the real ones shows
    __module__ = "builtins"

    def __init__(self, real: "Real", instead: "Instead") -> None:
        self._real, self._instead = real, instead
        self.__module__ = real.__module__
        self.__doc__ = real.__doc__

    def __call__(self, /, *args: "Any", **kwargs: "Any") -> "Any":
        try:
            return self._instead(self._real, sys._getframe().f_back, args, kwargs)
        except BaseException as error:
            error.__traceback__ = without_ours(error.__traceback__)
            raise  # a bare one, which does not enter this frame into the traceback

    def __getattr__(self, name: str) -> "Any":
        return getattr(self._real, name)

    def __eq__(self, other: object) -> bool:  # os.execve in os.supports_fd
        return other is self or other is self._real

    def __hash__(self) -> int:
        return hash(self._real)

    def __repr__(self) -> str:
        return repr(self._real)

    def __reduce__(self) -> "Any":
        return self._real.__reduce__()

    __class__ = property(lambda self: _BUILTIN)  # for isinstance()


def stand_in(
    module: object,
    name: str,
    instead: "Instead",
    kind: type[builtin_function_or_method] = builtin_function_or_method,
) -> None:
    """Have `instead(real function, caller's frame, args, kwargs)` called for a function.

    The frame is None if C is the caller, as for an exit handler.
    """
    real = getattr(module, name)
    _put(module, name, real, kind(real, instead))


def _put(module: object, name: str, real: "Real", function: object) -> None:
    setattr(module, name, function)
    for module in (sys.modules.get("os"), sys.modules.get("signal")):
        # has all of posix, or of _signal, by name; may not be imported yet
        if module is not None and getattr(module, name, None) is real:
            setattr(module, name, function)


# thread's ident -> the real function that its next call of a stand-in gets: see below
_real_next: "dict[int, Callable[..., Any]]" = {}
all_seen: "list[Callable[[], None]]" = []  # what each stand_in_unless_seen() has returned


def stand_in_unless_seen(module: object, name: str, instead: "Instead") -> "Callable[[], None]":
    """As stand_in(); returns what to call for this thread's next call to be of the real function.

    No stack, trace function or traceback shows a frame of ours then. Python looks `__call__` up
    by the property's getter, which is all of C: `next(map(real_next.pop, idents, repeat(always)))`.
    """
    real = getattr(module, name)

    class unless_seen(builtin_function_or_method):  # noqa: N801 - as above
        __module__ = "builtins"

    unless_seen.__name__ = unless_seen.__qualname__ = builtin_function_or_method.__name__
    stand_in(module, name, instead, unless_seen)
    always = builtin_function_or_method.__call__.__get__(getattr(module, name))
    idents = iter(_thread.get_ident, None)
    calls = map(_real_next.pop, idents, borrow("itertools").repeat(always))
    # the type checker takes it for a method
    getter: Any = property(borrow("_functools").partial(next, calls))
    setattr(unless_seen, "__call__", getter)  # noqa: B010 - as above

    def seen() -> None:
        _real_next[_thread.get_ident()] = real

    all_seen.append(seen)
    return seen


def announce(module: object, name: str, event: str) -> None:
    """Have an audit event raised before a function of C runs.

    For one below which a frame of ours would show: a signal's handler, or one that ends the process
    and whose stack `faulthandler` shows. So all of it is of C. Python looks `__call__` up by the
    property's getter: `next(filterfalse(audit event, repeat(real function)))`, where `sys.audit`
    returns None.
    """
    partial, tools = borrow("_functools").partial, borrow("itertools")
    real = getattr(module, name)
    calls = tools.filterfalse(audit_function(event), tools.repeat(real))
    names = {"__call__": property(partial(next, calls)), "__module__": "builtins"}
    kind = type("builtin_function_or_method", (builtin_function_or_method,), names)
    _put(module, name, real, kind(real, lambda *_: None))


# only these, so that neither a finder nor a path of the program is used
_FOLDERS = [path for path in sys.path if path.endswith("/lib-dynload")]
_borrowed: "dict[str, ModuleType]" = {}


class _Spec:
    """As much of a module's spec as the functions of `_imp` use."""

    def __init__(self, name: str, origin: str) -> None:
        self.name, self.origin = name, origin


def borrow(name: str) -> "ModuleType":
    """The program's own C module if it has imported it, else one that only we see."""
    module = sys.modules.get(name)
    if module is None or str(getattr(module, "__file__", "")).endswith(".py"):
        module = _borrowed.get(name)  # a file of the program may have that name too
    if module is None:
        module = _borrowed[name] = _load(name)
    return module


def _load(name: str) -> "ModuleType":
    before = sys.modules.get(name)
    module: ModuleType
    if _imp.is_builtin(name):
        # _Spec has what these read of a ModuleSpec
        module = _imp.create_builtin(_Spec(name, "built-in"))  # type: ignore[arg-type]
        _imp.exec_builtin(module)
    else:
        module = _imp.create_dynamic(_Spec(name, _file(name)))  # type: ignore[arg-type]
        _imp.exec_dynamic(module)
    sys.modules.pop(name, None)  # a C module with single-phase initialization puts itself there
    if before is not None:
        sys.modules[name] = before
    return module


def _file(name: str) -> str:
    for folder in _FOLDERS:
        for suffix in _imp.extension_suffixes():
            path = f"{folder}/{name}{suffix}"
            if posix.access(path, posix.R_OK):
                return path
    raise ImportError(name)


def audit_function(event: str, *arguments: object) -> "Callable[..., object]":
    """A function of C that raises an audit event of ours: trace functions do not see it."""
    partial: Any = borrow("_functools").partial
    function: Callable[..., object] = partial(sys.audit, event, *arguments)
    return function
