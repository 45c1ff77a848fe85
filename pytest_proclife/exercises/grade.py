"""`proclife grade` and `proclife check`, and what they show in the terminal."""

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
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType

from pytest_proclife.exercises import formats, pytest_session, results, workers
from pytest_proclife.exercises.integrity import Seal
from pytest_proclife.exercises.pytest_session import Examination, Unusable
from pytest_proclife.exercises.results import Mark, Outcome, Result, Status, Store, number
from pytest_proclife.exercises.submission import HandedIn, find, fingerprint
from pytest_proclife.render.text import plain, shortened

_SIGNS = {
    Outcome.PASSED: "ok",
    Outcome.PARTIAL: "part",
    Outcome.FAILED: "no",
    Outcome.NOT_RUN: "-",
}


class Progress:
    """A line that says how far grading is; one a result where the output is no terminal."""

    def __init__(self, count: int, *, known: int) -> None:
        self.count = count
        self.done = known
        self.live = sys.stderr.isatty()
        if known:
            self._line(f"{known} of {count} have their results already")
            if self.live:
                sys.stderr.write("\n")

    def show(self, result: Result) -> None:
        self.done += 1
        self._line(f"[{self.done}/{self.count}] {shortened(result.submission)}: {in_short(result)}")

    def end(self, results: Sequence[Result], folder: Path) -> None:
        if self.live:
            sys.stderr.write("\n")
        counted = Counter(str(result.status) for result in results)
        words = ", ".join(f"{counted[status]} {status}" for status in Status if counted[status])
        sys.stderr.write(f"{words}: {folder / 'summary.csv'}\n")

    def _line(self, text: str) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{text[:width]}")
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


def in_short(result: Result) -> str:
    if result.status is Status.GRADED:
        return f"{number(result.score)} of {number(result.max_score)}"
    return f"{result.status}: {plain(result.reason)}"


def own_view(result: Result, style: str) -> str:
    """A result as the student sees it: the tests that are visible."""
    if result.status is Status.UNGRADABLE:
        return f"This answer cannot be graded: {plain(result.reason)}"
    if result.status is not Status.GRADED:
        return f"There is no result ({result.status}): {plain(result.reason)}"
    shown = [mark for mark in result.marks if mark.visibility == "visible"]
    lines = [line for mark in shown for line in _lines(mark, style)]
    score = number(sum(mark.points for mark in shown))
    lines.append(f"\n{score} of {number(sum(mark.max_points for mark in shown))} points")
    return "\n".join(lines)


def _lines(mark: Mark, style: str) -> list[str]:
    points = f"{number(mark.points)}/{number(mark.max_points)}"
    lines = [f"{_SIGNS[mark.outcome]:<5}{points:>6}  {plain(mark.name)}"]
    if mark.outcome is not Outcome.PASSED:
        lines += [f"             {line}" for line in mark.feedback(style).splitlines()]
    return lines


FAILED = 125
_ALL_HIS, _NOT_ALL = 0, 1  # of `check`


def grade(options: argparse.Namespace) -> int:
    """Grade submissions; 0 when each has its result in all formats, 125 where it has not."""
    with _ended_by_sigterm():
        try:
            path = _exercise(options.exercise)
            submissions = find(options.submissions)
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
    submissions: Sequence[HandedIn],
    store: Store,
    options: argparse.Namespace,
) -> int:
    keys = {one.name: exercise.key(one) for one in submissions}
    done = {one.name: store.known(one.name, keys[one.name]) for one in submissions}
    results = {name: result for name, result in done.items() if result is not None}
    progress = Progress(len(submissions), known=len(results))
    missing = [one for one in submissions if one.name not in results]
    exercise.keep = store.folder / "changed"
    wanted = min(options.jobs, max(1, len(missing)))
    width = workers.at_once(wanted)
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
            submission, *more = find([options.submission])
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


def _check(exercise: _Exercise, submission: HandedIn, options: argparse.Namespace) -> int:
    (result,) = exercise.results([submission], {}, 1)
    print(own_view(result, options.feedback))
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
        return pytest_session.load(path, seal, begin)
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

    def key(self, submission: HandedIn) -> str:
        """What a result depends on: the exercise, the answer, the Python."""
        try:
            answer = fingerprint(submission.path)
        except OSError as error:
            answer = str(error)
        return f"{self.digest}-{answer}-{platform.python_version()}-{self.deadline}"

    def results(
        self, submissions: Sequence[HandedIn], keys: dict[str, str], width: int
    ) -> Iterator[Result]:
        """The result of each, as they come.

        Where a file that the exercise reads was changed meanwhile, by whatever ran, it is written
        back and the answer graded once more, alone.
        """
        scratch = tempfile.mkdtemp(prefix="proclife-")
        try:
            again: list[HandedIn] = []
            for one, result, changed in self._round(submissions, keys, width, Path(scratch, "1")):
                if changed:
                    again.append(one)
                else:
                    yield result
            for _, result, changed in self._round(again, keys, 1, Path(scratch, "2")):
                words = f"{changed!r}, which the exercise reads, was changed while this answer "
                words += "was graded"
                yield results.void(result, words) if changed else result
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _round(
        self,
        submissions: Sequence[HandedIn],
        keys: dict[str, str],
        width: int,
        scratch: Path,
    ) -> Iterator[tuple[HandedIn, Result, str]]:
        """Each with its result, and with the file that was not the same all the time, if any."""
        scratch.mkdir()
        tokens = [secrets.token_hex() for _ in submissions]
        places = [scratch / str(index) for index in range(len(submissions))]
        jobs = [
            functools.partial(self.examination.examine, one.path, place, token)
            for one, place, token in zip(submissions, places, tokens, strict=True)
        ]
        for index, answer in workers.grade(jobs, width, self.deadline):
            shutil.rmtree(places[index], ignore_errors=True)
            one, token = submissions[index], tokens[index]
            used, changed = results.reading(answer, token)
            self.seal.used.update(used)
            self._restore(one.name)
            key = keys.get(one.name, "")
            yield one, results.judge(one.name, answer, token, self.examination.marks, key), changed

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
    for module in ("plugin.report", "plugin.fixture", "assertions.verbs", "run_json"):
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
