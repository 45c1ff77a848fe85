"""How this process's own code ends: returned, raised, sys.exit, os._exit; and its last word."""

import _weakref
import posix
import sys

from pytest_proclife import wire
from pytest_proclife.inside import handlers, launch, recorder, watch
from pytest_proclife.inside.builtins import stand_in

TYPE_CHECKING = False

if sys.version_info >= (3, 12):
    from pytest_proclife.inside import monitoring
else:
    from pytest_proclife.inside import rewrite
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType, TracebackType
    from typing import Any

RETURNED, RAISED, SYS_EXIT = "returned", "raised", "sys_exit"

_reported = False  # this process has said how its own code ended
_rises_from = ""  # the signal whose handler has called sys.exit(), which leaves no trace in main
_main: "CodeType | None" = None  # the code object of __main__
_names: "dict[str, Any]" = {}  # 3.11: the dictionary of __main__
_module: object = None  # 3.11: a weak reference to it
_sees_return = False  # that __main__ comes to its end will not be missed
_has_file = False  # __main__ had a __file__ when it began
_waits_for_file = False  # a script is to be opened, and has not begun
_began_here = False  # __main__ began in this very process, not in one that it was forked from
_multiprocessings = False  # __main__ is multiprocessing's own, and its child has begun

_LAUNCHERS = ("_launch", "main", "_serve_one")  # they call os._exit for a child of Process


def install(kind: str, tells_end: bool) -> None:
    """Watch __main__ in a new interpreter; where it is multiprocessing's own, only its end."""
    global _sees_return
    _sees_return = watch.MONITORING or tells_end
    multiprocessings = kind in ("process", "resource_tracker", "forkserver")

    def on_exec(arguments: "tuple[Any, ...]") -> None:
        code = arguments[0]
        path = getattr(code, "co_filename", None)
        if path is None:
            return
        if _main is None and _is_main(handlers.outside(sys._getframe())):
            _main_begins(code, multiprocessings)
        watch.found(code, path)

    watch.on_event("exec", on_exec)
    watch.on_event("cpython.run_file", _run_file)
    watch.on_event("sys.excepthook", _on_uncaught)
    watch.on_event(launch.END, lambda arguments: say(RETURNED))
    # the last event of an interpreter: after its exit handlers and the end of its modules
    watch.on_event("cpython.PyInterpreterState_Clear", _last_word)
    if not watch.MONITORING:
        watch.on_event("cpython.run_module", _run_module)
    stand_in(posix, "_exit", _os_exit)


def forget() -> None:
    """In a forked child: nothing has ended yet."""
    global _reported, _began_here, _rises_from
    _reported = _began_here = False
    _rises_from = ""


def rises_from(signal: str) -> None:
    """A handler of that signal is about to leave by SystemExit; an empty one has returned."""
    global _rises_from
    _rises_from = signal


def child_begins() -> None:
    """From here on it is the child's end that counts, not that of multiprocessing's __main__."""
    global _multiprocessings
    _multiprocessings = True


def _is_main(caller: "FrameType | None") -> bool:
    """Whether code is run as __main__: from C (script, -c, stdin) or by runpy (-m, a folder)."""
    return caller is None or (
        caller.f_code.co_name == "_run_code"
        and caller.f_back is not None
        and caller.f_back.f_code.co_name == "_run_module_as_main"
    )


def _main_begins(code: "CodeType", multiprocessings: bool) -> None:
    global _main, _waits_for_file, _began_here
    _main = code
    _waits_for_file = False
    _began_here = True
    if not multiprocessings:
        recorder.report(wire.RUN, "", "", "", "", "")
    if sys.version_info < (3, 12):
        _look_at_main()
    watch.watch(code, end=lambda: say(RETURNED))


def _look_at_main() -> None:
    """3.11: have the end of the module __main__ told, which is before that of its names."""
    global _names, _has_file, _module
    module = sys.modules.get("__main__")
    if module is not None:
        _names = module.__dict__
        _has_file = "__file__" in _names
        watch.on_event("_proclife.main_is_gone", _main_is_gone)
        _module = _weakref.ref(module, watch.raising("_proclife.main_is_gone"))


def _main_is_gone(arguments: "tuple[Any, ...]") -> None:
    global _names
    exit_path_begins()
    _names = {}  # held on to, its values would outlive the interpreter's end: no __del__ for them


def _run_file(arguments: "tuple[Any, ...]") -> None:
    """A script; if it is bytecode, the one way to run __main__ that raises no event `exec`."""
    global _has_file, _waits_for_file
    if not str(arguments[0]).endswith(".pyc"):
        _waits_for_file = True
        return
    if sys.version_info >= (3, 12):
        monitoring.find_main(lambda code: _main_begins(code, False))
    else:
        recorder.report(wire.RUN, "", "", "", "", "")
        _look_at_main()
        _has_file = True  # in a moment


def _run_module(arguments: "tuple[Any, ...]") -> None:
    """3.11: `python -m` ends where this function of runpy does.

    The interpreter imports runpy right after this event. To import it here is the one moment
    between its import and its run: its code object is static, so that no weak reference tells.
    """
    global _sees_return
    if sys.version_info < (3, 12):
        import runpy

        function = runpy._run_module_as_main  # type: ignore[attr-defined]
        folder = sys.modules["encodings"].__path__[0]  # runpy is frozen, its source is not
        source = f"{folder[: folder.rindex('/')]}/runpy.py"
        rewrite.instrument(function, returned=_main_returned, source=source)
        _sees_return = True


