"""Signals: who sends one to whom and from which part of the program; which handler runs."""

import sys

from pytest_proclife import wire
from pytest_proclife.inside import callsite, leaving, recorder, watch


def install():
    watch.on_event("os.kill", _on_kill)
    watch.on_event("os.killpg", _on_killpg)
    if watch.MONITORING:  # without it a handler that runs cannot be seen without a frame of ours
        watch.on_module("python%d.%d/signal.py" % sys.version_info[:2], _signal)


def _signal(code):
    watch.watch_function(code, ("signal",), start=_handler_is_set)


def _on_kill(arguments):
    pid, number = arguments
    if number == 0:
        return  # a question, not a signal
    via, where = _origin()
    if pid > 0:
        recorder.report_about(wire.KILL, pid, str(pid), str(int(number)), via, where)
    else:
        recorder.report(wire.KILL_GROUP, str(-pid), str(int(number)), via, where)


def _on_killpg(arguments):
    group, number = arguments
    if number != 0:
        via, where = _origin()
        recorder.report(wire.KILL_GROUP, str(group), str(int(number)), via, where)


def _origin():
    frame = sys._getframe(2)
    while frame is not None and frame.f_code.co_filename == watch.__file__:
        frame = frame.f_back
    if frame is None:
        return "os.kill", ""
    return _via(frame), callsite.where(frame)


def _via(frame):
    if callsite.in_exit_path(frame):
        return "exit path"
    passed, caller = callsite.leave_process_module(frame)
    library = callsite.library(caller)
    if library:
        return library
    for name in ("terminate", "kill", "interrupt"):
        if name in passed:
            return name + "()"
    if frame.f_code.co_filename.endswith("/subprocess.py"):
        return "Popen.send_signal()"
    return "os.kill()"


def _handler_is_set(frame):
    """`signal.signal` is called: watch the handler, if it is a Python function."""
    code = leaving.handler_code(frame.f_locals.get("handler"))
    if code is not None:
        leaving.handler_codes[code] = int(frame.f_locals["signalnum"])
        watch.watch(code, start=_handler_runs)


def _handler_runs(frame):
    number = leaving.handler_codes.get(frame.f_code)
    for name in frame.f_code.co_varnames[:2]:  # the second where the first is `self`
        value = frame.f_locals.get(name)
        if isinstance(value, int):
            number = int(value)
            break
    recorder.report(wire.CAUGHT, str(number))
