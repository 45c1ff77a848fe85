"""New programs: subprocess, posix_spawn, exec, the interpreters of spawn and forkserver.

A Python is let in through PYTHONPATH; one that does not look there (-I, -E, -S) through
planted bytecode. What is neither is recorded from outside only.
"""

import posix
import sys

from pytest_proclife import wire
from pytest_proclife.inside import callsite, fork_exec, launch, recorder, watch
from pytest_proclife.inside.builtins import stand_in
from pytest_proclife.inside.handlers import is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType, ModuleType
    from typing import Any

    Real = Callable[..., Any]

_site = b""
_environment: "dict[bytes, bytes]" = {}  # that of C, which os.putenv changes and os.environ not

_replaced: "list[ModuleType]" = []
_TICKET = wire.VARIABLE.encode()
_PATH = b"PYTHONPATH"
_PREEXEC = 21 - 6  # the place of preexec_fn among the arguments of fork_exec behind env


def carry_on(site: str) -> None:
    """From here on let the recorder into what this process starts."""
    global _site, _environment
    _site = site.encode(sys.getfilesystemencoding(), sys.getfilesystemencodeerrors())
    _environment = dict(posix.environ)
    watch.on_event("os.putenv", _put)
    watch.on_event("os.unsetenv", lambda arguments: _environment.pop(arguments[0], None))
    watch.on_event("os.fork", lambda arguments: recorder.prepare())
    watch.on_event("os.system", lambda arguments: recorder.report(wire.UNSEEN, "os.system"))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    watch.on_module(
        f"{version}/subprocess.py", lambda code: watch.when_loaded(code, _take_fork_exec)
    )
    # each comes before the first call, whatever keeps the module's code object alive
    watch.on_event("subprocess.Popen", _take_fork_exec)
    watch.on_module("multiprocessing/spawn.py", _take_fork_exec)
    watch.on_module("multiprocessing/resource_tracker.py", _take_fork_exec)
    stand_in(posix, "closerange", _close_range)
    stand_in(posix, "execv", _execv)
    stand_in(posix, "execve", _execve)
    stand_in(posix, "posix_spawn", _posix_spawn)
    stand_in(posix, "posix_spawnp", _posix_spawn)


def _put(arguments: "tuple[bytes, bytes]") -> None:
    name, value = arguments
    _environment[name] = value


def _close_range(
    real: "Real", caller: "FrameType | None", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
) -> "Any":
    try:
        recorder.prepare()  # our socket may be among them, and the interpreter's end be next
    except Exception as error:
        if not is_ours(error):
            raise
    return real(*args, **kwargs)


def _take_fork_exec(arguments: object = None) -> None:
    """Stand in for what subprocess and multiprocessing.util call, once it has been imported.

    An import of ours would be seen by the program's finders, before its own.
    """
    if "_posixsubprocess" in sys.modules and not _replaced:
        _replaced.append(sys.modules["_posixsubprocess"])
        fork_exec.replace(_fork_exec)


def _with_ticket(
    env: "dict[bytes, bytes]", kind: str, descriptor: str, plan: launch.Plan
) -> "dict[bytes, bytes]":
    """An environment with the way to the run in it."""
    ticket = f"{recorder.address},{descriptor},{recorder.key},{kind},"
    env[_TICKET] = ticket.encode()
    if plan.by_path:
        env[_PATH] = launch.search_path(env.get(_PATH), _site)
    return env


def _encoded(env: "Any") -> "dict[bytes, bytes]":
    """A mapping as the functions of `os` take it; None for our own environment (3.13 on)."""
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
    pid: int, kind: str, observed: str, args: "Sequence[Any]", caller: "FrameType | None"
) -> None:
    try:
        words = fork_exec.texts(args)
        where = callsite.where(caller)
        name = words[0].rsplit("/", 1)[-1] if words else ""
        recorder.report_about(
            wire.STARTED, pid, str(pid), kind, name, "", "", observed, where, *words
        )
    except Exception as error:
        if not is_ours(error):
            raise


# --- subprocess and multiprocessing


def _fork_exec(
    real: "Real", caller: "FrameType | None", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
) -> "Any":
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
            given = dict(_environment) if env is None else dict(_split(item) for item in env)
            given = _with_ticket(given, kind, recorder.to_hand_down(), plan)
            if env is None and rest[_PREEXEC] is not None:
                before = _change_environment(given)
            else:
                env = [b"%b=%b" % item for item in given.items()]
            changed = (plan.arguments, executables, close, keep, cwd, env, *rest)
            observed = wire.flag(True)
        elif not plan.exists and rest[_PREEXEC] is None:
            observed = wire.NOTHING  # a child of the program's that ends where exec fails
    except Exception as error:
        if not is_ours(error):
            raise
    recorder.becomes_program = True  # to the child, which runs a preexec_fn
    try:
        pid = real(*changed, **kwargs)
    finally:
        recorder.becomes_program = False
        if before:
            _restore_environment(before)
    if arguments and kind != "process":  # the start() of a Process reports it
        _report_start(pid, kind, observed, arguments, caller)
    return pid


def _change_environment(wanted: "dict[bytes, bytes]") -> "dict[bytes, bytes | None]":
    """Have C's environment so for a moment: a preexec_fn may change it further in the child."""
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


def _split(item: bytes) -> "tuple[bytes, bytes]":
    name, _, value = item.partition(b"=")
    return name, value


# --- posix_spawn, also as subprocess calls it


def _posix_spawn(
    real: "Real", caller: "FrameType | None", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
) -> "Any":
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
            # no descriptor: what comes after may close it, and there is one more way
            changed = (path, plan.arguments, _with_ticket(_encoded(env), kind, "-1", plan))
            observed = wire.flag(True)
    except Exception as error:
        if not is_ours(error):
            raise
    pid = real(*changed, **kwargs)
    if arguments:
        _report_start(pid, kind, observed, arguments, caller)
    return pid


# --- exec


def _execv(
    real: "Real", caller: "FrameType | None", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
) -> "Any":
    if len(args) == 2 and not kwargs:
        _replace(*args, None)
    return real(*args, **kwargs)


def _execve(
    real: "Real", caller: "FrameType | None", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
) -> "Any":
    given = {**dict(zip(("path", "argv", "env"), args, strict=False)), **kwargs}
    if len(given) == 3 and given.get("env") is not None:
        _replace(given.get("path"), given.get("argv"), given["env"])
    return real(*args, **kwargs)


_real_execve = posix.execve


def _replace(path: "Any", argv: "Any", env: "Any") -> None:
    """Try to execute with the way in; where that fails, the program's own call says why."""
    try:
        if isinstance(path, int):
            path_known = f"/proc/self/fd/{path}"
        else:
            path_known = path
            posix.stat(path)  # a PATH search tries many; what is not there replaces nothing
        plan = launch.plan([path_known], list(argv))
        recorder.report(wire.EXEC, wire.flag(plan.observed), *fork_exec.texts(list(argv)))
        if plan.observed:
            _real_execve(path, plan.arguments, _with_ticket(_encoded(env), "exec", "-1", plan))
    except Exception as error:
        if not is_ours(error):
            raise
