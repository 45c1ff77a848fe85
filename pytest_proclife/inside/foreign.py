"""What the program can do below Python, unseen: by functions of C, and in subinterpreters.

ctypes raises an audit event when a function is taken, not when it is called; cffi raises none. The
hooks of the recorder are those of the main interpreter. A module of C is watched when it has run:
it raises an event when its import begins, and its functions are there when `_imp` has executed it.
"""

import _imp
import sys

from pytest_proclife import wire
from pytest_proclife.inside import exit, recorder, watch
from pytest_proclife.inside.builtins import borrow, stand_in
from pytest_proclife.inside.handlers import guarded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType
    from typing import Any

    from pytest_proclife.inside.builtins import Args, Caller, Kwargs, Real

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
    if name in wire.FORKING.split() or name in wire.ANYTHING.split():
        recorder.identity.unseen_fork = _after_fork
    if name in wire.FINALIZING.split():
        exit.own.may_finalize = True


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


# --- modules of C


def module_comes(name: str) -> None:
    """A module is about to be imported: if it is one of these, be there when it has run."""
    if name in _MODULES:
        _coming.add(name)
        for executor in _EXECUTORS:
            if type(getattr(_imp, executor)) is _BUILTIN:
                stand_in(_imp, executor, _execute)


_coming: "set[str]" = set()
_EXECUTORS = ("exec_dynamic", "exec_builtin")
_BUILTIN = type(_imp.lock_held)


def _execute(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    value = real(*args, **kwargs)
    name = getattr(args[0], "__name__", None) if args else None
    if name in _coming:
        _coming.discard(name)
        if not _coming:
            for executor in _EXECUTORS:
                function: Any = getattr(_imp, executor)
                setattr(_imp, executor, getattr(function, "_real", function))
        guarded(watch_module, args[0])
    return value


def look_for_modules() -> None:
    """Watch those that had been imported before the recorder came."""
    for name in list(_MODULES):
        if name in sys.modules:
            watch_module(sys.modules[name])


def watch_module(module: "Any") -> None:
    """Watch a module that has run; once, though it may be looked for again."""
    watch_it = _MODULES.pop(module.__name__, None)
    if watch_it is not None:
        guarded(watch_it, module)


# --- cffi, inline: `cdef` and `dlopen` at run time


def watch_cffi(module: "watch.Module") -> None:
    """See which functions are declared of a library that is open: it takes them at their use."""
    for name in ("dlopen", "cdef"):
        watch.watch_in_module(module, "FFI", name, returned=_declared)


def _declared(frame: "FrameType", value: object) -> None:
    ffi = frame.f_locals["self"]
    if ffi._function_caches:  # one for each library (cffi/api.py)
        for declaration in list(ffi._parser._declarations):
            kind, _, name = declaration.partition(" ")
            if kind in ("function", "variable"):  # the address of a variable may be cast
                take(name, "cffi")


# --- cffi, compiled ahead: to a module of Python (ABI mode) or of C (API mode)


def module_runs(code: "CodeType") -> None:
    """A module of Python that cffi has written declares functions: `_globals` in its code.

    Source: `Recompiler._emit_bytecode_GlobalExpr` and `write_py_source_to_f` (cffi/recompiler.py):
    the names stand in a tuple, each behind four bytes.
    """
    if "_cffi_backend" in code.co_names:
        for constant in code.co_consts:
            for text in constant if isinstance(constant, tuple) else ():
                if isinstance(text, bytes):
                    take(text[4:], "cffi")


def _watch_cffi_backend(module: "Any") -> None:
    for loaded in list(sys.modules.values()):
        _library_there(loaded)
    # by which a compiled module makes its library (`_cffi_include.h`)
    stand_in(module, "_init_cffi_1_0_external_module", _make_library)
    stand_in(module, "load_library", _load_library)


def _make_library(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    value = real(*args, **kwargs)
    guarded(_library_there, value)
    return value


def _library_there(module: object) -> None:
    library = getattr(module, "__dict__", {}).get("lib")
    if type(library).__module__ == "_cffi_backend":
        for name in dir(library):
            take(name, "cffi")


def _load_library(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    """A library by whose functions of C any function can be taken: cffi itself says which."""
    if caller is None or not caller.f_code.co_filename.endswith("/cffi/api.py"):
        guarded(take, "dlopen", "cffi")
    return real(*args, **kwargs)


# --- faulthandler, whose timer can end the process


def _watch_faulthandler(module: "Any") -> None:
    stand_in(module, "dump_traceback_later", _dump_traceback_later)


def _dump_traceback_later(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    # (timeout, repeat=False, file=sys.stderr, exit=False)
    if len(args) > 3 or "exit" in kwargs:
        guarded(_may_exit, args[3] if len(args) > 3 else kwargs["exit"])
    return real(*args, **kwargs)


def _may_exit(exits: object) -> None:
    if exits:
        take("_exit", wire.FAULTHANDLER)


# --- subinterpreters


def new_interpreter(_: object = None) -> None:
    """A subinterpreter is made."""
    take("", wire.SUBINTERPRETER)


def _watch_interpreters(module: "Any") -> None:
    """See subinterpreters made by the module `_interpreters`, from CPython 3.13 on."""
    stand_in(module, "create", _create)
    if len(module.list_all()) > 1:
        new_interpreter()


def _watch_tests(module: "Any") -> None:
    """CPython's own tests make subinterpreters by these."""
    for name in ("run_in_subinterp", "run_in_subinterp_with_config"):
        if hasattr(module, name):
            stand_in(module, name, _create)


def _create(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    guarded(new_interpreter)
    return real(*args, **kwargs)


# the modules of C, each with what watches it once it has run
_MODULES: "dict[str, Callable[[Any], None]]" = {
    "_cffi_backend": _watch_cffi_backend,
    "faulthandler": _watch_faulthandler,
    # the audit event of a new interpreter does not come to hooks of Python: there is no current one
    **dict.fromkeys(("_testcapi", "_testinternalcapi"), _watch_tests),
}
if sys.version_info >= (3, 13):
    _MODULES["_interpreters"] = _watch_interpreters  # nor here
