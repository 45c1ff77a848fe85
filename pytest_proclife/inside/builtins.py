"""Stand-ins for C functions, and C modules borrowed without a trace in `sys.modules`.

No traceback shows a stand-in: its frames are removed from what leaves it. A stand-in is not a
method when it is stored in a class, `inspect` takes it for a builtin, and it is pickled by name.
"""

import _imp
import posix
import sys

from pytest_proclife.inside.handlers import beyond

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    Instead = Callable[[Callable[..., Any], FrameType | None, tuple[Any, ...], dict[str, Any]], Any]

_BUILTIN = type(sys.exit)


class builtin_function_or_method:  # noqa: N801 - the name that the type of the real ones shows
    def __init__(self, real: "Callable[..., Any]", instead: "Instead") -> None:
        self._real, self._instead = real, instead
        self.__module__ = real.__module__
        self.__doc__ = real.__doc__

    def __call__(self, /, *args: "Any", **kwargs: "Any") -> "Any":
        try:
            return self._instead(self._real, sys._getframe().f_back, args, kwargs)
        except BaseException as error:
            error.__traceback__ = beyond(error.__traceback__)
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


builtin_function_or_method.__module__ = "builtins"


def stand_in(module: object, name: str, instead: "Instead") -> None:
    """Have `instead(real function, caller's frame, args, kwargs)` called for a function.

    There is no frame where C is the caller, as for an exit handler.
    """
    real = getattr(module, name)
    function = builtin_function_or_method(real, instead)
    setattr(module, name, function)
    for module in (sys.modules.get("os"), sys.modules.get("signal")):
        # has all of posix, or of _signal, by name; not imported yet under -S, or at all
        if module is not None and getattr(module, name, None) is real:
            setattr(module, name, function)


if TYPE_CHECKING:
    from types import ModuleType

# only there, so that no finder or path of the program's is asked
_folders = [path for path in sys.path if path.endswith("/lib-dynload")]
_borrowed: "dict[str, ModuleType]" = {}


class _Spec:
    """As much of a module's spec as the functions of `_imp` look at."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.origin = "built-in"


def borrow(name: str) -> "ModuleType":
    """The program's own module if it has imported it, else one that only we see."""
    module = sys.modules.get(name)
    if module is None or str(getattr(module, "__file__", "")).endswith(".py"):
        module = _borrowed.get(name)  # a file of the program's may have that name too
    if module is None:
        module = _borrowed[name] = _load(name)
    return module


def _load(name: str) -> "ModuleType":
    spec, before = _Spec(name), sys.modules.get(name)
    module: ModuleType
    if _imp.is_builtin(name):
        module = _imp.create_builtin(spec)  # type: ignore[arg-type]
        _imp.exec_builtin(module)
    else:
        spec.origin = _file(name)
        module = _imp.create_dynamic(spec)  # type: ignore[arg-type]
        _imp.exec_dynamic(module)
    sys.modules.pop(name, None)  # where the older kind of C module puts itself
    if before is not None:
        sys.modules[name] = before
    return module


def _file(name: str) -> str:
    for folder in _folders:
        for suffix in _imp.extension_suffixes():
            path = f"{folder}/{name}{suffix}"
            if posix.access(path, posix.R_OK):
                return path
    raise ImportError(name)
