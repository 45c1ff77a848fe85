"""Calls of multiprocessing: start, run, join; and its exit path."""

import sys

from pytest_proclife import wire
from pytest_proclife.inside import (
    callsite,
    exit,
    handlers,
    process_target,
    programs,
    recorder,
    signals,
    waits,
    watch,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any

_SUSPENDS = 0x20 | 0x80 | 0x200  # inspect.CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR

# States of a child's run(), each with what enters it.
_NOT_CALLED = "not called"  # BaseProcess._bootstrap begins
# `_bootstrap` has called util.info('child process calling self.run()'): the next call is run(),
# whatever it is named, as the attribute of the process may be anything
_IS_NEXT = "is next"
_CALLED = "called"
_RETURNED = "returned"

# How a child ends is read off the calls of `BaseProcess._bootstrap` (multiprocessing/process.py).
# From 3.12 on each call is an event; on 3.11 `rewrite` marks the places in square brackets.
#
#    what happens                       seen as
# A  run() is called                    the call of `self.run` [before the statement]
# B  run() returns                      its code returns to `_bootstrap` [after the statement]
# C  an exception leaves run()          a call in an `except` or `finally` block, with the exception
#                                       in sys.exc_info() [the head of each such block]
# D  SystemExit(None) leaves run()      `except SystemExit` calls nothing if `e.code is None`; then
#                                       `finally` calls threading._shutdown() without an exception,
#                                       and B did not happen [as C]
# E  an exception leaves the start-up   as C, before A
#    in `_bootstrap`
# F  an exception leaves the start-up   in a fork, os._exit in Popen._launch (popen_fork.py): see
#    outside it                         `exit`. In a fork server's child, a call in the `except` or
#                                       `finally` of `main` (forkserver.py): _server_calls()
# G  run() is a generator or coroutine  A. To call it runs nothing of its code, or it has none: B is
#    function, or a function of C       not watched, so D could be B, and neither is reported [B]


class _Child:
    """How far this process has come as a child of multiprocessing."""

    __slots__ = ("exit_path_is_reported", "run")

    def __init__(self) -> None:
        self.run = _NOT_CALLED
        # False for a worker: its exit path waits for nobody, and is not worth a report
        self.exit_path_is_reported = True


_child = _Child()
# id of the list of a Pool's workers -> the pids of those that it has, and of those that are gone
# and have not been replaced yet
_workers: "dict[int, tuple[list[int], list[int]]]" = {}
# id of a Process that is being started -> its kind, its name, the code of start(), our pid
_starting: "dict[int, tuple[str, str, CodeType, int]]" = {}
# id of a Process that is being started -> the exception that its data cannot be written for
_errors: "dict[int, str]" = {}


def install(start_method: str, kind: str) -> None:
    """Watch multiprocessing in a new interpreter; a start method becomes the default."""
    for package in callsite.PACKAGES:
        watch.on_module(f"{package}/process.py", _process)
        watch.on_module(f"{package}/util.py", _util)
        watch.on_module(f"{package}/popen_spawn_posix.py", _launch)
        watch.on_module(f"{package}/popen_forkserver.py", _launch)
        if kind == "forkserver":
            watch.on_module(
                f"{package}/forkserver.py",
                lambda module: watch.watch_in_module(module, "main", call=_server_calls),
            )
    watch.on_module("multiprocessing/context.py", lambda module: _context(module, start_method))


def _process(module: "watch.Module") -> None:
    if sys.version_info >= (3, 12):
        failing: Any = {"call": _start_calls}
    else:  # 3.11:
        failing = {"failed": _failed}
    watch.watch_in_module(
        module, "BaseProcess", "start", start=_starts, returned=_started, **failing
    )
    watch.watch_in_module(module, "BaseProcess", "join", returned=waits.join_returned)
    watch.watch_in_module(
        module, "BaseProcess", "_bootstrap", start=_bootstrap_begins, call=_bootstrap_calls
    )


def _util(module: "watch.Module") -> None:
    watch.watch_in_module(
        module, "_exit_function", start=_exit_path_begins, returned=_exit_path_ends
    )


def _launch(module: "watch.Module") -> None:
    if sys.version_info >= (3, 12):  # 3.11: _failed() has the exception
        watch.watch_in_module(module, "Popen", "_launch", call=_launch_calls)


def _context(module: "watch.Module", start_method: str) -> None:
    if sys.version_info >= (3, 12):  # 3.11: _failed() watches start() itself
        for name in ("ForkProcess", "SpawnProcess", "ForkServerProcess"):
            watch.watch_in_module(module, name, "_Popen", failed=_failed)
    if start_method:
        # before the program can ask for the default
        watch.when_loaded(module, lambda: _set_default(start_method))


def _set_default(start_method: str) -> None:
    context = sys.modules["multiprocessing.context"]
    context._default_context._default_context = context._concrete_contexts[start_method]


# --- in the parent


def _starts(frame: "FrameType") -> None:
    recorder.notice_fork()
    recorder.prepare()
    process = frame.f_locals["self"]
    _watch_run(process)
    if process._popen is None:
        # now, since start() deletes the target at its end
        kind = process_target.kind_of(process)
        _starting[id(process)] = kind, process._name, frame.f_code, recorder.identity.pid
        _errors.pop(id(process), None)


def _started(frame: "FrameType", value: object) -> None:
    process = frame.f_locals["self"]
    popen = process._popen
    waits.child_started(popen.pid)
    programs.process_started(getattr(popen, "method", ""))
    recorder.report_about(
        wire.STARTED,
        popen.pid,
        str(popen.pid),
        _kind_of(process),
        wire.clip(process._name, 200),
        wire.flag(process._config.get("daemon", False)),
        getattr(popen, "method", "") or "",
        "",
        callsite.where(frame.f_back),
    )
    _note_worker(frame.f_back, popen.pid)


def _note_worker(frame: "FrameType | None", pid: int) -> None:
    """Report which worker of a Pool a new one replaces, if it is started in place of another.

    `Pool.__init__` starts the first ones by `_repopulate_pool`; `_maintain_pool`, which the pool's
    thread calls, takes out those that have ended, and starts as many: multiprocessing/pool.py.
    """
    if frame is None or frame.f_code.co_name != "_repopulate_pool_static":
        return
    pool, caller = frame.f_locals["pool"], frame.f_back
    is_first = not pool and caller is not None and caller.f_code.co_name == "_repopulate_pool"
    if is_first or id(pool) not in _workers:
        _workers[id(pool)] = [pid], []
        return
    members, gone = _workers[id(pool)]
    if caller is not None and caller.f_code.co_name == "_maintain_pool":
        left = {worker._popen.pid for worker in list(pool)}
        gone += [member for member in members if member not in left]
        members[:] = [member for member in members if member in left]
        if gone:
            recorder.report(wire.REPLACES, str(pid), str(gone.pop(0)))
    members.append(pid)


# No event comes as an exception leaves start(), so what fails in it is watched. On 3.11 _failed()
# sees each exception.
#
#    what fails                         seen as
#    an `assert` of start()             the call of AssertionError, with its text
#    Popen(), which starts the process  the event C_RAISE of the class that `_Popen` calls
#                                       (context.py); what was raised cannot be seen
#    the pickling of the process        the same, and before that a call in the `finally` of
#                                       Popen._launch, with the exception in sys.exc_info()
#    anything else                      as the exit path begins, it has neither returned nor is on a
#                                       stack


def _start_calls(frame: "FrameType", function: object, text: object = None) -> None:
    if function is AssertionError:
        _report_not_started(frame.f_locals["self"], f"AssertionError: {text}", frame)


def _launch_calls(frame: "FrameType", function: object, argument: object = None) -> None:
    error = sys.exc_info()[1]
    trace = None if error is None else error.__traceback__
    if error is not None and trace is not None and trace.tb_frame is frame:  # not an earlier one
        process = frame.f_locals["process_obj"]
        _errors[id(process)] = recorder.error_text(error)


def _failed(frame: "FrameType", function: object, argument: object = None) -> None:
    if sys.version_info >= (3, 12):
        process = frame.f_locals["process_obj"]
        _report_not_started(process, _errors.pop(id(process), ""), frame)
    else:  # 3.11:
        error = sys.exc_info()[1]
        text = "" if error is None else recorder.error_text(error)
        _report_not_started(frame.f_locals["self"], text, frame)


def _kind_of(process: "Any") -> str:
    """The kind of a process whose start() ends."""
    known = _starting.pop(id(process), None)
    return "process" if known is None else known[0]


def _report_not_started(process: "Any", error: str, frame: "FrameType") -> None:
    if process._popen is None and _is_of_fork(process):
        return
    kind, name = _kind_of(process), wire.clip(process._name, 200)
    recorder.report(wire.NOT_STARTED, "", kind, name, error, callsite.where(frame))


def _is_of_fork(process: "Any") -> bool:
    """Whether this process is the one that start() forked: an exception leaves its start().

    So may a signal's handler have it between run() and os._exit.
    """
    known = _starting.get(id(process))
    return (process._parent_pid if known is None else known[3]) != recorder.identity.pid


def _report_lost_starts() -> None:
    for kind, name, code, pid in _starting.values():
        if pid == recorder.identity.pid and not exit.is_running(code):
            recorder.report(wire.NOT_STARTED, "", kind, wire.clip(name, 200), "", "")
    _starting.clear()


def _exit_path_begins(frame: "FrameType") -> None:
    names = frame.f_globals
    if names.get("_exiting"):
        return  # it has run already, as in a child up to 3.12
    if handlers.outside(frame.f_back) is None:
        exit.main_exits()
    _report_lost_starts()
    popens = [process._popen for process in list(names["process"]._children)]
    _child.exit_path_is_reported = bool(popens) or _child.run is not _RETURNED
    if not _child.exit_path_is_reported:
        return
    alive = [str(popen.pid) for popen in popens if popen is not None and waits.is_alive(popen)]
    known = {str(popen.pid) for popen in popens if popen is not None}
    running = signals.running_children() if programs.starts > 0 else []
    others = [pid for pid in running if pid not in known]
    recorder.report(wire.EXIT_PATH, *alive, *others)


def _exit_path_ends(frame: "FrameType", value: object) -> None:
    if _child.exit_path_is_reported:
        recorder.report(wire.EXIT_PATH_DONE)


# --- in the child


def _bootstrap_begins(frame: "FrameType") -> None:
    _child.run = _NOT_CALLED
    exit.child_begins()
    waits.forget()
    programs.starts = 0
    _starting.clear()
    _workers.clear()


def _bootstrap_calls(frame: "FrameType", function: object, argument: object = None) -> None:
    """A call by `_bootstrap`: the cases A, C, D and E of the table; and B on 3.11."""
    if _child.run in (_NOT_CALLED, _IS_NEXT):
        name = getattr(function, "__name__", None)
        if function is watch.BEFORE_RUN or name == "run" or _child.run is _IS_NEXT:
            _run_begins(frame)
            return
        if name == "info":
            _child.run = _IS_NEXT
    elif function is watch.AFTER_RUN:
        _run_returned()
        return
    if not exit.own.is_reported:
        error = exit.handled_exception()
        if error is not None:
            exit.report_exception(error)
        elif _child.run is _CALLED and exit.own.run_code is not None:
            exit.report_end(exit.SYS_EXIT)


def _watch_run(process: "Any") -> None:
    """Watch its run() for B. The parent does it for a forked child: setting a watch has a cost for
    each function that is called afterwards, and the child would have to copy their pages.
    """
    if sys.version_info >= (3, 12):  # 3.11: rewrite has AFTER_RUN
        code = handlers.code_of(process_target.run_of(process))
        if code is not None and code.co_flags & _SUSPENDS:
            code = None
        if code is not exit.own.run_code:
            exit.own.run_code = code
            watch.watch(code, returned=_code_returned)


def _run_begins(frame: "FrameType") -> None:
    _child.run = _CALLED
    process = frame.f_locals["self"]
    _watch_run(process)
    kind = process_target.kind_of(process)
    exit.own.has_tasks = kind == "pool_worker"
    recorder.report(
        wire.RUN,
        str(process._parent_pid),
        kind,
        wire.clip(process._name, 200),
        wire.flag(process._config.get("daemon", False)),
        getattr(process, "_start_method", "") or "",
    )


def _code_returned(frame: "FrameType", value: object) -> None:
    caller = frame.f_back
    # the program may call run() itself
    if caller is not None and caller.f_code.co_name == "_bootstrap":
        _run_returned()


def _run_returned() -> None:
    _child.run = _RETURNED
    exit.report_end(exit.RETURNED)


def _server_calls(frame: "FrameType", function: object, argument: object = None) -> None:
    """A call by the fork server's `main`: case F, an exception that it only shows."""
    error = sys.exc_info()[1]
    if error is not None and _child.run is _NOT_CALLED and _in_child(frame):
        exit.report_exception(error)


def _in_child(frame: "FrameType | None") -> bool:
    """Whether the fork server's `main` is in the child that it forked."""
    while frame is not None and frame.f_code.co_name != "main":
        frame = frame.f_back
    return frame is not None and frame.f_locals.get("pid") == 0
