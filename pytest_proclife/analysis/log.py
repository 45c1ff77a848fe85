"""Log entries and reports -> what is known of each process.

Reports are not trusted: a report that makes no sense counts as missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from pytest_proclife import wire
from pytest_proclife.records import MULTIPROCESSING_KINDS, Disposition

_SIGNALS = range(1, 65)
_NUMBERS = range(1 << 31)
_LAST_WORDS = ("exit", "os_exit", "launcher")
_HOW_LEFT = ("returned", "raised", "sys_exit")
_HOW_JOINED = ("", "explicit", "implicit", "library")


class Report(NamedTuple):
    """One report: when it was written (monotonic ns), what it says, and whom it is about."""

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
        """Whether it can be what it claims: processes may write what they like."""
        if self.seq not in _NUMBERS:
            return False
        match self.kind:
            case wire.HELLO:
                return len(self.fields) > 3 and self.field(2) in ("fork", "new")
            case wire.STARTED | wire.RUN:
                return len(self.fields) > 4
            case wire.LEFT:
                return len(self.fields) > 5 and self.field(0) in _HOW_LEFT
            case wire.LAST_WORD:
                return self.field(0) in _LAST_WORDS
            case wire.KILL | wire.KILL_GROUP:
                return len(self.fields) > 2 and self.number(1) in _SIGNALS
            case wire.CAUGHT:
                return self.number(0) in _SIGNALS
            case wire.UNWAITED:
                return self.flag(0) is not None
            case wire.COLLECTED:
                return len(self.fields) > 2 and self.field(2) in _HOW_JOINED
            case wire.EXIT_PATH | wire.EXIT_PATH_DONE | wire.WAITING | wire.EXEC | wire.UNSEEN:
                return True
            case _:
                return False


Entry = tuple[Any, ...]


@dataclass(slots=True, kw_only=True)
class ProcessFacts:
    """What the log says of one process; its number is that of the log.

    `reports` are in the order in which they were written; `programs` are the same, for each
    program that it ran, should it have replaced itself by exec.
    """

    number: int
    pid: int
    known_at: int
    known_by: str
    argv: tuple[str, ...] = ()
    found_below: int | None = None
    adopted: bool = False  # found running below the supervisor, to which orphans fall
    reports: list[Report] = field(default_factory=list)
    programs: list[list[Report]] = field(default_factory=list)
    unreadable: list[int] = field(default_factory=list)
    lost_groups: list[int] = field(
        default_factory=list
    )  # its signals to a group that nobody could ask
    announcements: list[tuple[int, Report]] = field(default_factory=list)  # (by whom, STARTED)
    sent: list[Sent] = field(default_factory=list)
    clean_ups: list[int] = field(default_factory=list)
    end: int | None = None
    end_wake: float | None = None  # a half more where it is known to be after others of the same
    children_running: tuple[int, ...] = ()
    reaped: int | None = None
    reaped_by_us: bool = False
    status: int | None = None
    collected: list[tuple[int, Report]] = field(default_factory=list)  # (by whom, COLLECTED)
    began: int = 0
    entered: bool = False  # the recorder was put into it, as main's start says

    def first(self, kind: str) -> Report | None:
        return next((r for r in self.reports if r.kind == kind), None)

    def last(self, kind: str) -> Report | None:
        return next((r for r in reversed(self.reports) if r.kind == kind), None)

    def all_of_program(self, kind: str) -> list[Report]:
        """The reports of that kind by the program that it ran last, if that one reports."""
        if self.replaced_at is not None:
            return []
        return [r for r in self.programs[-1] if r.kind == kind]

    def last_of_program(self, kind: str) -> Report | None:
        """The last one of these."""
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
        """When a program that does not report took its place by exec; None if none did."""
        last = self.reports[-1] if self.reports else None
        if last is None or last.kind != wire.EXEC or last.flag(0) is True:
            return None
        return last.at

    def reported_after(self, at: int) -> bool:
        return bool(self.reports) and self.reports[-1].at >= at


_ITS_OWN, _EVERYBODY = "0", "1"  # process groups that stand for others: kill(2)


def gather(log: Iterable[Entry], epoch: int, main_observed: bool) -> list[ProcessFacts]:
    """Read the log of a run.

    `epoch` is main's start in monotonic ns. `main_observed`: the recorder entered main.
    """
    reader = _Reader(epoch)
    for at, what, number, *rest in log:
        reader.take(at, what, number, rest)
    reader.close_group()
    for one in reader.processes:
        one.reports.sort(key=lambda r: r.at)
        one.programs = _programs(one.reports)
        one.began = min(
            [one.known_at, *(r.at for r in one.reports[:1]), *(r.at for _, r in one.announcements)]
        )
    _match_by_pid(reader)
    for one in reader.processes:
        # who spoke for the first time after a signal to a group was not yet there
        born_later = one.began if one.reports else 0
        one.sent = [r for r in one.sent if r.certain or r.at >= born_later]
        left = [r.at for r in one.reports if r.kind == wire.LEFT]
        one.sent = [_in_time(r, left) for r in one.sent]
        one.sent.sort(key=lambda r: r.at)
        one.collected.sort(key=lambda c: c[1].at)
        # a library's child may be told of twice: as the program that it is, and by its start()
        one.announcements.sort(key=lambda t: t[1].field(1) not in MULTIPROCESSING_KINDS)
    reader.processes[0].entered = main_observed
    return reader.processes


def _programs(reports: list[Report]) -> list[list[Report]]:
    """Part the reports of a process where exec began a new program: it counts them anew."""
    programs: list[list[Report]] = [[]]
    seen: set[int] = set()
    for report in reports:
        anew = report.kind == wire.HELLO and report.field(2) == "new"
        if programs[-1] and (anew or report.seq in seen):
            programs.append([])
            seen = set()
        programs[-1].append(report)
        seen.add(report.seq)
    return programs


class _Reader:
    """Takes the entries of a log one by one."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.processes: list[ProcessFacts] = []
        self.ends: list[tuple[int, int]] = []  # (when, number), as the log has them
        # of a signal to a whole group
        self.states: dict[tuple[int, int], tuple[str | None, int]] = {}
        self.group: tuple[ProcessFacts, Report] | None = None  # whose members are still to come
        self.open_groups: list[_Group] = []
        self.by_pid: list[tuple[int, Report]] = []  # (from whom, a report that names but a pid)
        self.texts: dict[str, str] = {}  # one copy of what stands in thousands of reports
        self.to_groups: list[tuple[int, Report]] = []  # (from whom, a signal to a group)

    def take(self, at: int, what: str, number: int, rest: list[Any]) -> None:
        if what == "new":
            pid, how, argv = rest
            self.processes.append(
                ProcessFacts(number=number, pid=pid, known_at=at, known_by=how, argv=_words(argv))
            )
            return
        one = self.processes[number]
        if _learned(one, at, what, rest):
            return
        match what:
            case "said":
                self.close_group()
                self.said(at, one, *rest)
            case "end":
                one.end, (one.end_wake, one.children_running) = at, rest
                self.ended(at, one)
            case "state":
                self.state(at, one, *rest)
            case "asked":
                one.sent.append(_sent_by_test(at, *rest))
            case "asked group":
                self.open_group(_sent_by_test(at, *rest), range(len(self.processes)))
            case "group":
                self.members(one, *rest)
            case _:
                raise ValueError(f"an entry of the log that nobody knows: {what!r}")

    def said(self, received: int, one: ProcessFacts, data: bytes, about: int | None) -> None:
        parts = wire.unpack(data)
        if parts is None:
            one.unreadable.append(received)
            return
        kind, seq, _pid, at, fields = parts
        at = min(
            max(at, self.epoch), received
        )  # nothing is written before main, or after it is read
        report = Report(kind, seq, at, tuple(map(self.text, fields)), about)
        if not report.is_sound:
            one.unreadable.append(at)
            return
        if (
            one.reports
            and one.reports[-1][:2] == (kind, seq)
            and report.fields == one.reports[-1].fields
        ):
            return  # written again, since a signal's handler raised while it was
        one.reports.append(report)
        if about is None and kind in (wire.STARTED, wire.KILL, wire.COLLECTED):
            self.by_pid.append((one.number, report))
        elif about is not None and kind == wire.STARTED:
            self.processes[about].announcements.append((one.number, report))
        elif about is not None and kind == wire.KILL:
            self.processes[about].sent.append(_sent(one, report))
        elif kind == wire.KILL_GROUP:
            self.group = one, report
            self.to_groups.append((one.number, report))

    def text(self, field: str) -> str:
        if len(field) > wire.FIELD_LIMIT:
            field = wire.clip(field)
        return self.texts.setdefault(field, field)

    def state(self, at: int, one: ProcessFacts, signal: int, state: str | None) -> None:
        """What a signal meets: the entry follows that of the request, or comes before its group."""
        if one.sent and one.sent[-1].signal == signal and self.group is None:
            last = one.sent[-1]
            one.sent[-1] = replace(last, disposition=_disposition(state), disposition_at=at)
        else:
            self.states[one.number, signal] = state, at

    def members(
        self,
        sender: ProcessFacts,
        signal: int,
        members: tuple[int, ...],
        gone: tuple[int, ...] = (),
    ) -> None:
        if self.group is None:
            return  # its report made no sense
        _, report = self.group
        for member in members:
            if member == sender.number and report.field(0) == _EVERYBODY:
                continue
            state, state_at = self.states.get((member, signal), (None, None))
            request = replace(
                _sent(sender, report), disposition=_disposition(state), disposition_at=state_at
            )
            self.processes[member].sent.append(request)
        if sender.number not in members and report.field(0) == _ITS_OWN:
            sender.sent.append(_sent(sender, report))
        self.group, self.states = None, {}
        group = self.open_group(_sent(sender, report), (*members, sender.number))
        for number in gone:
            group.may_have_met(self.processes[number])
        for at, number in reversed(self.ends):
            if at < report.at:
                break
            group.may_have_met(self.processes[number])

    def open_group(self, request: Sent, known: Iterable[int]) -> _Group:
        group = _Group(request, frozenset(known))
        self.open_groups.append(group)
        return group

    def close_group(self) -> None:
        """A group whose members could not be asked for: its sender was gone."""
        if self.group is not None:
            sender, report = self.group
            sender.lost_groups.append(report.at)
            if report.field(0) == _ITS_OWN:
                sender.sent.append(_sent(sender, report))
        self.group, self.states = None, {}

    def ended(self, at: int, one: ProcessFacts) -> None:
        self.ends.append((at, one.number))
        if self.open_groups:
            self.open_groups = [group for group in self.open_groups if group.still_open(one)]


