"""The grading of submissions: each in a grader of its own, and again if that is in doubt."""

from __future__ import annotations

import functools
import gc
import itertools
import platform
import secrets
import shutil
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# Each grader would import these at its first run, which takes longer than most answers.
import pytest_proclife.assertions.verbs
import pytest_proclife.plugin.report
import pytest_proclife.run_json
from pytest_proclife.exercises import pytest_session, verdict, workers
from pytest_proclife.exercises.archive import Archive
from pytest_proclife.exercises.integrity import PrivateCopy, Snapshot
from pytest_proclife.exercises.results import Mark, Result, Status
from pytest_proclife.exercises.sandbox import Settings, sandbox_of
from pytest_proclife.exercises.scratch import temporary_folder


class Grading:
    """Grades submissions with an exercise as it was at the start.

    `tests` has a mark without points for each test, if that is known. ValueError if the exercise
    cannot be used.
    """

    def __init__(
        self, exercise: Snapshot, archive: Archive, settings: Settings, tests: tuple[Mark, ...] = ()
    ) -> None:
        self.exercise = exercise
        self.archive = archive
        self.settings = settings
        self._unmade: list[str] = []  # submissions that could not be prepared beside others
        self._deadline = settings.deadline
        self._seccomp = settings.seccomp
        self._sandbox = sandbox_of(settings)
        self._digest = exercise.digest
        if self._seccomp:
            try:
                pytest_proclife.run(["true"], seccomp=True)
            except pytest_proclife.SeccompUnavailable as error:  # now, not for each answer
                raise ValueError(str(error)) from None
        pytest_session.preload()
        gc.freeze()  # graders need not search through it again, nor copy its pages
        self.tests = tests or self._listed(exercise, settings.exercise)

    def _listed(self, exercise: Snapshot, name: str) -> tuple[Mark, ...]:
        with temporary_folder() as folder:
            tests = self._list_tests(PrivateCopy(exercise, folder), name)
        if not any(mark.max_points for mark in tests):
            text = "no test of it is worth points: mark them with proclife_points(n)"
            print(f"proclife: {name}: {text}", file=sys.stderr)
        return tests

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

    def key(self, digest: str) -> str:
        """What a result depends on: exercise, answer, Python, deadline, the second witness."""
        found = [self._digest, digest, platform.python_version(), str(self._deadline)]
        found += ["seccomp"] * self._seccomp
        return "-".join([*found, *filter(None, [self._sandbox.key])])

    def width(self, wanted: int) -> int:
        """How many of these are graded at a time; said if they are fewer."""
        width = workers.most_at_once(wanted)
        if width < wanted:
            text = f"proclife: more than {width} at a time would need more descriptors than "
            print(text + "`ulimit -n` allows", file=sys.stderr)
        if width > 1 and self._sandbox.is_crowded:
            text = "proclife: one at a time, since two answers of the same user could reach each "
            print(text + "other: no namespaces can be made here", file=sys.stderr)
            return 1
        return width

    def results(self, names: Sequence[str], width: int) -> Generator[Result]:
        """The result of each, in the order in which they finish.

        One that another answer may have changed is graded again, alone: no other answer runs
        then, or has a copy of anything there. What is wrong again is of its own making.
        """
        again: list[str] = []
        self._unmade.clear()
        for graded in self._round(names, width):
            if graded.change is None and not graded.in_doubt:
                yield graded.result
            else:
                again.append(graded.result.submission)
        for name in again + self._unmade:
            (graded,) = self._round([name], 1)
            result = graded.result
            if graded.change is not None and result.status is not Status.TAMPERED:
                reason = f"{graded.change!r} of the exercise was changed while this answer was "
                reason += "graded"
                result = verdict.without_points(result, Status.TAMPERED, reason)
            yield result

    def _round(self, names: Sequence[str], width: int) -> Iterator[_Graded]:
        started: dict[int, tuple[int, str, str, PrivateCopy]] = {}  # by the number of the job
        count = itertools.count()

        def jobs(folder: Path) -> Iterator[workers.Job]:
            for number, name in enumerate(names):
                place = folder / "answers" / str(number)
                scratch = folder / "scratch" / str(number)
                try:
                    place.mkdir()
                    scratch.mkdir(0o711)
                    copy = PrivateCopy(self.exercise, folder / "exercises" / str(number))
                    copy.root.chmod(0o700)
                except (FileNotFoundError, FileExistsError, NotADirectoryError, PermissionError):
                    if len(names) == 1:
                        raise
                    self._unmade.append(name)  # an answer has been there
                    continue
                token = secrets.token_hex()
                started[next(count)] = number, name, token, copy
                grade = functools.partial(
                    pytest_session.grade, sandbox=self._sandbox, seccomp=self._seccomp
                )
                yield functools.partial(grade, name, self.archive, place, scratch, copy, token)

        with temporary_folder() as folder:
            folder.chmod(0o711)
            (folder / "answers").mkdir(0o711)
            (folder / "exercises").mkdir(0o700)
            (folder / "scratch").mkdir(0o711)
            for job, finished in workers.run(jobs(folder), width, self._deadline):
                number, name, token, copy = started.pop(job)
                result = verdict.verdict(name, finished, token, self.tests)
                in_doubt = verdict.is_in_doubt(finished, token, result)
                if finished.beside and not in_doubt:
                    place = folder / "answers" / str(number)
                    in_doubt = not self.archive.is_as_written(place, name)
                yield _Graded(result=result, change=copy.change(), in_doubt=in_doubt)
                self._sandbox.forget(folder / "answers" / str(number))
                for kind in ("answers", "exercises", "scratch"):
                    shutil.rmtree(folder / kind / str(number), ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Graded:
    result: Result
    change: str | None  # a file of its copy of the exercise that was changed
    in_doubt: bool  # another answer may have changed it
