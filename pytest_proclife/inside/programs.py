"""New programs: subprocess, posix_spawn, exec, the interpreters of spawn and forkserver.

Each is reported, and the recorder is put into those that are a Python (see `launch`).
"""

import posix
import sys
import time

from pytest_proclife import wire
from pytest_proclife.inside import callsite, fork_exec, launch, recorder, watch
from pytest_proclife.inside.builtins import stand_in
from pytest_proclife.inside.handlers import guarded, is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType
    from typing import Any

    from pytest_proclife.inside.builtins import Args, Caller, Kwargs, Real

_TICKET = wire.VARIABLE.encode()
_PATH = b"PYTHONPATH"
_PREEXEC = 21 - 6  # the place of preexec_fn among the arguments of fork_exec behind env

_site = b""
_environment: "dict[bytes, bytes]" = {}  # that of C: os.putenv changes it, and not os.environ
_is_replaced = False  # fork_exec
# processes that this one has tried to start, without those of multiprocessing
starts = 0


def install(site: str) -> None:
    """From here on put the recorder into the Pythons that this process starts."""
    global _site, _environment
    _site = _bytes(site)
    _environment = dict(posix.environ)
    watch.on_event("os.putenv", lambda arguments: _environment.update([arguments]))
    watch.on_event("os.unsetenv", lambda arguments: _environment.pop(arguments[0], None))
    watch.on_event("os.fork", _forks)
    watch.on_event("os.forkpty", _forks)
    watch.on_event("os.system", lambda arguments: recorder.report(wire.UNSEEN, "os.system"))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    watch.on_module(f"{version}/subprocess.py", _subprocess)
    # each comes before the first call, even if something keeps the module's code object alive
    watch.on_event("subprocess.Popen", _replace_fork_exec)
    for package in callsite.PACKAGES:
        watch.on_module(f"{package}/spawn.py", _replace_fork_exec)
        watch.on_module(f"{package}/resource_tracker.py", _replace_fork_exec)
    stand_in(posix, "closerange", _close_range)
    stand_in(posix, "execv", _execv)
    stand_in(posix, "execve", _execve)
    stand_in(posix, "posix_spawn", _posix_spawn)
    stand_in(posix, "posix_spawnp", _posix_spawn)


def _forks(arguments: "tuple[Any, ...]") -> None:
    global starts
    starts += 1
    recorder.prepare()


def process_started(method: str) -> None:
    """The last start was one of multiprocessing, by this method."""
    global starts
    starts -= method == "fork"


def _close_range(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    # it may close our socket, and the interpreter's end may be next
    guarded(recorder.prepare)
    return real(*args, **kwargs)


def _replace_fork_exec(arguments: object = None) -> None:
    """Stand in for fork_exec, once the program has imported its module.

    An import of ours would be seen by the program's finders, before its own.
    """
    global _is_replaced
    if "_posixsubprocess" in sys.modules and not _is_replaced:
        _is_replaced = True
        fork_exec.replace(_fork_exec)


def _subprocess(module: "watch.Module") -> None:
    watch.when_loaded(module, _replace_fork_exec)
    watch.watch_in_module(module, "Popen", "_handle_exitstatus", start=_status_known)


def _with_ticket(
    env: "dict[bytes, bytes]", kind: str, descriptor: str, plan: "launch.Plan"
) -> "dict[bytes, bytes]":
    """An environment with the ticket to this run in it, and the recorder's PYTHONPATH."""
    identity = recorder.identity
    statuses, held = wire.flag(identity.tells_statuses), wire.flag(identity.is_held)
    ticket = f"{identity.address},{descriptor},{identity.key},{kind},,{statuses},{held}"
    env[_TICKET] = ticket.encode()
    if plan.by_path:
        env[_PATH] = launch.search_path(env.get(_PATH), _site)
    return env


def _encoded(env: "Any") -> "dict[bytes, bytes]":
    """An environment as the functions of `os` take it: None is our own (3.13 on)."""
    if env is None:
        return dict(_environment)
    return {_bytes(name): _bytes(value) for name, value in env.items()}


def _bytes(value: "Any") -> bytes:
    value = posix.fspath(value)
    if isinstance(value, bytes):
        return value
    encoded: bytes = value.encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())
    return encoded


def _report_start(
    pid: int, at: int, kind: str, observed: str, args: "Sequence[Any]", caller: "Caller"
) -> None:
    """`at` is before it could do anything, which it may have done by now."""
    global starts
    starts += 1
    argv = fork_exec.texts(args)
    name = argv[0].rsplit("/", 1)[-1] if argv else ""
    fields = str(pid), kind, name, "", "", observed, callsite.where(caller), *argv
    recorder.report_about(wire.STARTED, pid, *fields, at=at)


# --- programs that could not be started

_OWN_ERRORS = (OSError, TypeError, ValueError)  # of the calls that start a program


def _report_failure(kind: str, args: "Sequence[Any]", error: BaseException) -> None:
    """A call that starts a program has failed, if it was not a signal's handler that raised."""
    trace = error.__traceback__
    if isinstance(error, _OWN_ERRORS) and trace is not None and trace.tb_next is None:
        if isinstance(error, OSError) and error.errno:
            error = _os_error(error.errno)
        _report_not_started("", kind, args, recorder.error_text(error), sys._getframe())


def _os_error(number: int) -> OSError:
    """The error of a number, with the same words whichever call has failed."""
    return OSError(number, posix.strerror(number))