def _learned(one: ProcessFacts, at: int, what: str, rest: list[Any]) -> bool:
    """Take an entry that the kernel says of one process alone; False for another."""
    match what:
        case "status":
            one.status = rest[0]  # of a zombie
        case "reaped":
            one.reaped, (status, one.reaped_by_us) = at, rest
            one.status = one.status if status is None else status
        case "child":
            one.found_below = rest[0]
        case "adopted":
            one.adopted = True
        case "program":
            one.argv = _words(rest[0])
        case "cleanup":
            one.clean_ups.append(at)
        case _:
            return False
    return True


def _words(arguments: Iterable[str]) -> tuple[str, ...]:
    return tuple(wire.clip(text, 1000) for text in arguments)


class _Group:
    """A signal to a process group. Who is gone when its members are asked for may have been one:
    its end is on its way then, and stands in the log before the second next wake-up is over.
    """

    def __init__(self, request: Sent, known: frozenset[int]) -> None:
        self.request = request
        self.known = known  # of whom it is certain whether they got it
        self.until: float | None = None

    def still_open(self, ended: ProcessFacts) -> bool:
        wake = ended.end_wake or 0
        if self.until is None:
            self.until = wake // 1 + 1.5  # both looks of the next wake-up
        if wake > self.until:
            return False
        self.may_have_met(ended)
        return True

    def may_have_met(self, one: ProcessFacts) -> None:
        if one.number not in self.known:
            one.sent.append(replace(self.request, certain=False))


