"""Waits: who collects a child's status, and for which children the exit path has to wait.

What the caller asked for counts, and not the flags of the system call. `join()`, `wait()`,
`communicate()` and `subprocess.run()` wait, although they poll if they have a timeout; `poll()`,
`is_alive()`, a finalizer and the like only look. It is read off the stack of who collects.
"""

import _thread
import posix
import sys
import time

from pytest_proclife import wire
from pytest_proclife.inside import callsite, exit, handlers, recorder, signals, watch
from pytest_proclife.inside.builtins import borrow, stand_in, stand_in_unless_seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType
    from typing import Any

    from pytest_proclife.inside.builtins import Args, Caller, Kwargs, Real

# How a status was collected: see wire.COLLECTED.
_EXPLICIT, _IMPLICIT, _LIBRARY, _SYSTEM, _LOOK = "explicit", "implicit", "library", "system", ""
# What keeps a process in its exit path: see wire.WAITING.
_EXIT_PATH, _HANDLER, _THREAD = "exit_path", "exit_handler", "thread"
_EXECUTOR, _POOL = "executor", "pool"

_CALLS = ("wait", "wait3", "wait4", "waitid")  # and waitpid
_POPEN_FORK, _SUBPROCESS = callsite.files("popen_fork"), "/subprocess.py"
_CONNECTION = callsite.files("connection")
_ASYNCIO = ("/asyncio/unix_events.py", "/asyncio/base_subprocess.py")
_EXITED, _KILLED, _DUMPED = 1, 2, 3  # waitid(2): CLD_EXITED, CLD_KILLED, CLD_DUMPED

# Bound here for the finalizers of the interpreter's end, when the names of builtins are cleared.
_str, _len = str, len
_WNOHANG, _WNOWAIT = posix.WNOHANG, posix.WNOWAIT

# pid -> how its status was collected; if that was no wait, a later one makes it good
_collected: "dict[int, str]" = {}


def install() -> None:
    """Watch the waits of a new interpreter."""
    global _call_is_seen, _each_call_counts
    _each_call_counts = recorder.identity.tells_statuses
    for name in _CALLS:
        if hasattr(posix, name):  # macOS has no waitid before Python 3.13
            stand_in(posix, name, _waits)
    _call_is_seen = stand_in_unless_seen(posix, "waitpid", _waits)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for package in callsite.PACKAGES:
        watch.on_module(f"{package}/popen_fork.py", _popen)
        watch.on_module(f"{package}/popen_forkserver.py", _popen)
        watch.on_module(f"{package}/connection.py", _connection)
        watch.on_module(
            f"{package}/pool.py",
            lambda module: watch.watch_in_module(module, "Pool", "join", start=_pool_is_joined),
        )
    watch.on_module(f"{version}/subprocess.py", _subprocess)
    for module in ("asyncio/unix_events.py", "loky/process_executor.py"):
        watch.on_module(module, _caller_counts)
    watch.on_module(
        "asyncio/base_subprocess.py",
        lambda module: watch.watch_in_module(
            module,
            "BaseSubprocessTransport",
            "_wait",
            start=_asyncio_waits,
            returned=_asyncio_waited,
        ),
    )
    watch.on_module(
        f"{version}/threading.py",
        lambda module: watch.watch_in_module(module, "_shutdown", start=_threads_are_joined),
    )


def _caller_counts(module: "watch.Module") -> None:
    global _each_call_counts
    _each_call_counts = True


def _popen(module: "watch.Module") -> None:
    watch.watch_in_module(module, "Popen", "poll", start=_polls, returned=_polled)
    # the class in popen_forkserver.py inherits it
    watch.watch_in_module(module, "Popen", "wait", start=_popen_waits)


def _connection(module: "watch.Module") -> None:
    # the module defines it twice, and keeps that for POSIX
    name = module.__name__ if isinstance(module, type(sys)) else _name_of(module.co_filename)
    watch.when_loaded(module, lambda: _watch_wait(sys.modules[name]))


def _name_of(path: str) -> str:
    """The name of a module in a package, by its path."""
    return ".".join(path.removesuffix(".py").rsplit("/", 2)[1:])


def _watch_wait(module: "Any") -> None:
    watch.watch_function(module.wait, start=_sentinels_wait)


