"""crash_points(): a program is run again and again, and crashed at each of its points.

A first run, in which nothing is done to it, has the points. Each crash is a run of its own, in
which the supervisor sends the signal: see `supervisor.points`.
"""

from __future__ import annotations

import os
import random
import signal as signals
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any

from pytest_proclife.durations import LINGER
from pytest_proclife.errors import LifecycleError
from pytest_proclife.options import Options
from pytest_proclife.records import POINTS, CleanUp, CrashOutcome, Point, ProcessRecord, Role, Run
from pytest_proclife.render.crash import failure_words
from pytest_proclife.runner import finish, open_session
from pytest_proclife.session import Session
from pytest_proclife.supervisor import protocol
from pytest_proclife.supervisor.points import ENDED, JOINED, MAIN, REPORTER, without_digits
from pytest_proclife.target import Program, Target

TIMEOUT = 10.0  # s from the signal to main's end
SIGNALS = ("SIGINT", "SIGTERM", "SIGKILL")
CHILDREN = "children"
_AHEAD = 20  # runs that each thread may be ahead of a run that hangs


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where and to whom a crash is to happen: `victim` is as in `protocol.Request`."""

    point: Point
    victim: str
    key: tuple[str, ...]

    @property
    def process(self) -> str:
        """The name of the victim."""
        return self.point.process if self.victim == REPORTER else self.victim or MAIN


class Crash:
    """One run of a program in which a process was sent a signal at a point.

    | attribute | value |
    | --- | --- |
    | `point` | the point at which it was sent |
    | `signal` | the name of the signal |
    | `process` | the name of the process that it was sent to: "main", or a child's |
    | `run` | the `Run` |
    | `outcome` | the first of left, hung and missed that applies, else clean |
    | `left` | the processes, without main, that had to be ended after the linger or timeout |
    | `hung` | whether main did not end within the timeout after the signal |
    | `exitcode` | main's exit code; None if it hung |
    | `missed` | whether the point did not come again, so that no signal was sent |

    As a context manager it is a subtest in a test of pytest 9. If the block raises nothing, and the
    crash was missed or hung, it raises LifecycleError: such a crash proves nothing.
    """

    def __init__(
        self,
        place: Place,
        signal: str,
        run: Run,
        *,
        missed: bool,
        context: Callable[[Crash], AbstractContextManager[Any]] | None = None,
    ) -> None:
        self.point = place.point
        self.process = place.process
        self.signal = signal
        self.run = run
        self.missed = missed
        self.hung = run.timed_out and not missed
        self.left = () if missed else _left(run)
        self._make_context = context
        self._context: AbstractContextManager[Any] = nullcontext()

    @property
    def exitcode(self) -> int | None:
        return None if self.hung else self.run.exitcode

    @property
    def outcome(self) -> CrashOutcome:
        if self.missed:
            return CrashOutcome.MISSED
        if self.hung:
            return CrashOutcome.HUNG
        return CrashOutcome.LEFT if self.left else CrashOutcome.CLEAN

    def __str__(self) -> str:
        whom = "" if self.process == MAIN else f" to {self.process}"
        return f"{self.signal}{whom} {self.point}"

    def __repr__(self) -> str:
        return f"<Crash {str(self)!r}: {self.outcome}>"

    def __enter__(self) -> Crash:
        if self._make_context is not None:
            self._context = self._make_context(self)
        self._context.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        __tracebackhide__ = True
        if error is None and (self.missed or self.hung):
            text = failure_words(str(self), self.run, self.outcome)
            error = LifecycleError(text, run=self.run, assertion="crash")
        elif error is not None:
            error.add_note(f"crash: {self}")
        if self._context.__exit__(None if error is None else type(error), error, trace):
            return True
        if error is not None and kind is None:
            raise error
        return None


def _left(run: Run) -> tuple[ProcessRecord, ...]:
    """The processes that the clean-up had to kill, without main.

    Helpers of multiprocessing count only if there is no other such process.
    """
    ended = [p for p in run.processes[1:] if any(isinstance(e, CleanUp) for e in p.evidence)]
    return tuple([p for p in ended if p.role is Role.CHILD] or ended)


def crash_points(
    target: Target,
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    *,
    signals: Sequence[str | int] = SIGNALS,
    of: str = MAIN,
    at: Sequence[str] | None = None,
    limit: int | None = None,
    seed: int = 0,
    jobs: int = 1,
    start_method: str | None = None,
    timeout: float | None = TIMEOUT,
    linger: float = LINGER,
    cwd: str | os.PathLike[str] | None = None,
    env: Mapping[str, str] | None = None,
    input: str | bytes | None = None,
    seccomp: bool = False,
) -> Iterator[Crash]:
    """Crash a program at each point of its life, one run for each point and signal.

    The program is first run without a signal, for its points: each start of a process, its target,
    each line of output, each wait and its end, the end of its code, its exit path and its exit,
    each signal that it sends or handles. If points differ only in numbers (they have
    the same kind and line, and similar names of processes), the first, the middle and the last
    are tried.

    - `signals`: names or numbers. Each point is tried with each of them.
    - `of`: the process that gets the signal. "main", or the name of a process, at each point at
      which it is running. With "children" it is the child of main that reports the point or that
      the point is about, else the first running child of each sort (names that differ only in
      numbers are one sort).
    - `at`: the kinds of points, of `Point.kind`, that are tried; None: all.
    - `limit`: the maximum number of crashes. If there are more, some are drawn at random, by
      `seed`.
    - `jobs`: the number of parallel runs. More than one is for a program whose runs do not disturb
      each other, for example by using the same port or file.
    - `timeout`: seconds from the signal to main's end; main hangs if it takes longer. The first run
      is ended after this time too, and the points up to then are tried.
    - `linger`: seconds to keep watching processes that outlive main, before they count as left.
    - `seccomp`: use the second witness. The system calls by which processes of any language signal
      and wait are points too.

    The other arguments are those of `run()`. Raises the errors of `run()`, ValueError for a wrong
    argument, and SupervisorLost if runs have to be polled.
    """
    program = Program(target=target, args=args, kwargs=kwargs, cwd=cwd, env=env, input=input)
    options = Options(
        program=program,
        start_method=start_method,
        timeout=timeout,
        linger=linger,
        seccomp=seccomp,
        allow_timeout=True,
        points=True,
    )
    plan = Plan(options, signals=signals, of=of, at=at, limit=limit, seed=seed)
    return plan.crashes(jobs)


@dataclass
class Plan:
    """What is to be tried, checked once; `finished` is called with each run as it is over."""

    options: Options
    signals: Sequence[str | int] = SIGNALS
    of: str = MAIN
    at: Sequence[str] | None = None
    limit: int | None = None
    seed: int = 0
    finished: Callable[[Run], object] | None = None
    context: Callable[[Crash], AbstractContextManager[Any]] | None = None
    first: Run | None = None  # the first run, once it is over

    def __post_init__(self) -> None:
        if isinstance(self.signals, str) or isinstance(self.at, str):
            raise ValueError("signals and at are sequences of names")
        self.numbers = [number_of(signal) for signal in self.signals]
        unknown = [kind for kind in self.at or () if kind not in POINTS]
        if unknown:
            raise ValueError(f"unknown kind of point {unknown[0]!r}: there are {', '.join(POINTS)}")
        if self.limit is not None and (type(self.limit) is not int or self.limit < 1):
            raise ValueError(f"limit is a number of crashes, 1 or more, not {self.limit!r}")
        if not self.of:
            raise ValueError("of is main, children or the name of a process, not empty")

    def points(self) -> list[Place]:
        """Run the program once, and choose the points that are to be tried."""
        self.first, noted = _observe(self.options, _Active())
        if self.finished is not None:
            self.finished(self.first)
        counts: dict[tuple[str, ...], int] = {}
        for _, _, _, key, *_ in noted:
            counts[key] = counts.get(key, 0) + 1
        places = []
        for _, kind, _, key, *values in noted:
            if kind != protocol.POINT or (self.at is not None and key[0] not in self.at):
                continue
            nth, held, own, children, everybody = values
            point = _point(key, nth, counts[key], held)
            victims = [""]
            if self.of == CHILDREN:
                victims = _victims(key, own, children)
            elif self.of != MAIN:
                victims = [self.of] if self.of in everybody else []
            places += [Place(point=point, victim=victim, key=key) for victim in victims]
        return _of_each_class(places)

    def crashes(self, jobs: int = 1) -> Generator[Crash, None, None]:
        """Each crash, in the order of the points."""
        if type(jobs) is not int or jobs < 1:
            raise ValueError(f"jobs is a number of runs, 1 or more, not {jobs!r}")
        return self._crashes(jobs)

    def chosen(self) -> list[tuple[Place, int]]:
        """What is tried: each point with each signal, as far as the limit allows."""
        tried = [
            (place, number)
            for place in self.points()
            for number in self.numbers
            if not _is_lost_at_birth(place, number)
        ]
        if self.limit is not None and len(tried) > self.limit:
            # by what they are: processes that run at the same time report in any order
            alike = sorted(range(len(tried)), key=lambda index: _identity(*tried[index]))
            drawn = random.Random(self.seed).sample(alike, self.limit)
            tried = [tried[index] for index in sorted(drawn)]
        return tried

    def _crashes(self, jobs: int) -> Generator[Crash, None, None]:
        yield from self.crash_each(self.chosen(), jobs)

    def crash_each(
        self, tried: Sequence[tuple[Place, int]], jobs: int
    ) -> Generator[Crash, None, None]:
        """The crashes of these, in their order, `jobs` at a time."""
        active = _Active()
        if jobs == 1:
            for place, number in tried:
                yield self._finish(self._crash(place, number, active))
            return
        ready: deque[Future[Crash]] = deque()
        with ThreadPoolExecutor(jobs, "proclife-crash") as threads, active:
            try:
                for place, number in tried:
                    ready.append(threads.submit(self._crash, place, number, active))
                    if len(ready) > jobs * _AHEAD:
                        yield self._finish(ready.popleft().result())
                while ready:
                    yield self._finish(ready.popleft().result())
            finally:
                for future in ready:
                    future.cancel()

    def _finish(self, crash: Crash) -> Crash:
        if self.finished is not None:
            self.finished(crash.run)
        return crash

    def _crash(self, place: Place, number: int, active: _Active) -> Crash:
        order = place.key, place.point.nth - 1, place.victim, number
        run, noted = _observe(replace(self.options, crash=order), active)
        sent = [entry for entry in noted if entry[1] == protocol.CRASH]
        missed = not sent or sent[0][3] != protocol.SENT
        name = signals.Signals(number).name
        return Crash(place, name, run, missed=missed, context=self.context)


def _victims(key: tuple[str, ...], own: bool, children: tuple[str, ...]) -> list[str]:
    """Which of main's children is lost at a point: see `crash_points`."""
    kind, process, _, about, _ = key
    if own:
        return [REPORTER]
    if kind != ENDED and process not in (MAIN, "stdout", "stderr"):
        return []  # of a descendant that is no child of main's
    if about in children and kind != JOINED:
        return [about]
    sorts = {without_digits(name): name for name in reversed(children) if name != about}
    return list(reversed(sorts.values()))


