"""How this process's own code ends: returned, raised, sys.exit, os._exit; and its last report."""

import posix
import sys
import time

from pytest_proclife import wire
from pytest_proclife.inside import handlers, recorder, watch
from pytest_proclife.inside.builtins import stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType
    from typing import Any

    from pytest_proclife.inside.builtins import Args, Caller, Kwargs, Real

if sys.version_info >= (3, 12):
    from pytest_proclife.inside import monitoring

    def _ended_by_exit() -> "bool | None":
        return True  # its return would have been seen

else:  # 3.11:
    from pytest_proclife.inside import rewrite

    _ended_by_exit = rewrite.main.ended_by_exit

RETURNED, RAISED, SYS_EXIT = "returned", "raised", "sys_exit"

# States of the code of __main__, each with what enters it.
_NOT_BEGUN = "not begun"  # install()
# _on_run_file(): the event `cpython.run_file` comes before the script is opened
# (pymain_run_file_obj, Modules/main.c); if it cannot be opened, the interpreter exits
_NOT_OPENED = "not opened"
_BEGUN = "begun"  # _main_begins(), at the first event `exec` of __main__
_INHERITED = "inherited"  # after_fork(), from _BEGUN: it began before the fork
# child_begins(): what counts is run(), and __main__ is multiprocessing's or inherited
_REPLACED = "replaced"

# How the code ended is reported once, by the first of these that happens:
#
# what happens                                      reported by               how
# main's code returns                               _main_begins: PY_RETURN   returned
# an exception leaves it                            _on_excepthook            raised
# SystemExit leaves it, and -i shows it             _on_excepthook            sys_exit
# SystemExit leaves it: nothing is seen until
#   the interpreter waits for threads, or
#   multiprocessing's exit handler runs             main_exits                sys_exit
#   an exit handler, or a thread that outlives it,
#   calls os._exit or signals its own process       report_end_of_main        sys_exit
#   the interpreter ends                            _on_interpreter_end       sys_exit
# run() of a child of multiprocessing ends          multiproc                 any of the three
# an exception leaves a child before its run()      multiproc, _on_os_exit    raised, sys_exit
# os._exit, before all these                        nothing: EXITING has it
#
# A fork after that, as by an exit handler, runs on into the rest of the exit path: it has the end
# of the process that forked it, unless it leaves by os._exit or a signal.
#
# What was not seen is SystemExit, since nothing else leads out of an interpreter:
# `handle_system_exit` (Python/pythonrun.c) calls `Py_Exit` past the hook. _unseen_end() has the
# exceptions, and the rule for 3.11, which sees main's code return only with -m and -c.


class _OwnCode:
    """How far this process's own code has come."""

    __slots__ = (
        *("code", "ended", "ended_before", "has_tasks", "inherited", "is_reported"),
        *("may_finalize", "reported_at", "run_code", "state"),
    )

    def __init__(self) -> None:
        self.state = _NOT_BEGUN
        self.code: CodeType | None = None  # of __main__
        # of the run() that `multiproc` watches, from the start() in the parent on; None on 3.11,
        # and for a generator or coroutine function
        self.run_code: CodeType | None = None
        # by report_end(); False again in a fork, and when a child of multiprocessing begins
        self.is_reported = False
        self.ended = ""  # how it was reported
        # how that of the process that forked this one had ended by then; "" if it had not
        self.ended_before = ""
        self.may_finalize = False  # it took a function of C that ends as sys.exit() does
        self.reported_at = 0  # monotonic ns
        self.has_tasks = False  # it is a Pool's worker: multiproc
        # the exception that its parent was handling at the fork, as _identity() has it: a
        # reference to it would keep what its frames refer to
        self.inherited: object = None


own = _OwnCode()

# needed when sys and the modules of C have been cleared: see _on_interpreter_end()
_exc_info, _now = sys.exc_info, time.monotonic_ns
_CHAIN = 20  # exceptions that are looked at, each the context of the one before

# These functions call os._exit for a child of Process: popen_fork.py, forkserver.py
_LAUNCHERS = ("_launch", "main", "_serve_one")
_LAUNCHER_FILES = ("/popen_fork.py", "/forkserver.py")


