"""Signals: who sends one to whom and from which part of the program; which handler runs."""

import _signal  # type: ignore[import-not-found]  # as in handlers.py
import posix
import sys

from pytest_proclife import wire
from pytest_proclife.inside import callsite, handlers, recorder, watch
from pytest_proclife.inside.standin import stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType
    from typing import Any


_unwaited = False  # SIGCHLD is ignored


def install() -> None:
    _look_at_sigchld()
    watch.on_event("os.kill", _on_kill)
    watch.on_event("os.killpg", _on_killpg)
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
    if number == 0:
        return  # a question, not a signal
    via, where = _origin()
    if pid > 0:
        alive = wire.flag(_child_lives(pid))
        recorder.report_about(wire.KILL, pid, str(pid), str(int(number)), via, where, alive)
    else:
        recorder.report(wire.KILL_GROUP, str(-pid), str(int(number)), via, where)


def _child_lives(pid: int) -> "bool | None":
    """Whether a child of ours runs; None for other processes. Its status stays where it is."""
    try:
        flags = posix.WEXITED | posix.WNOHANG | posix.WNOWAIT
        return posix.waitid(posix.P_PID, pid, flags) is None
    except OSError:
        return None


def _on_killpg(arguments: "tuple[Any, ...]") -> None:
    group, number = arguments
    if number != 0:
        via, where = _origin()
        recorder.report(wire.KILL_GROUP, str(group), str(int(number)), via, where)


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
        handlers.codes[code] = int(frame.f_locals["signalnum"])
        watch.watch(code, start=_handler_runs)


def _handler_was_set(frame: "FrameType", value: object) -> None:
    handlers.changed()
    _look_at_sigchld()


def _handler_runs(frame: "FrameType") -> None:
    number = handlers.codes.get(frame.f_code)
    for name in frame.f_code.co_varnames[:2]:  # the second where the first is `self`
        value = frame.f_locals.get(name)
        if isinstance(value, int):
            number = int(value)
            break
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
