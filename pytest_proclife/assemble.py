"""The log of a run -> its frozen account. Pure: values in, a `Run` out."""

from __future__ import annotations

import signal as signals
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_proclife import wire
from pytest_proclife.classify import Asked, History, Left, Verdict, classify
from pytest_proclife.records import (
    HELPER_KINDS,
    MULTIPROCESSING_KINDS,
    Cause,
    Ending,
    Evidence,
    ExceptionInfo,
    Joined,
    ProcessRecord,
    Request,
    Role,
    Run,
    TargetInfo,
    Witness,
)

Entry = tuple[Any, ...]
CauseHook = Callable[[Run, ProcessRecord], "tuple[str, str] | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One report as it was received: when it was written (monotonic ns), and what it says."""

    kind: str
    seq: int
    at: int
    fields: tuple[str, ...]
    about: int | None

    def field(self, index: int) -> str:
        return self.fields[index] if index < len(self.fields) else ""

    def number(self, index: int) -> int | None:
        try:
            return int(self.field(index))
        except ValueError:
            return None

    def flag(self, index: int) -> bool | None:
        return {"1": True, "0": False}.get(self.field(index))


@dataclass(slots=True, kw_only=True)
class Sighting:
    """What the log says of one process, gathered; its number is that of the log."""

    number: int
    pid: int
    known_at: int
    known_by: str
    argv: tuple[str, ...] = ()
    found_below: int | None = None
    reports: list[Report] = field(default_factory=list)
    told: list[tuple[int, Report]] = field(default_factory=list)  # (by whom, STARTED)
    asked: list[Asked] = field(default_factory=list)
    states: list[tuple[int, int, str | None]] = field(default_factory=list)
    cleanups: list[int] = field(default_factory=list)
    end: int | None = None
    end_wake: int | None = None
    running_then: tuple[int, ...] = ()
    reaped: int | None = None
    reaped_by_us: bool = False
    status: int | None = None
    collected: list[tuple[int, Report]] = field(default_factory=list)

    def first(self, kind: str) -> Report | None:
        return next((r for r in self.reports if r.kind == kind), None)

    def last(self, kind: str) -> Report | None:
        return next((r for r in reversed(self.reports) if r.kind == kind), None)


def assemble(
    log: Iterable[Entry],
    *,
    epoch: int,
    started_at: float,
    duration: float,
    timed_out: bool,
    target: TargetInfo,
    python: str,
    platform: str,
    start_method: str | None,
    backend: str,
    missing: Sequence[str] = (),
    stdout: str | None = None,
    stderr: str | None = None,
    output_truncated: bool = False,
    cause_hook: CauseHook | None = None,
) -> Run:
    """Put a run's account together. `epoch` is main's start in monotonic ns."""
    sightings = _gather(log)
    _resolve_collected(sightings)
    story = _Story(sightings, epoch)
    records = story.records()
    first = sightings[0].first(wire.HELLO)
    missing = [*missing, *story.missing()]
    run = Run(
        target=target,
        python=(first.field(4) or python) if first is not None else python,
        platform=platform,
        start_method=start_method,
        witness=Witness(backend=backend, complete=not missing, missing=tuple(missing)),
        started_at=started_at,
        duration=duration,
        timed_out=timed_out,
        stdout=stdout,
        stderr=stderr,
        output_truncated=output_truncated,
        processes=tuple(records),
    )
    return run if cause_hook is None else _ask_hook(run, cause_hook)


def _gather(log: Iterable[Entry]) -> list[Sighting]:
    sightings: list[Sighting] = []
    for at, what, number, *rest in log:
        if what == "new":
            pid, how, argv = rest
            sightings.append(
                Sighting(number=number, pid=pid, known_at=at, known_by=how, argv=tuple(argv))
            )
            continue
        one = sightings[number]
        if what == "said":
            _take_report(sightings, one, *rest)
        elif what == "end":
            one.end, (one.end_wake, one.running_then) = at, rest
        elif what == "reaped":
            one.reaped, (one.status, one.reaped_by_us) = at, rest
        elif what == "state":
            one.states.append((at, *rest))
        elif what == "child":
            one.found_below = rest[0]
        elif what == "cleanup":
            one.cleanups.append(at)
        elif what == "asked":
            one.asked.append(Asked(at=at, by="test", signal=rest[0], via="test"))
        elif what == "group":
            _take_group(sightings, one, *rest)
    return sightings


def _take_report(
    sightings: list[Sighting], one: Sighting, data: bytes, about: int | None
) -> None:
    parts = wire.unpack(data)
    if parts is None:
        return
    kind, seq, _pid, at, fields = parts
    report = Report(kind=kind, seq=seq, at=at, fields=tuple(fields), about=about)
    one.reports.append(report)
    if kind == wire.STARTED and about is not None:
        sightings[about].told.append((one.number, report))
    elif kind == wire.KILL and about is not None:
        sightings[about].asked.append(
            Asked(at=at, by=one.number, signal=report.number(1) or 0, via=report.field(2))
        )


def _take_group(
    sightings: list[Sighting], sender: Sighting, signal: int, members: tuple[int, ...]
) -> None:
    report = sender.last(wire.KILL_GROUP)
    if report is None:
        return
    for member in members:
        sightings[member].asked.append(
            Asked(at=report.at, by=sender.number, signal=signal, via=report.field(2))
        )


def _resolve_collected(sightings: list[Sighting]) -> None:
    """Match reports of collected statuses, which name a pid, to the processes they mean."""
    by_pid: dict[int, list[Sighting]] = {}
    for one in sightings:
        by_pid.setdefault(one.pid, []).append(one)
    for one in sightings:
        for report in one.reports:
            if report.kind == wire.COLLECTED:
                found = [
                    c
                    for c in by_pid.get(report.number(0) or 0, ())
                    if c.known_at <= max(report.at, c.known_at) and c.number != one.number
                ]
                before = [c for c in found if _first_seen(c) <= report.at] or found
                if before:
                    before[-1].collected.append((one.number, report))


def _first_seen(one: Sighting) -> int:
    """The earliest moment at which a process is known to have lived, in monotonic ns."""
    return min([one.known_at, *(r.at for r in one.reports), *(r.at for _, r in one.told)])


class _Story:
    """The sightings of a run, made into records one by one."""

    def __init__(self, sightings: list[Sighting], epoch: int) -> None:
        self.sightings = sightings
        self.epoch = epoch
        self.by_key: dict[str, int] = {}
        for one in sightings:
            for report in one.reports:
                if report.kind == wire.HELLO:
                    self.by_key[report.field(0)] = one.number
        self.kinds = {one.number: self._kind(one) for one in sightings}
        self.parents = {one.number: self._parent(one) for one in sightings}
        order = sorted(sightings, key=lambda s: (s.number != 0, _first_seen(s)))
        self.ids = {one.number: index for index, one in enumerate(order)}
        self.order = order
        self.gaps = {one.number: self._gap(one) for one in sightings}

    def records(self) -> list[ProcessRecord]:
        return [self._record(one) for one in self.order]

    def seconds(self, at: int | None) -> float | None:
        return None if at is None else round((at - self.epoch) / 1e9, 6)

    # --- who it is

    def _kind(self, one: Sighting) -> str:
        if one.number == 0:
            return "main"
        run, hello = one.last(wire.RUN), one.first(wire.HELLO)
        if run is not None and run.field(1):
            return run.field(1)
        if one.told:
            return one.told[0][1].field(1)
        if hello is not None and hello.field(3):
            kind = hello.field(3)
            parent = self.by_key.get(hello.field(1))
            from_server = kind == "os_fork" and parent is not None
            if from_server and self._kind(self.sightings[parent or 0]) == "forkserver":
                return "process"  # a fork server forks nothing else
            return kind if kind != "exec" else "other"
        return "subprocess" if one.found_below is not None else "other"

    def _parent(self, one: Sighting) -> int | None:
        if one.number == 0:
            return None
        if one.told:
            return one.told[0][0]
        hello, run = one.first(wire.HELLO), one.last(wire.RUN)
        parent = self.by_key.get(hello.field(1)) if hello is not None else None
        if parent is not None and self._kind(self.sightings[parent]) == "forkserver":
            asked_by = run.number(0) if run is not None else None
            for other in reversed(self.sightings):
                if other.pid == asked_by and _first_seen(other) < _first_seen(one):
                    return other.number
            return self._parent(self.sightings[parent])
        return parent if parent is not None else one.found_below

    def _role(self, one: Sighting) -> Role:
        if one.number == 0:
            return Role.MAIN
        return Role.HELPER if self.kinds[one.number] in HELPER_KINDS else Role.CHILD

    def _argv(self, one: Sighting) -> tuple[str, ...] | None:
        for report in reversed(one.reports):
            if report.kind == wire.EXEC and len(report.fields) > 1:
                return report.fields[1:]
            if report.kind == wire.HELLO and report.field(2) == "new":
                return report.fields[6:]
        if one.told and len(one.told[0][1].fields) > 7:
            return one.told[0][1].fields[7:]
        return one.argv or None

    def _name(self, one: Sighting, kind: str, argv: tuple[str, ...] | None) -> str:
        if kind == "main":
            return "MainProcess"
        if kind in HELPER_KINDS:
            return kind
        run = one.last(wire.RUN)
        if run is not None and run.field(2):
            return run.field(2)
        if one.told and kind in MULTIPROCESSING_KINDS:
            return one.told[0][1].field(2)
        if argv is None and kind == "os_fork":
            parent = self.parents[one.number]
            argv = None if parent is None else self._argv(self.sightings[parent])
        return argv[0].rsplit("/", 1)[-1] if argv else kind

    # --- how it ended

    def _exitcode(self, one: Sighting) -> int | None:
        if one.status is not None:
            if one.status & 0x7F:
                return -(one.status & 0x7F)
            return one.status >> 8 & 0xFF
        if one.collected:
            return one.collected[0][1].number(1)
        return None

    def _replaced(self, one: Sighting) -> bool:
        """Whether a program that does not report took its place by exec."""
        last = one.reports[-1] if one.reports else None
        return last is not None and last.kind == wire.EXEC and last.flag(0) is not True

    def _gap(self, one: Sighting) -> int | None:
        """When the first report was due that is missing; None where none is."""
        expected, before = 0, _first_seen(one)
        for report in sorted(one.reports, key=lambda r: r.at):
            if report.kind == wire.HELLO and report.field(2) == "new":
                expected = 0  # a new program counts anew
            if report.seq > expected:
                return before
            expected = max(expected, report.seq + 1)
            before = report.at
        unheard = not one.reports or self._replaced(one)
        silent = one.end is not None and one.status is not None and not one.status & 0x7F
        if not unheard and silent and one.last(wire.LAST_WORD) is None:
            return before
        return None

    def _history(self, one: Sighting) -> History:
        left, word = one.last(wire.LEFT), one.last(wire.LAST_WORD)
        hello = next((r for r in one.reports if r.kind == wire.HELLO and r.field(4)), None)
        run, told = one.last(wire.RUN), [r for _, r in one.told]
        own_gap = self.gaps[one.number] is not None
        parent = self.parents[one.number]
        daemon = run.flag(3) if run is not None else told[0].flag(3) if told else None
        return History(
            id=self.ids[one.number],
            exitcode=self._exitcode(one),
            parent=None if parent is None else self.ids[parent],
            daemon=daemon,
            observed=bool(one.reports),
            sees_handlers=self._version(one, hello) >= (3, 12),
            replaced=self._replaced(one),
            cleaned_up=bool(one.cleanups),
            asked=tuple(self._asked(one)),
            caught=tuple(
                (r.number(0) or 0, r.at) for r in one.reports if r.kind == wire.CAUGHT
            ),
            left=None if left is None else _left(left),
            last_word=None if word is None else word.field(0),
            own_gap=own_gap,
            gaps=tuple(
                at for n, at in self.gaps.items() if at is not None and n != one.number
            ),
        )

    def _asked(self, one: Sighting) -> Iterable[Asked]:
        for request in one.asked:
            state = next(
                (s for at, n, s in one.states if n == request.signal and at >= request.at), None
            )
            by = request.by if isinstance(request.by, str) else self.ids[request.by]
            yield Asked(
                at=request.at, by=by, signal=request.signal, via=request.via, state=state
            )

    def _version(self, one: Sighting, hello: Report | None) -> tuple[int, ...]:
        while hello is None:
            parent = self.by_key.get(one.reports[0].field(1)) if one.reports else None
            if parent is None or parent == one.number:
                return (0,)
            one = self.sightings[parent]
            hello = next((r for r in one.reports if r.kind == wire.HELLO and r.field(4)), None)
        return tuple(int(part) for part in hello.field(4).split(".") if part.isdigit())

    # --- who waited for it, and whom it outlived

    def _joined(self, one: Sighting) -> tuple[Joined | None, int | None]:
        if one.collected:
            by, report = next((c for c in one.collected if c[1].field(2)), one.collected[0])
            how = report.field(2)
            if how == Joined.IMPLICIT:
                exit_path = self.sightings[by].last(wire.EXIT_PATH)
                if exit_path is None or str(one.pid) not in exit_path.fields:
                    return None, None  # it was over when the exit path began
            return (Joined(how), report.at) if how else (None, None)
        if self.kinds[one.number] in MULTIPROCESSING_KINDS:
            return None, None
        parent = self.parents[one.number]
        if one.reaped is not None and not one.reaped_by_us and parent is not None:
            end = self.sightings[parent].end
            if end is None or one.reaped <= end:
                return Joined.EXPLICIT, one.reaped
        return None, None

    def _orphaned(self, one: Sighting) -> bool | None:
        parent = self.parents[one.number]
        if parent is None:
            return None
        above = self.sightings[parent]
        if above.end is None or above.end_wake is None:
            return False
        if any(by == parent for by, _ in one.collected):
            return False
        if one.end_wake is None or one.number in above.running_then:
            return True
        if one.end_wake != above.end_wake:
            return one.end_wake > above.end_wake
        reaped_by_parent = one.reaped is not None and not one.reaped_by_us
        server = self.parents[one.number] != self._kernel_parent(one)
        return False if reaped_by_parent and not server else None

    def _kernel_parent(self, one: Sighting) -> int | None:
        hello = one.first(wire.HELLO)
        return self.by_key.get(hello.field(1)) if hello is not None else self.parents[one.number]

    # --- the record

    def _record(self, one: Sighting) -> ProcessRecord:
        history = self._history(one)
        kind, role = self.kinds[one.number], self._role(one)
        running = one.end is None
        verdict = None if running else classify(history)
        joined, joined_at = self._joined(one)
        argv = self._argv(one)
        parent = self.parents[one.number]
        left, run = one.last(wire.LEFT), one.last(wire.RUN)
        method = run.field(4) if run is not None else one.told[0][1].field(4) if one.told else ""
        signal = history.signal
        return ProcessRecord(
            id=self.ids[one.number],
            pid=one.pid,
            parent_id=None if parent is None else self.ids[parent],
            role=role,
            kind=kind,
            name=self._name(one, kind, argv),
            argv=argv,
            daemon=history.daemon if kind in MULTIPROCESSING_KINDS else None,
            start_method=method or None,
            started_at=self.seconds(_first_seen(one)) or 0.0 if one.number else 0.0,
            finished_at=None if left is None else self.seconds(left.at),
            ended_at=self.seconds(self._end_time(one)),
            exitcode=None if running else history.exitcode,
            signal=None if signal is None or running else _signal_name(signal),
            cause=None if verdict is None else verdict.cause,
            ending=Ending.RUNNING if verdict is None else verdict.ending,
            ended_by=None if verdict is None else verdict.ended_by,
            requests=tuple(
                Request(
                    at=self.seconds(r.at) or 0.0, by=r.by, signal=_signal_name(r.signal), via=r.via
                )
                for r in history.asked
            ),
            joined=joined,
            joined_at=self.seconds(joined_at),
            orphaned=self._orphaned(one),
            target_ran=self._target_ran(one, kind, history),
            exception=_exception(left),
            evidence=tuple(self._evidence(one, history, verdict)),
        )

    def _end_time(self, one: Sighting) -> int | None:
        if one.end is None:
            return None
        end = one.end
        if one.collected:
            end = min(end, one.collected[0][1].at)  # it had ended when its status was taken
        return max([end, *(r.at for r in one.reports[-1:] if r.at <= one.end)])

    def _target_ran(self, one: Sighting, kind: str, history: History) -> bool | None:
        if one.last(wire.RUN) is not None:
            return True
        if kind in HELPER_KINDS or kind == "os_fork" or not one.reports:
            forked = any(r.field(4) == "fork" for _, r in one.told)
            return False if forked and one.end is not None else None
        if history.own_gap or one.end is None:
            return None
        return False

    def _evidence(
        self, one: Sighting, history: History, verdict: Verdict | None
    ) -> Iterable[Evidence]:
        facts: list[tuple[int | None, str, str]] = []
        for by, report in one.told:
            where = report.field(6)
            facts.append((report.at, self._who(by), "started it" + (f" at {where}" if where else "")))
        for request in history.asked:
            by = request.by if isinstance(request.by, str) else self._who_id(request.by)
            state = f", which it {_MEETS[request.state]}" if request.state in _MEETS else ""
            fact = f"sent {_signal_name(request.signal)} ({request.via}){state}"
            facts.append((request.at, by, fact))
        for signal, at in history.caught:
            facts.append((at, "itself", f"its handler of {_signal_name(signal)} ran"))
        if history.left is not None:
            facts.append((history.left.at, "itself", _left_words(one.last(wire.LEFT))))
        word = one.last(wire.LAST_WORD)
        if word is not None and word.field(0) == "os_exit":
            facts.append((word.at, "itself", f"called os._exit({word.field(1)})"))
        for at in one.cleanups[:1]:
            facts.append((at, "proclife", "sent SIGKILL (clean-up)"))
        if one.end is not None:
            facts.append((self._end_time(one), "kernel", _status_words(history)))
        for by, report in one.collected:
            where = report.field(3)
            did = "collected its status" if report is one.collected[0][1] else "joined it then"
            facts.append((report.at, self._who(by), did + (f" at {where}" if where else "")))
        if one.collected:
            pass
        elif one.reaped is not None:
            fact = "it was an orphan when it was reaped" if one.reaped_by_us else "it was reaped"
            if one.number:
                facts.append((one.reaped, "kernel", fact))
        facts.sort(key=lambda fact: fact[0] or 0)
        for at, source, text in facts:
            yield Evidence(at=self.seconds(at), source=source, fact=text)
        for reason in verdict.reasons if verdict is not None else ():
            yield Evidence(at=None, source="proclife", fact=f"unknown: {reason}")

    def _who(self, number: int) -> str:
        one = self.sightings[number]
        return self._name(one, self.kinds[number], self._argv(one))

    def _who_id(self, id: int) -> str:
        return self._who(self.order[id].number)

    def missing(self) -> list[str]:
        """What may not have been seen, because something ran that does not report."""
        reasons = []
        for one in self.order:
            name = self._name(one, self.kinds[one.number], self._argv(one))
            who = f"{name} (pid {one.pid})"
            if not one.reports and not any(r.field(4) == "fork" for _, r in one.told):
                reasons.append(f"{who} does not report: what it started may be missing")
            elif self._replaced(one):
                reasons.append(f"{who} became a program that does not report")
            elif self.gaps[one.number] is not None:
                reasons.append(f"reports of {who} are missing")
            for report in one.reports:
                if report.kind == wire.UNSEEN:
                    reasons.append(f"{who} called {report.field(0)}: a shell does not report")
        return reasons


_MEETS = {"caught": "caught", "ignored": "ignored", "blocked": "had blocked"}


def _left(report: Report) -> Left:
    handled = frozenset(int(n) for n in report.field(5).split() if n.isdigit())
    return Left(
        at=report.at,
        how=report.field(0),
        exception=report.field(1) or None,
        rose_from=report.number(4),
        handled=handled,
    )


def _exception(left: Report | None) -> ExceptionInfo | None:
    if left is None or not left.field(1):
        return None
    return ExceptionInfo(type=left.field(1), message=left.field(2), traceback=left.field(3))


def _left_words(left: Report | None) -> str:
    if left is None:
        return ""
    text = f"{left.field(1)}: {left.field(2)}" if left.field(2) else left.field(1)
    match left.field(0):
        case "returned":
            return "its code returned"
        case "raised":
            return f"{text} left its code"
        case _:
            return f"SystemExit left its code ({left.field(2)})" if left.field(2) else (
                "SystemExit left its code"
            )


def _status_words(history: History) -> str:
    if history.exitcode is None:
        return "ended; its wait status was not seen"
    if history.signal is not None:
        return f"died of {_signal_name(history.signal)}"
    return f"exited with {history.exitcode}"


def _signal_name(number: int) -> str:
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _ask_hook(run: Run, hook: CauseHook) -> Run:
    """Let a plugin name the cause where nobody else could."""
    from dataclasses import replace

    processes = []
    for process in run.processes:
        answer = None
        if process.cause in (Cause.EXITED, Cause.UNKNOWN):
            answer = hook(run, process)
        if answer is not None:
            cause, who = answer
            told = Evidence(at=None, source=who, fact=f"the cause is {cause}")
            fields = {
                name: getattr(process, name)
                for name in process.__dataclass_fields__
                if name != "run"
            }
            fields.update(cause=Cause(cause), evidence=(*process.evidence, told))
            processes.append(ProcessRecord(**fields))
        else:
            processes.append(process)
    return replace(run, processes=tuple(processes))