def _identity(place: Place, number: int) -> tuple[object, ...]:
    return place.key, place.point.nth, place.victim, number


def _is_lost_at_birth(place: Place, number: int) -> bool:
    """Whether a fork gets a signal in its first moment, which a handler in Python may be for.

    What that raises is lost there: the interpreter calls us as it calls `os.register_at_fork()`'s
    functions, and shows an exception without letting it go on.
    """
    first = place.point.kind == "begun" and place.point.detail == "fork"
    return first and place.victim == REPORTER and number != signals.SIGKILL


def number_of(signal: str | int) -> int:
    """The number of a signal by its name, or by its number. ValueError if there is none."""
    try:
        return int(signals.Signals[signal] if isinstance(signal, str) else signals.Signals(signal))
    except (KeyError, ValueError):
        raise ValueError(f"{signal!r} is not a signal") from None


@dataclass
class _Active:
    """The runs that last; leaving the context ends them, and what is added later."""

    sessions: list[Session] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: bool = False

    def __enter__(self) -> _Active:
        return self

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.over = True
            for session in self.sessions:
                session.connection.send(protocol.END)  # its thread receives the rest

    def add(self, session: Session) -> None:
        with self.lock:
            self.sessions.append(session)
            if self.over:
                session.connection.send(protocol.END)

    def remove(self, session: Session) -> None:
        with self.lock:
            self.sessions.remove(session)


