"""Why a run did not go on: where main was, what it waited for, and who could end that wait."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from os.path import basename

from pytest_proclife import records
from pytest_proclife.records import (
    AwaitedKind,
    Cause,
    Ending,
    Frame,
    Hang,
    HangKind,
    NoStackKind,
    ProcessRecord,
    Role,
    Run,
    Stack,
)
from pytest_proclife.render import screen
from pytest_proclife.render.process import cleaned_up_at, describe, waiting_for
from pytest_proclife.render.text import plain, seconds, width, wrapped

_FAILED = (Cause.RAISED, Cause.KILLED, Cause.SIGNALED)  # told of though nothing leads to them
_NAMED = 4  # processes named in a clause
_CLAUSES = 5  # of the sentence
_PROCESSES, _FRAMES, _LINES = 12, 12, 150  # shown of the stacks
_LEAST = 12  # columns of a path


def why(run: Run) -> str:
    """What main was doing when it was looked at, and who could end its wait, in one sentence."""
    hang = run.main.hangs[0] if run.main.hangs else None
    if hang is None or (hang.kind is HangKind.UNKNOWN and not hang.call and hang.where is None):
        return waiting_for(run)
    story = _Story(run)
    text = "; ".join(story.clauses())
    others = [p for p in run.processes if p.id not in story.told and p.role is not Role.HELPER]
    left = [p for p in others if _was_running(p)]
    if left:
        text += f"; still running {'was' if len(left) == 1 else 'were'} {_names(left)}"
    failed = [p for p in others if p.cause in _FAILED]
    return f"{text}; before that {_ends(failed)}" if failed else text


class _Story:
    """The chain of waits from main's on; each process is told of once."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.told: set[int] = set()  # ids of processes that were named

    def clauses(self) -> Iterator[str]:
        waiting: list[tuple[ProcessRecord, int | None]] = [(self.run.main, None)]
        seen: set[tuple[int, int]] = set()
        count = 0
        while waiting and count < _CLAUSES:
            process, thread = waiting.pop(0)
            self.told.add(process.id)
            hang = _hang_of(process, thread)
            if hang is None or (process.id, hang.thread) in seen:
                continue
            seen.add((process.id, hang.thread))
            yield self._clause(process, hang)
            count += 1
            self.told.update(hang.others)
            if hang.other_thread is not None:
                waiting.insert(0, (process, hang.other_thread))
            others = (self.run.processes[other] for other in hang.others[:_NAMED])
            waiting += [(other, None) for other in others]

    def _clause(self, process: ProcessRecord, hang: Hang) -> str:
        limit = " (with a timeout)" if _is_timed(process, hang) else ""
        place = f"{_subject(process, hang)} {_position(process, hang)}{limit}"
        return f"{place}{_reason(process, hang)}"


def _is_timed(process: ProcessRecord, hang: Hang) -> bool:
    stack = next(stack for stack in process.stacks if stack.thread == hang.thread)
    return any(item.timed for item in stack.awaited)


def _reason(process: ProcessRecord, hang: Hang) -> str:
    """What it waits for, and who could end that, behind where it was."""
    others = [process.run.processes[other] for other in hang.others]
    words = _REASONS[hang.kind]
    return words if isinstance(words, str) else words(process, hang, others)


def _thread(process: ProcessRecord, hang: Hang, others: list[ProcessRecord]) -> str:
    if hang.awaited is AwaitedKind.SEMAPHORE:
        return ", waiting for a lock or semaphore"
    if hang.awaited is not AwaitedKind.LOCK:
        return ", waiting for data"
    if not _joins(hang):
        return ", waiting for another thread"
    return f", waiting for its thread {_thread_name(process, hang.other_thread)}"


def _end_of_file(process: ProcessRecord, hang: Hang, others: list[ProcessRecord]) -> str:
    return f", waiting for the end of data from {_whose(others)}, {_open_in(others)}"


def _open_in(others: list[ProcessRecord]) -> str:
    return f"which {'has' if len(others) == 1 else 'have'} the other end open"


def _room(process: ProcessRecord, hang: Hang, others: list[ProcessRecord]) -> str:
    readers = [other for other in others if other is not process]
    who = f"{_names(readers)} could read" if readers else "no other process of the run has open"
    return f", writing to a pipe that is full, which {who}"


