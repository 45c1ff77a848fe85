"""`proclife grade` and `proclife check`, and what they print."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_proclife.exercises import formats, front, gradebook, shards
from pytest_proclife.exercises.archive import Archive, Unreadable
from pytest_proclife.exercises.cluster import Cluster
from pytest_proclife.exercises.grading import Grading
from pytest_proclife.exercises.intake import HandedIn, Intake, find
from pytest_proclife.exercises.integrity import Snapshot, snapshot
from pytest_proclife.exercises.results import SUMMARY, Outcome, Result, Status, Store, number
from pytest_proclife.exercises.sandbox import settings_of
from pytest_proclife.exercises.scratch import remove_left, temporary_folder
from pytest_proclife.exercises.seal import Seal
from pytest_proclife.exercises.shards import Shard, shard_of
from pytest_proclife.render.text import plain, shortened

FAILED = 125
_PATIENCE = 5.0  # s for the graders of one that was killed to end
_INTERVAL = 0.05  # s
_SHOWN = 20  # submissions without a result
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
            self._line(f"{known} of {count} already have a result")
            if self.live:
                sys.stderr.write("\n")

    def show(self, result: Result) -> None:
        self.done += 1
        points = f"{number(result.score)} of {number(result.max_score)}"
        text = f"{shortened(result.submission)}: {plain(result.problem) or points}"
        self._line(f"[{self.done}/{self.count}] {text}")

    def end(self, results: Sequence[Result], left: int, folder: Path) -> None:
        if self.live:
            sys.stderr.write("\n")
        counted = Counter(result.status for result in results)
        counts = [f"{counted[status]} {status}" for status in Status if counted[status]]
        counts += [f"{left} without a result"] if left else []
        sys.stderr.write(f"{', '.join(counts)}: {folder / 'summary.csv'}\n")

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
    return front.run(lambda: _grade(options))


def _grade(options: argparse.Namespace) -> int:
    with _failures_reported():
        path = _exercise(options.exercise)
        course = _course(options, path)
        remove_left()
        shard = shard_of(options.shard, os.environ)
        output = _output(options, shard)
        with temporary_folder() as scratch:
            intake = find(
                options.submissions,
                scratch,
                each=options.each,
                exercise=path,
                output=output.absolute(),
            )
            _report_ignored(intake)
            exercise, others = _read_exercise(path, intake, [*options.submissions, output])
            own = list(intake.submissions) if shard is None else shard.share([*intake.submissions])
            archive, digests = _read_submissions({n: intake.submissions[n] for n in own})
        grading = Grading(exercise, archive, settings_of(options))
        keys = {name: grading.key(digest) for name, digest in digests.items()}
        about = {
            "submissions": list(intake.submissions),
            "shards": [] if shard is None else [[shard.number, shard.count]],
            "ignored": list(map(list, intake.ignored)),
        }
        with _opened_store(output) as store:
            _grade_missing(grading, keys, store, options, course, about)
            _report_changes(exercise, others, store.folder / "exercise")
            _report_changed_submissions(archive, digests, intake, store.folder / "submissions")
    return 0


def _grade_missing(
    grading: Grading,
    keys: Mapping[str, str],
    store: Store,
    options: argparse.Namespace,
    course: formats.Course,
    about: Mapping[str, Any],
) -> None:
    """Grade those that have no result yet, and write what all have."""
    forced = _forced(options.force, keys)
    known = {name: store.known(name, key) for name, key in keys.items() if name not in forced}
    results = {name: result for name, result in known.items() if result is not None}
    progress = Progress(len(keys), known=len(results))
    missing = [name for name in keys if name not in results]
    try:
        with _finished(grading, missing, options) as finished:
            for graded in finished:
                result = replace(graded, key=keys[graded.submission])
                results[result.submission] = result
                store.keep(result)
                progress.show(result)
    finally:
        # Also after Ctrl-C: no answer runs any more, and one may have written there.
        ordered = [results[name] for name in keys if name in results]
        for result in ordered:
            if store.sealed(result.submission) != result:
                store.keep(result)
        left = [name for name in keys if name not in results]
        store.summarize(ordered, missing=left, **about)
        progress.end(ordered, len(left), store.folder)
    _write_formats(store, ordered, options, course)


def _write_formats(
    store: Store, ordered: Sequence[Result], options: argparse.Namespace, course: formats.Course
) -> None:
    for name in options.format:
        formats.write(name, store, ordered, options.feedback, course)
    if options.roster or options.late_penalty:
        found = gradebook.grades(ordered, course.roster, course.late_penalty)
        store.write("grades.csv", gradebook.grades_csv(found))
    for text in gradebook.warnings(ordered):
        print(f"proclife: {text}", file=sys.stderr)


@contextlib.contextmanager
def _finished(
    grading: Grading, names: Sequence[str], options: argparse.Namespace
) -> Iterator[Iterator[Result]]:
    """The results as they come, from this machine or from a cluster."""
    if options.dask is None or not names:
        width = grading.width(min(options.jobs, len(names)))
        with contextlib.closing(grading.results(names, width)) as results:
            yield results
        return
    opened = Cluster(options.dask)
    try:
        with contextlib.closing(opened.results(names, grading)) as results:
            yield results
    finally:
        opened.close()


def merge(options: argparse.Namespace) -> int:
    """Merge folders of results: 0 if each submission has a result, 1 if not, 125 on an error."""
    with _failures_reported():
        output = Path(options.output)
        course = _course(options, output.absolute())
        merged = shards.merge(options.folders, output)
        about = {
            "missing": list(merged.missing),
            "submissions": list(merged.names),
            "shards": list(map(list, merged.shards)),
        }
        with _opened_store(output) as store:
            for result in merged.results:
                store.keep(result)
            store.summarize(merged.results, **about)
            Progress(0, known=0).end(merged.results, len(merged.missing), store.folder)
            _write_formats(store, merged.results, options, course)
    for name in merged.twice:
        text = f"{shortened(name)} was graded more than once, with different results"
        print(f"proclife: {text}", file=sys.stderr)
    if merged.missing_shards:
        text = f"shards that are missing: {', '.join(merged.missing_shards)}"
        print(f"proclife: {text}", file=sys.stderr)
    for name in merged.missing[:_SHOWN]:
        print(f"proclife: {shortened(name)} has no result", file=sys.stderr)
    if len(merged.missing) > _SHOWN:
        print(f"proclife: and {len(merged.missing) - _SHOWN} more", file=sys.stderr)
    return 1 if merged.missing else 0


def _output(options: argparse.Namespace, shard: Shard | None) -> Path:
    """The folder for the results. If the environment has said which shard it is, one of its own."""
    folder = Path(options.output)
    if shard is None:
        return folder
    if not shard.source:
        print(f"proclife: shard {shard}", file=sys.stderr)
        return folder
    print(f"proclife: shard {shard}, by {shard.source}", file=sys.stderr)
    return folder / shard.folder


def check(options: argparse.Namespace) -> int:
    """Show the student's view of one submission: 0 for all points, 1 for fewer, 125 for none."""
    with _failures_reported():
        path = _exercise(options.exercise)
        with temporary_folder() as scratch:
            intake = find([options.submission], scratch, each="folder", exercise=path)
            if len(intake.submissions) > 1:
                text = f"{options.submission!r} has several submissions: name one of them"
                raise ValueError(text)
            exercise, others = _read_exercise(path, intake, [options.submission])
            archive, digests = _read_submissions(intake.submissions)
        (result,) = Grading(exercise, archive, settings_of(options)).results(list(digests), 1)
        _report_changes(exercise, others, None)
    print(student_view(result, options.feedback))
    if result.status in (Status.ERROR, Status.TAMPERED):
        return FAILED
    passed = all(mark.outcome is Outcome.PASSED for mark in result.visible)
    return 0 if passed and not result.problem else 1