def _main_returned(frame: "FrameType", value: object) -> None:
    say(RETURNED)


def _on_uncaught(arguments: "tuple[Any, ...]") -> None:
    """The audit event `sys.excepthook`: an exception left __main__ and is about to be shown."""
    if handlers.outside(sys._getframe()) is None:  # not one that the program's own code shows
        # SystemExit is shown where an interactive session follows (-i)
        how = SYS_EXIT if isinstance(arguments[2], SystemExit) else RAISED
        say(how, arguments[2], arguments[3])


def say(
    how: str, error: "BaseException | None" = None, trace: "TracebackType | None" = None
) -> None:
    """Report once how this process's own code ended."""
    global _reported
    if _reported:
        return
    _reported = True
    handled = handlers.handled()
    if error is None:
        origin = _rises_from if how == SYS_EXIT else ""
        recorder.report(wire.LEFT, how, "", "", "", origin, handled)
        return
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    try:
        message = str(error)
    except Exception:
        message = "(its __str__ raised)"
    lines, origin = _describe(trace if trace is not None else error.__traceback__)
    if isinstance(error, KeyboardInterrupt):
        origin = origin or "2"  # raised by the C function signal.default_int_handler
    recorder.report(wire.LEFT, how, name, wire.clip(message), wire.clip(lines), origin, handled)


def said() -> bool:
    return _reported


def say_exception(error: BaseException) -> None:
    """Report the exception that left the target."""
    say(SYS_EXIT if isinstance(error, SystemExit) else RAISED, error)


def _describe(trace: "TracebackType | None") -> "tuple[str, str]":
    """A traceback as text, and the signal whose handler it went through."""
    lines, origin = [], ""
    codes = handlers.current()
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(f'File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}')
        numbers = codes.get(code)
        if numbers is not None:
            origin = str(handlers.number_of(trace.tb_frame, numbers))
        trace = trace.tb_next
    return "\n".join(lines), origin


def _last_word(arguments: "tuple[Any, ...]") -> None:
    """The interpreter is gone but for its shell: no builtin name can be used here any more."""
    if not _reported:
        how = _left_unseen()
        if how is not None:
            origin = _rises_from if how == SYS_EXIT else ""
            recorder.report(wire.LEFT, how, "", "", "", origin, handlers.last_handled)
    recorder.report(wire.LAST_WORD, "exit", "")


def _left_unseen() -> "str | None":
    """How __main__ ended where neither its end nor an uncaught exception was seen."""
    if _waits_for_file:
        return None  # it could not be opened: nothing of Python's ended the interpreter
    if _multiprocessings or watch.is_blind():
        return None  # its end was there, and was not seen
    if _sees_return:
        return SYS_EXIT  # what else leads out of an interpreter: Py_Exit in pythonrun.c
    if _has_file and "__name__" in _names:
        # CPython 3.11: `pyrun_simple_file` removes both from __main__ when the code returned,
        # and not where SystemExit left it: `Py_Exit` is called before.
        return SYS_EXIT if "__file__" in _names or "__cached__" in _names else RETURNED
    return None


def over() -> None:
    """Say how __main__ ended, if it has: in an exit handler, or a thread that outlives it."""
    if _reported:
        return
    how = _left_unseen()
    if how == RETURNED or (how == SYS_EXIT and _began_here and not _is_running(_main)):
        say(how)


def _is_running(code: "CodeType | None") -> bool:
    for thread in sys._current_frames().values():
        frame: FrameType | None = thread
        while frame is not None:
            if frame.f_code is code:
                return True
            frame = frame.f_back
    return code is None


def exit_path_begins() -> None:
    """The interpreter is on its way out: say how __main__ ended while its state can be asked."""
    how = _left_unseen()
    if how is not None:
        say(how)


def _os_exit(
    real: "Callable[..., Any]",
    caller: "FrameType | None",
    args: "tuple[Any, ...]",
    kwargs: "dict[str, Any]",
) -> "Any":
    if len(args) + len(kwargs) == 1:
        (status,) = (*args, *kwargs.values())
        if hasattr(type(status), "__index__") and not isinstance(status, int):
            status = status.__index__()  # the program's own code: asked once, as the real one does
            args = args and (status,)
            kwargs = dict.fromkeys(kwargs, status)
        try:
            if isinstance(status, int) and -(2**31) <= status < 2**31:
                _on_os_exit(caller, int(status))
        except Exception as error:
            if not handlers.is_ours(error):
                raise
    return real(*args, **kwargs)


def _on_os_exit(caller: "FrameType | None", status: int) -> None:
    code = None if caller is None else caller.f_code
    launcher = (
        code is not None
        and code.co_name in _LAUNCHERS
        and code.co_filename.endswith(("/popen_fork.py", "/forkserver.py"))
    )
    error = sys.exc_info()[1]
    if launcher and error is not None:
        say_exception(error)  # it left the start-up, past _bootstrap
    elif not launcher:
        over()
    elif watch.is_blind():
        return  # what it was is not known: the missing report tells that
    recorder.report(wire.LAST_WORD, "launcher" if launcher else "os_exit", str(status))