def _task_lost(process: ProcessRecord, hang: Hang, others: list[ProcessRecord]) -> str:
    ids = {other.id for other in others}
    facts = [fact for p in process.run.processes for fact in p.evidence]
    unsure = [f for f in facts if isinstance(f, records.Replaces) and f.about in ids]
    may_be = any(fact.lost_task is None for fact in unsure)
    return f", waiting for a task that {'may be' if may_be else 'is'} lost: {_ends(others)}"


def _file(process: ProcessRecord, hang: Hang) -> str:
    stack = next(stack for stack in process.stacks if stack.thread == hang.thread)
    return plain(_item_words(stack.awaited[0]))


def _stopped(process: ProcessRecord, hang: Hang, others: list[ProcessRecord]) -> str:
    return f", and is stopped{_stopped_by(process)}"


def _hang_of(process: ProcessRecord, thread: int | None) -> Hang | None:
    hangs = process.hangs
    if thread is None:
        return hangs[0] if hangs else None
    return next((hang for hang in hangs if hang.thread == thread), None)


def _subject(process: ProcessRecord, hang: Hang) -> str:
    owner = "main" if process.role is Role.MAIN else plain(process.name)
    if hang is process.hangs[0]:
        return owner  # the pid is in the clause before
    return f"thread {_thread_name(process, hang.thread)} of {owner}"


def _position(process: ProcessRecord, hang: Hang) -> str:
    place = _place(process, hang)
    if not hang.exit_path or hang.thread != process.pid:
        return f"was {place or 'there'}"
    words = f"was in its exit path{f', {place}' if place else ''}"
    done = process.finished_at
    return words if done is None else f"had finished its code at {seconds(done)} and {words}"


def _place(process: ProcessRecord, hang: Hang) -> str:
    call = call_words(hang.call)
    words = [f"in {call}"] if call else []
    if hang.where is not None:
        words.append(f"at {plain(basename(hang.where.file))}:{hang.where.line}")
    stack = next((s for s in process.stacks if s.thread == hang.thread), None)
    # of a process in its exit path whose lines are known that says more
    says_more = stack is not None and hang.exit_path and bool(stack.frames)
    if not words and stack is not None and stack.call and not says_more:
        words = [f"in the system call {plain(stack.call)}"]
        if process.waiting_for and hang.thread == process.pid:
            words.append(f"at {plain(process.waiting_for[-1].where)}")
    return " ".join(words)


def call_words(function: str) -> str:
    """A function of a library by the name that its callers know."""
    function = function.replace(".<locals>", "")
    return plain(_KNOWN.get(function, function))


_KNOWN = {
    "BaseProcess.join": "Process.join",
    "SemLock.__enter__": "Lock.__enter__",
    "_ConnectionBase.recv": "Connection.recv",
    "_ConnectionBase.recv_bytes": "Connection.recv_bytes",
    "_ConnectionBase.send": "Connection.send",
    "_ConnectionBase.send_bytes": "Connection.send_bytes",
    "runners.run": "asyncio.run",
    "threading._shutdown": "",  # the exit path itself
}


def _joins(hang: Hang) -> bool:
    return hang.call.rpartition(".")[2] in ("join", "_shutdown", "_finalize_join", "shutdown")


def _thread_name(process: ProcessRecord, thread: int | None) -> str:
    found = next((stack for stack in process.stacks if stack.thread == thread), None)
    return repr(plain(found.name)) if found is not None and found.name else str(thread)


def _for_child(process: ProcessRecord, hang: Hang, others: list[ProcessRecord]) -> str:
    if hang.awaited is AwaitedKind.CHILD and not _names_one(process, hang):
        if not others:
            return ", waiting for any child"
        verb = "is" if len(others) == 1 else "are"
        text = f", waiting for any child, of which only {_names(others)} {verb} left"
        collected = [p for p in process.children if p.joined is not None and p.ended_at is not None]
        if collected:
            text += f" (already collected: {_ends(collected)})"
        return text
    if not others:
        return ", waiting for a child"
    text = f", waiting for {_names(others)}"
    waits = [w for w in process.waiting_for if [w.process] == list(hang.others)]
    if waits and hang.thread == process.pid:
        text += f" since {seconds(waits[-1].at)}"
    return text + _survived(others[0]) if len(others) == 1 else text


def _names_one(process: ProcessRecord, hang: Hang) -> bool:
    stack = next(stack for stack in process.stacks if stack.thread == hang.thread)
    return any(item.pid is not None for item in stack.awaited)


