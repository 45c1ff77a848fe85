"""Functions of ours in the place of builtin ones, as like them as Python allows.

No traceback shows them: what leaves them is rid of their frames first. They are no methods
when they stand in a class, `inspect` takes them for builtin, and they are pickled by name.
"""

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
