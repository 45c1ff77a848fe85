"""`proclife grade` and `proclife check`: an exercise held against submissions."""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import importlib
import os
import platform
import secrets
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from pytest_proclife.exercises import desk, formats, handed_in, screen, verdict
from pytest_proclife.exercises.results import Outcome, Result, Status
from pytest_proclife.exercises.seal import Seal
from pytest_proclife.exercises.store import Store
from pytest_proclife.plugin import loading
from pytest_proclife.plugin.examination import Examination, Unusable

FAILED = 125
_ALL_HIS, _NOT_ALL = 0, 1  # of `check`


def grade(options: argparse.Namespace) -> int:
    """Grade submissions; 0 when each has its result in all formats, 125 where it has not."""
    with _ended_by_sigterm():
        try:
            path = _exercise(options.exercise)
            submissions = handed_in.find(options.submissions)
            store = Store(Path(options.output))
            others = [*(one.path for one in submissions), *map(Path, options.submissions)]
            seal = Seal(path, [Path(os.path.abspath(p)) for p in (*others, store.folder)])
            return _loaded(
                path, seal, options, lambda exercise: _grade(exercise, submissions, store, options)
            )
        except (ValueError, OSError) as error:
            print(f"proclife: {error}", file=sys.stderr)
            return FAILED


def _grade(
    exercise: _Exercise,
    submissions: Sequence[handed_in.HandedIn],
    store: Store,
    options: argparse.Namespace,
) -> int:
    keys = {one.name: exercise.key(one) for one in submissions}
    done = {one.name: store.known(one.name, keys[one.name]) for one in submissions}
    results = {name: result for name, result in done.items() if result is not None}
    progress = screen.Progress(len(submissions), known=len(results))
    missing = [one for one in submissions if one.name not in results]
    exercise.keep = store.folder / "changed"
    wanted = min(options.jobs, max(1, len(missing)))
    width = desk.at_once(wanted)
    if width < wanted:
        words = f"more than {width} at a time would need more descriptors than `ulimit -n` allows"
        print(f"proclife: {words}", file=sys.stderr)
    for result in exercise.results(missing, keys, width):
        store.keep(result)
        results[result.submission] = result
        progress.show(result)
    ordered = [results[one.name] for one in submissions]
    for result in ordered:
        if store.known(result.submission, result.key) != result:
            store.keep(result)  # an answer may have written there
    store.summarize(ordered)
    progress.end(ordered, store.folder)
    for words in exercise.changes:
        print(f"proclife: {words}", file=sys.stderr)
    for name in options.format:
        formats.write(name, store.folder, ordered, options.feedback)
    return 0


def check(options: argparse.Namespace) -> int:
    """Show one submission's own view; 0 for all points, 1 for less, 125 for no result."""
    with _ended_by_sigterm():
        try:
            path = _exercise(options.exercise)
            submission, *more = handed_in.find([options.submission])
            if more:
                raise ValueError(
                    f"{options.submission!r} has several submissions: name one of them"
                )
            seal = Seal(path, [submission.path])
            return _loaded(
                path, seal, options, lambda exercise: _check(exercise, submission, options)
            )
        except (ValueError, OSError) as error:
            print(f"proclife: {error}", file=sys.stderr)
            return FAILED


def _check(exercise: _Exercise, submission: handed_in.HandedIn, options: argparse.Namespace) -> int:
    (result,) = exercise.results([submission], {}, 1)
    print(screen.own_view(result, options.feedback))
    if result.status in (Status.ERROR, Status.TAMPERED):
        return FAILED
    shown = [mark for mark in result.marks if mark.visibility == "visible"]
    passed = all(mark.outcome is Outcome.PASSED for mark in shown)
    return _ALL_HIS if passed and result.status is Status.GRADED else _NOT_ALL


def _exercise(path: str) -> Path:
    exercise = Path(path).resolve()
    if not exercise.is_file():
        what = "an exercise is a file of tests" if exercise.exists() else "no such exercise"
        raise ValueError(f"{what}: {path!r}")
    if not hasattr(os, "pidfd_open"):
        raise ValueError("grading needs Linux")
    return exercise


