"""What the kernel did, as strace wrote it down: the oracle for each fact of a run."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

# `-e trace=process,signal` with what is of no use left out: rt_sigprocmask alone is half of it.
CALLS = (
    *("execve", "execveat", "fork", "vfork", "clone", "clone3", "exit_group", "wait4", "waitid"),
    *("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"),
)
OPTIONS = ("-f", "-ttt", "-s", "200", "--decode-fds=pidfd", "-e", f"trace={','.join(CALLS)}")

SHORT = 0.2  # seconds within which the order of two events need not be known to others

_LINE = re.compile(r"(\d+) +(\d+\.\d+) (.*)")
_UNFINISHED = " <unfinished ...>"
_RESUMED = re.compile(r"<\.\.\. (\w+) resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(.*)", re.DOTALL)
_END = re.compile(r"\+\+\+ (?:exited with (\d+)|killed by (\w+))")
_DELIVERED = re.compile(r"--- (SIG\w+) \{.*?si_code=(\w+)(?:, si_pid=(\d+))?")
_STRINGS = re.compile(r'"((?:[^"\\]|\\.)*)"(?:\.\.\.)?')


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """A signal that a process sent; by, to: process ids. `late`: its target had just ended."""

    line: int
    by: int
    to: int
    name: str
    late: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaping:
    """The wait that took a status. `flags` are those of the call."""

    line: int
    by: int
    flags: str

    @property
    def blocking(self) -> bool:
        return "WNOHANG" not in self.flags


@dataclass(slots=True, kw_only=True)
class Process:
    """A process: numbers of lines stand for times, since strace writes them in order."""

    pid: int
    parent: int | None = None
    began: int = 0
    ended: int | None = None
    # the last stop before its end: its exit_group, or the signal that ended it
    last_stop: int | None = None
    exits: int | None = None  # its first exit_group
    exitcode: int | None = None
    programs: list[tuple[str, ...]] = field(default_factory=list)
    reaped: Reaping | None = None
    delivered: list[tuple[int, str, int | None]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    @property
    def reaped_by(self) -> int | None:
        return None if self.reaped is None else self.reaped.by


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    processes: dict[int, Process]
    signals: tuple[Signal, ...]
    text: tuple[str, ...]

    def time(self, line: int) -> float:
        return float(self.text[line].split()[1])

    def children(self, pid: int) -> list[int]:
        return [p.pid for p in self.processes.values() if p.parent == pid]

    def below(self, pid: int) -> Iterator[int]:
        for child in self.children(pid):
            yield child
            yield from self.below(child)

    def main(self, program: str) -> int:
        """The first process that executed a program with this path among its arguments."""
        found = [
            (process.began, process.pid)
            for process in self.processes.values()
            if any(program in arguments[1:2] for arguments in process.programs)
        ]
        return min(found)[1]

    def lines_of(self, pids: set[int]) -> list[str]:
        wanted = {line for pid in pids for line in self.processes[pid].lines}
        lines = [self.text[line] for line in sorted(wanted)]
        return [line for line in lines if "SIGCHLD" not in line and "ENOENT" not in line]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    thread: int
    began: int
    ended: int
    name: str
    arguments: str
    result: str


def read(path: Path, program: str = "") -> Kernel:
    """Read what strace wrote of the run of a program, whose path main has as its argument."""
    text = tuple(path.read_text(errors="replace").splitlines())
    text = _without_other_lives(text, program)
    threads: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for number, line in enumerate(text):
        match = _LINE.fullmatch(line)
        if match:
            threads[int(match[1])].append((number, match[3]))
    calls = sorted(_calls(threads), key=lambda call: call.ended)
    leaders = _leaders(calls)
    processes: dict[int, Process] = {}
    for thread, events in threads.items():
        pid = leaders.get(thread, thread)
        process = processes.setdefault(pid, Process(pid=pid))
        process.lines += [number for number, _ in events]
        if thread == pid:
            process.began = events[0][0]
        _add_ends(process, events, main_thread=thread == pid)
    _add_calls(calls, processes, leaders)
    kernel = Kernel(processes=processes, signals=(), text=text)
    return replace(kernel, signals=_signals(calls, processes, leaders, kernel.time))


def _without_other_lives(text: tuple[str, ...], program: str) -> tuple[str, ...]:
    """Leave empty the lines of others that had the pid of a process of the run, before or after."""
    lives: dict[int, list[list[tuple[int, str]]]] = defaultdict(list)  # by pid, in their order
    ended: set[int] = set()
    for number, line in enumerate(text):
        match = _LINE.fullmatch(line)
        if not match:
            continue
        pid = int(match[1])
        if not lives[pid] or pid in ended:
            lives[pid].append([])
            ended.discard(pid)
        lives[pid][-1].append((number, match[3]))
        if _END.match(match[3]):
            ended.add(pid)
    if all(len(found) == 1 for found in lives.values()):
        return text
    of_run = _lives_of_run(lives, program)
    dropped = {
        number
        for pid, found in lives.items()
        if any((pid, index) in of_run for index in range(len(found)))
        for index, events in enumerate(found)
        if (pid, index) not in of_run
        for number, _ in events
    }
    return tuple("" if number in dropped else line for number, line in enumerate(text))


def _lives_of_run(
    lives: dict[int, list[list[tuple[int, str]]]], program: str
) -> set[tuple[int, int]]:
    """Main's life, and those of all below it: (pid, which of its lives)."""
    numbered = [(pid, index) for pid, found in lives.items() for index in range(len(found))]
    events = {n: lives[pid][index] for n, (pid, index) in enumerate(numbered)}
    calls = sorted(_calls(events), key=lambda call: call.began)
    found: set[tuple[int, int]] = set()
    for call in calls:
        if not found and call.name == "execve" and call.result == "0":
            arguments = _STRINGS.findall(call.arguments.partition("[")[2])
            if program in arguments[1:2]:
                found.add(numbered[call.thread])
        is_start = call.name in ("fork", "vfork", "clone", "clone3") and call.result.isdigit()
        if is_start and numbered[call.thread] in found:
            child = int(call.result)
            ends = (events[-1][0] for events in lives.get(child, ()))
            index = next((i for i, end in enumerate(ends) if end >= call.began), None)
            if index is not None:
                found.add((child, index))
    return found


