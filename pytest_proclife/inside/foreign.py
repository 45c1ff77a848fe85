"""What the program can do below Python, unseen: by functions of C, and in subinterpreters.

ctypes raises an audit event when a function is taken, not when it is called; cffi raises none. The
hooks of the recorder are those of the main interpreter.
"""

import _imp
import sys

from pytest_proclife import wire
from pytest_proclife.inside import exit, recorder, watch
from pytest_proclife.inside.builtins import borrow, stand_in
from pytest_proclife.inside.handlers import guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from pytest_proclife.inside.builtins import Args, Caller, Kwargs, Real

_INTERPRETERS = "_interpreters"

# whether the program has taken it: the functions that matter, and a subinterpreter by ""
_is_taken = dict.fromkeys([name for names in wire.FUNCTIONS for name in names.split()], False)
_is_taken[""] = False


def take(name: object, by: str) -> None:
    """Report, once, that the program has a way to act unseen: its name, and who gave it."""
    if isinstance(name, bytes):
        name = name.decode("utf-8", "replace")
    if not isinstance(name, str) or _is_taken.get(name) is not False:
        return
    _is_taken[name] = True
    recorder.report(wire.FOREIGN, by, name)
    if name in wire.FORKING.split():
        recorder.identity.unseen_fork = _after_fork


def _after_fork() -> None:
    exit.after_fork()
    recorder.after_fork()


def look_for_taken() -> None:
    """Report the functions of ctypes that were taken before the recorder came."""
    function = getattr(sys.modules["ctypes"], "_CFuncPtr", None)
    if function is not None:
        for value in borrow("gc").get_objects():
            if function in type(value).__mro__:
                take(getattr(value, "__name__", None), "ctypes")


def watch_cffi(module: "watch.Module") -> None:
    """See which functions are declared of a library that is open: it takes them at their use."""
    for name in ("dlopen", "cdef"):
        watch.watch_in_module(module, "FFI", name, returned=_declared)


def _declared(frame: "FrameType", value: object) -> None:
    ffi = frame.f_locals["self"]
    if ffi._function_caches:  # one for each library (cffi/api.py)
        for declaration in list(ffi._parser._declarations):
            kind, _, name = declaration.partition(" ")
            if kind == "function":
                take(name, "cffi")


# --- subinterpreters


def new_interpreter(_: object = None) -> None:
    """A subinterpreter is made."""
    take("", wire.SUBINTERPRETER)


def interpreters_come() -> None:
    """The module `_interpreters` is about to be imported: be there when it has run."""
    if _INTERPRETERS not in sys.modules:
        for name in _EXECUTORS:
            if type(getattr(_imp, name)) is _BUILTIN:
                stand_in(_imp, name, _execute)


_EXECUTORS = ("exec_dynamic", "exec_builtin")
_BUILTIN = type(_imp.lock_held)


def _execute(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    value = real(*args, **kwargs)
    if args and getattr(args[0], "__name__", None) == _INTERPRETERS:
        for name in _EXECUTORS:
            function: Any = getattr(_imp, name)
            setattr(_imp, name, getattr(function, "_real", function))
        guarded(watch_interpreters, args[0])
    return value


def watch_interpreters(module: "Any") -> None:
    """See subinterpreters made by the module `_interpreters`, from CPython 3.13 on."""
    stand_in(module, "create", _create)
    if len(module.list_all()) > 1:
        new_interpreter()


def _create(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    guarded(new_interpreter)
    return real(*args, **kwargs)
