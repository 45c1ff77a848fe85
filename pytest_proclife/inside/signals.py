"""Signals: which process they are sent to, from which line; and which handlers run."""

import _signal  # type: ignore[import-not-found]  # as in handlers.py
import posix
import sys

from pytest_proclife import wire
from pytest_proclife.inside import callsite, exit, handlers, recorder, watch
from pytest_proclife.inside.builtins import announce, stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from pytest_proclife.inside.builtins import Args, Caller, Kwargs, Real
if sys.version_info < (3, 12):  # 3.11:
    from pytest_proclife.inside import rewrite

_ABORTS, _INTERRUPTS = "_proclife.aborts", "_proclife.interrupts"  # audit events
_SIGNALS = range(1, 65)  # the kernel refuses others, and 0 only asks whether a process exists
_TIMER, _LONGEST = _signal.ITIMER_REAL, 1e9  # seconds
_CPU = 0  # RLIMIT_CPU: the module `resource` is not imported
_TO_GROUP = 4  # PIDFD_SIGNAL_PROCESS_GROUP: linux/pidfd.h
_CANNOT_BE_MET = (_signal.SIGKILL, _signal.SIGSTOP)  # neither caught, nor ignored, nor blocked
_EVERYBODY = 1  # kill(2) of -1, which _on_kill makes a group
_CHILDREN_LIMIT = 1000  # named in a report

# before `waits` puts a stand-in there; macOS has none before Python 3.13
real_waitid: "Any" = getattr(posix, "waitid", None)

_ignores_sigchld = False
_alarm_of = 0  # our pid, if the last ALARM that we reported says that one comes
_proc_of = 0  # our pid, once it is known that /proc has the same pids as we


def install() -> None:
    """Watch from here on which signals are sent, and which handlers are set and run."""
    handlers.raised_inside = exit.handler_runs
    _check_sigchld()
    watch.on_event("os.kill", _on_kill)
    watch.on_event("os.killpg", lambda arguments: _to_group(*arguments))
    watch.on_event(  # of a thread of this process
        "signal.pthread_kill", lambda arguments: _on_kill((recorder.identity.pid, arguments[1]))
    )
    stand_in(_signal, "raise_signal", _raise_signal)
    watch.on_event(_ABORTS, _on_abort)
    announce(posix, "abort", _ABORTS)
    if sys.version_info >= (3, 12):  # 3.11: what leaves main after it is not seen
        _watch_interrupts()
    for name in wire.TAKEN_BY:
        if hasattr(_signal, name):  # not on macOS
            stand_in(_signal, name, _take)
    stand_in(_signal, "alarm", _alarm)
    stand_in(_signal, "setitimer", _alarm)
    watch.on_event("resource.setrlimit", lambda arguments: _limit(*arguments))
    watch.on_event("resource.prlimit", _prlimit)
    if hasattr(_signal, "pidfd_send_signal"):  # it raises no event
        stand_in(_signal, "pidfd_send_signal", _pidfd_send_signal)
    if sys.version_info >= (3, 12):
        watch.on_module(
            f"python{sys.version_info[0]}.{sys.version_info[1]}/signal.py",
            lambda module: watch.watch_in_module(
                module, "signal", start=_signal_called, returned=_signal_returned
            ),
        )
    else:  # 3.11: a handler that runs cannot be seen without a frame of ours
        rewrite.after(_signal, "signal", _signal_returned)


def _watch_interrupts() -> None:
    """See when the default handler of SIGINT raises KeyboardInterrupt: it is a function of C."""
    real = _signal.default_int_handler
    announce(_signal, real.__name__, _INTERRUPTS)
    watch.on_event(_INTERRUPTS, lambda _: exit.handler_runs())
    if _signal.getsignal(_signal.SIGINT) is real:
        try:
            _signal.signal(_signal.SIGINT, _signal.default_int_handler)
        except ValueError:
            pass  # not the main thread


# --- sending


def _on_abort(arguments: "tuple[Any, ...]") -> None:
    _to_itself(_signal.SIGABRT, "os.abort()", "default")  # it does not return: abort(3)


def _on_kill(arguments: "tuple[Any, ...]") -> None:
    recorder.notice_fork()
    pid, number = arguments
    if pid <= 0:
        _to_group(-pid, number)
    elif number in _SIGNALS:
        if pid == recorder.identity.pid:
            _to_itself(number, "", _met(pid, number))
        else:
            recorder.report_about(wire.KILL, pid, *_fields(pid, number))


