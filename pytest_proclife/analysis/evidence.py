"""The facts that are known of a process, each with its time and its source."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from signal import SIGALRM, SIGKILL, SIGPROF, SIGVTALRM, SIGXCPU

from pytest_proclife import records, wire
from pytest_proclife.analysis import cause, joins
from pytest_proclife.analysis.cause import Verdict
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.gaps import Gaps
from pytest_proclife.analysis.history import History
from pytest_proclife.analysis.log import ProcessFacts, Report, Sent
from pytest_proclife.records import KINDS, Evidence, Source, UnknownKind, signal_name

_NAMED, _LOOKED_AT = 20, 500  # programs that may have sent a signal
# ns from a signal to the death by it: what has to die may wait long for a processor
_TO_DIE = 500_000_000
_LATE = 50_000_000  # ns: the kernel's events for two ends may come in either order
_TEXT_LIMIT = 300  # characters of a message or a place: the whole message is in `exception`


class Clock:
    """Monotonic ns as seconds since main's start, and one copy of each text of a run."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self._texts: dict[str, str] = {}  # the same text is in thousands of records

    def seconds(self, at: int) -> float:
        return round((at - self.epoch) / 1e9, 6)

    def text(self, value: str) -> str:
        return self._texts.setdefault(value, value)

    def cut(self, value: str) -> str:
        return self.text(value[:_TEXT_LIMIT])


def collect(
    process: ProcessFacts,
    processes: Sequence[ProcessFacts],
    family: Family,
    gaps: Gaps,
    histories: Sequence[History],
    verdict: Verdict | None,
    waits: Sequence[records.Wait],
    holds: Sequence[joins.Hold],
    clock: Clock,
) -> tuple[Evidence, ...]:
    """The facts about a process in the order of their times, what is missing last."""
    history = histories[process.number]
    found = [
        *_start(process, family, clock),
        *_replacement(process, processes, family, histories, clock),
        *(_signal(sent, verdict, clock) for sent in history.sent),
        *_not_started(process, processes, family, clock),
        *_own(process, family, history, clock),
        *_waits(process, waits, clock),
        *_held_up(holds, waits, family, clock),
        *_end(process, family, history, clock),
    ]
    if verdict is not None and history.died_of is not None and verdict.ended_by is None:
        found += _unsent(process, processes, family, history, clock)
    unknown = None if verdict is None else verdict.unknown
    if unknown is not None and unknown.kind is UnknownKind.UNOBSERVED_SENDER:
        found += _silent(process, family, gaps, history, unknown.signal or "", clock)
    found.sort(key=lambda fact: fact.at or 0.0)
    if verdict is not None and verdict.unknown is not None:
        found.append(records.FactMissing(at=None, source=Source.PROCLIFE, reason=verdict.unknown))
    return tuple(found)


def end_time(process: ProcessFacts) -> int | None:
    """When a process ended, as closely as is known: the kernel's event for it comes late."""
    if process.end is None:
        return None
    end = process.end
    if process.collected:
        end = min(end, process.collected[0][1].at)  # it had ended when its status was collected
    last = [r.at for r in process.reports[-1:] if r.at <= process.end]
    return max([end, process.began, *last])


def open_waits(
    process: ProcessFacts, processes: Sequence[ProcessFacts], family: Family, clock: Clock
) -> tuple[records.Wait, ...]:
    """The joins that began to block and whose end was not reported, each child's last one."""
    reports = [r for r in process.reports if process.is_before_clean_up(r)]
    over = {r.field(0) for r in reports if r.kind == wire.COLLECTED}
    waits = (r for r in reports if r.kind == wire.WAITING and r.field(0) not in over)
    unfinished = {r.field(0): r for r in waits if not _is_over(r, process)}
    if not unfinished:
        return ()
    children = {str(processes[n].pid): n for n in family.children[process.number]}
    if any(r.kind == wire.SIGCHLD_IGNORED for r in process.reports):
        # such a wait ends with the child, and collects nothing
        ended = (pid for pid, n in children.items() if joins.ended_before(processes[n], process))
        for pid in ended:
            unfinished.pop(pid, None)
    return tuple(
        records.Wait(
            at=clock.seconds(report.at),
            pid=report.number(0) or 0,
            process=family.id(children.get(pid)),
            where=clock.cut(report.field(1)),
        )
        for pid, report in sorted(unfinished.items(), key=lambda item: item[1].at)
    )


