"""What multiprocessing is asked to do: start, run, join; and what its exit path does."""

import posix
import sys

from pytest_proclife import wire
from pytest_proclife.inside import callsite, exit, handlers, process_target, recorder, watch
from pytest_proclife.inside.builtins import borrow

TYPE_CHECKING = False

if sys.version_info < (3, 12):
    from pytest_proclife.inside import rewrite
if TYPE_CHECKING:
    from types import CodeType, FrameType
    from typing import Any

_SUSPENDS = 0x20 | 0x80 | 0x200  # inspect.CO_GENERATOR, CO_COROUTINE, CO_ASYNC_GENERATOR

_RUN, _RAN = "run", "ran"  # what `rewrite` tells around the statement `self.run()`

_run_code: "CodeType | None" = None  # of the run() that was asked for last
_run_is_next = False  # whatever it is called: the process's own attribute may be anything
_running: "bool | None" = None  # None before run(), True in it, False when it returned
# pid -> how its status was collected; "" in passing, which a join makes good
_collected: "dict[int, str]" = {}
_idle_worker = False  # its exit path has nobody to wait for, and is not worth a report
_start_method = ""


def install(start_method: str, kind: str) -> None:
    global _start_method
    _start_method = start_method
    watch.on_module("multiprocessing/process.py", _process)
    watch.on_module("multiprocessing/util.py", _util)
    watch.on_module("multiprocessing/popen_fork.py", _popen_fork)
    watch.on_module("multiprocessing/popen_forkserver.py", _popen_forkserver)
    if kind == "forkserver":
        watch.on_module("multiprocessing/forkserver.py", _forkserver)
    if start_method:
        watch.on_module("multiprocessing/context.py", _context)


def _process(code: "CodeType") -> None:
    watch.watch_function(code, ("BaseProcess", "start"), start=_starting, returned=_started)
    watch.watch_function(code, ("BaseProcess", "join"), returned=_join_returned)
    watch.watch_function(
        code, ("BaseProcess", "_bootstrap"), start=_boots, returned=_booted, call=_bootstrap_calls
    )


def _util(code: "CodeType") -> None:
    watch.watch_function(
        code, ("_exit_function",), start=_exit_path_begins, returned=_exit_path_ends
    )


def _popen_fork(code: "CodeType") -> None:
    watch.watch_function(code, ("Popen", "poll"), start=_polls, returned=_polled)


def _popen_forkserver(code: "CodeType") -> None:
    watch.watch_function(code, ("Popen", "poll"), start=_polls, returned=_polled)


def _forkserver(code: "CodeType") -> None:
    function = watch.nested(code, "main")
    if watch.MONITORING:
        watch.watch(function, call=_server_calls)
    else:
        watch.when_loaded(code, _rewrite_server)


def _rewrite_server() -> None:
    """3.11: see the exception that `main` handles in the child, where it only prints it."""
    if sys.version_info < (3, 12):
        function = sys.modules["multiprocessing.forkserver"].main

        def edit(tree: "Any", put: "rewrite.Put") -> None:
            for node in list(rewrite.walk(tree)):
                if type(node).__name__ == "ExceptHandler":
                    node.body.insert(0, put.statement(rewrite.telling(_server_calls, None)))

        rewrite.recompile(function, edit)


def _context(code: "CodeType") -> None:
    """Change the default start method before the program can ask for it."""
    watch.when_loaded(code, _set_default)


def _set_default() -> None:
    context = sys.modules["multiprocessing.context"]
    context._default_context._default_context = context._concrete_contexts[_start_method]


# --- in the parent


def _starting(frame: "FrameType") -> None:
    recorder.prepare()
    process = frame.f_locals["self"]
    _watch_run(process)
    if process._popen is None:
        _kinds[id(process)] = process_target.kind_of(
            process
        )  # start() deletes the target when it is through


_kinds: "dict[int, str]" = {}  # id of a Process that is being started -> its kind


def _started(frame: "FrameType", value: object) -> None:
    process = frame.f_locals["self"]
    popen = process._popen
    _collected.pop(popen.pid, None)
    recorder.report_about(
        wire.STARTED,
        popen.pid,
        str(popen.pid),
        _kinds.pop(id(process), "process"),
        wire.clip(process._name, 200),
        wire.flag(process._config.get("daemon", False)),
        getattr(popen, "method", "") or "",
        "",
        callsite.where(frame.f_back),
    )


def _polls(frame: "FrameType") -> None:
    """A join that is about to block: popen.wait() without a timeout polls with no flags."""
    variables = frame.f_locals
    popen = variables["self"]
    if popen.returncode is None and variables["flag"] == 0 and popen.pid not in _collected:
        recorder.report(wire.WAITING, str(popen.pid), callsite.where(frame))


def _polled(frame: "FrameType", value: object) -> None:
    if value is None:
        return
    pid = frame.f_locals["self"].pid
    if pid in _collected:
        return
    _collected[pid] = how = _joined_how(frame)
    recorder.report(wire.COLLECTED, str(pid), str(value), how, callsite.where(frame))


