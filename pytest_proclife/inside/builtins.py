"""Stand-ins for C functions, and C modules borrowed without a trace in `sys.modules`.

No traceback shows a stand-in: its frames are removed from the exceptions that leave it. It is not
a method of a class that holds it, `inspect` takes it for a builtin, and it is pickled by name.
"""

import _imp
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


def stand_in(module: object, name: str, instead: "Instead") -> None:
    """Have `instead(real function, caller's frame, args, kwargs)` called for a function.

    The frame is None if C is the caller, as for an exit handler.
    """
    real = getattr(module, name)
    function = builtin_function_or_method(real, instead)
    setattr(module, name, function)
    for module in (sys.modules.get("os"), sys.modules.get("signal")):
        # has all of posix, or of _signal, by name; may not be imported yet
        if module is not None and getattr(module, name, None) is real:
            setattr(module, name, function)


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