def install(kind: str) -> None:
    """Watch __main__ in a new interpreter; only its end if it is that of multiprocessing."""
    is_program = kind not in ("process", "resource_tracker", "forkserver")

    def on_exec(arguments: "tuple[Any, ...]") -> None:
        code = arguments[0]
        path = getattr(code, "co_filename", None)
        if path is None:
            return
        if own.code is None and _runs_main(handlers.outside(sys._getframe())):
            _main_begins(code, is_program)
        watch.module_runs(code, path)

    watch.on_event("exec", on_exec)
    watch.on_event("cpython.run_file", _on_run_file)
    watch.on_event("sys.excepthook", _on_excepthook)
    # the last event: `interpreter_clear` (Python/pystate.c), after exit handlers and modules
    watch.on_event("cpython.PyInterpreterState_Clear", _on_interpreter_end)
    if sys.version_info < (3, 12):  # 3.11:

        def on_main_gone(arguments: "tuple[Any, ...]") -> None:
            main_exits()
            rewrite.main.release()

        watch.on_event(wire.TEXT_ENDED, _main_returned)
        watch.on_event("cpython.run_module", lambda _: rewrite.main.watch_runpy(_main_returned))
        watch.on_event(rewrite.MAIN_GONE, on_main_gone)
    stand_in(posix, "_exit", _os_exit)


def after_fork() -> None:
    """In a forked child: its own code has not ended, unless the fork came after that end."""
    if own.is_reported:
        own.ended_before = own.ended
    own.is_reported = False
    own.inherited = _identity(_exc_info()[1])
    if own.state is _BEGUN:
        own.state = _INHERITED


def handled_exception() -> "BaseException | None":
    """The exception that this process is handling, if it is not one of its parent's."""
    error = sys.exc_info()[1]
    return None if _identity(error) == own.inherited else error


def _identity(error: "BaseException | None") -> object:
    """What tells an exception from others; its id may be given again once it is gone."""
    return None if error is None else (id(error), _raised_at(error))


def _raised_at(error: BaseException) -> "tuple[CodeType, int] | None":
    """The code that raised an exception, and the index of the instruction."""
    trace = error.__traceback__
    if trace is None:
        return None
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code, trace.tb_lasti


def child_begins() -> None:
    """A child of multiprocessing: the end of its run() counts, not that of __main__."""
    after_fork()
    own.state = _REPLACED


# --- the code of __main__


def _runs_main(caller: "FrameType | None") -> bool:
    """Whether code is run as __main__: from C (script, -c, stdin) or by runpy (-m, a folder)."""
    return caller is None or (
        caller.f_code.co_name == "_run_code"
        and caller.f_back is not None
        and caller.f_back.f_code.co_name == "_run_module_as_main"
    )


def _main_begins(code: "CodeType", is_program: bool) -> None:
    own.code = code
    if own.state is not _REPLACED:
        own.state = _BEGUN
    if is_program:
        recorder.report(wire.RUN, "", "", "", "", "")
    if sys.version_info >= (3, 12):
        monitoring.watch_end(code, _main_returned)
    else:  # 3.11:
        rewrite.main.watch(is_pyc=False)


def handler_runs() -> None:
    """A handler in Python runs: from here on, see by which SystemExit its own code is left.

    Not before: each frame that an exception leaves costs a quarter of a microsecond then.
    """
    if sys.version_info >= (3, 12):  # 3.11: it is seen for a child's run() alone
        if own.state is _REPLACED:
            if own.run_code is not None:
                monitoring.watch_unwind(own.run_code, _run_unwinds)
        elif own.code is not None:
            monitoring.watch_unwind(own.code, _main_unwinds)


def _main_unwinds(_: object, error: object) -> None:
    """An exception leaves main's code; what SystemExit leaves it is seen nowhere else."""
    if isinstance(error, SystemExit) and own.state is not _REPLACED:
        report_end(SYS_EXIT, error)


def _run_unwinds(frame: "FrameType", error: object) -> None:
    """An exception leaves run(); SystemExit(None) is seen nowhere else."""
    caller = frame.f_back
    by_child = caller is not None and caller.f_code.co_name == "_bootstrap"
    if isinstance(error, SystemExit) and by_child and own.state is _REPLACED:
        report_end(SYS_EXIT, error)


def _main_returned(*_: object) -> None:
    report_end(RETURNED)