def _loaded(
    path: Path,
    seal: Seal,
    options: argparse.Namespace,
    within: Callable[[_Exercise], int],
) -> int:
    """Load the exercise, and do what is to be done with it."""
    _load_what_graders_need()

    def begin(examination: Examination) -> int:
        if seal.broken(whole=True) is not None:
            raise ValueError("the exercise was changed while it was read: start again")
        if not any(mark.max_points for mark in examination.marks):
            words = "no test of it is worth points: mark them with proclife_points(n)"
            print(f"proclife: {options.exercise}: {words}", file=sys.stderr)
        gc.freeze()  # graders have no need to look through it again, nor to copy its pages
        return within(_Exercise(examination, seal, options.deadline))

    seal.listen()
    try:
        return loading.load(path, seal, begin)
    except Unusable as error:
        raise ValueError(f"the exercise {options.exercise!r} cannot be used: {error}") from None


class _Exercise:
    """An exercise that is loaded: forks of this process grade with what it was at the start."""

    def __init__(self, examination: Examination, seal: Seal, deadline: float) -> None:
        self.examination = examination
        self.seal = seal
        self.digest = seal.digest()
        self.deadline = deadline
        self.keep: Path | None = None  # where to keep what answers wrote in place of it
        self.changes: list[str] = []  # sentences about that

    def key(self, submission: handed_in.HandedIn) -> str:
        """What a result depends on: the exercise, the answer, the Python."""
        try:
            answer = handed_in.fingerprint(submission.path)
        except OSError as error:
            answer = str(error)
        return f"{self.digest}-{answer}-{platform.python_version()}-{self.deadline}"

    def results(
        self, submissions: Sequence[handed_in.HandedIn], keys: dict[str, str], width: int
    ) -> Iterator[Result]:
        """The result of each, as they come.

        Where a file that the exercise reads was changed meanwhile, by whatever ran, it is written
        back and the answer graded once more, alone.
        """
        scratch = tempfile.mkdtemp(prefix="proclife-")
        try:
            again: list[handed_in.HandedIn] = []
            for one, result, changed in self._round(submissions, keys, width, Path(scratch, "1")):
                if changed:
                    again.append(one)
                else:
                    yield result
            for _, result, changed in self._round(again, keys, 1, Path(scratch, "2")):
                words = f"{changed!r}, which the exercise reads, was changed while this answer "
                words += "was graded"
                yield verdict.void(result, words) if changed else result
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _round(
        self,
        submissions: Sequence[handed_in.HandedIn],
        keys: dict[str, str],
        width: int,
        scratch: Path,
    ) -> Iterator[tuple[handed_in.HandedIn, Result, str]]:
        """Each with its result, and with the file that was not the same all the time, if any."""
        scratch.mkdir()
        tokens = [secrets.token_hex() for _ in submissions]
        places = [scratch / str(number) for number in range(len(submissions))]
        jobs = [
            functools.partial(self.examination.examine, one.path, place, token)
            for one, place, token in zip(submissions, places, tokens, strict=True)
        ]
        for number, answer in desk.grade(jobs, width, self.deadline):
            shutil.rmtree(places[number], ignore_errors=True)
            one, token = submissions[number], tokens[number]
            used, changed = verdict.reading(answer, token)
            self.seal.used.update(used)
            self._restore(one.name)
            key = keys.get(one.name, "")
            yield one, verdict.judge(one.name, answer, token, self.examination.marks, key), changed

    def _restore(self, name: str) -> None:
        """Write back what was changed of the exercise; by which answer, nobody knows for sure."""
        for path in self.seal.changed():
            done = self.seal.restore(path, self.keep)
            kept = f"; what stood there is in {self.keep}" if done and self.keep else ""
            self.changes.append(
                f"{path} was changed before the end of {name!r}: "
                + (f"it is as it was at the start{kept}" if done else "it cannot be written back")
            )


def _load_what_graders_need() -> None:
    """Import once what every grader would import, which costs more than most answers."""
    for module in ("plugin.report", "plugin.runs", "assertions", "document"):
        importlib.import_module(f"pytest_proclife.{module}")


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Leave by SystemExit on SIGTERM, so that what is graded is ended on the way."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except KeyboardInterrupt:
        print("\nproclife: interrupted; start it again, and it goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
