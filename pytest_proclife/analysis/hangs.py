"""Why the threads of a run did not go on, from where all of them stood: a verdict.

A frame of the standard library says what a thread does, by its file and function. Sources:
multiprocessing/pool.py, queues.py, util.py, popen_fork.py, concurrent/futures/, threading.py,
subprocess.py. What each waits for is the kernel's word: `records.Awaited`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pytest_proclife.records import (
    AwaitedKind,
    Cause,
    Ending,
    Frame,
    Hang,
    HangKind,
    ProcessRecord,
    Replaces,
    Role,
    Run,
    Stack,
    TaskLost,
)

_PACKAGES = ("multiprocessing", "multiprocess", "billiard")
_LIBRARY, _INSTALLED = "/lib/python3", ("/site-packages/", "/dist-packages/")
_ENDED = 8  # processes named that could have ended a wait
# ends that leave something undone
_CUT_OFF = (Cause.KILLED, Cause.SIGNALED, Cause.RAISED, Cause.OS_EXIT, Cause.TERMINATED)
_STOPPED = ("T", "t")
_TO_NOTIFY = ("Condition.wait", "Event.wait", "Barrier.wait", "Thread.join", "_shutdown")


def _files(*names: str) -> tuple[str, ...]:
    return tuple(f"/{package}/{name}.py" for package in _PACKAGES for name in names)


_POOL, _UTIL, _QUEUES = _files("pool"), _files("util"), _files("queues")
_POPEN = _files("popen_fork", "popen_forkserver", "popen_spawn_posix")
_FUTURES = ("/concurrent/futures/process.py", "/concurrent/futures/_base.py")
_STARTS = _files("process", "spawn", "forkserver")
_STARTING = ("_bootstrap", "_bootstrap_inner", "run", "_main", "spawn_main", "_serve_one", "main")
_ASYNCIO = "/asyncio/"
_SUBPROCESS, _THREADING = "/subprocess.py", "/threading.py"


def judge(run: Run) -> Run:
    """The run with the verdicts, as far as its processes were looked at."""
    looks = [stack.at for process in run.processes for stack in process.stacks]
    if not looks:
        return run
    scene = _Scene(run)
    processes = tuple(
        replace(process, hangs=tuple(scene.hangs(process))) if scene.stands(process) else process
        for process in run.processes
    )
    return replace(run, processes=processes)


@dataclass(frozen=True, slots=True)
class _Thread:
    """A thread, and where the program's own code is on its stack."""

    process: ProcessRecord
    stack: Stack
    own: int | None  # the place of the innermost frame of the program's own code

    @property
    def frames(self) -> tuple[Frame, ...]:
        return self.stack.frames

    @property
    def where(self) -> Frame | None:
        return None if self.own is None else self.frames[self.own]

    def calls(self, files: Sequence[str], *names: str) -> bool:
        """Whether code of one of these files is on its stack, with one of these names if given."""
        return any(
            frame.file.endswith(tuple(files)) and (not names or _last(frame) in names)
            for frame in self.frames
        )

    def calls_in(self, folder: str) -> bool:
        return any(folder in frame.file for frame in self.frames)

    @property
    def call(self) -> str:
        """The function that the program's own code has called; in an exit path, what that calls."""
        if self.own is not None:
            return _called(self.frames[self.own - 1]) if self.own else ""
        inner = self.frames
        if self.calls(_UTIL, "_exit_function"):
            inner = inner[: [_last(frame) for frame in inner].index("_exit_function")]
        inner = tuple(frame for frame in inner if not _is_frame_of_start(frame))
        return _called(inner[-1]) if inner else ""


