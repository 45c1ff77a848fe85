"""`proclife grade` and `proclife check`, and what they print."""

from __future__ import annotations

import argparse
import contextlib
import functools
import gc
import os
import platform
import secrets
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

# Each grader would import these at its first run, which takes longer than most answers.
import pytest_proclife.assertions.verbs
import pytest_proclife.plugin.report
import pytest_proclife.run_json
from pytest_proclife.exercises import formats, gradebook, pytest_session, verdict, workers
from pytest_proclife.exercises.integrity import PrivateCopy, Snapshot, snapshot
from pytest_proclife.exercises.results import SUMMARY, Mark, Outcome, Result, Status, Store, number
from pytest_proclife.exercises.submission import find, fingerprint
from pytest_proclife.render.text import plain, shortened

FAILED = 125
_SIGNS = {
    Outcome.PASSED: "ok",
    Outcome.PARTIAL: "part",
    Outcome.FAILED: "no",
    Outcome.NOT_RUN: "-",
}


class Progress:
    """How many submissions are graded: one line, or one for each result if not in a terminal."""

    def __init__(self, count: int, *, known: int) -> None:
        self.count, self.done = count, known
        self.live = sys.stderr.isatty()
        if known:
            self._line(f"{known} of {count} have their results already")
            if self.live:
                sys.stderr.write("\n")

    def show(self, result: Result) -> None:
        self.done += 1
        points = f"{number(result.score)} of {number(result.max_score)}"
        text = f"{shortened(result.submission)}: {plain(result.problem) or points}"
        self._line(f"[{self.done}/{self.count}] {text}")

    def end(self, results: Sequence[Result], folder: Path) -> None:
        if self.live:
            sys.stderr.write("\n")
        counted = Counter(result.status for result in results)
        counts = ", ".join(f"{counted[status]} {status}" for status in Status if counted[status])
        sys.stderr.write(f"{counts}: {folder / 'summary.csv'}\n")

    def _line(self, text: str) -> None:
        if self.live:
            width = shutil.get_terminal_size().columns - 1
            sys.stderr.write(f"\r\x1b[K{text[:width]}")
        else:
            sys.stderr.write(text + "\n")
        sys.stderr.flush()


def student_view(result: Result, style: str) -> str:
    """A result as the student sees it: the visible tests."""
    if result.status is Status.UNGRADABLE:
        return f"This answer cannot be graded: {plain(result.reason)}"
    if result.problem:
        return f"There is no result ({result.status}): {plain(result.reason)}"
    lines = []
    for mark in result.visible:
        points = f"{number(mark.points)}/{number(mark.max_points)}"
        lines.append(f"{_SIGNS[mark.outcome]:<5}{points:>6}  {plain(mark.name)}")
        lines += [f"             {line}" for line in mark.feedback(style).splitlines()]
    score = number(sum(mark.points for mark in result.visible))
    lines.append(f"\n{score} of {number(sum(mark.max_points for mark in result.visible))} points")
    return "\n".join(lines)


def grade(options: argparse.Namespace) -> int:
    """Grade submissions. Return 0 if each has a result in all formats, 125 if not."""
    with _failures_reported():
        path = _exercise(options.exercise)
        course = _course(options, path)
        submissions = find(options.submissions)
        store = Store(Path(options.output))
        others = [path.parent for path in path.parent.glob(f"*/{SUMMARY}")]
        others += [*submissions.values(), store.folder, *map(Path, options.submissions)]
        exercise = snapshot(path, others)
        grading = _Grading(exercise, options)
        keys = {name: grading.key(path) for name, path in submissions.items()}
        results = {name: known for name, key in keys.items() if (known := store.known(name, key))}
        progress = Progress(len(submissions), known=len(results))
        missing = {name: path for name, path in submissions.items() if name not in results}
        wanted = min(options.jobs, len(missing))
        width = workers.most_at_once(wanted)
        if width < wanted:
            text = f"proclife: more than {width} at a time would need more descriptors than "
            print(text + "`ulimit -n` allows", file=sys.stderr)
        for graded in grading.results(missing, width):
            result = replace(graded, key=keys[graded.submission])
            store.keep(result)
            results[result.submission] = result
            progress.show(result)
        ordered = [results[name] for name in submissions]
        for result in ordered:
            if store.known(result.submission, result.key) != result:
                store.keep(result)  # an answer may have written there
        store.summarize(ordered)
        progress.end(ordered, store.folder)
        for name in options.format:
            formats.write(name, store, ordered, options.feedback, course)
        if options.roster or options.late_penalty:
            found = gradebook.grades(ordered, course.roster, course.late_penalty)
            store.write("grades.csv", gradebook.grades_csv(found))
        for text in gradebook.warnings(ordered):
            print(f"proclife: {text}", file=sys.stderr)
        _report_changes(exercise, others, store.folder / "exercise")
    return 0


