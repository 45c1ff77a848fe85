"""An exercise held against one submission: a pytest session that says each mark as it is given."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_proclife.exercises import sentences
from pytest_proclife.exercises.handed_in import Ungradable, private_copy, program
from pytest_proclife.exercises.results import Mark, Outcome, mark_values
from pytest_proclife.exercises.submission import ExerciseError, PartialCredit, Submission
from pytest_proclife.exercises.verdict import say
from pytest_proclife.failure import LifecycleError
from pytest_proclife.plugin.points import mark_of
from pytest_proclife.records import Run
from pytest_proclife.running import RunTimeout
from pytest_proclife.supervision import SupervisorLost, choose_backend
from pytest_proclife.target import TargetError

# What the answer can make a test raise; all else is the exercise's own failure. A LookupError is
# run["a name"], a ValueError `(child,) = run.children`.
_ANSWERS = (AssertionError, RunTimeout, LookupError, ValueError, pytest.fail.Exception)
_JOIN_WANTED = "to have been joined"  # what assert_joined says that it expected
_LONGEST = 20_000  # characters of what pytest shows of a failure

# What an exercise has no use for, and would pay for at each answer: of the second the garbage
# collections at the end of all.
_UNUSED = ("doctest", "unraisableexception", "threadexception", "junitxml", "pastebin", "stepwise")

Say = Callable[..., None]


def examine(
    exercise: Path,
    submission: Path,
    place: Path,
    token: str,
    channel: int,
    wait: Callable[[], None],
) -> None:
    """Grade a copy of a submission, made in `place`; what comes of it goes to the channel.

    `wait` returns when it is this submission's turn: what can be made ready before is.
    """
    speak = _speaker(token, channel)
    try:
        file, source = program(submission)
        file = private_copy(submission, place) / file.relative_to(submission)
    except Ungradable as reason:
        speak(ungradable=str(reason))
        return
    except (OSError, shutil.Error) as error:
        speak(ungradable=f"it cannot be copied: {error}")
        return
    os.chdir(file.parent)
    _hold(exercise, Examination(speak, file, source, wait))


def plan(exercise: Path, token: str, channel: int, wait: Callable[[], None]) -> None:
    """Say which tests an exercise has."""
    _hold(exercise, Examination(_speaker(token, channel), None, "", wait), "--collect-only")


def _speaker(token: str, channel: int) -> Say:
    def speak(**what: Any) -> None:
        data = say(token, **what)
        while data:
            data = data[os.write(channel, data) :]

    return speak


def _hold(exercise: Path, examination: Examination, *options: str) -> None:
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ.pop("PYTEST_PLUGINS", None)
    root = exercise.parent
    arguments = [str(exercise), "-c", os.devnull, f"--rootdir={root}", f"--confcutdir={root}"]
    arguments += ["-q", "--tb=short", *(word for name in _UNUSED for word in ("-p", f"no:{name}"))]
    arguments += ["-p", "no:cacheprovider", "--disable-plugin-autoload", "--color=no"]
    arguments += ["-p", "pytest_proclife.plugin", "--strict-markers", *options]
    code = pytest.main(arguments, plugins=[examination])
    if code in (0, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        examination.say(done=True)


class Examination:
    """The plugin of such a session."""

    def __init__(self, say: Say, file: Path | None, source: str, wait: Callable[[], None]) -> None:
        self.say = say
        self.wait = wait
        self.file = file
        self.source = source
        self.given: Submission | None = None
        self.runs: list[Run] = []  # of the test that is on

    def pytest_configure(self, config: pytest.Config) -> None:
        words = "proclife_points(n, name=, visibility=, tags=): what the test is worth"
        config.addinivalue_line("markers", words)

    @pytest.fixture(scope="session")
    def submission(self) -> Iterator[Submission]:
        """The student's program: a target for proclife.run and start, its source, its functions."""
        assert self.file is not None
        self.given = Submission(self.file, self.source, self.runs)
        yield self.given
        self.given.close()

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            try:
                mark = mark_of(item)
            except ExerciseError as error:
                self.say(broken=str(error))
                continue
            if self.file is None:
                self.say(mark=mark_values(mark))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> None:
        if self.file is not None:
            with contextlib.suppress(SupervisorLost, ValueError):  # the first run will say so
                choose_backend()
        self.wait()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.say(broken=f"the exercise cannot be read: {_last_line(report.longreprtext)}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self.say(broken=f"pytest failed: {_last_line(str(excrepr))}")

    def pytest_proclife_run_finished(self, run: Run, item: pytest.Item) -> None:
        self.runs.append(run)

    def _look_for_tampering(self) -> None:
        for run in self.runs:
            if run.witness.backend != "pidfd":
                continue  # what polling does not see need not have been hidden from it
            for reason in run.witness.missing:
                if reason.startswith("reports of "):
                    self.say(
                        tampered=f"{reason}, though the kernel saw it run to its end: "
                        "something kept them back, or wrote others in their place"
                    )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if report.when == "teardown":
            if report.failed:
                self._broken(item, call)
            self._look_for_tampering()
            self.runs.clear()
        elif report.when == "call" or not report.passed:
            self._mark(item, call, report)
        return report

    def _broken(self, item: pytest.Item, call: pytest.CallInfo[None]) -> None:
        error = None if call.excinfo is None else call.excinfo.value
        told = f"{type(error).__name__}: {error}".split("\n", 1)[0]
        self.say(broken=f"the exercise itself failed in {item.nodeid}: {told}")

    def _mark(
        self, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
    ) -> None:
        mark = replace(mark_of(item), seconds=report.duration)
        error = None if call.excinfo is None else call.excinfo.value
        if report.skipped:
            self._skipped(item, report)
        elif error is None:
            self._give(replace(mark, points=mark.max_points, outcome=Outcome.PASSED))
        elif isinstance(error, PartialCredit):
            if error.points > mark.max_points:
                self.say(broken=f"{item.nodeid} gives {error.points} of {mark.max_points} points")
            outcome = Outcome.PARTIAL if error.points else Outcome.FAILED
            words = str(error)
            partial = replace(mark, points=float(error.points), outcome=outcome, message=words)
            self._give(replace(partial, sentences=(words,)))
        elif isinstance(error, SupervisorLost):
            self.say(tampered="what watches the answer was killed while it ran, not by proclife")
        elif isinstance(error, _ANSWERS) and not isinstance(error, TargetError):
            self._give(self._failed(mark, error, report))
        else:
            self._broken(item, call)

    def _failed(self, mark: Mark, error: BaseException, report: pytest.TestReport) -> Mark:
        text = str(error)
        run = getattr(error, "run", None) or (self.runs[-1] if self.runs else None)
        words = _authors_words(error)
        told = [words] if words else []
        if isinstance(run, Run):
            offenders = error.offenders if isinstance(error, LifecycleError) else ()
            noun = self.given.noun if self.given is not None else ""
            told += sentences.about(
                run,
                offenders,
                noun=noun,
                file=str(self.file),
                join_wanted=_JOIN_WANTED in text.partition("\n")[0],
            )
        message = (text.splitlines() or [type(error).__name__])[0]
        if not isinstance(error, AssertionError) and not words:
            message = f"{type(error).__name__}: {message}"
        return replace(
            mark,
            outcome=Outcome.FAILED,
            sentences=tuple(dict.fromkeys(told)),
            message=message,
            detail=report.longreprtext[-_LONGEST:],
        )

    def _skipped(self, item: pytest.Item, report: pytest.TestReport) -> None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else "skipped"
        self._give(replace(mark_of(item), message=reason.removeprefix("Skipped: ")))

    def _give(self, mark: Mark) -> None:
        self.say(mark=mark_values(mark))


def _authors_words(error: BaseException) -> str:
    """What the exercise says itself: the message of an assert, or of pytest.fail()."""
    if isinstance(error, LifecycleError) or not isinstance(
        error, AssertionError | pytest.fail.Exception
    ):
        return ""
    words = str(error).partition("\nassert ")[0]
    return "" if words.startswith("assert ") else words.strip()


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("E").strip() if lines else ""