def _report_not_started(
    pid: str, kind: str, args: "Sequence[Any]", error: str, caller: "Caller"
) -> None:
    name = fork_exec.texts(args[:1])[0].rsplit("/", 1)[-1] if args else ""
    recorder.report(wire.NOT_STARTED, pid, kind, name, error, callsite.where(caller))


def _status_known(frame: "FrameType") -> None:
    """`Popen._handle_exitstatus` runs: for `_execute_child` only if the child could not exec.

    The child has written "type:errno in hex:text" to a pipe: `child_exec`, _posixsubprocess.c.
    """
    caller = frame.f_back
    if caller is None or caller.f_code.co_name != "_execute_child":
        return
    names = caller.f_locals
    number = int(bytes(names["errpipe_data"]).split(b":")[1], 16)
    error = recorder.error_text(_os_error(number)) if number else "its preexec_fn raised"
    _report_not_started(str(names["self"].pid), "subprocess", names["args"], error, caller)


# --- subprocess and multiprocessing


def _fork_exec(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    changed, kind, observed, arguments = args, "subprocess", wire.flag(False), []
    before: dict[bytes, bytes | None] = {}
    try:
        arguments, executables, close, keep, cwd, env, *rest = args
        arguments = list(arguments)
        kind = fork_exec.kind_of(caller)
        plan = launch.plan(executables, arguments, cwd)
        recorder.prepare()
        if plan.observed:
            descriptor = recorder.usable_descriptor()
            keep = tuple(sorted({*keep, descriptor}))
            given = dict(_environment)
            if env is not None:
                given = dict(item.partition(b"=")[::2] for item in env)
            given = _with_ticket(given, kind, recorder.to_hand_down(), plan)
            if env is None and rest[_PREEXEC] is not None:
                before = _change_environment(given)
            else:
                env = [b"%b=%b" % item for item in given.items()]
            changed = (plan.arguments, executables, close, keep, cwd, env, *rest)
            observed = wire.flag(True)
        elif not plan.exists and rest[_PREEXEC] is None:
            observed = wire.NO_PROGRAM  # exec will fail in the child, which exits
    except Exception as error:
        if not is_ours(error):
            raise
    at = time.monotonic_ns()
    recorder.identity.will_exec = True  # for the child, which runs a preexec_fn
    try:
        pid = real(*changed, **kwargs)
    except BaseException as error:
        if kind != "process":  # the start() of a Process reports it
            guarded(_report_failure, kind, arguments, error)
        raise
    finally:
        recorder.identity.will_exec = False
        if before:
            _restore_environment(before)
    if arguments and kind != "process":  # the start() of a Process reports it
        guarded(_report_start, pid, at, kind, observed, arguments, caller)
    return pid


def _change_environment(wanted: "dict[bytes, bytes]") -> "dict[bytes, bytes | None]":
    """Change C's environment for a moment: a preexec_fn may change it further in the child."""
    before = {name: _environment.get(name) for name in (_TICKET, _PATH)}
    for name in before:
        if name in wanted:
            posix.putenv(name, wanted[name])
    return before


def _restore_environment(before: "dict[bytes, bytes | None]") -> None:
    for name, value in before.items():
        if value is None:
            posix.unsetenv(name)
        else:
            posix.putenv(name, value)


# --- posix_spawn, also as subprocess calls it


def _posix_spawn(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    changed, kind, observed, arguments = args, "posix_spawn", wire.flag(False), []
    try:
        path, argv, env = args
        arguments = list(argv)
        if caller is not None and caller.f_code.co_filename.endswith("/subprocess.py"):
            kind = "subprocess"
        search = real.__name__ == "posix_spawnp"
        plan = launch.plan(launch.candidates(path, search), arguments)
        recorder.prepare()
        if plan.observed:
            # without a descriptor, which a file action may close: it connects by address
            changed = (path, plan.arguments, _with_ticket(_encoded(env), kind, "-1", plan))
            observed = wire.flag(True)
    except Exception as error:
        if not is_ours(error):
            raise
    at = time.monotonic_ns()
    try:
        pid = real(*changed, **kwargs)
    except BaseException as error:
        guarded(_report_failure, kind, arguments, error)
        raise
    if arguments:
        guarded(_report_start, pid, at, kind, observed, arguments, caller)
    return pid


# --- exec


def _execv(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    if len(args) == 2 and not kwargs:
        guarded(_execute, *args, None)
    return real(*args, **kwargs)


def _execve(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    given = {**dict(zip(("path", "argv", "env"), args, strict=False)), **kwargs}
    if len(given) == 3 and given.get("env") is not None:
        guarded(_execute, given.get("path"), given.get("argv"), given["env"])
    return real(*args, **kwargs)


def _execute(path: "Any", argv: "Any", env: "Any") -> None:
    """Try to execute with the recorder; if that fails, the program's own call shows why."""
    if isinstance(path, int):
        path_known = f"/proc/self/fd/{path}"
    else:
        path_known = path
        posix.stat(path)  # a search along PATH tries paths that do not exist
    plan = launch.plan([path_known], list(argv))
    recorder.report(wire.EXEC, wire.flag(plan.observed), *fork_exec.texts(list(argv)))
    if plan.observed:
        execve: Any = posix.execve  # the stand-in
        execve._real(path, plan.arguments, _with_ticket(_encoded(env), "exec", "-1", plan))