def check(options: argparse.Namespace) -> int:
    """Show the student's view of one submission: 0 for all points, 1 for fewer, 125 for none."""
    with _failures_reported():
        path = _exercise(options.exercise)
        submissions = find([options.submission])
        if len(submissions) > 1:
            raise ValueError(f"{options.submission!r} has several submissions: name one of them")
        exercise = snapshot(path, submissions.values())
        (result,) = _Grading(exercise, options).results(submissions, 1)
        _report_changes(exercise, submissions.values(), None)
    print(student_view(result, options.feedback))
    if result.status in (Status.ERROR, Status.TAMPERED):
        return FAILED
    passed = all(mark.outcome is Outcome.PASSED for mark in result.visible)
    return 0 if passed and not result.problem else 1


def _course(options: argparse.Namespace, exercise: Path) -> formats.Course:
    roster = gradebook.Roster()
    if options.roster:
        roster = gradebook.read_roster(Path(options.roster))
    name = exercise.stem if exercise.stem != "exercise" else exercise.parent.name
    return formats.Course(assignment=name, roster=roster, late_penalty=options.late_penalty)


def _exercise(path: str) -> Path:
    exercise = Path(path).resolve()
    if not exercise.is_file():
        problem = "an exercise is a file of tests" if exercise.exists() else "no such exercise"
        raise ValueError(f"{problem}: {path!r}")
    if not hasattr(os, "pidfd_open"):
        raise ValueError("grading needs Linux")
    return exercise


def _report_changes(exercise: Snapshot, others: Collection[Path], kept: Path | None) -> None:
    """Tell the teacher if the exercise is not what it was at the start, and write that to `kept`.

    The changes may be the teacher's own, so the exercise's folder is left alone.
    """
    try:
        names = exercise.differences(snapshot(exercise.path, others))
    except ValueError:  # it is too large by now
        names = [str(exercise.path.parent)]
    if not names:
        return
    text = f"{', '.join(names[:5])}{', ...' if len(names) > 5 else ''} changed during grading, "
    text += "by you or by an answer; the results are for the exercise as it was at the start"
    if kept is not None:
        shutil.rmtree(kept, ignore_errors=True)
        exercise.write_to(kept)
        text += f", which is in {kept}"
    print(f"proclife: {text}", file=sys.stderr)