def _subprocess(module: "watch.Module") -> None:
    watch.watch_in_module(
        module, "Popen", "wait", start=_subprocess_waits, returned=_subprocess_waited
    )
    watch.watch_in_module(module, "Popen", "communicate", start=_subprocess_waits)
    watch.watch_in_module(module, "Popen", "_try_wait", start=_try_waits)


def child_started(pid: int) -> None:
    """A child has this pid now; it may be that of an earlier one."""
    _collected.pop(pid, None)
    _held.discard(pid)


def forget() -> None:
    """In a child: what its parent collected is nothing to it."""
    _collected.clear()
    _looks.clear()
    _held.clear()


def is_alive(popen: "Any") -> bool:
    """Whether a child of multiprocessing is running, without collecting its status."""
    if popen.returncode is not None:
        return False
    is_running = signals.child_runs(popen.pid)
    if is_running is not None or getattr(popen, "method", None) != "forkserver":
        return bool(is_running)
    # the child of a fork server
    select = borrow("select")
    poll = select.poll()
    poll.register(popen.sentinel, select.POLLIN)
    return not poll.poll(0)


# --- the status is collected


def _collect(pid: int, code: "int | str", how: str, via: str, frame: "FrameType | None") -> None:
    """Report that a status was collected by a call below `frame`."""
    otherwise = how
    if how == _LOOK:
        _looks_at(pid, frame)
    if callsite.in_exit_path(frame):
        how = _IMPLICIT
    # a library's start() comes across any ended child
    _collected[pid] = _LOOK if how == _LIBRARY and via == "start()" else how
    fields = _str(pid), _str(code), how, callsite.where(frame), via
    recorder.report(wire.COLLECTED, *fields, *([otherwise] if how == _IMPLICIT else []))


def _polls(frame: "FrameType") -> None:
    """`Popen.poll` of multiprocessing is called; `Popen.wait` asks it to block."""
    variables = frame.f_locals
    popen = variables["self"]
    if popen.returncode is not None:
        return
    if frame.f_code.co_filename.endswith(_POPEN_FORK):  # the fork server's calls no waitpid()
        _call_is_seen()  # its return is watched
    if variables["flag"] == 0 and not exit.own.is_reported and popen.pid not in _collected:
        recorder.report(wire.WAITING, str(popen.pid), callsite.where(frame), _thread_kind())


def _try_waits(frame: "FrameType") -> None:
    """`Popen.wait` of subprocess is about to block: its return is watched."""
    if frame.f_locals["wait_flags"] == 0 and not exit.own.is_reported:
        _call_is_seen()


def _polled(frame: "FrameType", value: object) -> None:
    """`Popen.poll` of multiprocessing returns: it has collected the status if it knows the code."""
    variables = frame.f_locals
    if value is None:
        if variables["flag"] == _WNOHANG:
            _looks_at(variables["self"].pid, frame)
        return
    pid = variables["self"].pid
    if pid in _collected or ("pid" in frame.f_code.co_varnames and "pid" not in variables):
        return  # the latter: another thread has just got it, and will report it
    _collect(pid, value, *_asked_of_process(frame), frame)  # type: ignore[arg-type]


def _asked_of_process(frame: "FrameType | None") -> "tuple[str, str]":
    """How and by which call a status is collected, below code that implements Process."""
    passed, caller = callsite.leave_process_module(frame)
    via = f"{passed[-1]}()" if passed else ""
    if callsite.library(caller):
        return _LIBRARY, via
    if "join" not in passed:
        return _LOOK, via
    # the exit function's own joins come after its poll of each child, which may be the one
    is_exit = caller is not None and callsite.is_exit_function(caller.f_code)
    return _LOOK if is_exit else _EXPLICIT, via


def join_returned(frame: "FrameType", value: object) -> None:
    """A join of a process whose status a start() or is_alive() has collected before."""
    popen = frame.f_locals["self"]._popen
    if popen is not None and popen.returncode is not None and _collected.get(popen.pid) == _LOOK:
        _collect(popen.pid, popen.returncode, *_asked_of_process(frame), frame)


def _subprocess_waited(frame: "FrameType", value: object) -> None:
    """The same for `Popen.wait` of subprocess; its own collecting is not reported otherwise."""
    pid = frame.f_locals["self"].pid
    if not isinstance(value, int):
        return
    had_looked = _collected.get(pid) == _LOOK and pid in _looked
    # what is started after this wait did not send the signal, though the kernel's event comes later
    if had_looked or ((value < 0 or _each_call_counts) and pid not in _collected):
        _collect(pid, value, _EXPLICIT, _call_of(frame), frame)