def _join_returned(frame: "FrameType", value: object) -> None:
    """A join of a process whose status the next start() or an is_alive() had collected before."""
    popen = frame.f_locals["self"]._popen
    if popen is None or popen.returncode is None or _collected.get(popen.pid) != "":
        return
    _collected[popen.pid] = how = _joined_how(frame)
    code = str(popen.returncode)
    recorder.report(wire.COLLECTED, str(popen.pid), code, how, callsite.where(frame))


def _joined_how(frame: "FrameType") -> str:
    if callsite.in_exit_path(frame):
        return "implicit"
    passed, caller = callsite.leave_process_module(frame)
    if callsite.library(caller):
        return "library"
    return "explicit" if "join" in passed else ""


def _exit_path_begins(frame: "FrameType") -> None:
    global _idle_worker
    names = frame.f_globals
    if names.get("_exiting"):
        return  # it has run already, as in a child up to 3.12
    if handlers.outside(frame.f_back) is None:
        exit.exit_path_begins()
    popens = [process._popen for process in list(names["process"]._children)]
    _idle_worker = not popens and _running is False
    if _idle_worker:
        return
    alive = [str(popen.pid) for popen in popens if popen is not None and _is_alive(popen)]
    recorder.report(wire.EXIT_PATH, *alive)


def _is_alive(popen: "Any") -> bool:
    """Whether a child is running, without collecting its status."""
    if popen.returncode is not None:
        return False
    try:
        flags = posix.WEXITED | posix.WNOHANG | posix.WNOWAIT
        return posix.waitid(posix.P_PID, popen.pid, flags) is None
    except ChildProcessError:
        pass  # a fork server's child, or its status was taken
    if getattr(popen, "method", None) != "forkserver":
        return False
    select = borrow("select")
    poll = select.poll()
    poll.register(popen.sentinel, select.POLLIN)
    return not poll.poll(0)


def _exit_path_ends(frame: "FrameType", value: object) -> None:
    if not _idle_worker:
        recorder.report(wire.EXIT_PATH_DONE)


# --- in the child


def _boots(frame: "FrameType") -> None:
    global _running, _run_is_next
    _running, _run_is_next = None, False
    exit.forget()
    exit.child_begins()
    _collected.clear()


def _bootstrap_calls(frame: "FrameType", function: object) -> None:
    global _run_is_next
    if _running is None:
        name = getattr(function, "__name__", None)
        if function == _RUN or name == "run" or _run_is_next:
            _runs(frame)
            return
        _run_is_next = name == "info"  # `util.info('child process calling self.run()')`
    elif function == _RAN:
        _ran(None, None)
        return
    if not exit.said():
        error = sys.exc_info()[1]
        if error is not None:
            exit.say_exception(error)
        elif watch.MONITORING and _running and _run_code is not None:
            exit.say(exit.SYS_EXIT)  # as in _booted, but before exit handlers run


def _watch_run(process: "Any") -> None:
    """See its run() return. The parent sets the watch for a forked child: to set one costs anew
    for each function that is called afterwards, and their pages are the child's to copy.
    """
    global _run_code
    if watch.MONITORING:
        code = handlers.code_of(process_target.run_of(process))
        if code is not None and code.co_flags & _SUSPENDS:
            code = None  # a call of it returns before it has begun
        if code is not _run_code:
            _run_code = code
            watch.watch(code, returned=_ran)


def _runs(frame: "FrameType") -> None:
    global _running
    _running = True
    process = frame.f_locals["self"]
    _watch_run(process)
    recorder.report(
        wire.RUN,
        str(process._parent_pid),
        process_target.kind_of(process),
        wire.clip(process._name, 200),
        wire.flag(process._config.get("daemon", False)),
        getattr(process, "_start_method", "") or "",
    )


def _ran(frame: "FrameType | None", value: object) -> None:
    global _running
    if frame is not None:
        caller = frame.f_back
        if caller is None or caller.f_code.co_name != "_bootstrap":
            return  # run() called by the program itself
    _running = False
    exit.say(exit.RETURNED)


def _booted(frame: "FrameType", value: object) -> None:
    if _running and not exit.said() and value == 0 and _run_code is not None:
        # run() did not return and _bootstrap made 0 of what left it: SystemExit(None),
        # the one exception for which its `except` blocks call nothing (process.py)
        exit.say(exit.SYS_EXIT)


def _server_calls(frame: "FrameType", function: object) -> None:
    """In a fork server's child: an exception of its start-up, which is only printed."""
    error = sys.exc_info()[1]
    if error is not None and _running is None and recorder.parent_key and _is_child(frame):
        exit.say_exception(error)


def _is_child(frame: "FrameType | None") -> bool:
    while frame is not None and frame.f_code.co_name != "main":
        frame = frame.f_back
    return frame is not None and frame.f_locals.get("pid") == 0