def _observe(options: Options, active: _Active) -> tuple[Run, list[protocol.Entry]]:
    """A run, and the entries of its log that are about points."""
    session = open_session(options)
    active.add(session)
    try:
        session.wait()
    finally:
        active.remove(session)
    noted = [entry for entry in session.log if entry[1] in (protocol.POINT, protocol.CRASH)]
    session.log[:] = [e for e in session.log if e[1] not in (protocol.POINT, protocol.CRASH)]
    return finish(session, options), noted


def _point(key: tuple[str, ...], before: int, count: int, held: bool) -> Point:
    kind, process, detail, about, where = key
    return Point(
        kind=kind,
        process=process,
        detail=detail,
        about=about,
        where=where,
        nth=before + 1,
        count=count,
        held=held,
    )


def _of_each_class(places: list[Place]) -> list[Place]:
    """Of places that differ in numbers alone: the first, the middle and the last."""
    classes: dict[tuple[str, ...], list[int]] = {}
    for index, place in enumerate(places):
        kind, process, detail, about, where = place.key
        alike = kind, without_digits(process), detail, without_digits(about), where
        classes.setdefault((*alike, without_digits(place.process)), []).append(index)
    chosen: set[int] = set()
    for members in classes.values():
        chosen.update((members[0], members[len(members) // 2], members[-1]))
    return [places[index] for index in sorted(chosen)]