def _on_run_file(arguments: "tuple[Any, ...]") -> None:
    """A script; if it is bytecode, the only way to run __main__ without an event `exec`."""
    if not str(arguments[0]).endswith(".pyc"):
        own.state = _NOT_OPENED
    elif sys.version_info >= (3, 12):
        monitoring.find_main(lambda code: _main_begins(code, is_program=True))
    else:  # 3.11:
        recorder.report(wire.RUN, "", "", "", "", "")
        rewrite.main.watch(is_pyc=True)


def _on_excepthook(arguments: "tuple[Any, ...]") -> None:
    """The audit event `sys.excepthook`: an exception left __main__ and is about to be shown."""
    if handlers.outside(sys._getframe()) is None:  # not one that the program's own code shows
        # SystemExit is shown if an interactive session follows (-i)
        how = SYS_EXIT if isinstance(arguments[2], SystemExit) else RAISED
        report_end(how, arguments[2])


def _unseen_end() -> "str | None":
    """How main's code ended, if neither its return nor an uncaught exception was seen."""
    if own.state is _NOT_OPENED or own.state is _REPLACED or watch.is_blind() or own.may_finalize:
        return None
    if own.ended_before:
        return own.ended_before
    by_exit = _ended_by_exit()
    return None if by_exit is None else SYS_EXIT if by_exit else RETURNED


def main_exits(handled: "str | None" = None) -> None:
    """The interpreter is exiting: report how main's code ended while its state is intact."""
    how = _unseen_end()
    if how is not None:
        report_end(how, handled=handled)


def report_end_of_main() -> None:
    """Report how main's code ended, if it has: in an exit handler, or a thread that outlives it."""
    if own.is_reported or own.ended_before:
        return
    how = _unseen_end()
    ended_here = own.state is _BEGUN and not is_running(own.code)
    if how == RETURNED or (how == SYS_EXIT and ended_here):
        report_end(how)


def is_running(code: "CodeType | None") -> bool:
    """Whether a code object is on the stack of a thread."""
    for thread in sys._current_frames().values():
        frame: FrameType | None = thread
        while frame is not None:
            if frame.f_code is code:
                return True
            frame = frame.f_back
    return False


# --- the reports


def report_end(
    how: str, error: "BaseException | None" = None, handled: "str | None" = None
) -> None:
    """Report, once, how this process's own code ended."""
    recorder.notice_fork()
    if own.is_reported:
        return
    own.is_reported, own.ended, own.reported_at = True, how, _now()
    message: list[str] = []
    try:
        _write_end(how, error, handled, message)
    except BaseException as raised:
        if not handlers.is_ours(raised):  # the handler of a signal ran, and raised it
            handlers.guarded(_write_end, how, error, handled, message)
        raise


def _write_end(
    how: str, error: "BaseException | None", handled: "str | None", message: "list[str]"
) -> None:
    """Write how its code ended, at the time when it did: a second one changes nothing.

    `message` gets that of the exception, which is code of the program, and not called again.
    """
    if handled is None:
        handled = handlers.handled()
    at = own.reported_at
    if error is None:
        recorder.report(wire.FINISHED, how, "", "", "", "", handled, "", "", handlers.had, at=at)
        return
    report_task(error.__traceback__)
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    if not message:
        message.append("(its __str__ was interrupted)")
        message[0] = _message(error)
    signal, rose_at = _risen_from(error)
    interrupt = wire.flag(isinstance(error, KeyboardInterrupt))
    texts = name, wire.clip(message[0]), wire.clip(_text(error.__traceback__))
    recorder.report(wire.FINISHED, how, *texts, signal, handled, interrupt, rose_at, at=at)


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as raised:
        if not handlers.is_ours(raised):
            raise
        return "(its __str__ raised)"


def report_task(place: "FrameType | TracebackType | None") -> None:
    """A Pool's worker ends: report the task that it is in the middle of, by stack or traceback.

    `worker` (multiprocessing/pool.py) has a `job` while it has a task.
    """
    if not own.has_tasks:
        return
    while place is not None:
        frame: Any = getattr(place, "tb_frame", place)
        code = frame.f_code
        if code.co_name == "worker" and code.co_filename.endswith("/multiprocessing/pool.py"):
            names = frame.f_locals
            if names.get("job") is not None:
                function = names["func"]
                if getattr(function, "__name__", "") in ("mapstar", "starmapstar"):
                    function = names["args"][0][0]
                recorder.report(wire.TASK, wire.clip(getattr(function, "__qualname__", ""), 200))
            return
        place = place.tb_next if hasattr(place, "tb_next") else frame.f_back


