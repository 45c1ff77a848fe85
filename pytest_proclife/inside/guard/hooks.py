"""Note each process that the guarded process starts, and the line that starts it.

A started process inherits the tag, in a descriptor and in a limit, and is otherwise the same: it
gets no variable, option or recorder.
"""

import _thread
import posix
import sys

from pytest_proclife.inside import callsite, fork_exec, process_target, watch
from pytest_proclife.inside.builtins import stand_in
from pytest_proclife.inside.guard import makers, tags

# By name what each start of a Process uses: to use a module costs too. See `tags`.
from pytest_proclife.inside.guard.lines import FORKS_PROCESSES, PASSED, line_of, part_of, parts
from pytest_proclife.inside.guard.makers import STARTERS
from pytest_proclife.inside.guard.tags import (
    CHILD,
    MAKER,
    METHOD,
    NAME,
    RTTIME,
    STARTED,
    STARTED_TAG,
    add,
    end_start,
    new_number,
    state,
)
from pytest_proclife.inside.handlers import OWN, guarded, is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from pytest_proclife.inside.builtins import Args, Caller, Kwargs, Real

_PROCESSES = tuple([f"{package}.process" for package in callsite.PACKAGES])
_GEVENT_POPEN = "/gevent/subprocess.py"  # forks and executes a program by itself
_CALLERS = 4  # frames from fork_exec, or gevent's fork, up to the caller of Popen
# The modules (and a folder) that start the processes of a run. A test holds that there are no
# others: the rest of proclife may be interrupted by a signal handler that starts something.
RUN_STARTERS = (
    *("polling/", "backend.py", "stacks.py", "target.py", "supervisor/main_start.py"),
    "exercises/unit.py",
)
_RUN_STARTERS = tuple(OWN[: OWN.rindex("/", 0, -1) + 1] + path for path in RUN_STARTERS)

_RUNS = 20  # more than enough
_PATIENCE = 1.0  # s for the lock, which is only held for the moment of a start
_getpid, _get_native_id = posix.getpid, _thread.get_native_id
# the fields of its note, by the id of a Process whose start() runs or has failed
starting: "dict[int, list[str | int]]" = {}
_watched: "set[str]" = set()  # of _PROCESSES

# No fork may come between a new number of the tag and the start that gets it. In the child of a
# fork the lock is free, whichever thread held it.
_lock: "Any" = None


def install() -> None:
    """Note starts from here on. Modules that start processes may have been imported before."""
    global _lock
    tags.open_ledger()
    if _lock is not None:
        return  # a fork, which has inherited all that follows
    _lock = _thread.RLock()
    _specialize_after_fork_in_child()
    posix.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )
    for name in ("posix_spawn", "posix_spawnp"):
        stand_in(posix, name, _posix_spawn)
    stand_in(posix, "system", _system)
    import _posixsubprocess  # noqa: F401 - before subprocess, which takes fork_exec from it

    fork_exec.replace(_fork_exec)
    if sys.version_info < (3, 12):  # 3.11: a function that runs cannot be rewritten
        import multiprocessing.process  # noqa: F401 - imported to be rewritten
    watch_new_modules()


def watch_new_modules() -> None:
    """Watch Process and the executors, of each library, that were imported since the last call."""
    number = len(sys.modules)
    if number == state.modules_seen:
        return
    try:
        for name in _PROCESSES:
            if name in sys.modules and name not in _watched and not _watch_start(name):
                return  # another thread is importing it, or a test has replaced it
        if makers.watch_executors():
            state.modules_seen = number
    except Exception as error:
        if not is_ours(error):
            raise


# --- forks


def _before_fork() -> None:
    if state.program_thread and state.program_thread == _thread.get_ident():
        return
    try:
        if state.modules_seen != len(sys.modules):  # checked here too: a call costs
            watch_new_modules()
        if _lock.acquire(True, _PATIENCE):
            state.forks += 1
        state.is_process = False
        number, caller, fields = new_number(), sys._getframe(1), None
        path = caller.f_code.co_filename
        if (parts.get(path) or part_of(path)) & FORKS_PROCESSES:
            fields = starting.get(id(caller.f_locals.get("process_obj")))
        if fields is None:
            tags.note(tags.FORKING, number, _kind_of_fork(caller), *line_of(caller))
            return
        fields[STARTED_TAG] = number
        add(STARTED, fields)  # the same list comes again once it has been started, with its pid
        state.is_process = True
    except Exception as error:
        if not is_ours(error):
            raise