def _survived(process: ProcessRecord) -> str:
    """What it did with the request to end that it got, if it did not end of that."""
    words = {
        records.Disposition.IGNORED: "ignored",
        records.Disposition.BLOCKED: "had blocked",
        records.Disposition.CAUGHT: "caught",
    }
    for fact in reversed(process.evidence):
        if isinstance(fact, records.SignalSent) and fact.disposition in words:
            at = seconds(fact.at or 0.0)
            return f", which got {fact.signal} at {at} and {words[fact.disposition]} it"
    return ""


def _stopped_by(process: ProcessRecord) -> str:
    """The signal that stopped it, if that was seen."""
    for request in reversed(process.requests):
        if request.signal in ("SIGSTOP", "SIGTSTP", "SIGTTIN", "SIGTTOU"):
            by = request.by
            if by == process.id:
                return f" by its own {request.signal}"
            name = plain(process.run.processes[by].name) if isinstance(by, int) else f"the {by}"
            return f" by {request.signal} of {name}"
    return ""


def _nobody(hang: Hang, others: list[ProcessRecord]) -> str:
    match hang.awaited:
        case AwaitedKind.SEMAPHORE:
            words = ", waiting for a lock or semaphore that no other process of the run can release"
        case AwaitedKind.LOCK:
            words = (
                ", waiting for another thread, and no other thread is running that could end that "
                "wait"
            )
        case _:
            words = ", waiting for data, and no other process of the run has the other end open"
    return f"{words}: {_ends(others)}" if others else words


def _names(processes: Iterable[ProcessRecord]) -> str:
    named = list(processes)
    words = ["main" if p.role is Role.MAIN else plain(str(p)) for p in named[:_NAMED]]
    more = [f"{len(named) - _NAMED} more"] if len(named) > _NAMED else []
    return _and([*words, *more])


def _and(words: list[str]) -> str:
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _ends(processes: list[ProcessRecord]) -> str:
    """How each has ended."""
    words = [
        f"{plain(str(p))} ended at {seconds(p.ended_at or 0.0)} ({describe(p)})"
        for p in processes[:_NAMED]
    ]
    more = [f"{len(processes) - _NAMED} more"] if len(processes) > _NAMED else []
    return _and([*words, *more])


def _whose(processes: list[ProcessRecord]) -> str:
    """Their names, and which are orphans."""
    words = []
    for process in processes[:_NAMED]:
        parent = process.parent
        alone = parent is None and process.role is not Role.MAIN
        if parent is not None and not _was_running(parent):
            alone = True
        words.append(_names([process]) + (" (an orphan)" if alone else ""))
    return _and(words)


def _was_running(process: ProcessRecord) -> bool:
    return process.ending is Ending.RUNNING or cleaned_up_at(process) is not None


Words = Callable[[ProcessRecord, Hang, list[ProcessRecord]], str]

# A test holds that there is one for each kind.
_REASONS: dict[HangKind, str | Words] = {
    HangKind.CHILD: _for_child,
    HangKind.THREAD: _thread,
    HangKind.WORKERS: lambda process, hang, others: f", waiting for {_names(others)}",
    HangKind.TASK_LOST: _task_lost,
    HangKind.DATA: lambda process, hang, others: (
        f", waiting for data from {_names(others)}, {_open_in(others)}"
    ),
    HangKind.END_OF_FILE: _end_of_file,
    HangKind.ROOM: _room,
    HangKind.HELD: lambda process, hang, others: (
        f", waiting for a lock or semaphore, which {_names(others)} could release"
    ),
    HangKind.NOBODY: lambda process, hang, others: _nobody(hang, others),
    HangKind.FORKED: (
        ", waiting for a lock, with no other thread that could release it: it was forked from a"
        " process with several threads, and a lock that another of these held stays locked in it"
    ),
    HangKind.OUTSIDE: ", waiting for a pipe whose other end no process of the run has open",
    HangKind.FILE: lambda process, hang, others: f", waiting for {_file(process, hang)}",
    HangKind.LOOP: ", waiting in its event loop",
    HangKind.SLEEP: ", sleeping",
    HangKind.SIGNAL: ", waiting for a signal",
    HangKind.RUNS: ", running",
    HangKind.STOPPED: _stopped,
    HangKind.UNKNOWN: "",
}


# --- the stacks themselves


def block(run: Run, columns: int | None = None) -> str:
    """`stacks` as a part of a longer text: that of an exception, if no columns are given."""
    # an exception of a wait has a larger margin, since it is raised below a `with`
    text = stacks(run, columns or screen.plain_screen().columns - 4)
    at = max((stack.at for p in run.processes for stack in p.stacks), default=0.0)
    return f"\n\nwhere each process stood at {seconds(at)}:\n{text}" if text else ""