class _Scene:
    """Where all processes stood at the last look."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.at = max(stack.at for process in run.processes for stack in process.stacks)
        self.threads = {p.id: [_thread(p, stack) for stack in p.stacks] for p in run.processes}
        left = [process for process in run.processes if _is_left(process)]
        # else one that nobody has looked at, or that the kernel does not show, may have an end open
        self.is_whole = all(p.stacks and all(stack.shown for stack in p.stacks) for p in left)

    def stands(self, process: ProcessRecord) -> bool:
        """Whether a process that was looked at did not go on to its end."""
        return _is_left(process) and bool(process.stacks)

    def hangs(self, process: ProcessRecord) -> Iterator[Hang]:
        """The first thread's, then those of the others that run, or may run, the program's code."""
        feeders = _feeders(self.threads[process.id])
        for number, thread in enumerate(self.threads[process.id]):
            if number == 0 or thread.own is not None or thread in feeders or _is_busy(thread):
                yield self.hang(thread)

    def hang(self, thread: _Thread) -> Hang:
        kind, others, other_thread = self._reason(thread)
        stack, process = thread.stack, thread.process
        return Hang(
            thread=stack.thread,
            kind=kind,
            where=thread.where,
            call=thread.call,
            exit_path=process.finished_at is not None or thread.calls(_UTIL, "_exit_function"),
            awaited=stack.awaited[0].kind if stack.awaited else None,
            others=tuple(dict.fromkeys(others)),
            other_thread=other_thread,
        )

    def _reason(self, thread: _Thread) -> tuple[HangKind, Iterable[int], int | None]:
        stack, process = thread.stack, thread.process
        if stack.state in _STOPPED:
            return HangKind.STOPPED, (), None
        kind = stack.awaited[0].kind if stack.awaited else None
        match kind:
            case AwaitedKind.CHILD:
                return HangKind.CHILD, self._children(process, stack.awaited[0].pid), None
            case AwaitedKind.LOCK:
                return self._lock(thread)
            case AwaitedKind.SEMAPHORE:
                return self._semaphore(thread)
            case AwaitedKind.PIPE | AwaitedKind.FILE:
                return self._files(thread)
            case AwaitedKind.TIME:
                return HangKind.SLEEP, (), None
            case AwaitedKind.SIGNAL:
                return HangKind.SIGNAL, (), None
            case None:
                waited_for = self._reported(thread)
                if waited_for is not None:
                    return HangKind.CHILD, (waited_for,), None
                return (HangKind.RUNS if stack.state == "R" else HangKind.UNKNOWN), (), None

    def _children(self, process: ProcessRecord, pid: int | None) -> list[int]:
        """The processes that had not ended, with a pid, or that are its children."""
        running = [p for p in self.run.processes if _is_left(p)]
        if pid is not None:
            return [p.id for p in running if p.pid == pid]
        return [p.id for p in running if p.parent_id == process.id and p.role is not Role.HELPER]

    def _reported(self, thread: _Thread) -> int | None:
        """The child for which its main thread waits, as it has reported itself."""
        waits = thread.process.waiting_for
        is_first = thread.stack.thread == thread.process.pid
        joins = not thread.frames or thread.calls((*_POPEN, _SUBPROCESS))
        return waits[-1].process if waits and is_first and joins else None

    # --- in a process

    def _lock(self, thread: _Thread) -> tuple[HangKind, Iterable[int], int | None]:
        process = thread.process
        workers = self._for_workers(thread)
        if workers is not None:
            return workers
        others = [t for t in self.threads[process.id] if t is not thread]
        feeders = _feeders(others)
        if thread.calls(_QUEUES, "_finalize_join", "join_thread") and feeders:
            return HangKind.THREAD, (), feeders[0].stack.thread
        with_code = [t for t in others if t.own is not None]
        if with_code:
            return HangKind.THREAD, (), with_code[0].stack.thread
        if thread.stack.missing is not None or not thread.frames:
            telling = [t for t in others if _is_busy(t)]
            if telling:
                return HangKind.THREAD, (), telling[0].stack.thread
            return HangKind.UNKNOWN, (), None
        if not others and not thread.calls((_THREADING,), *map(_name, _TO_NOTIFY)):
            parent = process.parent if _is_fork(process) else None
            if parent is not None and len(parent.stacks) > 1:
                return HangKind.FORKED, (), None
        is_librarys = thread.calls((*_POOL, *_FUTURES))
        if others and (is_librarys or not all(_serves(t) for t in others)):
            return HangKind.UNKNOWN, (), None
        return HangKind.NOBODY, [p.id for p in self._ended(process) if p.cause in _CUT_OFF], None

    def _for_workers(self, thread: _Thread) -> tuple[HangKind, Iterable[int], None] | None:
        """The reason if it waits for a Pool or an executor."""
        for files, kind in ((_POOL, "pool_worker"), (_FUTURES, "executor_worker")):
            if not thread.calls(files):
                continue
            workers = self._workers(thread.process, kind)
            busy = [p.id for p in workers if self._works(p)]
            lost = [p.id for p in workers if _lost_task(p)]
            perhaps = [p.id for p in workers if _lost_task(p, None)]
            if lost or (perhaps and not busy):
                return HangKind.TASK_LOST, lost or perhaps, None
            if busy:
                return HangKind.WORKERS, busy, None
        return None

    def _workers(self, process: ProcessRecord, kind: str) -> list[ProcessRecord]:
        return [child for child in process.children if child.kind == kind]

    def _works(self, process: ProcessRecord) -> bool:
        """Whether a worker was in code of the program."""
        return self.stands(process) and any(t.own is not None for t in self.threads[process.id])

    # --- between processes

    def _semaphore(self, thread: _Thread) -> tuple[HangKind, Iterable[int], int | None]:
        process, item = thread.process, thread.stack.awaited[0]
        others = [o.process for o in item.open_in if o.process != process.id]
        free = [other for other in others if not self._waits_only(other, item.name)]
        if free:
            return HangKind.HELD, free, None
        for other in self.threads[process.id]:
            if other.own is not None and not _waits_for(other, item.name):
                return HangKind.THREAD, (), other.stack.thread
        return self._nobody(process)

    def _nobody(self, process: ProcessRecord) -> tuple[HangKind, Iterable[int], None]:
        if not self.is_whole:
            return HangKind.UNKNOWN, (), None
        return HangKind.NOBODY, [p.id for p in self._ended(process)], None

    def _waits_only(self, process: int, name: str) -> bool:
        """Whether all threads of a process that run code of the program wait for the same."""
        threads = [t for t in self.threads[process] if t.own is not None]
        return bool(threads) and all(_waits_for(thread, name) for thread in threads)

    def _files(self, thread: _Thread) -> tuple[HangKind, Iterable[int], int | None]:
        process, awaited = thread.process, thread.stack.awaited
        waited_for = self._reported(thread)
        if waited_for is not None and not thread.calls((_SUBPROCESS,), "communicate"):
            return HangKind.CHILD, (waited_for,), None
        if thread.calls_in(_ASYNCIO):
            return HangKind.LOOP, (), None
        if not any(item.kind is AwaitedKind.PIPE for item in awaited):
            return HangKind.FILE, (), None
        others: list[int] = []
        own_end = False
        for item in awaited:
            if item.kind is not AwaitedKind.PIPE:
                continue
            wanted = "r" if item.way == "w" else "w"
            ends = [o.process for o in item.open_in if any(wanted in way for way in o.ways)]
            others += [other for other in ends if other != process.id]
            own_end = own_end or process.id in ends
        nowhere = HangKind.OUTSIDE if self.is_whole else HangKind.UNKNOWN
        if awaited[0].way == "w":
            return (HangKind.ROOM if others or own_end else nowhere), others, None
        if others:
            ends_only = thread.calls((_SUBPROCESS,), "communicate", "_communicate")
            return (HangKind.END_OF_FILE if ends_only else HangKind.DATA), others, None
        if not own_end:
            return nowhere, (), None
        threads = [t for t in self.threads[process.id] if t is not thread and t.own is not None]
        if threads:
            return HangKind.THREAD, (), threads[0].stack.thread
        return self._nobody(process)

    def _ended(self, process: ProcessRecord) -> list[ProcessRecord]:
        """Its parent, children and siblings that had ended: these may have shared things with it.

        Those that were cut off come first, then in the order of their starts.
        """
        relatives = [
            p
            for p in self.run.processes
            if p.role is not Role.HELPER
            and p.ended_at is not None
            and p.ended_at <= self.at
            and (process.id == p.parent_id or process.parent_id in (p.id, p.parent_id))
        ]
        relatives.sort(key=lambda p: p.cause not in _CUT_OFF)
        return relatives[:_ENDED]


def _thread(process: ProcessRecord, stack: Stack) -> _Thread:
    return _Thread(process, stack, _own_frame(stack.frames))


def _own_frame(frames: Sequence[Frame]) -> int | None:
    """The place of the innermost frame of the program's own code, or of an installed package."""
    own = next((n for n, frame in enumerate(frames) if not _is_library(frame)), None)
    if own is None:
        own = next((n for n, frame in enumerate(frames) if _is_installed(frame)), None)
    return own


