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
from pytest_proclife.inside.guard.lines import line_of
from pytest_proclife.inside.handlers import OWN, guarded, is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from pytest_proclife.inside.builtins import Args, Caller, Kwargs, Real

_PATIENCE = 1.0  # s for the lock, which is only held for the moment of a start
_PROCESSES = tuple([f"{package}.process" for package in callsite.PACKAGES])
_POPEN_FORK = callsite.files("popen_fork")
_GEVENT_POPEN = "/gevent/subprocess.py"  # forks and executes a program by itself
_CALLERS = 4  # frames from fork_exec, or gevent's fork, up to the caller of Popen
# The modules (and a folder) that start the processes of a run. A test holds that there are no
# others: the rest of proclife may be interrupted by a signal handler that starts something.
RUN_STARTERS = (
    *("polling/", "backend.py", "stacks.py", "target.py", "supervisor/main_start.py"),
    "exercises/unit.py",
)
_RUN_STARTERS = tuple(OWN[: OWN.rindex("/", 0, -1) + 1] + path for path in RUN_STARTERS)

modules_seen = 0  # the number of modules when they were last checked for something to watch
starting: "dict[int, tags.Note]" = {}  # by the id of a Process whose start() runs or has failed
_watched: "set[str]" = set()  # of _PROCESSES

# No fork may come between a new number of the tag and the start that gets it. In the child of a
# fork the lock is free, whichever thread held it.
_lock: "Any" = None
_forks = 0  # that hold the lock
_program_thread = 0  # that starts a program, whose preexec_fn runs in a fork that is not noted
_is_process = False  # whether the fork that runs now is a Process, whose parent notes its pid


def install() -> None:
    """Note starts from here on. Modules that start processes may have been imported before."""
    global _lock
    tags.open_ledger()
    if _lock is not None:
        return  # a fork, which has inherited all that follows
    _lock = _thread.RLock()
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
    global modules_seen
    number = len(sys.modules)
    if number == modules_seen:
        return
    try:
        for name in _PROCESSES:
            if name in sys.modules and name not in _watched and not _watch_start(name):
                return  # another thread is importing it, or a test has replaced it
        if makers.watch_executors():
            modules_seen = number
    except Exception as error:
        if not is_ours(error):
            raise


# --- forks


def _before_fork() -> None:
    global _forks, _is_process
    if _program_thread and _program_thread == _thread.get_ident():
        return
    try:
        if modules_seen != len(sys.modules):  # checked here too: a call costs (`tags.new_tag`)
            watch_new_modules()
        if _lock.acquire(timeout=_PATIENCE):
            _forks += 1
        _is_process = False
        number, caller, note = tags.new_tag(), sys._getframe(1), None
        if caller.f_code.co_filename.endswith(_POPEN_FORK):
            note = starting.get(id(caller.f_locals.get("process_obj")))
        if note is None:  # it is not the fork of a Process
            tags.note(tags.FORKING, str(number), _kind_of_fork(caller), *line_of(caller))
            return
        if number:
            note.fields[tags.STARTED_TAG] = str(number)
        # the rest is noted once it has been started
        tags.note(tags.FORKING, str(number), "os_fork", "", "", "")
        _is_process = True
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
    if _program_thread and _program_thread == _thread.get_ident():
        return
    tags.end_start()
    _release()


def _release() -> None:
    global _forks, _is_process
    if _forks and _lock._is_owned():
        _forks -= 1
        _is_process = False  # a signal handler may have forked in the midst of another fork
        _lock.release()


def _after_fork_in_child() -> None:
    global _forks
    if _program_thread and _program_thread == _thread.get_ident():
        return
    is_process = _is_process
    _release()
    if not _lock._is_owned():  # if it is held, then by a thread that does not exist here
        _forks = 0
        _lock._at_fork_reinit()
    if is_process:
        return
    try:
        tags.note(tags.FORKED, str(tags.inherited_number()))
    except Exception as error:
        if not is_ours(error):
            raise


# --- programs


def _fork_exec(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
    global _program_thread
    if _is_run_starter(caller):
        return real(*args, **kwargs)
    is_locked = _lock.acquire(timeout=_PATIENCE)
    before = _program_thread
    try:
        watch_new_modules()
        number, kind = tags.new_tag(), fork_exec.kind_of(caller)
        changed = _with_tag(args, kind) if number else args
        _program_thread = _thread.get_ident()
        pid = real(*changed, **kwargs)
    finally:
        _program_thread = before
        tags.end_start()
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
    is_locked = _lock.acquire(timeout=_PATIENCE)
    try:
        number, changed = tags.new_tag(), kwargs
        if number:
            changed = {**kwargs, "file_actions": _kept_open(kwargs.get("file_actions"))}
        pid = real(*args, **changed)
    finally:
        tags.end_start()
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
    is_locked = _lock.acquire(timeout=_PATIENCE)  # no fork may come while the tag is renewed
    try:
        number = tags.new_tag()
    finally:
        if is_locked:
            _lock.release()
    guarded(lambda: tags.note(tags.SYSTEM, str(number), *line_of(caller)))
    try:
        return real(*args, **kwargs)
    finally:
        is_locked = _lock.acquire(timeout=_PATIENCE)
        tags.end_start()
        if is_locked:
            _lock.release()


def _note_program(pid: int, number: int, kind: str, args: "Args", caller: "Caller") -> None:
    argv = fork_exec.texts(list(args[0])) if args else []
    name = argv[0].rsplit("/", 1)[-1] if argv else ""
    fields = (str(pid), str(number), kind, name, "", *line_of(caller), "")
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
    process = frame.f_locals["self"]
    if process._popen is None:
        starting[id(process)] = _new_note(process, frame.f_back)


def _new_note(process: "Any", caller: "FrameType | None") -> tags.Note:
    """The note of a Process, without the fields that `_on_started` adds. That has to do as little
    as possible: as long as the fork exists, each page that is written to is copied.
    """
    kind = process_target.kind_of(process)  # now, since start() deletes the target
    fields = "", "", kind, "", "", *line_of(caller), makers.maker_of(caller)
    return tags.new_note(tags.STARTED, *fields)


def _on_started(frame: "FrameType", value: object) -> None:
    process = frame.f_locals["self"]
    popen = process._popen
    method = getattr(popen, "method", "")
    note = starting.pop(id(process), None) or _new_note(process, frame.f_back)
    if type(method) is not str:
        return  # a mock of a Popen has started nothing
    fields = note.fields
    fields[tags.CHILD], fields[tags.NAME] = str(popen.pid), process._name
    fields[tags.METHOD] = method
    if fields[tags.MAKER]:
        makers.note_pool(fields[tags.MAKER], frame.f_back)
    tags.add(note)