def report_exception(error: BaseException) -> None:
    """Report that an exception left this process's own code."""
    report_end(SYS_EXIT if isinstance(error, SystemExit) else RAISED, error)


def _text(trace: "TracebackType | None") -> str:
    lines = []
    while trace is not None:
        code = trace.tb_frame.f_code
        lines.append(f'File "{code.co_filename}", line {trace.tb_lineno}, in {code.co_name}')
        trace = trace.tb_next
    return "\n".join(lines)


def _risen_from(error: "BaseException") -> "tuple[str, str]":
    """The signal whose handler raised an exception, or one that led to it, and when that ran.

    It may be one of several, which are given then.
    """
    left = [error]
    seen: set[int] = set()
    while left and len(seen) < _CHAIN:
        error = left.pop(0)
        if id(error) in seen or _identity(error) == own.inherited:
            continue
        seen.add(id(error))
        signal, at = handlers.risen_from(error.__traceback__)
        if not signal and isinstance(error, KeyboardInterrupt) and not _is_of_a_statement(error):
            signal = handlers.interrupting()  # raised by signal.default_int_handler, which is C
        if signal:
            return signal, at
        parts = getattr(error, "exceptions", ()) if isinstance(error, BaseExceptionGroup) else ()
        left += [e for e in (error.__cause__, error.__context__, *parts) if e is not None]
    return "", ""


def _raise() -> None:
    raise  # noqa: PLE0704 - never called: the instruction is read from its code


_RAISE = _raise.__code__.co_code[2]  # after RESUME


def _is_of_a_statement(error: BaseException) -> bool:
    """Whether a statement `raise` raised it; asyncio's Runner does that for the signal."""
    at = _raised_at(error)
    if at is None or at[0].co_filename.endswith("/asyncio/runners.py"):
        return False
    return at[0].co_code[at[1]] == _RAISE


def _on_interpreter_end(arguments: "tuple[Any, ...]") -> None:
    """The last report. The names of builtins, sys and C modules are cleared: use none of them.

    Our own modules are whole, since the audit hook refers to them. The signal handlers are
    cleared too (`_PySignal_Fini`, Modules/signalmodule.c), hence `last_handled`.
    """
    main_exits(handlers.last_handled)
    recorder.report(wire.EXITING, "exit", "")


# --- os._exit


def _os_exit(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    if len(args) + len(kwargs) == 1:
        (status,) = (*args, *kwargs.values())
        if hasattr(type(status), "__index__") and not isinstance(status, int):
            status = status.__index__()  # code of the program: called once, as by the real one
            args = args and (status,)
            kwargs = dict.fromkeys(kwargs, status)
        if isinstance(status, int) and -(2**31) <= status < 2**31:
            handlers.guarded(_on_os_exit, caller, int(status))
    return real(*args, **kwargs)


def _on_os_exit(caller: "Caller", status: int) -> None:
    caller = _outside_of_wrapper(caller)
    code = None if caller is None else caller.f_code
    by_launcher = (
        code is not None
        and code.co_name in _LAUNCHERS
        and code.co_filename.endswith(_LAUNCHER_FILES)
    )
    if not by_launcher:
        report_end_of_main()
        if own.has_tasks:  # here, since a fork would copy the pages that a call touches
            report_task(caller)
        recorder.report(wire.EXITING, "os_exit", str(status), handlers.running(caller))
        return
    error = handled_exception()
    if error is not None:
        report_exception(error)  # it left the start-up, past _bootstrap
    elif watch.is_blind():
        return  # whether run() returned is not known; the missing report shows that
    recorder.report(wire.EXITING, "launcher", str(status))


_WRAPPERS = 5  # around os._exit that are looked at


def _outside_of_wrapper(caller: "Caller") -> "Caller":
    """The caller of `os._exit`, if functions of Python stand there, as those of coverage do."""
    code = getattr(getattr(sys.modules.get("os"), "_exit", None), "__code__", None)
    frame = caller
    for _ in range(0 if code is None else _WRAPPERS):
        if frame is None:
            break
        if frame.f_code is code:
            caller = frame.f_back
        frame = frame.f_back
    return caller
