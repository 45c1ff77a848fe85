"""The log of a run, gathered per process: a `Sighting` holds all that was seen of one.

What processes report is not trusted: a report that makes no sense is a report that is missing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pytest_proclife import wire
from pytest_proclife.heard import Report
from pytest_proclife.history import Asked

Entry = tuple[Any, ...]

_ITS_OWN, _EVERYBODY = "0", "1"  # process groups that stand for others: kill(2)


@dataclass(slots=True, kw_only=True)
class Sighting:
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
    reports: list[Report] = field(default_factory=list)
    programs: list[list[Report]] = field(default_factory=list)
    garbled: list[int] = field(default_factory=list)
    astray: list[int] = field(default_factory=list)  # its signals to a group that nobody could ask
    told: list[tuple[int, Report]] = field(default_factory=list)  # (by whom, STARTED)
    asked: list[Asked] = field(default_factory=list)
    cleanups: list[int] = field(default_factory=list)
    end: int | None = None
    end_wake: int | None = None
    running_then: tuple[int, ...] = ()
    reaped: int | None = None
    reaped_by_us: bool = False
    status: int | None = None
    collected: list[tuple[int, Report]] = field(default_factory=list)  # (by whom, COLLECTED)
    began: int = 0
    let_in: bool = False  # the recorder was put into it, as main's start says

    def first(self, kind: str) -> Report | None:
        return next((r for r in self.reports if r.kind == kind), None)

    def last(self, kind: str) -> Report | None:
        return next((r for r in reversed(self.reports) if r.kind == kind), None)

    def all_latest(self, kind: str) -> list[Report]:
        """The reports of that kind by the program that it ran last, if that one reports."""
        if self.replaced is not None:
            return []
        return [r for r in self.programs[-1] if r.kind == kind]

    def latest(self, kind: str) -> Report | None:
        """The last one of these."""
        found = self.all_latest(kind)
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
    def replaced(self) -> int | None:
        """When a program that does not report took its place by exec; None if none did."""
        last = self.reports[-1] if self.reports else None
        if last is None or last.kind != wire.EXEC or last.flag(0) is True:
            return None
        return last.at

    def said_after(self, at: int) -> bool:
        return bool(self.reports) and self.reports[-1].at >= at


def gather(log: Iterable[Entry], epoch: int) -> list[Sighting]:
    """Read the log of a run; `epoch` is main's start in monotonic ns."""
    reader = _Reader(epoch)
    for at, what, number, *rest in log:
        reader.take(at, what, number, rest)
    reader.close_group()
    for one in reader.sightings:
        one.reports.sort(key=lambda r: r.at)
        one.programs = _programs(one.reports)
        one.began = min(
            [one.known_at, *(r.at for r in one.reports[:1]), *(r.at for _, r in one.told)]
        )
    _match_by_pid(reader)
    for one in reader.sightings:
        # who spoke for the first time after a signal to a group was not yet there
        born_later = one.began if one.reports else 0
        one.asked = [r for r in one.asked if r.sure or r.at >= born_later]
        one.asked.sort(key=lambda r: r.at)
        one.collected.sort(key=lambda c: c[1].at)
    return reader.sightings


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
        self.sightings: list[Sighting] = []
        self.ends: list[tuple[int, int]] = []  # (when, number), as the log has them
        self.states: dict[tuple[int, int], str | None] = {}  # of a signal to a whole group
        self.group: tuple[Sighting, Report] | None = None  # whose members are still to come
        self.open_groups: list[_Group] = []
        self.by_pid: list[tuple[int, Report]] = []  # (from whom, a report that names but a pid)

    def take(self, at: int, what: str, number: int, rest: list[Any]) -> None:
        if what == "new":
            pid, how, argv = rest
            argv = tuple(wire.clip(text, 1000) for text in argv)
            self.sightings.append(
                Sighting(number=number, pid=pid, known_at=at, known_by=how, argv=argv)
            )
            return
        one = self.sightings[number]
        match what:
            case "said":
                self.close_group()
                self.said(at, one, *rest)
            case "end":
                one.end, (one.end_wake, one.running_then) = at, rest
                self.ended(at, one)
            case "reaped":
                one.reaped, (one.status, one.reaped_by_us) = at, rest
            case "state":
                self.state(one, *rest)
            case "child":
                one.found_below = rest[0]
            case "cleanup":
                one.cleanups.append(at)
            case "asked":
                one.asked.append(Asked(at=at, by="test", signal=rest[0], via="test"))
            case "group":
                self.members(one, *rest)
            case _:
                raise ValueError(f"an entry of the log that nobody knows: {what!r}")

    def said(self, received: int, one: Sighting, data: bytes, about: int | None) -> None:
        parts = wire.unpack(data)
        if parts is None:
            one.garbled.append(received)
            return
        kind, seq, _pid, at, fields = parts
        at = min(
            max(at, self.epoch), received
        )  # nothing is written before main, or after it is read
        report = Report(kind, seq, at, tuple(wire.clip(text) for text in fields), about)
        if not report.makes_sense:
            one.garbled.append(at)
            return
        one.reports.append(report)
        if about is None and kind in (wire.STARTED, wire.KILL, wire.COLLECTED):
            self.by_pid.append((one.number, report))
        elif about is not None and kind == wire.STARTED:
            self.sightings[about].told.append((one.number, report))
        elif about is not None and kind == wire.KILL:
            self.sightings[about].asked.append(_asked(one, report))
        elif kind == wire.KILL_GROUP:
            self.group = one, report

    def state(self, one: Sighting, signal: int, state: str | None) -> None:
        """What a signal meets: the entry follows that of the request, or comes before its group."""
        if one.asked and one.asked[-1].signal == signal and self.group is None:
            last = one.asked[-1]
            one.asked[-1] = Asked(
                at=last.at, by=last.by, signal=signal, via=last.via, state=state, alive=last.alive
            )
        else:
            self.states[one.number, signal] = state

    def members(
        self, sender: Sighting, signal: int, members: tuple[int, ...], gone: tuple[int, ...] = ()
    ) -> None:
        if self.group is None:
            return  # its report made no sense
        _, report = self.group
        for member in members:
            if member == sender.number and report.field(0) == _EVERYBODY:
                continue
            request = _asked(sender, report, state=self.states.get((member, signal)))
            self.sightings[member].asked.append(request)
        if sender.number not in members and report.field(0) == _ITS_OWN:
            sender.asked.append(_asked(sender, report))
        self.group, self.states = None, {}
        group = _Group(sender, report, frozenset(members))
        for number in gone:
            group.may_have_met(self.sightings[number])
        for at, number in reversed(self.ends):
            if at < report.at:
                break
            group.may_have_met(self.sightings[number])
        self.open_groups.append(group)

    def close_group(self) -> None:
        """A group whose members could not be asked for: its sender was gone."""
        if self.group is not None:
            sender, report = self.group
            sender.astray.append(report.at)
            if report.field(0) == _ITS_OWN:
                sender.asked.append(_asked(sender, report))
        self.group, self.states = None, {}

    def ended(self, at: int, one: Sighting) -> None:
        self.ends.append((at, one.number))
        if self.open_groups:
            self.open_groups = [group for group in self.open_groups if group.still_open(one)]


