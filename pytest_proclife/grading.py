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
from pytest_proclife.exercises.results import Mark, Outcome, Result, Status
from pytest_proclife.exercises.store import Store
from pytest_proclife.plugin import examination

FAILED = 125
_ALL_HIS, _NOT_ALL = 0, 1  # of `check`


def grade(options: argparse.Namespace) -> int:
    """Grade submissions; 0 when each has its result in all formats, 125 where it has not."""
    with _ended_by_sigterm():
        try:
            exercise = _Exercise(options.exercise, options.deadline)
            submissions = handed_in.find(options.submissions)
            store = Store(Path(options.output))
        except (ValueError, OSError) as error:
            print(f"proclife: {error}", file=sys.stderr)
            return FAILED
        keys = {one.name: exercise.key(one) for one in submissions}
        done = {one.name: store.known(one.name, keys[one.name]) for one in submissions}
        results = {name: result for name, result in done.items() if result is not None}
        progress = screen.Progress(len(submissions), known=len(results))
        missing = [one for one in submissions if one.name not in results]
        for result in exercise.results(missing, keys, options.jobs):
            store.keep(result)
            results[result.submission] = result
            progress.show(result)
        ordered = [results[one.name] for one in submissions]
        for result in ordered:
            if store.known(result.submission, result.key) != result:
                store.keep(result)  # an answer may have written there
        store.summarize(ordered)
        progress.end(ordered, store.folder)
        try:
            for name in options.format:
                formats.write(name, store.folder, ordered, options.feedback)
        except ValueError as error:
            print(f"proclife: {error}", file=sys.stderr)
            return FAILED
        return 0


def check(options: argparse.Namespace) -> int:
    """Show one submission's own view; 0 for all points, 1 for less, 125 for no result."""
    with _ended_by_sigterm():
        try:
            exercise = _Exercise(options.exercise, options.deadline)
            (submission,) = handed_in.find([options.submission])[:1]
        except (ValueError, OSError) as error:
            print(f"proclife: {error}", file=sys.stderr)
            return FAILED
        (result,) = exercise.results([submission], {}, 1)
        print(screen.own_view(result, options.feedback))
        if result.status in (Status.ERROR, Status.TAMPERED):
            return FAILED
        shown = [mark for mark in result.marks if mark.visibility == "visible"]
        passed = all(mark.outcome is Outcome.PASSED for mark in shown)
        return _ALL_HIS if passed and result.status is Status.GRADED else _NOT_ALL


class _Exercise:
    """An exercise that can be read. ValueError where it cannot."""

    def __init__(self, path: str, deadline: float) -> None:
        self.path = Path(path).resolve()
        self.deadline = deadline
        if not self.path.is_file():
            what = "an exercise is a file of tests" if self.path.exists() else "no such exercise"
            raise ValueError(f"{what}: {path!r}")
        if not hasattr(os, "pidfd_open"):
            raise ValueError("grading needs Linux")
        _load_what_graders_need()
        self.digest = handed_in.fingerprint(self.path)
        self.text = self.path.read_bytes()
        token = secrets.token_hex()
        job = functools.partial(examination.plan, self.path, token)
        ((_, answer),) = desk.grade([job], 1, deadline)
        try:
            self.plan: tuple[Mark, ...] = verdict.planned(answer, token)
        except ValueError as error:
            raise ValueError(f"the exercise {path!r} cannot be used: {error}") from None

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
        """The result of each, as they come."""
        tokens = [secrets.token_hex() for _ in submissions]
        scratch = tempfile.mkdtemp(prefix="proclife-")
        try:
            places = [Path(scratch) / str(number) for number in range(len(submissions))]
            jobs = [
                functools.partial(self._grade, one.path, place, token)
                for one, place, token in zip(submissions, places, tokens, strict=True)
            ]
            for number, answer in desk.grade(jobs, width, self.deadline):
                shutil.rmtree(places[number], ignore_errors=True)
                name = submissions[number].name
                key = keys.get(name, "")
                result = verdict.judge(name, answer, tokens[number], self.plan, key)
                yield self._untouched(result)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _untouched(self, result: Result) -> Result:
        """The result, unless the exercise was changed meanwhile; it is written back then.

        By which of the answers that ran nobody knows, so none is blamed.
        """
        if handed_in.fingerprint(self.path) == self.digest:
            return result
        self.path.write_bytes(self.text)
        return verdict.void(result, "the exercise was changed while this answer was graded")

    def _grade(
        self, submission: Path, place: Path, token: str, channel: int, wait: Callable[[], None]
    ) -> None:
        place.mkdir()
        examination.examine(self.path, submission, place, token, channel, wait)


def _load_what_graders_need() -> None:
    """Import once what every grader would import, which costs more than most answers."""
    import _pytest.config

    for name in getattr(_pytest.config, "default_plugins", ()):
        with contextlib.suppress(ImportError):
            importlib.import_module(f"_pytest.{name}")
    for module in ("plugin.report", "plugin.runs", "assertions", "document"):
        importlib.import_module(f"pytest_proclife.{module}")
    gc.freeze()  # graders have no need to look through it again, nor to copy its pages


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
