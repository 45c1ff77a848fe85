"""Signals: who sends one to whom and from which part of the program; which handler runs."""

import _signal  # type: ignore[import-not-found]  # as in handlers.py
import posix
import sys

from pytest_proclife import wire
from pytest_proclife.inside import callsite, exit, handlers, recorder, watch
from pytest_proclife.inside.builtins import stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType
    from typing import Any


_unwaited = False  # SIGCHLD is ignored
_SIGNALS = range(1, 65)  # the kernel refuses others, and 0 is a question
_TO_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP: linux/pidfd.h
_EVERYBODY = 1  # the group that kill(2) calls -1
_MOST = 1000  # children that a report names
_exit = sys.exit  # the program may have one of its own


def install() -> None:
    _look_at_sigchld()
    watch.on_event("os.kill", _on_kill)
    watch.on_event("os.killpg", _on_killpg)
    watch.on_event("signal.pthread_kill", _on_pthread_kill)
    if hasattr(_signal, "pidfd_send_signal"):  # it raises no event
        stand_in(_signal, "pidfd_send_signal", _pidfd_send_signal)
    if watch.MONITORING:
        version = sys.version_info
        watch.on_module(f"python{version[0]}.{version[1]}/signal.py", _signal_module)
    else:
        # without monitoring a handler that runs cannot be seen without a frame of ours
        stand_in(_signal, "signal", _set)


def _signal_module(code: "CodeType") -> None:
    watch.watch_function(code, ("signal",), start=_handler_is_set, returned=_handler_was_set)


def _on_kill(arguments: "tuple[Any, ...]") -> None:
    pid, number = arguments
    if pid <= 0:
        _to_group(-pid, number)
    elif number in _SIGNALS:
        if pid == recorder.pid:
            exit.over()
        via, where = _origin()
        alive = wire.flag(_child_lives(pid))
        recorder.report_about(wire.KILL, pid, str(pid), str(int(number)), via, where, alive)


def _child_lives(pid: int) -> "bool | None":
    """Whether a child of ours runs; None for other processes. Its status stays where it is."""
    try:
        flags = posix.WEXITED | posix.WNOHANG | posix.WNOWAIT
        return posix.waitid(posix.P_PID, pid, flags) is None
    except OSError:
        return None


def _on_killpg(arguments: "tuple[Any, ...]") -> None:
    _to_group(*arguments)


def _to_group(group: int, number: int) -> None:
    if number not in _SIGNALS:
        return
    via, where = _origin()
    mine = _children_in(group)
    fields = str(group), str(int(number)), via, where, " ".join(mine)
    if str(group) in mine:
        recorder.report_about(wire.KILL_GROUP, group, *fields)
    else:
        recorder.report(wire.KILL_GROUP, *fields)


def _children_in(group: int) -> "list[str]":
    """Our living children in a process group, who may be gone when the group is asked for.

    Source: proc_pid_task_children(5); where the kernel does not tell, they are none.
    """
    found = []
    try:
        wanted = group or posix.getpgid(0)
        for thread in posix.listdir("/proc/self/task"):
            for word in _text(f"/proc/self/task/{thread}/children").split():
                pid = int(word)
                if (wanted == _EVERYBODY or posix.getpgid(pid) == wanted) and _child_lives(pid):
                    found.append(word)
    except OSError:
        pass
    return found[:_MOST]


def _text(path: str) -> str:
    file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        parts = []
        while part := posix.read(file, 65536):
            parts.append(part)
        return b"".join(parts).decode()
    finally:
        posix.close(file)


def _on_pthread_kill(arguments: "tuple[Any, ...]") -> None:
    _on_kill((recorder.pid, arguments[1]))  # a thread of this process


def _pidfd_send_signal(
    real: "Callable[..., Any]",
    caller: "FrameType | None",
    args: "tuple[Any, ...]",
    kwargs: "dict[str, Any]",
) -> "Any":
    try:
        _on_pidfd(*args)
    except Exception as error:
        if not handlers.is_ours(error):
            raise
    return real(*args, **kwargs)


def _on_pidfd(handle: object, number: object, info: object = None, flags: object = 0) -> None:
    if not isinstance(handle, int) or not isinstance(number, int) or number not in _SIGNALS:
        return
    pid = _pid_of(handle)
    if isinstance(flags, int) and flags & _TO_GROUP:
        _to_group(posix.getpgid(pid), number)
    elif pid == recorder.pid:
        _on_kill((pid, number))
    else:
        via, where = _origin()
        alive = wire.flag(_child_lives(pid))
        recorder.report_with(wire.KILL, handle, str(pid), str(int(number)), via, where, alive)


def _pid_of(handle: int) -> int:
    """The pid of the process that a pidfd stands for: pidfd_open(2), proc_pid_fdinfo(5)."""
    text = _text(f"/proc/self/fdinfo/{handle}")
    pid = int(text.partition("\nPid:")[2].split()[0])
    if pid <= 0:
        raise ProcessLookupError  # it has been reaped, and gets no signal
    return pid


def _origin() -> "tuple[str, str]":
    frame = handlers.outside(sys._getframe())
    if frame is None:
        return "os.kill", ""
    return _via(frame), callsite.where(frame)


def _via(frame: "FrameType") -> str:
    if callsite.in_exit_path(frame):
        return "exit path"
    passed, caller = callsite.leave_process_module(frame)
    library = callsite.library(caller)
    if library:
        return library
    for name in ("terminate", "kill", "interrupt"):
        if name in passed:
            return f"{name}()"
    if frame.f_code.co_filename.endswith("/subprocess.py"):
        return "Popen.send_signal()"
    return "os.kill()"


def _handler_is_set(frame: "FrameType") -> None:
    """`signal.signal` is called: watch the handler, if it is a Python function."""
    code = handlers.code_of(frame.f_locals.get("handler"))
    if code is not None:
        handlers.is_set(code, int(frame.f_locals["signalnum"]))
        watch.watch(code, start=_handler_runs, returned=_handler_returned, call=_handler_calls)


def _handler_calls(frame: "FrameType", function: object) -> None:
    if function is _exit or (isinstance(function, type) and issubclass(function, SystemExit)):
        exit.rises_from(str(handlers.number_of(frame, handlers.codes[frame.f_code])))


def _handler_returned(frame: "FrameType", value: object) -> None:
    exit.rises_from("")


def _handler_was_set(frame: "FrameType", value: object) -> None:
    handlers.changed()
    _look_at_sigchld()


def _handler_runs(frame: "FrameType") -> None:
    number = handlers.number_of(frame, handlers.codes[frame.f_code])
    recorder.report(wire.CAUGHT, str(number))


def _set(
    real: "Callable[..., Any]",
    caller: "FrameType | None",
    args: "tuple[Any, ...]",
    kwargs: "dict[str, Any]",
) -> "Any":
    before = real(*args, **kwargs)
    handlers.changed()
    try:
        _look_at_sigchld()
    except Exception as error:
        if not handlers.is_ours(error):
            raise
    return before


def _look_at_sigchld() -> None:
    """Tell when the children come to be reaped by the kernel, or not any more: wait(2)."""
    global _unwaited
    ignored = _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN
    if ignored != _unwaited:
        _unwaited = ignored
        recorder.report(wire.UNWAITED, wire.flag(ignored))
