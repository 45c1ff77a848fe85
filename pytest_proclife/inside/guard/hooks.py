"""Note what the guarded process starts, and from which line.

Apart from its tag nothing is put in the way of what is started: no variable, option or recorder.
"""

import _thread
import posix
import sys

from pytest_proclife.inside import callsite, fork_exec, process_target, watch
from pytest_proclife.inside.builtins import stand_in
from pytest_proclife.inside.guard import makers, tags
from pytest_proclife.inside.handlers import OWN, is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

    Real = Callable[..., Any]

_PATIENCE = 1.0  # s for the lock; only a start in another thread holds it, for a moment
_PACKAGE = OWN[: OWN.rindex("/", 0, -1) + 1]
_PROCESS = "multiprocessing.process"
_POPEN_FORK = "/multiprocessing/popen_fork.py"
_LIBRARIES = "/site-packages/"
_CALLERS = 4  # frames from fork_exec up to who called Popen
# where proclife starts processes of its own; the rest of it may be interrupted by who starts others
_RUNS = tuple(_PACKAGE + name for name in ("polling/", "backend.py", "supervisor/main_start.py"))

_lock: "Any" = None
_forks = 0  # that hold the lock
_becoming = 0  # the thread that starts a program: what it forks runs a preexec_fn
_is_process = False  # whether it is a Process that forks now: its parent notes its pid
# id of a Process that is being started, or could not be -> its note
starting: "dict[int, tags.Note]" = {}
modules_seen = 0  # how many there were at the last look for what is to be watched


def enter() -> None:
    """Begin to note, whatever has been imported by then."""
    # beforehand: a test may keep files from being read when it imports multiprocessing
    from pytest_proclife.inside.guard import makers  # noqa: F401

    global _lock
    tags.begin()
    if _lock is not None:
        return  # a fork, in which the stand-ins are already
    _lock = _thread.RLock()
    posix.register_at_fork(before=_forks_now, after_in_parent=_has_forked, after_in_child=_forked)
    for name in ("posix_spawn", "posix_spawnp"):
        stand_in(posix, name, _posix_spawn)
    stand_in(posix, "system", _system)
    import _posixsubprocess  # noqa: F401 - where subprocess takes it from, if it comes later

    fork_exec.replace(_fork_exec)
    if sys.version_info < (3, 12):  # 3.11: a function that runs cannot be rewritten
        import multiprocessing.process  # noqa: F401
    attend()


def attend() -> None:
    """Watch what imports have brought since the last call: Process, and who has workers."""
    global modules_seen
    number = len(sys.modules)
    if number == modules_seen:
        return
    try:
        if _PROCESS in sys.modules:
            from pytest_proclife.inside.guard import makers

            if not (watch_starts() and makers.watch_executors()):
                return  # another thread is about to import them, or a test has replaced them
        modules_seen = number
    except Exception as error:
        if not is_ours(error):
            raise


# --- forks


def _forks_now() -> None:
    global _forks, _is_process
    if _becoming and _becoming == _thread.get_ident():
        return
    try:
        if modules_seen != len(sys.modules):  # asked here too: see `tags.new_tag` for the cost
            attend()
        if _lock.acquire(timeout=_PATIENCE):
            _forks += 1
        _is_process = False
        number, caller = tags.new_tag(), sys._getframe(1)
        note = _of_process(caller)
        if note is None:
            tags.note(tags.FORKING, str(number), where_of(caller))
            return
        if number:
            note.fields[tags.STARTED_TAG] = str(number)
        tags.note(tags.FORKING, str(number), "")  # more is said when it has been started
        _is_process = True
    except Exception as error:
        if not is_ours(error):
            raise


def _of_process(caller: "FrameType") -> "tags.Note | None":
    """The note of the Process that is forked there, if one is being started."""
    if not caller.f_code.co_filename.endswith(_POPEN_FORK):
        return None
    return starting.get(id(caller.f_locals.get("process_obj")))


def _has_forked() -> None:
    global _forks, _is_process
    if _becoming and _becoming == _thread.get_ident():
        return
    if _forks and _lock._is_owned():
        _forks -= 1
        _is_process = False  # for a fork that a signal handler came in the midst of
        _lock.release()


def _forked() -> None:
    global _forks
    if _becoming and _becoming == _thread.get_ident():
        return
    is_process = _is_process
    _has_forked()
    if not _lock._is_owned():  # if it is held, then by a thread that is not here
        _forks = 0
        _lock._at_fork_reinit()
    if is_process:
        return
    try:
        tags.note(tags.FORKED, str(tags.current()))
    except Exception as error:
        if not is_ours(error):
            raise


# --- programs


def _fork_exec(
    real: "Real", caller: "FrameType | None", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
) -> "Any":
    global _becoming
    if _is_own(caller):
        return real(*args, **kwargs)
    locked = _lock.acquire(timeout=_PATIENCE)
    before = _becoming
    try:
        attend()
        number, kind = tags.new_tag(), fork_exec.kind_of(caller)
        changed = _with_tag(args, kind) if number else args
        _becoming = _thread.get_ident()
        pid = real(*changed, **kwargs)
    finally:
        _becoming = before
        if locked:
            _lock.release()
    _note_program(pid, number, kind, args, caller)
    return pid


def _with_tag(args: "tuple[Any, ...]", kind: str) -> "tuple[Any, ...]":
    """The arguments with the tag among the descriptors that are kept; what is wrong stays so.

    Not for a caller of subprocess who has said which are to be kept (besides the one that the
    module has for errors): who says it may count them.
    """
    try:
        arguments, executables, close, keep, *rest = args
        chosen = kind == "subprocess" and len(keep) > 1
        if not chosen and keep == tuple(sorted(set(keep))):  # else an error is due
            return (arguments, executables, close, tuple(sorted({*keep, tags.tag})), *rest)
    except Exception as error:
        if not is_ours(error):
            raise
    return args