def _is_over(wait: Report, process: ProcessFacts) -> bool:
    """Whether a wait has ended without a status: by its timeout, or by an exception."""
    limit = joins.timeout_ends(wait)
    if limit is not None and process.was_running_at(limit):
        return True
    last = process.last(wire.FINISHED), process.last(wire.EXITING)
    finish, left = (r if r and process.is_before_clean_up(r) else None for r in last)
    in_main = wait.field(2) == "main" and not wait.field(3)
    if in_main and finish is not None and finish.at > wait.at:
        return True  # what finished is the code that waited
    return left is not None and left.at > wait.at and left.field(0) != "os_exit"


def _start(process: ProcessFacts, family: Family, clock: Clock) -> Iterator[Evidence]:
    for by, report in process.announcements[:1]:
        yield records.Started(
            at=clock.seconds(report.at),
            source=Source.PROCESS,
            about=family.id(by),
            where=clock.cut(report.field(6)),
        )


def _signal(sent: Sent, verdict: Verdict | None, clock: Clock) -> Evidence:
    return records.SignalSent(
        at=clock.seconds(sent.at),
        source=_source(sent),
        about=None if isinstance(sent.by, str) else sent.by,
        signal=signal_name(sent.signal),
        via=clock.text(sent.via),
        disposition=sent.disposition,
        alive=sent.alive,
        certain=sent.certain,
        decisive=verdict is not None and sent is verdict.request,
    )


def _source(sent: Sent) -> Source:
    if isinstance(sent.by, str):
        return Source.TEST
    return Source.PROCESS if sent.reported else Source.KERNEL


def _not_started(
    process: ProcessFacts, processes: Sequence[ProcessFacts], family: Family, clock: Clock
) -> Iterator[Evidence]:
    # a start() that raised, in a signal's handler say, after the child had begun
    begun = {
        family.identities[number].name: family.id(number)
        for number in family.children[process.number]
        if not processes[number].announcements
    }
    for report in process.reports:
        if report.kind == wire.NOT_STARTED:
            yield records.NotStarted(
                at=clock.seconds(report.at),
                source=Source.ITSELF,
                about=begun.get(report.field(2)),
                child_kind=report.field(1) if report.field(1) in KINDS else "other",
                name=clock.cut(report.field(2)),
                error=clock.cut(report.field(3)),
                where=clock.cut(report.field(4)),
            )


def _replacement(
    process: ProcessFacts,
    processes: Sequence[ProcessFacts],
    family: Family,
    histories: Sequence[History],
    clock: Clock,
) -> Iterator[Evidence]:
    """The worker of a Pool in whose place it was started."""
    if process.replaces is None:
        return
    task = processes[process.replaces].last_of_program(wire.TASK)
    yield records.Replaces(
        at=clock.seconds(process.began),
        source=Source.PROCLIFE,
        about=family.id(process.replaces),
        lost_task=histories[process.replaces].lost_task,
        function="" if task is None else clock.cut(task.field(0)),
    )


def _is_copy(process: ProcessFacts, family: Family) -> bool:
    """Whether it is a fork by `os.fork` that still runs its parent's program."""
    hello = process.first(wire.HELLO)
    by_fork = hello is not None and hello.field(2) == "fork"
    is_fork = family.identities[process.number].kind == "os_fork"
    return is_fork and by_fork and len(process.programs) == 1 and process.replaced_at is None


