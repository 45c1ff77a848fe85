"""The log of a run -> its frozen account. Pure: values in, a `Run` out.

Each stage is a function of the values of the stages before it, in the order of the imports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from pytest_proclife import records, wire
from pytest_proclife.analysis import (
    cause,
    evidence,
    family,
    gaps,
    hangs,
    history,
    joins,
    log,
    stacks,
)
from pytest_proclife.records import HELPER_KINDS, MULTIPROCESSING_KINDS, Cause, ProcessRecord, Run
from pytest_proclife.supervisor.protocol import Entry

CauseHook = Callable[[Run, ProcessRecord], "tuple[str, str] | None"]


def assemble(
    entries: Iterable[Entry],
    *,
    epoch: int,
    started_at: float,
    duration: float,
    timed_out: bool,
    target: records.TargetInfo,
    python: str,
    platform: str,
    start_method: str | None,
    backend: str,
    features: tuple[str, ...] = (),
    seccomp: bool = False,
    observed: bool | None = None,
    missing: Sequence[records.Missing] = (),
    stdout: str | None = None,
    stderr: str | None = None,
    output_truncated: bool = False,
    cause_hook: CauseHook | None = None,
) -> Run:
    """Put a run's account together.

    `epoch` is main's start in monotonic ns. `observed`: the recorder entered main, so that its
    silence means lost reports; None if that is not known. `missing` is what the backend cannot
    see.
    """
    if observed is None:  # a command may not be a Python; polling may have no channel for reports
        observed = backend == "pidfd" and target.kind != "command"
    processes = log.gather(entries, epoch, observed, seccomp)
    relatives = family.identify(processes)
    found = gaps.find(processes, relatives, seccomp)
    stages = _Stages(
        processes=processes,
        family=relatives,
        gaps=found,
        joins=joins.find(processes, relatives, found, backend),
        histories=history.build(processes, relatives, found, seccomp),
        opened=stacks.Opened(processes, relatives),
        clock=evidence.Clock(epoch),
    )
    missing = (*missing, *found.missing)
    version = relatives.identities[0].version
    run = Run(
        target=target,
        python=".".join(map(str, version)) if len(version) > 1 else python,
        platform=platform,
        start_method=start_method,
        witness=records.Witness(
            backend=backend, features=features, complete=not missing, missing=missing
        ),
        started_at=started_at,
        duration=duration,
        timed_out=timed_out,
        stdout=stdout,
        stderr=stderr,
        output_truncated=output_truncated,
        processes=tuple(map(stages.record, relatives.order)),
    )
    run = hangs.judge(run)
    return run if cause_hook is None else _ask_hook(run, cause_hook)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stages:
    """The values of all stages, from which each record is made."""

    processes: Sequence[log.ProcessFacts]
    family: family.Family
    gaps: gaps.Gaps
    joins: Sequence[joins.Join]
    histories: Sequence[history.History]
    opened: stacks.Opened
    clock: evidence.Clock
    arguments: dict[tuple[str, ...], tuple[str, ...]] = field(default_factory=dict)  # one copy each

    def record(self, number: int) -> ProcessRecord:
        process, identity = self.processes[number], self.family.identities[number]
        known, join, clock = self.histories[number], self.joins[number], self.clock
        running = process.end is None
        verdict = None if running else cause.decide(known)
        died_of = None if running else known.signal
        finish = process.last_of_program(wire.FINISHED)
        waits = evidence.open_waits(process, self.processes, self.family, clock)
        argv = identity.argv
        return ProcessRecord(
            id=identity.id,
            pid=process.pid,
            parent_id=known.parent,
            role=identity.role,
            kind=identity.kind,
            name=clock.text(identity.name),
            argv=None if argv is None else self.arguments.setdefault(argv, argv),
            daemon=known.daemon if identity.kind in MULTIPROCESSING_KINDS else None,
            start_method=identity.start_method,
            started_at=clock.seconds(process.began) if number else 0.0,
            finished_at=self._seconds(_finished_at(process)),
            ended_at=self._seconds(evidence.end_time(process)),
            exitcode=None if running else known.exitcode,
            signal=None if died_of is None else records.signal_name(died_of),
            cause=None if verdict is None else verdict.cause,
            ending=records.Ending.RUNNING if verdict is None else verdict.ending,
            ended_by=None if verdict is None else verdict.ended_by,
            requests=tuple(map(self._request, filter(_is_request, known.sent))),
            joined=join.joined,
            joined_at=self._seconds(join.joined_at),
            orphaned=join.orphaned,
            target_ran=self._target_ran(process, identity.kind),
            exception=_exception(finish),
            waiting_for=waits,
            unknown_reason=None if verdict is None else verdict.unknown,
            stacks=stacks.read(process, self.opened, clock),
            evidence=evidence.collect(
                process,
                self.processes,
                self.family,
                self.gaps,
                self.histories,
                verdict,
                waits,
                join.holds,
                clock,
            ),
        )

    def _seconds(self, at: int | None) -> float | None:
        return None if at is None else self.clock.seconds(at)

    def _request(self, sent: log.Sent) -> records.Request:
        return records.Request(
            at=self.clock.seconds(sent.at),
            by=sent.by,
            signal=records.signal_name(sent.signal),
            via=self.clock.text(sent.via),
        )

    def _target_ran(self, process: log.ProcessFacts, kind: str) -> bool | None:
        if process.last(wire.RUN) is not None:
            return True
        if process.end is None or kind in HELPER_KINDS or self.gaps.of_process[process.number]:
            return None
        if not process.reports:
            # killed before its first report; a program that does not report could not say it
            announced = bool(process.announcements)
            return False if announced and kind in MULTIPROCESSING_KINDS else None
        if kind in MULTIPROCESSING_KINDS and not history.is_multiprocessings(process, self.gaps):
            return None  # a library with process classes of its own does not report it
        return None if kind == "os_fork" else False


def _is_request(sent: log.Sent) -> bool:
    """Whether it came to a process that could still get it, not to a zombie."""
    return sent.certain and sent.alive is not False


def _finished_at(process: log.ProcessFacts) -> int | None:
    finish = process.last_of_program(wire.FINISHED)
    if finish is None or not process.is_before_clean_up(finish):
        return None
    return finish.at


def _exception(finish: log.Report | None) -> records.ExceptionInfo | None:
    if finish is None or not finish.field(1):
        return None
    return records.ExceptionInfo(
        type=finish.field(1), message=finish.field(2), traceback=finish.field(3)
    )


def _ask_hook(run: Run, hook: CauseHook) -> Run:
    """Let a plugin name a cause that would be `exited` or `unknown`."""
    processes = []
    for process in run.processes:
        answer = hook(run, process) if process.cause in (Cause.EXITED, Cause.UNKNOWN) else None
        if answer is not None:
            named, source = Cause(answer[0]), records.Source.PLUGIN
            fact = records.CauseNamed(at=None, source=source, plugin=answer[1], cause=named)
            process = replace(process, cause=named, evidence=(*process.evidence, fact))
        processes.append(process)
    return replace(run, processes=tuple(processes))