def own_line(frames: Sequence[Frame]) -> tuple[Frame, str] | None:
    """The innermost line of the program's own code, and the function that it has called."""
    own = _own_frame(frames)
    return None if own is None else (frames[own], _called(frames[own - 1]) if own else "")


def _is_library(frame: Frame) -> bool:
    return _LIBRARY in frame.file or frame.file.startswith("<frozen ")


def _is_frame_of_start(frame: Frame) -> bool:
    """Whether it is of what runs exit handlers, a thread, or a child of multiprocessing."""
    if frame.file.endswith((_THREADING, *_STARTS)):
        return _last(frame) in _STARTING
    return frame.file.endswith(_UTIL)


def _is_installed(frame: Frame) -> bool:
    return any(folder in frame.file for folder in _INSTALLED)


def _last(frame: Frame) -> str:
    return _name(frame.function)


def _called(frame: Frame) -> str:
    """A function with its class, or else with its module."""
    if "." in frame.function or frame.file.startswith("<"):
        return frame.function
    *_, folder, file = ["", *frame.file.split("/")]
    module = folder if file == "__init__.py" else file.removesuffix(".py")
    return f"{module}.{frame.function}"


def _name(function: str) -> str:
    return function.rpartition(".")[2]


def _waits_for(thread: _Thread, name: str) -> bool:
    return any(item.name == name for item in thread.stack.awaited)


