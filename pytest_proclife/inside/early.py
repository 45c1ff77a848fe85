"""What was imported before the recorder came: by a .pth file, or by an embedding program.

Functions of Python are watched wherever they were taken to. A function of C that was taken before
a stand-in stood in its place is replaced where it is kept, if it can be.
"""

import _signal  # type: ignore[import-not-found]  # as in handlers.py
import posix
import sys

from pytest_proclife import wire
from pytest_proclife.inside import foreign, handlers, recorder, signals, watch
from pytest_proclife.inside.builtins import all_seen, borrow, builtin_function_or_method

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType, ModuleType
    from typing import Any

_PACKAGES = {"futures": "concurrent.futures"}  # below another package
# The functions that stand-ins are for, if nothing else shows their calls.
_WAITS = ("wait", "wait3", "wait4", "waitid", "waitpid")
_UNSEEN = ("_exit", "raise_signal", "pidfd_send_signal", *wire.TAKEN_BY, *_WAITS)
_SEEN = ("execv", "execve", "posix_spawn", "posix_spawnp")  # audit events show them too
_STAND_INS = ("_execv", "_execve", "_execute", "_posix_spawn")  # of `programs`, for these


def attach() -> None:
    """Watch what is there already."""
    watch.find_function = _find_function
    for tail, called in list(watch.modules.items()):
        module = sys.modules.get(_name(tail))
        if module is not None and str(getattr(module, "__file__", "")).endswith(f"/{tail}"):
            for handler in called:
                try:
                    handler(module)
                except StopIteration:
                    pass  # 3.11: a coroutine function, which is never rewritten
                except Exception:  # what is there is not what the handler knows
                    recorder.report(wire.EARLY, "function", module.__name__)
    if sys.version_info >= (3, 12):
        handlers.codes.update(handlers.current())
        for code in handlers.codes:
            watch.watch(code, start=signals.handler_runs)
            watch.see_handlers_in_hook()
    else:  # 3.11:
        handlers.codes.update(handlers.current())
        handlers.had = handlers.ever_handled()
    for name in sorted(_reach()):
        if name.rpartition(".")[2] in _UNSEEN:
            recorder.report(wire.EARLY, "function", name)
    watch.on_event("os.exec", _on_exec)
    watch.on_event("os.posix_spawn", _on_posix_spawn)
    if "ctypes" in sys.modules:
        foreign.look_for_taken()
    foreign.look_for_modules()


def _name(tail: str) -> str:
    """The name of a module that `watch` knows by its path."""
    folder, _, file = tail[:-3].rpartition("/")
    if folder.startswith("python"):
        return file
    package = _PACKAGES.get(folder, folder)
    return package if file == "__init__" else f"{package}.{file}"


# --- functions of Python


def _find_function(module: "ModuleType", names: "tuple[str, ...]") -> "Any":
    """A function or method of a module that has run; None if there is none, or it is out of reach.

    Something else may stand in its place, which calls it: coverage replaces
    `BaseProcess._bootstrap` (coverage/multiproc.py). It is found wherever it is kept then.
    """
    found: Any = module
    for name in names:
        found = found.__dict__.get(name)
        if found is None:
            return None
    path = module.__file__
    if _is_function(found, path, names):
        return found
    for other in borrow("gc").get_objects():
        if _is_function(other, path, names):
            return other
    recorder.report(wire.EARLY, "function", f"{module.__name__}.{'.'.join(names)}")
    return None


def _is_function(value: object, path: "str | None", names: "tuple[str, ...]") -> bool:
    if type(value) is not _FUNCTION:
        return False
    code = value.__code__
    return code.co_filename == path and code.co_qualname == ".".join(names)


# --- functions of C


def _reach() -> "set[str]":
    """Put each stand-in where its real function is kept.

    That is in modules, classes, closures and the defaults of functions. Returns the names of those
    that are kept elsewhere too, as in a tuple.
    """
    found = (getattr(posix, n, None) or getattr(_signal, n, None) for n in (*_UNSEEN, *_SEEN))
    stand_ins = {id(f._real): f for f in found if isinstance(f, builtin_function_or_method)}
    gc, own, kept = borrow("gc"), _own_holders(), set()
    all_of_them = tuple([f._real for f in stand_ins.values()])
    for holder in gc.get_referrers(*all_of_them):
        if type(holder) is tuple and holder == all_of_them:
            continue  # this one, and the arguments of the call
        if id(holder) not in own and not _is_replaced_in(holder, stand_ins):
            kept |= {id(value) for value in gc.get_referents(holder)}
    return {f"{_PUBLIC[f.__module__]}.{f.__name__}" for key, f in stand_ins.items() if key in kept}


def _own_holders() -> "set[int]":
    """What `builtins` has of real functions for a choice between them and their stand-ins."""
    cells = [cell for seen in all_seen for cell in seen.__closure__ or ()]
    return {id(value) for cell in cells for value in (cell, cell.cell_contents)}


def _is_replaced_in(holder: "Any", stand_ins: "dict[int, builtin_function_or_method]") -> bool:
    kind = type(holder)
    if kind is _CELL:
        holder.cell_contents = stand_ins[id(holder.cell_contents)]
    elif kind is dict:
        names = [name for name, value in holder.items() if id(value) in stand_ins]
        for owner in (holder, *borrow("gc").get_referrers(holder)):
            for name in names:
                if owner is holder and _is_namespace(holder):
                    holder[name] = stand_ins.get(id(holder[name]), holder[name])
                elif isinstance(owner, type) and name in holder and id(holder[name]) in stand_ins:
                    setattr(owner, name, stand_ins[id(holder[name])])
        return "_instead" in holder or not any(id(v) in stand_ins for v in holder.values())
    elif kind is tuple:
        new = tuple(stand_ins.get(id(value), value) for value in holder)
        owners = [f for f in borrow("gc").get_referrers(holder) if type(f) is _FUNCTION]
        for function in owners:
            if function.__defaults__ is holder:
                function.__defaults__ = new
        return bool(owners)
    else:
        return kind in _HARMLESS or isinstance(holder, builtin_function_or_method)
    return True


def _is_namespace(names: "dict[Any, Any]") -> bool:
    """Whether it is that of a module; coverage has copies of some (`isolate_module`, misc.py)."""
    return "__name__" in names and "__doc__" in names


def _cell() -> object:
    value = None
    return (lambda: value).__closure__[0]  # type: ignore[index]  # it has one


_PUBLIC = {"posix": "os", "_signal": "signal"}
_FUNCTION, _CELL = type(_cell), type(_cell())
# os.supports_fd; and on 3.11 the docstring of signal.sigwait is _signal.sigwait
_HARMLESS = (set, _FUNCTION)


def _on_exec(arguments: "tuple[Any, ...]") -> None:
    """Report an exec by code that had taken the real function before the stand-in was there."""
    path, argv, _ = arguments
    if not _by_stand_in():
        if not isinstance(path, int):
            posix.stat(path)  # a search along PATH tries paths that do not exist
        argv = [str(argument) for argument in argv[: wire.ARGV_LIMIT]]
        recorder.report(wire.EXEC, wire.flag(False), *(wire.clip(text, 1000) for text in argv))


def _on_posix_spawn(arguments: "tuple[Any, ...]") -> None:
    if not _by_stand_in():
        recorder.report(wire.UNSEEN, "os.posix_spawn")


def _by_stand_in() -> bool:
    frame: FrameType | None = sys._getframe()
    while frame is not None and frame.f_code.co_filename.startswith(handlers.OURS):
        if frame.f_code.co_name in _STAND_INS:
            return True
        frame = frame.f_back
    return False