def _posix_spawn(
    real: "Real", caller: "FrameType | None", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
) -> "Any":
    if _is_own(caller):
        return real(*args, **kwargs)
    locked = _lock.acquire(timeout=_PATIENCE)
    try:
        number, changed = tags.new_tag(), kwargs
        if number:
            changed = {**kwargs, "file_actions": _kept_open(kwargs.get("file_actions"))}
        pid = real(*args, **changed)
    finally:
        if locked:
            _lock.release()
    by_subprocess = caller is not None and caller.f_code.co_filename.endswith("/subprocess.py")
    kind = "subprocess" if by_subprocess else "posix_spawn"
    _note_program(pid, number, kind, args[1:], caller)
    return pid


def _kept_open(actions: "Any") -> "Any":
    """File actions that spare the tag where their last one closes all from a number on."""
    if not isinstance(actions, list | tuple) or not actions:
        return actions
    *others, last = actions
    close_from = getattr(posix, "POSIX_SPAWN_CLOSEFROM", None)
    if close_from is None or len(last) != 2 or last[0] != close_from or not 0 <= last[1] < tags.tag:
        return actions
    low = last[1]  # it would be closed anyway, so the tag can wait there
    dup2, close = posix.POSIX_SPAWN_DUP2, posix.POSIX_SPAWN_CLOSE
    return [
        *others,
        (dup2, tags.tag, low),
        (close_from, low + 1),
        (dup2, low, tags.tag),
        (close, low),
    ]


def _system(
    real: "Real", caller: "FrameType | None", args: "tuple[Any, ...]", kwargs: "dict[str, Any]"
) -> "Any":
    locked = _lock.acquire(timeout=_PATIENCE)  # no fork may come while the tag is renewed
    try:
        number = tags.new_tag()
    finally:
        if locked:
            _lock.release()
    try:
        tags.note(tags.SYSTEM, str(number), where_of(caller))
    except Exception as error:
        if not is_ours(error):
            raise
    return real(*args, **kwargs)


def _note_program(
    pid: int, number: int, kind: str, args: "tuple[Any, ...]", caller: "FrameType | None"
) -> None:
    try:
        words = fork_exec.texts(list(args[0])) if args else []
        name = words[0].rsplit("/", 1)[-1] if words else ""
        facts = (str(pid), str(number), kind, name, "", where_of(caller), "")
        tags.note(tags.STARTED, *facts, *words)
    except Exception as error:
        if not is_ours(error):
            raise


def where_of(frame: "FrameType | None") -> str:
    """The innermost line that is not of the standard library's plumbing; and where that is a
    library's, the innermost that is the suite's own.
    """
    where = callsite.where(frame)
    if _LIBRARIES not in where:
        return where
    standard = sys.modules["os"].__file__ or ""
    standard = standard[: standard.rfind("/") + 1]
    while frame is not None:
        path = frame.f_code.co_filename
        if _LIBRARIES not in path and not path.startswith((standard, "<frozen")):
            return f"{where}, called at {path}:{frame.f_lineno} in {frame.f_code.co_name}"
        frame = frame.f_back
    return where


def _is_own(frame: "FrameType | None") -> bool:
    """Whether proclife itself starts it, for a run of its own."""
    for _ in range(_CALLERS):
        if frame is None:
            return False
        if frame.f_code.co_filename.startswith(_RUNS):
            return True
        frame = frame.f_back
    return False


_is_watched = False


def watch_starts() -> bool:
    """Watch them from here on, whether that could be. Where multiprocessing comes late, its first
    start is the moment: a function that is running can be watched too, to its return.
    """
    global _is_watched
    if _is_watched:
        return True
    module: Any = sys.modules["multiprocessing.process"]
    function = getattr(getattr(module, "BaseProcess", None), "start", None)
    if type(function) is not type(watch_starts):
        return False
    watch.ensure()
    watch.watch_function(function, start=_starts, returned=_started)
    if sys.version_info >= (3, 12):  # 3.11: one that runs has not been rewritten
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_code is function.__code__:
                _starts(frame)
            frame = frame.f_back
    _is_watched = True
    return True


def _starts(frame: "FrameType") -> None:
    process = frame.f_locals["self"]
    if process._popen is None:
        starting[id(process)] = _begun(process, frame.f_back)


def _begun(process: "Any", caller: "FrameType | None") -> tags.Note:
    """Its note, but for what `_started` adds. That has as little to do as can be: while the fork is
    there each page that is written has to be copied.
    """
    kind = process_target.kind_of(process)  # as long as it has a target, which start() deletes
    facts = "", "", kind, "", "", where_of(caller), makers.maker(caller)
    return tags.begun(tags.STARTED, *facts)


def _started(frame: "FrameType", value: object) -> None:
    process = frame.f_locals["self"]
    popen = process._popen
    method = getattr(popen, "method", "")
    note = starting.pop(id(process), None) or _begun(process, frame.f_back)
    if type(method) is not str:
        return  # one that stands in for a Popen has started nothing
    fields = note.fields
    fields[tags.CHILD], fields[tags.NAME] = str(popen.pid), process._name
    fields[tags.METHOD] = method
    if fields[tags.MAKER]:
        makers.note_pool(fields[tags.MAKER], frame.f_back)
    tags.add(note)
