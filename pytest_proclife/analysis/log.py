"""Log entries and reports -> what is known of each process.

Reports are not trusted: a report that makes no sense counts as missing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pytest_proclife import wire
from pytest_proclife.records import MULTIPROCESSING_KINDS, Disposition, Holder
from pytest_proclife.supervisor import protocol
from pytest_proclife.supervisor.protocol import Entry

_SIGNALS = range(1, 65)
_SERVER_IS_GONE = 255
_NUMBERS = range(1 << 31)
# of reports whose fields may hold anything
_FEWEST_FIELDS = {
    **dict.fromkeys((wire.EXIT_PATH, wire.EXIT_PATH_DONE, wire.WAITING, wire.EXEC, wire.UNSEEN), 0),
    wire.STARTED: 5,
    wire.RUN: 5,
    wire.NOT_STARTED: 5,
    wire.REPLACES: 2,
    wire.TASK: 1,
    wire.CPU_LIMIT: 2,
    wire.EARLY: 2,
    wire.FOREIGN: 2,
}
_HOW_EXITED = ("exit", "os_exit", "launcher")
_HOW_FINISHED = ("returned", "raised", "sys_exit")
_HOW_JOINED = ("", "explicit", "implicit", "library", "system")


class Report(NamedTuple):
    """One report, written `at` monotonic ns. `about` is the number of the process it is about."""

    kind: str
    seq: int
    at: int
    fields: tuple[str, ...]
    about: int | None

    def field(self, index: int) -> str:
        return self.fields[index] if index < len(self.fields) else ""

    def number(self, index: int) -> int | None:
        text = self.field(index)
        return int(text) if text.lstrip("-").isdecimal() and len(text) < 12 else None

    def flag(self, index: int) -> bool | None:
        return {"1": True, "0": False}.get(self.field(index))

    @property
    def is_sound(self) -> bool:
        """Whether it can be what it claims to be: processes may write anything."""
        if self.seq not in _NUMBERS:
            return False
        if self.kind in _FEWEST_FIELDS:
            return len(self.fields) >= _FEWEST_FIELDS[self.kind]
        match self.kind:
            case wire.HELLO:
                return len(self.fields) > 3 and self.field(2) in ("fork", "new")
            case wire.FINISHED:
                return len(self.fields) > 5 and self.field(0) in _HOW_FINISHED
            case wire.EXITING:
                return self.field(0) in _HOW_EXITED
            case wire.KILL | wire.KILL_GROUP:
                return len(self.fields) > 2 and self.number(1) in _SIGNALS
            case wire.CAUGHT:
                return self.number(0) in _SIGNALS
            case wire.ALARM:
                return self.field(0).isdecimal() or self.fields == ("",)
            case wire.SIGCHLD_IGNORED:
                return self.flag(0) is not None
            case wire.COLLECTED:
                return len(self.fields) > 2 and self.field(2) in _HOW_JOINED
            case wire.HELD:
                return len(self.fields) > 2 and self.field(0) in tuple(Holder)
            case _:
                return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A signal that was sent to a process. Times are monotonic ns.

    `by` is the sender: a process's number or id, or "test". `disposition` is what the signal met,
    None if it could not be read: by the supervisor at `disposition_at`, or by the sender just
    before. `alive` is what the sender saw then, None if it did not look. If it is not `certain`,
    the signal may have gone to another process.
    """

    at: int
    by: int | str
    signal: int
    via: str
    disposition: Disposition | None = None
    disposition_at: int | None = None
    alive: bool | None = None
    to_child: bool = False  # the sender knows it for a child of its own
    certain: bool = True
    handler: int | None = None  # the signal whose handler sent it, if to its own process
    # to its own process, which had set a handler of the signal before; False if runs are seen
    had_handler: bool = False
    witnessed: bool = False  # the kernel showed it, before it was sent
    reported: bool = True  # by its sender, so that `via` is what the program called
    call_lost: bool = False  # it should have been reported: nobody knows what was called

    @property
    def from_exit_path(self) -> bool:
        return self.via == "exit path"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Where a process stood: the fields of protocol.THREADS, OPEN and STACK as they are there."""

    at: int  # monotonic ns
    state: str
    python: bool
    threads: tuple[tuple[Any, ...], ...]
    opened: tuple[tuple[str, int, str], ...] = ()
    # source, why not, details, threads; None if nobody tried to read it
    stack: tuple[str, str, str, tuple[tuple[Any, ...], ...]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessFacts:
    """What the log says of one process. Times are monotonic ns; numbers are those of the log."""

    number: int
    pid: int
    known_at: int
    known_by: str  # see protocol.NEW
    began: int  # the earliest time at which it is known to have existed
    entered: bool  # the recorder was put into it, as main's start says
    argv: tuple[str, ...]  # as the kernel has it, if it did not report it
    found_below: int | None  # its parent, as the kernel has it
    adopted: bool  # it was found running below the supervisor, which inherits orphans
    replaces: int | None  # a Pool started it in place of the process of this number
    ran_nothing: bool  # its parent reported that it could not execute a program
    reports: tuple[Report, ...]  # in the order in which they were written
    programs: tuple[tuple[Report, ...], ...]  # the same for each program: exec begins a new one
    unreadable: tuple[int, ...]  # when it sent something that is not a report
    lost_groups: tuple[int, ...]  # when it signalled a group whose members were not looked up
    announcements: tuple[tuple[int, Report], ...]  # (sender, STARTED)
    sent: tuple[Sent, ...]  # the signals that were sent to it
    cpu_limits: tuple[tuple[int, str, str], ...]  # (when, soft, hard) as it or the kernel said
    clean_up: int | None  # when proclife began to clean up, if it was running then or came later
    found_later: bool  # it became known only after that
    end: int | None
    end_wake: float | None  # the wake-up of the supervisor that brought its end
    children_running: tuple[int, ...]  # at its end
    reaped: int | None
    reaped_by_us: bool  # by the supervisor
    status: int | None  # its wait status
    asked: tuple[tuple[int, str, int], ...]  # (when, call, argument) as of protocol.ASKS
    calls_unreadable: bool  # it ran a program whose calls the kernel cannot show
    contradicted: bool  # it reported that it sent a signal, which the kernel did not see
    collected: tuple[tuple[int, Report], ...]  # (sender, COLLECTED)
    look: Look | None  # the last one

    def first(self, kind: str) -> Report | None:
        return next((r for r in self.reports if r.kind == kind), None)

    def last(self, kind: str) -> Report | None:
        return next((r for r in reversed(self.reports) if r.kind == kind), None)

    def all_of_program(self, kind: str) -> list[Report]:
        """The reports of a kind by the program that it ran last, if that program reports."""
        if self.replaced_at is not None:
            return []
        return [r for r in self.programs[-1] if r.kind == kind]

    def last_of_program(self, kind: str) -> Report | None:
        """The last report of a kind by the program that it ran last."""
        found = self.all_of_program(kind)
        return found[-1] if found else None

    @property
    def exitcode(self) -> int | None:
        if self.status is not None:
            return -(self.status & 0x7F) if self.status & 0x7F else self.status >> 8 & 0xFF
        if self.collected:
            code = self.collected[0][1].number(1)
            return code if code is not None and -65 < code < 256 else None
        return None

    @property
    def replaced_at(self) -> int | None:
        """When a program that does not report replaced it by exec; None if none did."""
        last = self.reports[-1] if self.reports else None
        if last is None or last.kind != wire.EXEC or last.flag(0) is True:
            return None
        return last.at

    def is_before_clean_up(self, report: Report) -> bool:
        """Whether it wrote a report before we began to end it."""
        return self.clean_up is None or report.at < self.clean_up

    def was_running_at(self, at: int) -> bool:
        """Whether it had not ended then, and we had not begun to end it."""
        ends = [end for end in (self.end, self.clean_up) if end is not None]
        return all(at < end for end in ends)

    def reported_after(self, at: int) -> bool:
        return bool(self.reports) and self.reports[-1].at >= at


@dataclass(slots=True, kw_only=True)
class _Draft:
    """The facts of a process while the log is read, in lists."""

    number: int
    pid: int
    known_at: int
    known_by: str
    argv: tuple[str, ...]
    began: int = 0
    entered: bool = False
    found_below: int | None = None
    adopted: bool = False
    replaces: int | None = None
    ran_nothing: bool = False
    reports: list[Report] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    lost_groups: list[int] = field(default_factory=list)
    announcements: list[tuple[int, Report]] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    cpu_limits: list[tuple[int, str, str]] = field(default_factory=list)
    clean_up: int | None = None
    found_later: bool = False
    killed: bool = False  # proclife sent it SIGKILL
    end: int | None = None
    end_wake: float | None = None
    children_running: tuple[int, ...] = ()
    reaped: int | None = None
    reaped_by_us: bool = False
    status: int | None = None
    asked: list[tuple[int, str, int]] = field(default_factory=list)
    calls_unreadable: bool = False
    contradicted: bool = False
    collected: list[tuple[int, Report]] = field(default_factory=list)
    look: Look | None = None
    # the reports of the program that it runs, from the first one that came out of turn on
    by_number: dict[int, Report] | None = None

    def add(self, report: Report) -> bool:
        """Add a report, if it is no copy; returns whether it is none.

        A report is written again if the handler of a signal interrupted that and raised; meanwhile
        the handler may have reported something, and another thread.
        """
        is_new_program = report.kind == wire.HELLO and report.field(2) == "new"
        if self.by_number is None and self.reports and report.seq <= self.reports[-1].seq:
            self.by_number = {r.seq: r for r in _programs(self.reports)[-1]}
        if self.by_number is not None:
            before = self.by_number.get(report.seq)
            if before is not None and (before.kind, before.fields) == (report.kind, report.fields):
                return False
            if is_new_program:
                self.by_number = None
            else:
                self.by_number[report.seq] = report
        self.reports.append(report)
        return True

    def facts(self) -> ProcessFacts:
        values = {name: getattr(self, name) for name in self.__slots__}
        for name in ("killed", "by_number"):
            del values[name]
        for name, value in values.items():
            values[name] = tuple(value) if isinstance(value, list) else value
        return ProcessFacts(programs=_programs(self.reports), **values)


_ITS_OWN, _EVERYBODY = "0", "1"  # process groups that stand for others: kill(2)


def count_processes(log: Iterable[Entry]) -> int:
    """How many processes a log knows, main included."""
    return sum(kind == protocol.NEW for _, kind, *_ in log)


def process_number(log: Iterable[Entry], pid: int, until: int) -> int:
    """The number of the last process that had a pid, up to a time (monotonic ns)."""
    numbers = [
        number
        for at, kind, number, *fields in log
        if kind == protocol.NEW and fields[0] == pid and at <= until
    ]
    return int(numbers[-1])


def without_pending_ends(log: Iterable[Entry]) -> list[Entry]:
    """Leave out ends whose wait status is not known yet: a snapshot would call it unknown."""
    log = list(log)
    known = {
        number
        for _, kind, number, *fields in log
        if kind == protocol.REAPED or (kind == protocol.STATUS and fields[0] is not None)
    }
    return [entry for entry in log if entry[1] != protocol.ENDED or entry[2] in known]


def gather(
    log: Iterable[Entry], epoch: int, main_observed: bool, witnessed: bool = False
) -> tuple[ProcessFacts, ...]:
    """Read the log of a run.

    `epoch` is main's start in monotonic ns. `main_observed`: the recorder entered main.
    `witnessed`: the kernel has shown each signal, so that the reports only add to that.
    """
    reader = _Reader(epoch, witnessed)
    protocol.replay(log, reader.readers())
    reader.close_group()
    for process in reader.processes:
        process.reports.sort(key=lambda r: r.at)
        reported = [*process.reports[:1], *(report for _, report in process.announcements)]
        process.began = min([process.known_at, *(report.at for report in reported)])
    _match_by_pid(reader)
    _find_contradictions(reader)
    if reader.clean_up is not None:
        for process in reader.processes:
            _leave_out_our_doing(process, reader.clean_up)
    for process in reader.processes:
        # if its first report is later than a signal to a group, it was not yet a member; nor was it
        # any more if its status had been collected
        born = process.began if process.reports else 0
        gone = min((report.at for _, report in process.collected), default=math.inf)
        left = [r.at for r in process.reports if r.kind == wire.FINISHED]
        sent = [r for r in process.sent if r.certain or born <= r.at <= gone]
        process.sent = [_in_time(r, left) for r in sent]
        process.sent.sort(key=lambda r: r.at)
        process.collected = [c for c in process.collected if _has_status(process, c[1])]
        process.collected.sort(key=lambda c: c[1].at)
        # a library's child may be reported twice: as the program that it is, and by its start()
        process.announcements.sort(key=lambda t: t[1].field(1) not in MULTIPROCESSING_KINDS)
    reader.processes[0].entered = main_observed
    return tuple(process.facts() for process in reader.processes)


def _programs(reports: list[Report]) -> tuple[tuple[Report, ...], ...]:
    """Split the reports of a process where exec began a new program, which numbers them anew."""
    programs: list[list[Report]] = [[]]
    numbers: set[int] = set()
    for report in reports:
        anew = report.kind == wire.HELLO and report.field(2) == "new"
        if programs[-1] and (anew or report.seq in numbers):
            programs.append([])
            numbers = set()
        programs[-1].append(report)
        numbers.add(report.seq)
    return tuple(map(tuple, programs))


class _Reader:
    """Reads the entries of a log in turn."""

    def __init__(self, epoch: int, witnessed: bool) -> None:
        self.epoch = epoch
        self.witnessed = witnessed
        # what is reported of signals that are about to be sent, by sender, until that is seen
        self.announced: dict[int, list[Report]] = {}
        self.unsent: list[tuple[int, Report]] = []  # (sender, what was reported and not seen)
        self.processes: list[_Draft] = []
        self.ends: list[tuple[int, int]] = []  # (when, number), as the log has them
        # of a signal to a whole group
        self.states: dict[tuple[int, int], tuple[str | None, int]] = {}
        self.group: tuple[_Draft, Report] | None = None  # whose members are still to come
        self.open_groups: list[_Group] = []
        self.by_pid: list[tuple[int, Report]] = []  # (sender, a report that names only a pid)
        self.texts: dict[str, str] = {}  # one copy of what stands in thousands of reports
        self.not_started: list[tuple[int, Report]] = []  # (sender, a child that executed nothing)
        self.replacements: list[tuple[int, Report]] = []  # (sender, a Pool's new worker)
        self.to_groups: list[tuple[int, Report]] = []  # (sender, a signal to a group)
        self.clean_up: int | None = None  # when it began

    def readers(self) -> dict[str, Callable[..., None]]:
        """The reader of each kind of entry; not kept, since a cycle would hold a large log."""
        return {
            protocol.NEW: self.new,
            protocol.CHILD: self.child,
            protocol.ADOPTED: self.adopted,
            protocol.PROGRAM: self.program,
            protocol.REPORT: self.report,
            protocol.STATE: self.state,
            protocol.CPU_LIMIT: self.cpu_limit,
            protocol.GROUP: self.members,
            protocol.SENDS: self.sends,
            protocol.ASKS: self.asks,
            protocol.UNREADABLE: self.unreadable,
            protocol.ORDERED: self.ordered,
            protocol.GROUP_ORDERED: self.group_ordered,
            protocol.ENDED: self.ended,
            protocol.STATUS: self.status,
            protocol.REAPED: self.reaped,
            protocol.THREADS: self.threads,
            protocol.OPEN: self.opened,
            protocol.STACK: self.stack,
            protocol.CLEANUP_BEGAN: self.cleanup_began,
            protocol.CLEANUP: self.cleanup,
        }

    # --- which processes there are

    def new(self, at: int, number: int, pid: int, source: str, argv: Iterable[str]) -> None:
        process = _Draft(number=number, pid=pid, known_at=at, known_by=source, argv=_words(argv))
        process.clean_up, process.found_later = self.clean_up, self.clean_up is not None
        self.processes.append(process)

    def child(self, at: int, number: int, parent: int) -> None:
        self.processes[number].found_below = parent

    def adopted(self, at: int, number: int) -> None:
        self.processes[number].adopted = True

    def program(self, at: int, number: int, argv: Iterable[str]) -> None:
        self.processes[number].argv = _words(argv)

    # --- where they stand

    def threads(self, at: int, number: int, state: str, python: bool, threads: Any) -> None:
        look = Look(at=at, state=state, python=python, threads=threads)
        self.processes[number].look = look

    def opened(self, at: int, number: int, opened: Any) -> None:
        look = self.processes[number].look
        if look is not None:
            self.processes[number].look = replace(look, opened=opened)

    def stack(self, at: int, number: int, *fields: Any) -> None:
        look = self.processes[number].look
        if look is not None:
            self.processes[number].look = replace(look, stack=fields)

    # --- what they report

    def report(self, received: int, number: int, data: bytes, about: int | None) -> None:
        self.close_group()
        process = self.processes[number]
        parts = wire.unpack(data)
        if parts is None:
            process.unreadable.append(received)
            return
        kind, seq, _pid, at, fields = parts
        # nothing is written before main's start, or after it is received
        at = min(max(at, self.epoch), received)
        report = Report(kind, seq, at, tuple(map(self.text, fields)), about)
        if not report.is_sound:
            process.unreadable.append(at)
            return
        if not process.add(report):
            return
        if kind == wire.CPU_LIMIT:
            process.cpu_limits.append((at, report.field(0)[:20], report.field(1)[:20]))
        if self.witnessed and kind in (wire.KILL, wire.KILL_GROUP):
            self.announced.setdefault(number, []).append(report)
        elif about is None and kind in (wire.STARTED, wire.KILL, wire.COLLECTED):
            self.by_pid.append((number, report))
        elif about is not None and kind == wire.STARTED:
            self.processes[about].announcements.append((number, report))
        elif about is not None and kind == wire.KILL:
            self.processes[about].sent.append(_sent(process, report))
        elif kind == wire.NOT_STARTED:
            self.not_started.append((number, report))
        elif kind == wire.REPLACES:
            self.replacements.append((number, report))
        elif kind == wire.KILL_GROUP:
            self.group = process, report
            self.to_groups.append((number, report))

    def text(self, field: str) -> str:
        if len(field) > wire.FIELD_LIMIT:
            field = wire.clip(field)
        return self.texts.setdefault(field, field)

    # --- signals

    def sends(
        self,
        at: int,
        number: int,
        signal: int,
        call: str,
        whole: bool,
        met: tuple[tuple[int, str], ...],
    ) -> None:
        """Take up a signal that a held call shows; its sender may have reported it just before."""
        kind = wire.KILL_GROUP if whole else wire.KILL
        reports = self.announced.get(number, [])
        like = (r for r in reports if r.kind == kind and r.number(1) == signal)
        report = next((r for r in like if _may_be_about(r, met, self.processes)), None)
        if report is None:
            sent = Sent(at=at, by=number, signal=signal, via=f"{call}()", reported=False)
        else:
            place = reports.index(report)
            self.unsent += [(number, before) for before in reports[:place]]
            del reports[: place + 1]
            sent = _sent(self.processes[number], report)
        sent = replace(sent, certain=True, witnessed=True)
        for target, state in met:
            looked = replace(sent, disposition=None, alive=state != "ended")
            self.processes[target].sent.append(_looked(looked, state))

    def asks(self, at: int, number: int, call: str, argument: int) -> None:
        self.processes[number].asked.append((at, call, argument))

    def unreadable(self, at: int, number: int) -> None:
        self.processes[number].calls_unreadable = True

    def ordered(self, at: int, number: int, signal: int, via: str) -> None:
        self.processes[number].sent.append(_sent_by_test(at, signal, via))

    def group_ordered(self, at: int, number: int, signal: int, via: str) -> None:
        self.open_group(_sent_by_test(at, signal, via), range(len(self.processes)))

    def state(self, at: int, number: int, signal: int, state: str | None) -> None:
        """What a signal meets: the entry follows that of the request, or comes before its group."""
        sent = self.processes[number].sent
        if sent and sent[-1].signal == signal and self.group is None:
            sent[-1] = replace(sent[-1], disposition=_disposition(state), disposition_at=at)
        else:
            self.states[number, signal] = state, at

    def members(
        self, at: int, number: int, signal: int, members: tuple[int, ...], gone: tuple[int, ...]
    ) -> None:
        if self.group is None:
            return  # its report made no sense
        sender, report = self.group
        request = _sent(sender, report)
        looks = _looks_at_group(sender, report)
        for member in members:
            if member == number and report.field(0) == _EVERYBODY:
                continue
            met = self.processes[member]
            state, state_at = self.states.get((member, signal), (None, None))
            late = replace(request, disposition=_disposition(state), disposition_at=state_at)
            met.sent.append(_looked(late, looks.get(str(met.pid), "")))
        if number not in members and report.field(0) == _ITS_OWN:
            sender.sent.append(_looked(request, looks.get(str(sender.pid), "")))
        self.group, self.states = None, {}
        group = self.open_group(request, (*members, number))
        for missing in gone:
            group.may_have_met(self.processes[missing])
        for ended_at, ended in reversed(self.ends):
            if ended_at < report.at:
                break
            group.may_have_met(self.processes[ended])

    def open_group(self, request: Sent, known: Iterable[int]) -> _Group:
        group = _Group(request, frozenset(known))
        self.open_groups.append(group)
        return group

    def close_group(self) -> None:
        """A group without an entry of its members: its sender was gone when they were asked for."""
        if self.group is not None:
            sender, report = self.group
            sender.lost_groups.append(report.at)
            if report.field(0) == _ITS_OWN:
                look = _looks_at_group(sender, report).get(str(sender.pid), "")
                sender.sent.append(_looked(_sent(sender, report), look))
        self.group, self.states = None, {}

    def cpu_limit(self, at: int, number: int, soft: str, hard: str) -> None:
        self.processes[number].cpu_limits.append((at, soft, hard))

    # --- ends

    def ended(self, at: int, number: int, wake: float, running: tuple[int, ...]) -> None:
        process = self.processes[number]
        process.end, process.end_wake, process.children_running = at, wake, running
        self.ends.append((at, number))
        if self.open_groups:
            self.open_groups = [group for group in self.open_groups if group.still_open(process)]

    def status(self, at: int, number: int, status: int | None) -> None:
        self.processes[number].status = status

    def reaped(self, at: int, number: int, status: int | None, by_us: bool) -> None:
        process = self.processes[number]
        process.reaped, process.reaped_by_us = at, by_us
        process.status = process.status if status is None else status

    def cleanup_began(self, at: int, number: int, running: tuple[int, ...]) -> None:
        self.clean_up = at
        for found in running:
            self.processes[found].clean_up = at

    def cleanup(self, at: int, number: int) -> None:
        self.processes[number].killed = True


def _leave_out_our_doing(process: _Draft, clean_up: int) -> None:
    """Leave out what was done to a process after the clean-up had begun: we may have caused it."""
    if process.found_later and process.began < clean_up and not process.killed:
        process.clean_up, process.found_later = None, False  # it had ended before
    if process.clean_up is not None:
        process.sent = [sent for sent in process.sent if sent.at < clean_up]
        process.collected = []
    process.collected = [item for item in process.collected if item[1].at < clean_up]
    process.lost_groups = [at for at in process.lost_groups if at < clean_up]
    if process.reaped is not None and process.reaped >= clean_up:
        process.reaped = None


def _words(arguments: Iterable[str]) -> tuple[str, ...]:
    return tuple(wire.clip(text, 1000) for text in arguments)


class _Group:
    """A signal to a process group.

    A process that is gone when the members are looked for may have been one. Its end is in the
    log before the second next wake-up is over.
    """

    def __init__(self, request: Sent, known: frozenset[int]) -> None:
        self.request = request
        self.known = known  # processes of which it is certain whether they got it
        self.until: float | None = None

    def still_open(self, ended: _Draft) -> bool:
        wake = ended.end_wake or 0
        if self.until is None:
            self.until = wake // 1 + 1.5  # both looks of the next wake-up
        if wake > self.until:
            return False
        self.may_have_met(ended)
        return True

    def may_have_met(self, process: _Draft) -> None:
        if process.number not in self.known:
            process.sent.append(replace(self.request, certain=False))


def _sent(sender: _Draft, report: Report, *, certain: bool = True) -> Sent:
    to_one = report.kind == wire.KILL
    sent = Sent(
        at=report.at,
        by=sender.number,
        signal=report.number(1) or 0,
        via=report.field(2)[:100],
        alive=report.flag(4) if to_one else None,
        to_child=to_one and report.flag(4) is not None,
        handler=report.number(5),
        had_handler=to_one and report.flag(7) is True,
        certain=certain,
    )
    return _looked(sent, report.field(6)) if to_one else sent


def _may_be_about(
    report: Report, met: Iterable[tuple[int, str]], processes: Sequence[_Draft]
) -> bool:
    """Whether a report is of the signal that was seen, by the processes that it goes to."""
    if report.kind == wire.KILL_GROUP:
        return True
    numbers = [number for number, _ in met]
    if report.about is not None:
        return report.about in numbers or not numbers
    return not numbers or any(processes[n].pid == report.number(0) for n in numbers)


def _looked(sent: Sent, met: str) -> Sent:
    """A signal with what its sender saw that it would meet: one of `wire.MEETS`, "" if nothing."""
    if met == "ended":
        return replace(sent, alive=False)
    if met in ("unknown", "") or met not in wire.MEETS:
        return sent
    return replace(sent, disposition=Disposition(met), disposition_at=None)


def _looks_at_group(sender: _Draft, report: Report) -> dict[str, str]:
    """What a sender saw that its signal would meet in itself and its children, by pid."""
    words = {word[0]: word for word in wire.MEETS}
    pids = *report.field(4).split(), str(sender.pid)
    looks = zip(pids, report.field(6), strict=False)
    return {pid: words.get(letter, "") for pid, letter in looks}


def _has_status(process: _Draft, report: Report) -> bool:
    """Whether a call that knows an exit code has got the status from the kernel.

    If the fork server is killed, `Popen.poll` (popen_forkserver.py) says 255 at once, and its
    child goes on as an orphan.
    """
    if report.field(1) != str(_SERVER_IS_GONE):
        return True
    if process.status is None:
        return process.end is not None and not process.reaped_by_us
    return process.status == _SERVER_IS_GONE << 8 and not process.reaped_by_us


def _in_time(request: Sent, left: list[int]) -> Sent:
    """What the signal met, if the kernel was asked before the process was on its way out.

    CPython gives its handlers back at its end (`_PySignal_Fini`): a default says nothing then.
    """
    read_at = request.disposition_at
    late = read_at is not None and any(request.at <= at <= read_at for at in left)
    if late and request.disposition is Disposition.DEFAULT:
        return replace(request, disposition=None)
    return request


def _disposition(state: str | None) -> Disposition | None:
    return None if state is None else Disposition(state)


def _sent_by_test(at: int, signal: int, via: str) -> Sent:
    return Sent(at=at, by="test", signal=signal, via=via)


def _find_contradictions(reader: _Reader) -> None:
    """Find the reports of signals that were not sent, as the kernel has shown.

    Innocent is one whose sender did not get that far: it ended, or a handler ran and raised.
    """
    left = [(number, r) for number, reports in reader.announced.items() for r in reports]
    for number, report in (*reader.unsent, *left):
        sender = reader.processes[number]
        later = next((r for r in sender.reports if r.seq > report.seq and r.at >= report.at), None)
        if report.about is None or later is None or later.kind in (wire.CAUGHT, wire.HELLO):
            continue
        end = reader.processes[report.about].end
        sender.contradicted = sender.contradicted or end is None or end > later.at


def _match_by_pid(reader: _Reader) -> None:
    """Find the process of each report that names it only by its pid. Pids are used again."""
    of_pid: dict[int, list[_Draft]] = {}
    for process in sorted(reader.processes, key=lambda s: s.began):
        of_pid.setdefault(process.pid, []).append(process)
    collected: set[tuple[int, int]] = set()
    for number, report in sorted(reader.by_pid, key=lambda r: r[1].at):
        lived = of_pid.get(report.number(0) or 0, ())
        others = [process for process in lived if process.number != number]
        began = [process for process in others if process.began <= report.at] or others[:1]
        if not began:
            continue
        process = began[-1]
        if report.kind == wire.STARTED:
            # it was collected before start() had returned
            process.announcements.append((number, report))
        elif report.kind == wire.COLLECTED:
            process.collected.append((number, report))
            collected.add((number, process.number))
        elif (number, process.number) not in collected and (
            process.end is None or process.end >= report.at
        ):
            certain = bool(process.reports) and process.reports[-1].at >= report.at
            process.sent.append(_sent(reader.processes[number], report, certain=certain))
    _match_starts(reader, of_pid)
    for number, report in reader.to_groups:
        for pid in report.field(4).split():
            lived = of_pid.get(int(pid) if pid.isdecimal() and len(pid) < 12 else 0, ())
            began = [p for p in lived if p.number != number and p.began <= report.at]
            if began:
                sender = reader.processes[number]
                _met(began[-1], sender, report, _looks_at_group(sender, report))


def _match_starts(reader: _Reader, of_pid: dict[int, list[_Draft]]) -> None:
    """Find the forks that executed nothing, and the workers of a Pool that replace others."""
    for number, report in reader.not_started:
        failed = _started_by(number, of_pid.get(report.number(0) or 0, ()), report.at)
        if failed is not None:
            # what reports has run something: a preexec_fn, say
            failed.ran_nothing = not failed.reports and not failed.unreadable
    for number, report in reader.replacements:
        new = _started_by(number, of_pid.get(report.number(0) or 0, ()), report.at)
        if new is not None:
            old = _started_by(number, of_pid.get(report.number(1) or 0, ()), new.began, but=new)
            new.replaces = None if old is None else old.number


def _started_by(
    sender: int, lived: Sequence[_Draft], until: int, but: _Draft | None = None
) -> _Draft | None:
    """The last process, of those that had a pid, which the sender had started up to some time."""
    for process in reversed(lived):
        started = (report.at for by, report in process.announcements if by == sender)
        if process is not but and any(at <= until for at in started):
            return process
    return None


def _met(process: _Draft, sender: _Draft, report: Report, looks: dict[str, str]) -> None:
    """A child of the sender was in the group, and alive, as its parent saw."""
    same = [r for r in process.sent if (r.at, r.by) == (report.at, sender.number)]
    if not any(r.certain for r in same):
        process.sent = [r for r in process.sent if r not in same]
        sent = replace(_sent(sender, report), alive=True, to_child=True)
        process.sent.append(_looked(sent, looks.get(str(process.pid), "")))