def _kind_of_fork(frame: "FrameType | None") -> str:
    for _ in range(_CALLERS):
        if frame is not None:
            if frame.f_code.co_filename.endswith(_GEVENT_POPEN):
                return "subprocess"
            frame = frame.f_back
    return "os_fork"


def _after_fork() -> None:
    if state.program_thread and state.program_thread == _thread.get_ident():
        return
    limits = state.limits
    if limits is not None and state.pid == _getpid():  # as end_start(): a call costs
        state.limits = None
        try:
            state.prlimit(0, RTTIME, limits)
        except Exception as error:
            if not is_ours(error):
                raise
    if state.forks and _lock._is_owned():  # the same below, where a call of its own would cost
        state.forks -= 1
        state.is_process = False  # a signal handler may have forked in the midst of another fork
        _lock.release()


def _after_fork_in_child() -> None:
    if state.program_thread and state.program_thread == _thread.get_ident():
        return
    is_process = state.is_process
    if state.forks and _lock._is_owned():
        state.forks -= 1
        state.is_process = False
        _lock.release()
    if not _lock._is_owned():  # if it is held, then by a thread that does not exist here
        state.forks = 0
        _lock._at_fork_reinit()
    if is_process:
        return
    try:
        tags.note(tags.FORKED, tags.inherited_number())
    except Exception as error:
        if not is_ours(error):
            raise


def _specialize_after_fork_in_child() -> None:
    """Run it as often as the interpreter wants before it specializes a function (PEP 659). A child
    runs it once, and what is not specialized writes to the pages of types and descriptors too.
    """
    for _ in range(_RUNS):
        _lock.acquire()
        state.forks, state.is_process = 1, True
        _after_fork_in_child()


# --- programs