def _to_itself(number: int, via: str, met: str) -> None:
    exit.report_end_of_main()
    exit.report_task(sys._getframe())
    pid, running = recorder.identity.pid, handlers.running(sys._getframe())
    origin, where = _origin()
    if met == "caught" and not callable(_signal.getsignal(number)):
        met = "unknown"  # a handler in C: that of faulthandler lets it die of the signal
    # the supervisor would look too late: it may have died of it by then
    fields = [str(pid), str(int(number)), via or origin, where, "", running, met or "unknown"]
    if sys.version_info < (3, 12) and number != _signal.SIGABRT:
        # 3.11: whether that handler has run is not seen; nobody passes an abort on
        fields.append(wire.flag(any(number in numbers for numbers in handlers.codes.values())))
    recorder.report_about(wire.KILL, pid, *fields)


def _raise_signal(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    """`signal.raise_signal` raises no audit event."""
    if len(args) == 1 and not kwargs and isinstance(args[0], int) and args[0] in _SIGNALS:
        handlers.guarded(_raised, args[0])
    return real(*args, **kwargs)


def _raised(number: int) -> None:
    """A signal goes to the thread that raises it: raise(3)."""
    _to_itself(number, "raise_signal()", _met(recorder.identity.pid, number, "/proc/thread-self"))


def _met(pid: int, number: int, folder: str = "") -> str:
    """What a signal that is about to be sent will meet: one of `wire.MEETS`; "" if unknown.

    Only now can that be known: once it is sent, a handler may change it, or the process be gone.
    """
    global _proc_of
    try:
        if _proc_of != recorder.identity.pid:
            if posix.readlink("/proc/self") != str(recorder.identity.pid):
                return ""  # that of another pid namespace: pid_namespaces(7)
            _proc_of = recorder.identity.pid
        file = posix.open(f"{folder or f'/proc/{pid}'}/status", posix.O_RDONLY | posix.O_CLOEXEC)
        try:
            met = wire.met(posix.read(file, 65536), number)
            return "" if number in _CANNOT_BE_MET and met != "ended" else met
        finally:
            posix.close(file)
    except OSError as error:
        if not handlers.is_ours(error):
            raise
        return ""


def child_runs(pid: int) -> "bool | None":
    """Whether a child of ours is running; None for other processes. Does not collect its status."""
    try:
        flags = posix.WEXITED | posix.WNOHANG | posix.WNOWAIT
        return real_waitid(posix.P_PID, pid, flags) is None
    except OSError as error:
        if not handlers.is_ours(error):
            raise
        return None


def _to_group(group: int, number: int) -> None:
    if number not in _SIGNALS:
        return
    children = _children_in(group)
    running = handlers.running(sys._getframe())
    looked_at = list(map(int, children))
    if group in (0, posix.getpgrp()):
        looked_at.append(recorder.identity.pid)
    if number in _CANNOT_BE_MET:
        looked_at = []
    met = "".join((_met(pid, number) or "-")[0] for pid in looked_at)
    own = str(posix.getpgrp())
    fields = str(group), str(int(number)), *_origin(), " ".join(children), running, met, own
    if str(group) in children:
        recorder.report_about(wire.KILL_GROUP, group, *fields)
    else:
        recorder.report(wire.KILL_GROUP, *fields)


def _children_in(group: int) -> "list[str]":
    """Our running children in a process group, which may be gone when the supervisor looks.

    Source: proc_pid_task_children(5). Empty if the kernel has no such file.
    """
    found = []
    try:
        wanted = group or posix.getpgid(0)
        for thread in posix.listdir("/proc/self/task"):
            for text in _text(f"/proc/self/task/{thread}/children").split():
                pid = int(text)
                if (wanted == _EVERYBODY or posix.getpgid(pid) == wanted) and child_runs(pid):
                    found.append(text)
    except OSError as error:
        if not handlers.is_ours(error):
            raise
    return found[:_CHILDREN_LIMIT]


def running_children() -> "list[str]":
    """The pids of our children that are running, whatever has started them."""
    return _children_in(_EVERYBODY)


def _text(path: str) -> str:
    file = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        data = b""
        while part := posix.read(file, 65536):
            data += part
        return data.decode()
    finally:
        posix.close(file)


def _pidfd_send_signal(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    handlers.guarded(_on_pidfd, *args)
    return real(*args, **kwargs)


def _on_pidfd(handle: object, number: object, info: object = None, flags: object = 0) -> None:
    if not isinstance(handle, int) or not isinstance(number, int) or number not in _SIGNALS:
        return
    pid = _pid_of(handle)
    if isinstance(flags, int) and flags & _TO_GROUP:
        _to_group(posix.getpgid(pid), number)
    elif pid == recorder.identity.pid:
        _on_kill((pid, number))
    else:
        recorder.report(wire.KILL, *_fields(pid, number), pidfd=handle)


def _fields(pid: int, number: int) -> "tuple[str, ...]":
    alive = child_runs(pid)
    met = "" if alive is not None and number in _CANNOT_BE_MET else _met(pid, number)
    return str(pid), str(int(number)), *_origin(), wire.flag(alive), "", met


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


def _take(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    """`sigwait` and its like, which take a pending signal: no handler runs."""
    taken = real(*args, **kwargs)
    number = getattr(taken, "si_signo", taken)
    if isinstance(number, int):  # None at the timeout
        handlers.guarded(recorder.report, wire.CAUGHT, str(int(number)), real.__name__)
    return taken


# --- signals of the kernel's that it asks for


def _alarm(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    """`alarm(seconds)` and `setitimer(which, seconds, interval)`: one timer, ITIMER_REAL."""
    timed = args if real.__name__ == "alarm" else args[1:] if args[:1] == (_TIMER,) else ()
    if timed and type(timed[0]) in (int, float):
        handlers.guarded(_report_alarm, timed[0])
    return real(*args, **kwargs)


def _report_alarm(seconds: float) -> None:
    """Before the timer is set: it may end us at once. A fork has no timer: fork(2)."""
    global _alarm_of
    if recorder.identity.will_exec:
        return  # a preexec_fn: a report would have to be followed by one of the exec
    if 0 < seconds < _LONGEST and _signal.getsignal(_signal.SIGALRM) == _signal.SIG_DFL:
        _alarm_of = recorder.identity.pid
        recorder.report(wire.ALARM, str(int(seconds * 1e9)))
    elif _alarm_of == recorder.identity.pid:
        _alarm_of = 0
        recorder.report(wire.ALARM, "")


def _limit(resource: object, limits: "Any") -> None:
    if resource == _CPU and not recorder.identity.will_exec:  # as in _report_alarm
        recorder.report(wire.CPU_LIMIT, *("" if n < 0 else str(int(n)) for n in limits))


def _prlimit(arguments: "tuple[Any, ...]") -> None:
    pid, resource, limits = arguments
    if limits is not None and pid in (0, recorder.identity.pid):
        _limit(resource, limits)


# --- handlers


def _signal_called(frame: "FrameType") -> None:
    """`signal.signal` is called: watch the handler, if it is a function of Python."""
    code = handlers.code_of(frame.f_locals.get("handler"))
    if code is not None:
        numbers = handlers.codes.setdefault(code, [])
        number = int(frame.f_locals["signalnum"])
        if number not in numbers:
            numbers.append(number)
        watch.watch(code, start=handler_runs)
        watch.see_handlers_in_hook()


def _signal_returned(*_: object) -> None:
    handlers.last_handled = handlers.handled()
    if sys.version_info < (3, 12):  # 3.11: what signal.signal was called with is not seen
        handlers.codes.update(handlers.current())
        handlers.had = handlers.ever_handled()
    _check_sigchld()
    if _alarm_of and _signal.getsignal(_signal.SIGALRM) != _signal.SIG_DFL:
        _report_alarm(0)


def _check_sigchld() -> None:
    """Report if the kernel reaps the children from here on, or does not any more: wait(2)."""
    global _ignores_sigchld
    ignored = _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN
    if ignored != _ignores_sigchld:
        _ignores_sigchld = ignored
        recorder.report(wire.SIGCHLD_IGNORED, wire.flag(ignored))


def handler_runs(frame: "FrameType") -> None:
    number = handlers.begins(frame)
    if number:
        recorder.report(wire.CAUGHT, str(number))
        exit.handler_runs()