def _calls(threads: dict[int, list[tuple[int, str]]]) -> Iterator[_Call]:
    for thread, events in threads.items():
        open_call: tuple[int, str] | None = None
        for number, text in events:
            began, whole = number, text
            if text.endswith(_UNFINISHED):
                open_call = number, text.removesuffix(_UNFINISHED)
                continue
            resumed = _RESUMED.fullmatch(text)
            if resumed and open_call:
                began, whole = open_call[0], open_call[1] + resumed[2]
                open_call = None
            match = _CALL.fullmatch(whole)
            if match:
                yield _Call(
                    thread=thread,
                    began=began,
                    ended=number,
                    name=match[1],
                    arguments=match[2],
                    result=match[3],
                )
        if open_call:  # it ended inside the call
            name, _, arguments = open_call[1].partition("(")
            yield _Call(
                thread=thread,
                began=open_call[0],
                ended=events[-1][0],
                name=name,
                arguments=arguments,
                result="?",
            )


def _leaders(calls: list[_Call]) -> dict[int, int]:
    """The process of each thread that is not its first."""
    found: dict[int, int] = {}
    for call in calls:
        if "CLONE_THREAD" in call.arguments and call.result.isdigit():
            found[int(call.result)] = found.get(call.thread, call.thread)
    return found


def _add_ends(process: Process, events: list[tuple[int, str]], main_thread: bool) -> None:
    for number, text in events:
        if delivered := _DELIVERED.match(text):
            sender = int(delivered[3]) if delivered[3] else None
            process.delivered.append((number, delivered[1], sender))
            if delivered[1] != "SIGCHLD":
                process.last_stop = max(number, process.last_stop or 0)
        elif text.startswith("exit_group("):
            process.exits = min(number, process.exits or number)
            process.last_stop = max(number, process.last_stop or 0)
        elif end := _END.match(text):
            process.ended = max(number, process.ended or 0)
            if main_thread:
                process.exitcode = int(end[1]) if end[1] else -_number(end[2])


def _number(name: str) -> int:
    import signal

    return signal.Signals[name].value


def _add_calls(calls: list[_Call], processes: dict[int, Process], leaders: dict[int, int]) -> None:
    for call in calls:
        by = leaders.get(call.thread, call.thread)
        result = int(call.result) if call.result.lstrip("-").isdigit() else None
        match call.name:
            case "fork" | "vfork" | "clone" | "clone3" if result and result > 0:
                child = processes.get(result)
                if child is not None and result not in leaders:
                    child.parent = by
            case "execve" | "execveat" if result == 0:
                arguments = call.arguments.partition("[")[2].partition("], ")[0]
                processes[by].programs.append(tuple(_STRINGS.findall(arguments)))
            case "wait4" if result and result > 0:
                flags = call.arguments.rpartition("], ")[2]
                _reap(processes, result, Reaping(line=call.ended, by=by, flags=flags))
            case "waitid" if result == 0 and "WNOWAIT" not in call.arguments:
                if found := re.search(r"si_pid=(\d+)", call.arguments):
                    flags = call.arguments.rpartition("}, ")[2]
                    _reap(processes, int(found[1]), Reaping(line=call.ended, by=by, flags=flags))


def _reap(processes: dict[int, Process], pid: int, reaping: Reaping) -> None:
    if pid in processes:
        processes[pid].reaped = reaping


def _signals(
    calls: list[_Call],
    processes: dict[int, Process],
    leaders: dict[int, int],
    time: Callable[[int], float],
) -> tuple[Signal, ...]:
    found = []
    for call in calls:
        target = _target(call)
        name = re.search(r"SIG[A-Z0-9]+", call.arguments)
        if target is None or name is None:
            continue
        by = leaders.get(call.thread, call.thread)
        to = leaders.get(target, target)
        if to not in processes:
            continue
        ended = processes[to].exits or processes[to].ended
        late = ended is not None and ended < call.began and to != by
        apart = time(call.began) - time(ended) if late and ended is not None else 0.0
        reaped = processes[to].reaped
        if reaped is not None and reaped.by == by and reaped.line < call.began:
            continue
        sent = call.result == "0" or (call.result == "?" and to == by)
        if (sent or late) and apart < SHORT:
            found.append(Signal(line=call.began, by=by, to=to, name=name[0], late=late))
    return tuple(sorted(found, key=lambda signal: signal.line))


def _target(call: _Call) -> int | None:
    first = call.arguments.partition(",")[0]
    match call.name:
        case "kill" | "tkill" | "rt_sigqueueinfo" | "tgkill" | "rt_tgsigqueueinfo":
            return int(first) if first.isdigit() else None
        case "pidfd_send_signal":
            found = re.search(r"<pid:(\d+)", first)
            return int(found[1]) if found else None
        case _:
            return None
