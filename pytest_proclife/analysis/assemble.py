"""The log of a run -> its frozen account. Pure: values in, a `Run` out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pytest_proclife import wire
from pytest_proclife.analysis.cause import classify
from pytest_proclife.analysis.evidence import end_time, facts
from pytest_proclife.analysis.family import Family
from pytest_proclife.analysis.gaps import Losses, reports
from pytest_proclife.analysis.history import History, Left
from pytest_proclife.analysis.joins import Parting
from pytest_proclife.analysis.log import Asked, Entry, Report, Sighting, gather
from pytest_proclife.records import (
    HELPER_KINDS,
    MULTIPROCESSING_KINDS,
    Cause,
    Ending,
    Evidence,
    ExceptionInfo,
    ProcessRecord,
    Request,
    Run,
    TargetInfo,
    Witness,
    signal_name,
)

__all__ = ["CauseHook", "Entry", "assemble"]

CauseHook = Callable[[Run, ProcessRecord], "tuple[str, str] | None"]

_SEES_HANDLERS = (3, 12)  # the version from which on sys.monitoring shows handlers as they run


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
    observed: bool | None = None,
    missing: Sequence[str] = (),
    stdout: str | None = None,
    stderr: str | None = None,
    output_truncated: bool = False,
    cause_hook: CauseHook | None = None,
) -> Run:
    """Put a run's account together.

    `epoch` is main's start in monotonic ns. `observed`: the recorder was let into main, so that
    its silence means lost reports; None where that is not known.
    """
    sightings = gather(log, epoch)
    if observed is None:  # a command may be no Python; polling may have no channel for reports
        observed = backend == "pidfd" and target.kind != "command"
    sightings[0].let_in = observed
    account = _Account(sightings, epoch, backend)
    version = account.family.version(account.family.sightings[0])
    missing = [*missing, *account.losses.in_words()]
    run = Run(
        target=target,
        python=".".join(map(str, version)) if len(version) > 1 else python,
        platform=platform,
        start_method=start_method,
        witness=Witness(backend=backend, complete=not missing, missing=tuple(missing)),
        started_at=started_at,
        duration=duration,
        timed_out=timed_out,
        stdout=stdout,
        stderr=stderr,
        output_truncated=output_truncated,
        processes=tuple(account.record(one) for one in account.family.order),
    )
    return run if cause_hook is None else _ask_hook(run, cause_hook)


class _Account:
    """The sightings of a run, made into records one by one."""

    def __init__(self, sightings: list[Sighting], epoch: int, backend: str) -> None:
        self.family = Family(sightings)
        self.losses = Losses(self.family)
        self.epoch = epoch
        self.backend = backend
        self.parting = Parting(self.family, self.losses, backend)
        # the same text stands in thousands of records: one copy of each
        self.texts: dict[str, str] = {}
        self.arguments: dict[tuple[str, ...], tuple[str, ...]] = {}

    def seconds(self, at: int | None) -> float | None:
        return None if at is None else round((at - self.epoch) / 1e9, 6)

    def moment(self, at: int) -> float:
        return round((at - self.epoch) / 1e9, 6)

    def text(self, value: str) -> str:
        return self.texts.setdefault(value, value)

    def record(self, one: Sighting) -> ProcessRecord:
        family, number = self.family, one.number
        kind = family.kinds[number]
        running = one.end is None
        history = self._history(one)
        verdict = None if running else classify(history)
        joined, joined_at = self.parting.joined(one)
        left = one.latest(wire.LEFT)
        argv = family.argv(one)
        died_of = None if running else history.signal
        return ProcessRecord(
            id=family.ids[number],
            pid=one.pid,
            parent_id=history.parent,
            role=family.role(one),
            kind=kind,
            name=self.text(family.names[number]),
            argv=None if argv is None else self.arguments.setdefault(argv, argv),
            daemon=history.daemon if kind in MULTIPROCESSING_KINDS else None,
            start_method=family.start_method(one),
            started_at=self.moment(one.began) if number else 0.0,
            finished_at=None if left is None else self.moment(left.at),
            ended_at=self.seconds(end_time(one)),
            exitcode=None if running else history.exitcode,
            signal=None if died_of is None else signal_name(died_of),
            cause=None if verdict is None else verdict.cause,
            ending=Ending.RUNNING if verdict is None else verdict.ending,
            ended_by=None if verdict is None else verdict.ended_by,
            requests=tuple(self._request(r) for r in history.asked if r.sure),
            joined=joined,
            joined_at=self.seconds(joined_at),
            orphaned=self.parting.orphaned(one),
            target_ran=self._target_ran(one),
            exception=_exception(left),
            evidence=tuple(
                Evidence(
                    at=self.seconds(fact.at),
                    source=self.text(fact.source),
                    fact=self.text(fact.text),
                )
                for fact in facts(one, family, history, verdict)
            ),
        )

    def _request(self, asked: Asked) -> Request:
        return Request(
            at=self.moment(asked.at),
            by=asked.by,
            signal=signal_name(asked.signal),
            via=self.text(asked.via),
        )

    # --- how it ended

    def _history(self, one: Sighting) -> History:
        family, losses, number = self.family, self.losses, one.number
        left, word = one.latest(wire.LEFT), one.latest(wire.LAST_WORD)
        return History(
            id=family.ids[number],
            exitcode=one.exitcode,
            began=one.began if reports(one) or one.told else 0,
            ended=math.inf if one.end is None else one.end,
            parent=family.parent_id(one),
            parent_known=family.certain[number],
            daemon=self._daemon(one),
            observed=not losses.speechless(one),
            sees_handlers=family.version(one) >= _SEES_HANDLERS,
            replaced=one.replaced,
            cleaned_up=one.cleanups[0] if one.cleanups else None,
            asked=tuple(
                r if isinstance(r.by, str) else replace(r, by=family.ids[r.by]) for r in one.asked
            ),
            caught=tuple((r.number(0) or 0, r.at) for r in one.all_latest(wire.CAUGHT)),
            left=None if left is None else _left(left),
            last_word=None if word is None else self._last_word(one, word),
            holes=losses.holes[number],
            missing=losses.missing,
            strangers=losses.strangers,
        )

    def _last_word(self, one: Sighting, word: Report) -> str:
        """How it said that it leaves; of another library's child its launcher is all that tells."""
        if word.field(0) == "launcher" and not self._is_multiprocessings(one):
            return "os_exit"
        return word.field(0)

    def _is_multiprocessings(self, one: Sighting) -> bool:
        """Whether multiprocessing itself said that it is a child of its own."""
        told = any(report.field(1) in MULTIPROCESSING_KINDS for _, report in one.told)
        return told or one.last(wire.RUN) is not None or bool(self.losses.holes[one.number])

    def _daemon(self, one: Sighting) -> bool | None:
        flag = self.family.daemon(one)
        if flag is not None or self.family.kinds[one.number] in MULTIPROCESSING_KINDS:
            return flag
        if one.told or self.losses.speechless(one):
            return False
        # what looks like os.fork() may be a Process of which the reports that say so are missing
        parent = self.family.parents[one.number]
        certain = not self.losses.holes[one.number] and parent is not None
        return False if certain and not self.losses.holes[parent or 0] else None

    def _target_ran(self, one: Sighting) -> bool | None:
        if one.last(wire.RUN) is not None:
            return True
        kind = self.family.kinds[one.number]
        if one.end is None or kind in HELPER_KINDS or self.losses.holes[one.number]:
            return None
        if not one.reports:
            # killed before its first word; what does not report could not say that it ran
            return False if one.told and kind in MULTIPROCESSING_KINDS else None
        if kind in MULTIPROCESSING_KINDS and not self._is_multiprocessings(one):
            return None  # a library with process classes of its own does not say
        return None if kind == "os_fork" else False


def _left(report: Report) -> Left:
    handled = frozenset(int(n) for n in report.field(5).split() if n.isdecimal() and len(n) < 3)
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


def _ask_hook(run: Run, hook: CauseHook) -> Run:
    """Let a plugin name the cause where nobody else could."""
    processes = []
    for process in run.processes:
        answer = None
        if process.cause in (Cause.EXITED, Cause.UNKNOWN):
            answer = hook(run, process)
        if answer is not None:
            cause, who = Cause(answer[0]), answer[1]
            told = Evidence(at=None, source=who, fact=f"the cause is {cause}")
            process = replace(process, cause=cause, evidence=(*process.evidence, told))
        processes.append(process)
    return replace(run, processes=tuple(processes))
