"""How this process's own code ends: returned, raised, sys.exit, os._exit; and its last word."""

import atexit
import os
import sys

from pytest_proclife import wire
from pytest_proclife.inside import commandline, recorder, rewrite, watch

RETURNED, RAISED, SYS_EXIT = "returned", "raised", "sys_exit"

handler_codes = {}  # code of a Python signal handler that ran -> signal number

_reported = False  # this process has said how its own code ended
_main = None  # the code object of __main__
_file = None  # __main__.__file__ as it was when main began
_returned = False

_LAUNCHERS = ("_launch", "main", "_serve_one")  # they call os._exit for a child of Process


def install(kind):
    """Watch __main__ in a new interpreter; where it is multiprocessing's own, only its end."""
    multiprocessings = kind in ("process", "resource_tracker", "forkserver")

    def on_exec(arguments):
        code = arguments[0]
        path = getattr(code, "co_filename", None)
        if path is None:
            return
        if _main is None and _is_main(sys._getframe(1).f_back):
            main_begins(code, multiprocessings)
        watch.found(code, path)

    watch.on_event("exec", on_exec)
    watch.on_event("sys.excepthook", _on_uncaught)
    watch.on_event(commandline.END, lambda arguments: say(RETURNED))
    if not watch.MONITORING:
        watch.on_module("<frozen runpy>", _watch_runpy)
    atexit.register(_last_word)
    _replace_exit()


def forget():
    """In a forked child: nothing has ended yet."""
    global _reported, _returned
    _reported = _returned = False


def _is_main(caller):
    """Whether code is run as __main__: from C (script, -c, stdin) or by runpy (-m, a folder)."""
    return caller is None or (
        caller.f_code.co_name == "_run_code"
        and caller.f_back is not None
        and caller.f_back.f_code.co_name == "_run_module_as_main"
    )


def main_begins(code, multiprocessings):
    global _main, _file
    _main = code
    if not multiprocessings:
        recorder.report(wire.RUN, "", "", "", "", "")
    _file = getattr(sys.modules.get("__main__"), "__file__", None)
    if watch.MONITORING:
        watch.watch(code, returned=_main_returned)


def _watch_runpy(code):
    """3.11: `python -m` ends where this function of runpy does; its source is not frozen."""
    watch.when_loaded(code, _rewrite_runpy)


def _rewrite_runpy():
    function = sys.modules["runpy"]._run_module_as_main
    source = os.path.join(os.path.dirname(os.__file__), "runpy.py")
    rewrite.instrument(function, returned=_main_returned, source=source)


def _main_returned(frame, value):
    global _returned
    _returned = True
    say(RETURNED)


def _on_uncaught(arguments):
    """The audit event `sys.excepthook`: an exception left __main__ and is about to be shown."""
    if sys._getframe(1).f_back is None:  # not one that the program's own code shows
        say(RAISED, arguments[2], arguments[3])


def say(how, error=None, trace=None):
    """Report once how this process's own code ended."""
    global _reported
    if _reported:
        return
    _reported = True
    handled = _handled_signals()
    if error is None:
        recorder.report(wire.LEFT, how, "", "", "", "", handled)
        return
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = "%s.%s" % (kind.__module__, name)
    try:
        message = str(error)
    except Exception:
        message = "(its __str__ raised)"
    lines, origin = _describe(trace if trace is not None else error.__traceback__)
    if isinstance(error, KeyboardInterrupt):
        origin = origin or "2"  # raised by the C function signal.default_int_handler
    recorder.report(wire.LEFT, how, name, wire.clip(message), wire.clip(lines), origin, handled)


def _handled_signals():
    """The signals that ask for an end for which a handler is set in Python, as numbers."""
    import _signal

    numbers = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP)
    return " ".join(str(int(n)) for n in numbers if callable(_signal.getsignal(n)))


def said():
    return _reported


def say_exception(error):
    """Report the exception that left the target."""
    say(SYS_EXIT if isinstance(error, SystemExit) else RAISED, error)


def _describe(trace):
    """A traceback as text, and the signal whose handler it went through."""
    import _signal

    lines, origin = [], ""
    codes = dict(handler_codes)
    for number in range(1, _signal.NSIG):
        try:
            codes[handler_code(_signal.getsignal(number))] = number
        except ValueError:
            continue  # the C library keeps it for itself
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append('File "%s", line %d, in %s' % (code.co_filename, trace.tb_lineno, code.co_name))
        number = codes.get(code)
        if number is not None:
            origin = str(number)
        trace = trace.tb_next
    return "\n".join(lines), origin


def handler_code(handler):
    """The code object of a signal handler; None if it is none of Python's."""
    function = getattr(handler, "func", handler)  # functools.partial
    if getattr(function, "__code__", None) is None and not isinstance(function, int):
        function = getattr(type(function), "__call__", None)
    return getattr(function, "__code__", None)


def _last_word():
    """The exit handler that was registered first, hence runs last."""
    if not _reported:
        if watch.MONITORING:
            # neither the end of __main__'s code nor an uncaught exception was seen:
            # what else leads here is SystemExit (Py_Exit in pythonrun.c)
            say(SYS_EXIT)
        else:
            _guess_from_file()
    recorder.report(wire.LAST_WORD, "exit", "")


def _guess_from_file():
    """CPython 3.11: `pyrun_simple_file` removes `__file__` from __main__ when the code returned,
    and not where SystemExit left it: `Py_Exit` is called before (pythonrun.c).
    """
    main = sys.modules.get("__main__")
    if _file is not None and main is not None:
        say(RETURNED if not hasattr(main, "__file__") else SYS_EXIT)


def _replace_exit():
    real = os._exit

    def _exit(status):
        try:
            _on_os_exit(sys._getframe(1), status)
        except Exception:
            pass  # the program has to leave
        real(status)

    _exit.__doc__ = real.__doc__
    os._exit = _exit
    sys.modules["posix"]._exit = _exit


def _on_os_exit(caller, status):
    code = caller.f_code
    launcher = code.co_name in _LAUNCHERS and code.co_filename.endswith(
        ("/popen_fork.py", "/forkserver.py")
    )
    error = sys.exc_info()[1]
    if launcher and error is not None:
        say_exception(error)  # it left the start-up, past _bootstrap
    recorder.report(wire.LAST_WORD, "launcher" if launcher else "os_exit", str(status))