def _feeders(threads: Iterable[_Thread]) -> list[_Thread]:
    """The threads that write what was put into a queue."""
    return [thread for thread in threads if thread.calls(_QUEUES, "_feed")]


def _is_busy(thread: _Thread) -> bool:
    """Whether a thread whose frames are not known waits for more than another thread."""
    awaited = thread.stack.awaited
    return thread.stack.missing is not None and not (
        awaited and awaited[0].kind is AwaitedKind.LOCK
    )


def _serves(thread: _Thread) -> bool:
    """Whether a thread is one of multiprocessing or of an executor, or only waits for threads."""
    if thread.calls((_THREADING,), "_shutdown"):
        return True
    return thread.calls((*_POOL, *_QUEUES, *_FUTURES, *_files("resource_sharer", "managers")))


def _is_left(process: ProcessRecord) -> bool:
    """Whether it had not ended when the run was ended, or the snapshot was made."""
    return process.ending is Ending.RUNNING or process.cause is Cause.CLEANED_UP


def _is_fork(process: ProcessRecord) -> bool:
    return process.start_method == "fork" or process.kind == "os_fork"


def _lost_task(worker: ProcessRecord, known: bool | None = True) -> bool:
    """Whether a worker of a Pool ended in the middle of a task; None: that is not known."""
    if any(isinstance(fact, TaskLost) for fact in worker.evidence):
        return True
    facts = (fact for p in worker.run.processes for fact in p.evidence)
    replaced = [f for f in facts if isinstance(f, Replaces) and f.about == worker.id]
    return any(fact.lost_task is known for fact in replaced)