def _fork_exec(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    if _is_run_starter(caller):
        return real(*args, **kwargs)
    is_locked = _lock.acquire(True, _PATIENCE)
    before = state.program_thread  # not 0 if its preexec_fn, or a signal handler, starts this one
    try:
        watch_new_modules()
        number, kind = new_number(), fork_exec.kind_of(caller)
        changed = _with_tag(args, kind) if number else args
        state.program_thread = _thread.get_ident()
        pid = real(*changed, **kwargs)
    finally:
        state.program_thread = before
        end_start()
        if is_locked:
            _lock.release()
    guarded(_note_program, pid, number, kind, args, caller)
    return pid


def _with_tag(args: "Args", kind: str) -> "Args":
    """The arguments, with the tag among the descriptors to keep. Wrong ones are not changed.

    Nor are those of a caller of subprocess that lists descriptors to keep (besides the one that
    the module has for errors): the program may count them.
    """
    try:
        arguments, executables, close, keep, *rest = args
        has_list = kind == "subprocess" and len(keep) > 1
        if not has_list and keep == tuple(sorted(set(keep))):  # else fork_exec raises an error
            return (arguments, executables, close, tuple(sorted({*keep, tags.tag})), *rest)
    except Exception as error:
        if not is_ours(error):
            raise
    return args


def _posix_spawn(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    if _is_run_starter(caller):
        return real(*args, **kwargs)
    is_locked = _lock.acquire(True, _PATIENCE)
    try:
        number, changed = new_number(), kwargs
        if number:
            changed = {**kwargs, "file_actions": _kept_open(kwargs.get("file_actions"))}
        pid = real(*args, **changed)
    finally:
        end_start()
        if is_locked:
            _lock.release()
    by_subprocess = caller is not None and caller.f_code.co_filename.endswith("/subprocess.py")
    kind = "subprocess" if by_subprocess else "posix_spawn"
    guarded(_note_program, pid, number, kind, args[1:], caller)
    return pid


def _kept_open(actions: "Any") -> "Any":
    """The file actions, changed to keep the tag open if the last one closes all descriptors from a
    number on.
    """
    if not isinstance(actions, list | tuple) or not actions:
        return actions
    *others, last = actions
    close_from = getattr(posix, "POSIX_SPAWN_CLOSEFROM", None)
    if close_from is None or len(last) != 2 or last[0] != close_from or not 0 <= last[1] < tags.tag:
        return actions
    low = last[1]  # this number is closed in any case, so the tag can have it meanwhile
    dup2, close = posix.POSIX_SPAWN_DUP2, posix.POSIX_SPAWN_CLOSE
    moved = [(dup2, tags.tag, low), (close_from, low + 1), (dup2, low, tags.tag), (close, low)]
    return [*others, *moved]


def _system(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    is_locked = _lock.acquire(True, _PATIENCE)  # no fork may come while the tag is renewed
    try:
        number = new_number()
    finally:
        if is_locked:
            _lock.release()
    guarded(lambda: tags.note(tags.SYSTEM, number, *line_of(caller)))
    try:
        return real(*args, **kwargs)
    finally:
        is_locked = _lock.acquire(True, _PATIENCE)
        end_start()
        if is_locked:
            _lock.release()


def _note_program(pid: int, number: int, kind: str, args: "Args", caller: "Caller") -> None:
    argv = fork_exec.texts(list(args[0])) if args else []
    name = argv[0].rsplit("/", 1)[-1] if argv else ""
    fields = (pid, number, kind, name, "", *line_of(caller), "")
    tags.note(tags.STARTED, *fields, *argv)


def _is_run_starter(frame: "FrameType | None") -> bool:
    """Whether proclife itself starts the process, for a run."""
    for _ in range(_CALLERS):
        if frame is None:
            return False
        if frame.f_code.co_filename.startswith(_RUN_STARTERS):
            return True
        frame = frame.f_back
    return False


# --- Process


def _watch_start(name: str) -> bool:
    """Watch `Process.start` of a module from here on. False if it is not there yet. A call that is
    running is watched too, to its return: it may be what imported the rest of multiprocessing.
    """
    module: Any = sys.modules[name]
    function = getattr(getattr(module, "BaseProcess", None), "start", None)
    if type(function) is not type(_watch_start):
        return False
    watch.ensure()
    watch.watch_function(function, start=_on_start, returned=_on_started)
    if sys.version_info >= (3, 12):  # 3.11: one that runs has not been rewritten
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_code is function.__code__:
                _on_start(frame)
            frame = frame.f_back
    _watched.add(name)
    return True


def _on_start(frame: "FrameType") -> None:
    """Make the fields of a note. `_on_started`, which adds the rest, has to do as little as
    possible: as long as the fork exists, each page that is written to is copied.
    """
    process, caller = frame.f_locals["self"], frame.f_back
    if process._popen is not None:
        return  # it has been started before, which is an error
    kind, line, maker = "process", line_of(caller), ""
    if caller is not None:
        name = caller.f_code.co_name
        if name in STARTERS:
            maker = makers.maker_of(caller)
        # what the suite's own code starts is no worker; but it may have overridden start()
        if maker or name == "start" or parts.get(caller.f_code.co_filename, 0) & PASSED:
            kind = process_target.kind_of(process)  # now, since start() deletes the target
    starting[id(process)] = [_get_native_id(), "", "", kind, "", "", *line, maker]


def _on_started(frame: "FrameType", value: object) -> None:
    process = frame.f_locals["self"]
    fields, popen = starting.pop(id(process), None), process._popen
    method = getattr(popen, "method", "")
    if type(method) is not str:
        return  # a mock of a Popen has started nothing
    if fields is None:  # its beginning was not seen
        fields = [_get_native_id(), "", "", "process", "", "", *line_of(frame.f_back), ""]
    fields[CHILD], fields[NAME], fields[METHOD] = popen.pid, process._name, method
    if fields[MAKER]:
        makers.note_pool(str(fields[MAKER]), frame.f_back)
    add(STARTED, fields)