def _own(
    process: ProcessFacts, family: Family, history: History, clock: Clock
) -> Iterator[Evidence]:
    for caught in process.all_of_program(wire.CAUGHT):
        at, signal = clock.seconds(caught.at), signal_name(caught.number(0) or 0)
        if caught.field(1) in wire.TAKEN_BY:
            via = caught.field(1)
            yield records.SignalTaken(at=at, source=Source.ITSELF, signal=signal, via=via)
        else:
            yield records.HandlerRan(at=at, source=Source.ITSELF, signal=signal)
    for taken in process.reports:
        if taken.kind == wire.FOREIGN:
            yield records.Foreign(
                at=clock.seconds(taken.at),
                source=Source.ITSELF,
                by=clock.cut(taken.field(0)),
                function=clock.cut(taken.field(1)),
            )
    report, finish = process.last_of_program(wire.FINISHED), history.finish
    if report is not None and finish is not None:
        yield records.Finished(
            at=clock.seconds(report.at),
            source=Source.ITSELF,
            how=finish.how,
            exception=clock.cut(report.field(1)),
            message=clock.cut(report.field(2)),
        )
    task = process.last_of_program(wire.TASK)
    if task is not None and family.identities[process.number].kind == "pool_worker":
        name = clock.cut(task.field(0))
        yield records.TaskLost(at=clock.seconds(task.at), source=Source.ITSELF, function=name)
    if _is_copy(process, family) and (report is not None or history.last_report == "exit"):
        left = report or process.last_of_program(wire.EXITING) or process.reports[-1]
        copied = family.id(family.identities[process.number].forked_from)
        yield records.RanOn(at=clock.seconds(left.at), source=Source.ITSELF, about=copied)
    last = process.last_of_program(wire.EXITING)
    if last is not None and history.last_report == "os_exit":
        status = last.field(1)[:20]
        yield records.OsExitCalled(at=clock.seconds(last.at), source=Source.ITSELF, status=status)


def _unsent(
    process: ProcessFacts,
    processes: Sequence[ProcessFacts],
    family: Family,
    history: History,
    clock: Clock,
) -> Iterator[Evidence]:
    """Where the signal that it died of may have come from, if no sender is known."""
    if any(sent.signal == history.signal and sent.certain for sent in history.sent):
        return
    name = signal_name(history.signal or 0)
    if history.witnessed:
        yield records.NotSent(at=None, source=Source.KERNEL, signal=name)
    asked = {
        call: at
        for at, call, argument in process.asked
        if _signal_asked_for(call, argument) == history.signal
    }
    for call, at in asked.items():
        yield records.AskedKernel(
            at=clock.seconds(at), source=Source.KERNEL, signal=name, call=call
        )
    if cause.by_own_timer(history):
        due = int(history.alarm_due)
        yield records.AlarmDue(at=clock.seconds(due), source=Source.ITSELF)
    at, soft, hard = _cpu_limit(process, processes, family)
    if (history.signal == SIGXCPU and soft is not None) or (
        history.signal == SIGKILL and hard is not None
    ):
        yield records.CpuLimit(at=clock.seconds(at), source=Source.KERNEL, soft=soft, hard=hard)
    number = family.identities[process.number].parent
    end = None if number is None or not process.reaped_by_us else processes[number].end
    if end is not None and -_LATE <= history.ended - end <= _TO_DIE:
        yield records.ParentEnded(
            at=clock.seconds(end), source=Source.KERNEL, about=family.id(number)
        )


def _signal_asked_for(call: str, argument: int) -> int | None:
    """The signal that a call asks the kernel for: prctl(2), alarm(2), setitimer(2)."""
    if call == "prctl":
        return argument
    if call == "alarm":
        return SIGALRM if argument else None
    return {0: SIGALRM, 1: SIGVTALRM, 2: SIGPROF}.get(argument)


def _cpu_limit(
    process: ProcessFacts, processes: Sequence[ProcessFacts], family: Family
) -> tuple[int, int | None, int | None]:
    """When its RLIMIT_CPU was set, the soft and the hard one; inherited, too: getrlimit(2)."""
    number, until = process.number, math.inf
    visited: set[int] = set()
    while number not in visited:
        visited.add(number)
        above = processes[number]
        limits = [limit for limit in above.cpu_limits if limit[0] <= until]
        if limits:
            at, soft, hard = max(limits, key=lambda limit: limit[0])
            return at, _seconds(soft), _seconds(hard)
        identity = family.identities[number]
        parent = identity.parent if identity.forked_from is None else identity.forked_from
        number, until = number if parent is None else parent, above.began
    return 0, None, None