def _sent(sender: ProcessFacts, report: Report, *, certain: bool = True) -> Sent:
    return Sent(
        at=report.at,
        by=sender.number,
        signal=report.number(1) or 0,
        via=report.field(2)[:100],
        alive=report.flag(4) if report.kind == wire.KILL else None,
        certain=certain,
    )


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


def _sent_by_test(at: int, signal: int, via: str = "test") -> Sent:
    return Sent(at=at, by="test", signal=signal, via=via)


def _match_by_pid(reader: _Reader) -> None:
    """Find the processes that reports mean which name but a pid; pids are used again."""
    of_pid: dict[int, list[ProcessFacts]] = {}
    for one in sorted(reader.processes, key=lambda s: s.began):
        of_pid.setdefault(one.pid, []).append(one)
    collected: set[tuple[int, int]] = set()
    for number, report in sorted(reader.by_pid, key=lambda r: r[1].at):
        lived = of_pid.get(report.number(0) or 0, ())
        others = [one for one in lived if one.number != number]
        began = [one for one in others if one.began <= report.at] or others[:1]
        if not began:
            continue
        one = began[-1]
        if report.kind == wire.STARTED:
            one.announcements.append(
                (number, report)
            )  # it was collected before start() had returned
        elif report.kind == wire.COLLECTED:
            one.collected.append((number, report))
            collected.add((number, one.number))
        elif (number, one.number) not in collected and (one.end is None or one.end >= report.at):
            certain = one.reported_after(report.at)
            one.sent.append(_sent(reader.processes[number], report, certain=certain))
    for number, report in reader.to_groups:
        for pid in report.field(4).split():
            lived = of_pid.get(int(pid) if pid.isdecimal() and len(pid) < 12 else 0, ())
            began = [one for one in lived if one.number != number and one.began <= report.at]
            if began:
                _met(began[-1], reader.processes[number], report)


def _met(one: ProcessFacts, sender: ProcessFacts, report: Report) -> None:
    """A child of the sender's was in the group, and alive, as its parent saw."""
    same = [r for r in one.sent if (r.at, r.by) == (report.at, sender.number)]
    if not any(r.certain for r in same):
        one.sent = [r for r in one.sent if r not in same]
        one.sent.append(replace(_sent(sender, report), alive=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """A signal that was sent to a process. Times are monotonic ns.

    `by` is the sender: a process's number or id, or "test". `disposition` is what the signal met,
    read at `disposition_at`; None if it could not be read. `alive` is what the sender saw just
    before, None if it did not look. If it is not `certain`, the signal may have gone to another
    process.
    """

    at: int
    by: int | str
    signal: int
    via: str
    disposition: Disposition | None = None
    disposition_at: int | None = None
    alive: bool | None = None
    certain: bool = True

    @property
    def from_exit_path(self) -> bool:
        return self.via == "exit path"