def _read_exercise(
    path: Path, intake: Intake, given: Sequence[str | Path]
) -> tuple[Snapshot, Collection[Path]]:
    """The exercise's folder, and what lies in it and does not belong to the exercise."""
    others = [path.parent for path in path.parent.glob(f"*/{SUMMARY}")]
    others += [submission.origin for submission in intake.submissions.values()]
    others += map(Path, given)
    return snapshot(path, others), others


def _read_submissions(submissions: Mapping[str, HandedIn]) -> tuple[Archive, dict[str, str]]:
    """All of them, before any of them runs, and a hash of each."""
    archive = Archive()
    digests = {name: archive.add(name, each) for name, each in submissions.items()}
    archive.seal()
    return archive, digests


@contextlib.contextmanager
def _opened_store(folder: Path) -> Iterator[Store]:
    """A folder for results. While answers run, the key of its seal is nowhere on the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _lock(lock, folder)
        seal = Seal.take(folder)
        try:
            yield Store(folder, seal)
        finally:
            seal.leave(folder)
    finally:
        os.close(lock)


def _lock(descriptor: int, folder: Path) -> None:
    """Have the folder for this process alone. ValueError if another has it for long.

    The graders of one that was killed have it too, for the moment that they live on.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                text = f"another proclife grade writes its results to {str(folder)!r}"
                raise ValueError(text) from None
            time.sleep(_INTERVAL)  # nothing tells when it can be had but a call that blocks
        except OSError:  # the file system has no locks
            return
        else:
            return


def _forced(wanted: Sequence[str], names: Collection[str]) -> Collection[str]:
    """Those to be graded again. ValueError if there is no such submission."""
    for name in wanted:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f": did you mean {close[0]!r}?" if close else ""
            raise ValueError(f"--force: there is no submission {name!r}{hint}")
    return wanted


def _report_ignored(intake: Intake) -> None:
    if intake.ignored:
        sys.stderr.write(f"{len(intake.ignored)} ignored, which are not submissions:\n")
    for path, reason in intake.ignored:
        sys.stderr.write(f"  {shortened(os.path.relpath(path))}: {reason}\n")


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


def _report_changed_submissions(
    archive: Archive, digests: Mapping[str, str], intake: Intake, kept: Path
) -> None:
    """Tell the teacher which submissions are not what they were, and write those to `kept`."""
    now = Archive()
    left = [
        (name, each)
        for name, each in intake.submissions.items()
        if name in digests and each.path == each.origin  # what was unpacked is gone by now
    ]
    changed = [name for name, each in left if now.add(name, each) != digests[name]]
    now.close()
    if not changed:
        return
    shutil.rmtree(kept, ignore_errors=True)
    for name in changed:
        with contextlib.suppress(Unreadable):
            archive.write_to(kept / name, name)
    text = f"{', '.join(changed[:5])}{', ...' if len(changed) > 5 else ''} changed during grading, "
    text += "by you or by an answer; the results are for what was there at the start, which is in "
    print(f"proclife: {text}{kept}", file=sys.stderr)


@contextlib.contextmanager
def _failures_reported() -> Iterator[None]:
    """Exit by SystemExit on an error, Ctrl-C or SIGTERM, so that graders are killed on the way."""
    before = signal.signal(signal.SIGTERM, front.terminate)
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