def stacks(run: Run, columns: int) -> str:
    """Where each process stood: a few lines for each of its threads. Empty if nobody has looked."""
    shown = [process for process in run.processes if process.hangs]
    blocks = [line for process in shown[:_PROCESSES] for line in process_stacks(process, columns)]
    if len(blocks) > _LINES:
        blocks = [*blocks[:_LINES], f"... and {len(blocks) - _LINES} more lines"]
    if len(shown) > _PROCESSES:
        blocks.append(f"... and {len(shown) - _PROCESSES} more processes")
    hints = sorted({text for p in shown for stack in p.stacks if (text := _way_out(stack))})
    return "\n".join([*blocks, *(line for hint in hints for line in wrapped(hint, columns))])


def process_stacks(process: ProcessRecord, columns: int) -> Iterator[str]:
    """Where a process stood: its threads, each with its innermost lines."""
    for stack in process.stacks:
        name = f", thread {plain(stack.name)}" if len(process.stacks) > 1 else ""
        words = f"{plain(str(process))}{name}: {stack_words(stack)}"
        first, *others = wrapped(words, columns - 2)
        yield first
        yield from (f"  {line}" for line in others)
        for frame in stack.frames[:_FRAMES]:
            yield f"    {frame_words(frame, columns - 4)}"
        if len(stack.frames) > _FRAMES:
            yield f"    ... and {len(stack.frames) - _FRAMES} more"


def frame_words(frame: Frame, columns: int) -> str:
    """A function and its line; of a library, or a path that is too long, the end of the path."""
    function, file = plain(frame.function), plain(frame.file)
    file = re.sub(r".*/(?:lib/python3\.\d+t?|site-packages|dist-packages)/(?=.)", "", file)
    room = columns - width(f"{function} (:{frame.line})")
    if width(file) > room:
        kept = file[-max(room - 3, 0) :] if room > 3 else basename(file)
        while width(kept) > max(room - 3, _LEAST):
            kept = kept[1:]
        file = f"...{kept}"
    return f"{function} ({file}:{frame.line})"


def stack_words(stack: Stack) -> str:
    """The state of a thread as the kernel shows it: its system call, and what that waits for."""
    state = _STATES.get(stack.state, f"state {stack.state}")
    words = f"{state} in {plain(stack.call)}" if stack.call else state
    items = [_item_words(item) for item in stack.awaited[:_NAMED]]
    words += f" ({', '.join(item for item in items if item)})" if any(items) else ""
    if not stack.shown:
        words += "; the kernel does not show what it waits for"
    if stack.missing not in (None, NoStackKind.NOT_PYTHON, NoStackKind.NO_READER):
        # NO_READER is the same for all of them: the last line says it
        words += f"; no lines of Python: {missing_words(stack)}"
    return words


def _item_words(item: records.Awaited) -> str:
    if item.descriptor is not None:
        return plain(f"descriptor {item.descriptor}, {item.name}")
    if item.kind is AwaitedKind.CHILD:
        return "any child" if item.pid is None else f"child {item.pid}"
    return ""


_STATES = {"R": "running", "S": "waiting", "D": "waiting", "T": "stopped", "t": "stopped"}


def missing_words(stack: Stack) -> str:
    """Why there are no frames."""
    match stack.missing:
        case NoStackKind.NO_READER:
            return "py-spy is not installed"
        case NoStackKind.PTRACE_SCOPE:
            return "the kernel lets only an ancestor look (kernel.yama.ptrace_scope)"
        case NoStackKind.OTHER_USER:
            return "it is another user's"
        case NoStackKind.REFUSED:
            return "the kernel does not let this user look into it"
        case NoStackKind.FAILED:
            return f"they could not be read{': ' + plain(stack.details) if stack.details else ''}"
        case NoStackKind.TOO_MANY:
            return "there are too many processes"
        case NoStackKind.NOT_PYTHON | None:
            return ""


def _way_out(stack: Stack) -> str:
    match stack.missing:
        case NoStackKind.NO_READER:
            return "no lines of Python, since py-spy is not installed: pip install py-spy"
        case NoStackKind.PTRACE_SCOPE:
            return (
                "for the lines of Python: sysctl kernel.yama.ptrace_scope=0, or run as a user with"
                " CAP_SYS_PTRACE"
            )
        case NoStackKind.REFUSED:
            return "for the lines of Python: a container needs --cap-add=SYS_PTRACE"
        case _:
            return ""