class _Grading:
    """Grades submissions with an exercise as it was at the start.

    ValueError if the exercise cannot be used.
    """

    def __init__(self, exercise: Snapshot, options: argparse.Namespace) -> None:
        self._exercise = exercise
        self._deadline: float = options.deadline
        self._seccomp: bool = options.seccomp
        self._digest = exercise.digest
        if self._seccomp:
            try:
                pytest_proclife.run(["true"], seccomp=True)
            except pytest_proclife.SeccompUnavailable as error:  # now, not for each answer
                raise ValueError(str(error)) from None
        pytest_session.preload()
        gc.freeze()  # graders need not search through it again, nor copy its pages
        with _temporary_folder() as folder:
            self._tests = self._list_tests(PrivateCopy(exercise, folder), options.exercise)
        if not any(mark.max_points for mark in self._tests):
            text = "no test of it is worth points: mark them with proclife_points(n)"
            print(f"proclife: {options.exercise}: {text}", file=sys.stderr)

    def _list_tests(self, copy: PrivateCopy, name: str) -> tuple[Mark, ...]:
        token = secrets.token_hex()
        job = functools.partial(pytest_session.list_tests, copy, token)
        ((_, finished),) = workers.run([job], 1, self._deadline)
        messages = verdict.read(finished.messages, token)
        problems = [reason for _, reason in messages.problems]
        if finished.timed_out:
            problems = [f"it was not loaded after {finished.seconds:.0f} s"]
        elif not problems and not messages.done:
            problems = [copy.in_original(finished.output).strip() or verdict.early_exit(finished)]
        elif not problems and not messages.marks:
            problems = ["it has no tests: those are functions whose names begin with test_"]
        if problems:
            raise ValueError(f"the exercise {name!r} cannot be used: " + "\n".join(problems))
        return messages.marks

    def key(self, submission: Path) -> str:
        """What a result depends on: exercise, answer, Python, deadline, the second witness."""
        try:
            answer = fingerprint(submission)
        except OSError as error:  # its result will be `ungradable`
            answer = str(error)
        found = [self._digest, answer, platform.python_version(), str(self._deadline)]
        return "-".join([*found, *["seccomp"] * self._seccomp])

    def results(self, submissions: Mapping[str, Path], width: int) -> Iterator[Result]:
        """The result of each, in the order in which they finish.

        If a grader's copy of the exercise was changed, by any answer, its submission is graded
        again, alone: no other copy is there. If it is changed again, only that answer or its
        tests can have done it.
        """
        again: list[str] = []
        for result, change in self._round(submissions, width):
            if change is None:
                yield result
            else:
                again.append(result.submission)
        for name in again:
            ((result, change),) = self._round({name: submissions[name]}, 1)
            if change is not None:
                reason = f"{change!r} of the exercise was changed while this answer was graded"
                result = verdict.without_points(result, Status.TAMPERED, reason)
            yield result

    def _round(
        self, submissions: Mapping[str, Path], width: int
    ) -> Iterator[tuple[Result, str | None]]:
        """The result of each, and a file of its copy of the exercise that was changed."""
        started: list[tuple[str, str, PrivateCopy]] = []

        def jobs(folder: Path) -> Iterator[workers.Job]:
            for number, (name, path) in enumerate(submissions.items()):
                place = folder / "answers" / str(number)
                copy = PrivateCopy(self._exercise, folder / "exercises" / str(number))
                token = secrets.token_hex()
                started.append((name, token, copy))
                grade = functools.partial(pytest_session.grade, seccomp=self._seccomp)
                yield functools.partial(grade, path, place, copy, token)

        with _temporary_folder() as folder:
            for number, finished in workers.run(jobs(folder), width, self._deadline):
                name, token, copy = started[number]
                yield verdict.verdict(name, finished, token, self._tests), copy.change()
                for kind in ("answers", "exercises"):
                    shutil.rmtree(folder / kind / str(number), ignore_errors=True)


@contextlib.contextmanager
def _temporary_folder() -> Iterator[Path]:
    folder = tempfile.mkdtemp(prefix="proclife-")
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # an answer may have made it unremovable


@contextlib.contextmanager
def _failures_reported() -> Iterator[None]:
    """Exit by SystemExit on an error, Ctrl-C or SIGTERM, so that graders are killed on the way."""
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        yield
    except KeyboardInterrupt:
        print("\nproclife: interrupted; start it again, and it goes on from here", file=sys.stderr)
        raise SystemExit(130) from None
    except (ValueError, OSError) as error:
        print(f"proclife: {error}", file=sys.stderr)
        raise SystemExit(FAILED) from None
    finally:
        signal.signal(signal.SIGTERM, before)