def _asyncio_waited(frame: "FrameType", value: object) -> None:
    """The same for `await process.wait()` of asyncio, whose loop watches all its processes."""
    pid = getattr(frame.f_locals["self"], "_pid", None)
    if isinstance(value, int) and isinstance(pid, int) and _collected.get(pid) == _LOOK:
        _collect(pid, value, _EXPLICIT, "wait()", frame)


_call_is_seen: "Callable[[], None]"  # set by install()
# each blocking system call is reported: a module is loaded whose ones are not waits of the
# program's own, or nobody else knows the statuses
_each_call_counts = False

# pids whose Popen of subprocess knows the exit code by a look of its own
_looked: "set[int]" = set()


def _waits(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    """A system call of the program's own, or of a module that is not watched."""
    name, since, was_reported = real.__name__, 0, exit.own.is_reported
    options = 0 if name == "wait" else [0, *args, *kwargs.values()][-1]
    counts = args[-1:] != (0,) or _each_call_counts  # else what the kernel reaps counts as a wait
    if was_reported or (counts and "threading" not in sys.modules):
        since = handlers.guarded(_call_begins, name, caller, args, options) or 0
    value = real(*args, **kwargs)
    if exit.own.is_reported and not was_reported and not _pid_waited_for(name, args):
        since = exit.own.reported_at  # of a thread, in which the end of main's code was not seen
    if counts or exit.own.is_reported or _died_of_signal(name, value):
        handlers.guarded(_call_returned, name, caller, args, options, value, since)
    return value


def _died_of_signal(name: str, value: "Any") -> bool:
    """Whether a call has collected the status of a child that a signal had ended."""
    if name == "waitid":
        return value is not None and value.si_code in (_KILLED, _DUMPED)
    return value[0] > 0 and value[1] & 0x7F not in (0, 0x7F)


def _call_begins(name: str, caller: "Caller", args: "Args", options: object) -> int:
    """A wait that may block the exit path; returns when it began if it is for any child."""
    exit.report_end_of_main()
    if not exit.own.is_reported or not isinstance(options, int) or options & _WNOHANG:
        return 0
    if caller is not None and caller.f_code.co_filename.endswith(_SUBPROCESS):
        return 0  # `Popen.wait` is watched
    pid = _pid_waited_for(name, args)
    if pid:
        if signals.child_runs(pid):
            _report_wait(pid, caller, None)
        return 0
    flags = posix.WEXITED | _WNOHANG | _WNOWAIT
    none_has_ended = signals.real_waitid(posix.P_ALL, 0, flags) is None
    return time.monotonic_ns() if none_has_ended else 0


def _pid_waited_for(name: str, args: "Args") -> int:
    """The only process that a call waits for; 0 if it waits for more than one."""
    pid: object = 0
    if name == "waitid":
        pid = args[1] if args and args[0] == posix.P_PID else 0
    elif name in ("waitpid", "wait4"):
        pid = args[0] if args else 0
    return pid if isinstance(pid, int) and pid > 0 else 0


def _call_returned(
    name: str, caller: "Caller", args: "Args", options: object, value: "Any", since: int
) -> None:
    pid, code = _status(name, options, value)
    looks = bool(isinstance(options, int) and options & _WNOHANG)
    if not pid:
        if looks:
            _looks_at(_pid_waited_for(name, args), caller)
        return
    how, via = _asked_of_system(name, looks, caller)
    if since:
        _report_held(_holder(caller), caller, [pid], since)
    _collect(pid, code, how, via, caller)


def _status(name: str, options: object, value: "Any") -> "tuple[int, int]":
    """The process whose status a call collected, and its exit code; 0 if it collected none."""
    if name == "waitid":
        if value is None or (isinstance(options, int) and options & _WNOWAIT):
            return 0, 0
        if value.si_code not in (_EXITED, _KILLED, _DUMPED):
            return 0, 0  # it was stopped or continued
        return value.si_pid, value.si_status if value.si_code == _EXITED else -value.si_status
    pid, status = value[0], value[1]
    signal = status & 0x7F
    if pid <= 0 or signal == 0x7F:
        return 0, 0
    return pid, -signal if signal else status >> 8 & 0xFF


def _asked_of_system(name: str, looks: bool, caller: "Caller") -> "tuple[str, str]":
    """How and by which call a status is collected, by a system call that `caller` makes."""
    path, function = "", ""
    if caller is not None:
        code = caller.f_code
        path, function = code.co_filename, code.co_name
    if path.endswith(_SUBPROCESS):
        if function == "_try_wait":
            return _EXPLICIT, _call_of(caller)
        _looked.add(caller.f_locals["self"].pid)  # type: ignore[union-attr]
        return _LOOK, _call_of(caller)
    if callsite.is_process_module(path):
        return _asked_of_process(caller)
    if path.endswith(_ASYNCIO):
        return _LOOK, "asyncio"
    return (_LOOK, f"os.{name}(WNOHANG)") if looks else (_SYSTEM, f"os.{name}()")


def _call_of(frame: "FrameType | None") -> str:
    """The function of subprocess that the program called."""
    name = ""
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.endswith(_SUBPROCESS):
            break
        name = code.co_name
        if name == "_cleanup":
            break  # of another object, which run() and the like make
        frame = frame.f_back
    if name == "__del__":
        return "finalizer"
    return "Popen()" if name in ("__init__", "_cleanup") else f"{name}()"


# --- a loop of looks

# looks of the exit path, and of threads, at children: (pid, line) -> when the first was, the child
# being alive then
_looks: "dict[tuple[int, str], int]" = {}
_LOOKS = 1000  # kept
_held: "set[int]" = set()  # pids of children that were reported for such a loop
# the functions that a program calls to look
_LOOKING = ("", "poll", "is_alive", "exitcode", "active_children")


def _looks_at(pid: int, frame: "FrameType | None") -> None:
    """Note a look at a child. A second one from the same line is a loop that waits for its end."""
    in_exit_path = exit.own.is_reported
    if pid <= 0 or pid in _held or not (in_exit_path or _thread_kind() == "thread"):
        return
    caller, called = frame, ""
    while caller is not None:
        code = caller.f_code
        if not code.co_filename.endswith((_SUBPROCESS, *callsite.PROCESS_MODULES)):
            break
        caller, called = caller.f_back, code.co_name
    if called not in _LOOKING or callsite.library(caller):
        return
    place = pid, callsite.where(caller)
    first = _looks.get(place)
    if not place[1] or (first is not None and not in_exit_path):
        return
    if first is not None:
        _held.add(pid)
        _report_held(_holder(caller), caller, [pid], max(first, exit.own.reported_at))
        return
    if len(_looks) >= _LOOKS:
        _looks.clear()
    _looks[place] = time.monotonic_ns()


# --- a wait begins


def _popen_waits(frame: "FrameType") -> None:
    """`Popen.wait` of multiprocessing is called."""
    if not exit.own.is_reported:
        return
    variables = frame.f_locals
    popen = variables["self"]
    if popen.pid not in _collected and is_alive(popen):
        _report_wait(popen.pid, frame, variables["timeout"])


def _subprocess_waits(frame: "FrameType") -> None:
    """`Popen.wait` or `Popen.communicate` of subprocess is called."""
    if not exit.own.is_reported:
        return
    variables = frame.f_locals
    popen = variables["self"]
    if popen.returncode is None and signals.child_runs(popen.pid):
        _report_wait(popen.pid, frame, variables["timeout"])


def _sentinels_wait(frame: "FrameType") -> None:
    """`connection.wait` is called: for children, if it gets their sentinels."""
    if not exit.own.is_reported:
        return
    caller, variables = frame.f_back, frame.f_locals
    if caller is not None:
        own = callsite.is_process_module(caller.f_code.co_filename)
        if own or not callsite.where(caller):
            return  # the waits of multiprocessing itself are seen, or are for no children
    for pid in _pids_of_sentinels(variables["object_list"]):
        _report_wait(pid, caller, variables["timeout"])


def _pids_of_sentinels(objects: "Any") -> "list[int]":
    """The children that are alive and whose sentinels are among the objects waited for."""
    wanted = [value for value in objects if isinstance(value, int)]
    if not wanted:
        return []
    found = []
    for package in callsite.PACKAGES:
        module = sys.modules.get(f"{package}.process")
        for process in list(getattr(module, "_children", ())):
            popen = process._popen
            if popen is not None and popen.sentinel in wanted and is_alive(popen):
                found.append(popen.pid)
    return found


def _asyncio_waits(frame: "FrameType") -> None:
    """`await process.wait()` of asyncio begins."""
    if exit.own.is_reported:
        pid = getattr(frame.f_locals["self"], "_pid", None)
        if isinstance(pid, int) and pid not in _collected and signals.child_runs(pid):
            _report_wait(pid, frame, None)


def _report_wait(pid: int, frame: "FrameType | None", timeout: "Any") -> None:
    """Report a wait in the exit path, for a child that is alive."""
    holder = _holder(frame)
    seconds = "" if timeout is None else str(float(timeout))
    if holder and not (seconds and float(seconds) <= 0):
        where, kind = callsite.where(frame), _thread_kind()
        recorder.report(wire.WAITING, str(pid), where, kind, holder, seconds)


def _holder(frame: "FrameType | None") -> str:
    """What keeps the process in its exit path if this thread waits; "" if nothing does."""
    if callsite.in_exit_path(frame):
        return _EXIT_PATH
    kind = _thread_kind()
    if kind == "main":
        return _HANDLER
    if kind != "thread":
        return ""
    library = callsite.library(callsite.leave_process_module(frame)[1])
    return _EXECUTOR if library == "executor" else _THREAD


def _thread_kind() -> str:
    """Main, a thread that the exit path joins, or a daemon thread (one that C started is too)."""
    threading = sys.modules.get("threading")
    if threading is None:
        return "main"
    thread = getattr(threading, "_active", {}).get(_thread.get_ident())
    if thread is None:
        return "daemon"
    if thread is threading._main_thread:
        return "main"
    return "daemon" if thread.daemon else "thread"


# --- threads that the exit path joins


def _threads_are_joined(frame: "FrameType") -> None:
    """`threading._shutdown`: the first code of Python that runs when main's is done.

    It runs the exit function of executors and joins all threads that are not daemons.
    """
    if handlers.outside(frame.f_back) is None:
        exit.main_exits()
    if not exit.own.is_reported:
        return
    threads = frame.f_globals
    own, frames = _thread.get_ident(), None
    for ident, thread in list(threads["_active"].items()):
        if ident == own:
            continue
        if type(thread).__name__ == "_ExecutorManagerThread":
            workers = getattr(thread, "processes", None) or {}
            _report_held(_EXECUTOR, None, _pids_alive(workers.values()))
        elif not thread.daemon:
            frames = frames or sys._current_frames()
            pids, where = _waited_for(frames.get(ident))
            _report_held(_THREAD, where, pids)


def _pids_alive(processes: "Iterable[Any]") -> "list[int]":
    popens = [getattr(process, "_popen", None) for process in list(processes)]
    return [popen.pid for popen in popens if popen is not None and is_alive(popen)]


def _waited_for(frame: "FrameType | None") -> "tuple[list[int], FrameType | None]":
    """The children that a thread waits for, if they are alive, and the frame of that wait."""
    while frame is not None:
        code = frame.f_code
        path, name = code.co_filename, code.co_name
        if code is _waits.__code__:
            variables = frame.f_locals
            pid = _pid_waited_for(variables["real"].__name__, variables["args"])
            if pid and signals.child_runs(pid):
                return [pid], frame
        elif name in ("wait", "communicate") and path.endswith((_SUBPROCESS, *_POPEN_FORK)):
            popen = frame.f_locals["self"]
            return ([popen.pid] if is_alive(popen) else []), frame
        elif name == "wait" and path.endswith(_CONNECTION):
            pids = _pids_of_sentinels(frame.f_locals["object_list"])
            if pids:
                return pids, frame
        frame = frame.f_back
    return [], None


def _pool_is_joined(frame: "FrameType") -> None:
    """`Pool.join` in the exit path: it joins the Pool's threads, which wait for the workers."""
    if exit.own.is_reported and _thread_kind() != "daemon":
        _report_held(_POOL, frame, _pids_alive(frame.f_locals["self"]._pool))


def _report_held(
    holder: str, frame: "FrameType | None", pids: "list[int]", since: "int | None" = None
) -> None:
    if pids and holder:
        began = "" if since is None else str(since)
        recorder.report(wire.HELD, holder, callsite.where(frame), began, *map(str, pids))