class _Group:
    """A signal to a process group. Who is gone when its members are asked for may have been one:
    its end is on its way then, and stands in the log before the second next wake-up is over.
    """

    def __init__(self, sender: Sighting, report: Report, members: frozenset[int]) -> None:
        self.sender, self.report, self.members = sender, report, members
        self.until: int | None = None

    def still_open(self, ended: Sighting) -> bool:
        wake = ended.end_wake or 0
        if self.until is None:
            self.until = wake + 1
        if wake > self.until:
            return False
        self.may_have_met(ended)
        return True

    def may_have_met(self, one: Sighting) -> None:
        if one.number not in self.members and one is not self.sender:
            one.asked.append(_asked(self.sender, self.report, sure=False))


def _asked(
    sender: Sighting, report: Report, *, state: str | None = None, sure: bool = True
) -> Asked:
    return Asked(
        at=report.at,
        by=sender.number,
        signal=report.number(1) or 0,
        via=report.field(2)[:100],
        state=state,
        alive=report.flag(4) if report.kind == wire.KILL else None,
        sure=sure,
    )


def _match_by_pid(reader: _Reader) -> None:
    """Find the processes that reports mean which name but a pid; pids are used again."""
    of_pid: dict[int, list[Sighting]] = {}
    for one in sorted(reader.sightings, key=lambda s: s.began):
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
            one.told.append((number, report))  # it was collected before start() had returned
        elif report.kind == wire.COLLECTED:
            one.collected.append((number, report))
            collected.add((number, one.number))
        elif (number, one.number) not in collected and (one.end is None or one.end >= report.at):
            sure = one.said_after(report.at)
            one.asked.append(_asked(reader.sightings[number], report, sure=sure))