def _seconds(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _silent(
    process: ProcessFacts,
    family: Family,
    gaps: Gaps,
    history: History,
    signal: str,
    clock: Clock,
) -> Iterator[Evidence]:
    """The programs that do not report, and ran as the signal came; if none, the last before."""
    came = history.ended
    if history.died_of is None and history.finish is not None:
        came = history.finish.rose_at or history.finish.at
    until = bisect_right(gaps.silent, came, key=lambda silent: silent[0])
    lived = [
        (end, start, number)
        for start, end, number in gaps.silent[max(0, until - _LOOKED_AT) : until]
        if number != process.number and end >= history.began
    ]
    lived.sort(reverse=True)
    near = [found for found in lived if found[0] >= came - _TO_DIE] or lived[:1]
    for _, start, number in near[:_NAMED]:
        identity = family.identities[number]
        yield records.MayHaveSent(
            at=clock.seconds(int(max(start, clock.epoch))),
            source=Source.PROCLIFE,
            about=identity.id,
            signal=signal,
            argv=identity.argv or (),
        )


def _waits(
    process: ProcessFacts, waits: Sequence[records.Wait], clock: Clock
) -> Iterator[Evidence]:
    """An exit path whose end was not reported, and joins that blocked for which that holds too."""
    begun = process.last_of_program(wire.EXIT_PATH)
    ended = process.last_of_program(wire.EXIT_PATH_DONE) or process.last_of_program(wire.EXITING)
    if ended is not None and not process.is_before_clean_up(ended):
        ended = None
    if begun is not None and ended is None and process.is_before_clean_up(begun):
        yield records.ExitPathUnfinished(at=clock.seconds(begun.at), source=Source.ITSELF)
    for wait in waits:
        yield records.Waiting(
            at=wait.at, source=Source.ITSELF, about=wait.process, pid=wait.pid, where=wait.where
        )


def _held_up(
    holds: Sequence[joins.Hold], waits: Sequence[records.Wait], family: Family, clock: Clock
) -> Iterator[Evidence]:
    """The children that kept it in its exit path, but for a wait that `waits` has too."""
    waited_for = {wait.process for wait in waits}
    for hold in holds:
        child, until = family.id(hold.child), hold.until
        if until is None and child in waited_for:
            continue
        yield records.HeldUp(
            at=clock.seconds(hold.since),
            source=Source.ITSELF,
            about=child,
            until=None if until is None else clock.seconds(until),
            by=hold.by,
            where=clock.cut(hold.where),
        )


def _end(
    process: ProcessFacts, family: Family, history: History, clock: Clock
) -> Iterator[Evidence]:
    if process.clean_up is not None:
        at, later = clock.seconds(process.clean_up), process.found_later
        yield records.CleanUp(at=at, source=Source.PROCLIFE, found_later=later)
    end = end_time(process)
    if end is not None:
        yield records.Ended(at=clock.seconds(end), source=Source.KERNEL, exitcode=history.exitcode)
    kind = family.identities[process.number].kind
    for index, (by, report) in enumerate(_collections(process, kind)):
        then, about, where = clock.seconds(report.at), family.id(by), clock.cut(report.field(3))
        if index:
            yield records.JoinedThen(at=then, source=Source.PROCESS, about=about, where=where)
            continue
        yield records.Collected(
            at=then,
            source=Source.PROCESS,
            about=about,
            where=where,
            via=clock.text(report.field(4)[:100]),
            waited=joins.waited(report, kind),
        )
    if not process.collected and process.reaped is not None and process.number:
        yield records.Reaped(
            at=clock.seconds(process.reaped), source=Source.KERNEL, orphan=process.reaped_by_us
        )


def _collections(process: ProcessFacts, kind: str) -> list[tuple[int, Report]]:
    """The call that collected its status, and the join that came later, if that was another."""
    first = list(process.collected[:1])
    if not first or joins.waited(first[0][1], kind):
        return first
    later = [c for c in process.collected[1:] if joins.waited(c[1], kind)]
    return [*first, *later[:1]]
