"""The pytest session of a grader: it loads a private copy of the exercise and grades a submission.

Each grader has its own session, so nothing that an answer does to one reaches another.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import math
import os
import sys
import tempfile
import traceback
import types
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_proclife.backend import choose_backend
from pytest_proclife.errors import (
    LifecycleError,
    LimitExceeded,
    ProcessNameError,
    RunOver,
    RunTimeout,
    SupervisorLost,
    TargetError,
)
from pytest_proclife.exercises import feedback, statement, submission
from pytest_proclife.exercises.archive import Archive
from pytest_proclife.exercises.integrity import PrivateCopy
from pytest_proclife.exercises.namespaces import Refused
from pytest_proclife.exercises.results import VISIBILITIES, Mark, Outcome, Program, Status, number
from pytest_proclife.exercises.sandbox import Sandbox
from pytest_proclife.exercises.verdict import Reporter, outside_influence
from pytest_proclife.exercises.workers import Wait
from pytest_proclife.records import MissingKind, Run
from pytest_proclife.render import picture

MARKER = "proclife_points"
_KEYWORDS: dict[str, Any] = {  # and defaults
    "name": "",
    "visibility": "visible",
    "tags": (),
    "extra": False,
}
_PICTURED = 2  # runs in the picture of a submission
_LONGEST = 20_000  # characters of what pytest shows of a failure
# Exceptions that an answer can cause in a test; any other is the exercise's own failure. A
# LookupError is run["a name"], a ValueError `(child,) = run.children`.
_ANSWERS = (
    *(AssertionError, RunTimeout, RunOver, LookupError, ValueError, pytest.fail.Exception),
    ProcessLookupError,  # a signal to a process that has ended
)
# Plugins that an exercise does not need; the last two collect garbage at the end.
_UNUSED = (
    *("cacheprovider", "doctest", "faulthandler", "junitxml", "pastebin", "stepwise"),
    *("threadexception", "unraisableexception"),
)
_OPTIONS = (
    *("-c", os.devnull, "-q", "-s", "--tb=short", "--color=no", "--disable-warnings"),
    *("--disable-plugin-autoload", "-ppytest_proclife.plugin"),
    *(f"-pno:{name}" for name in _UNUSED),
)


def list_tests(exercise: PrivateCopy, token: str, channel: int, wait: Wait) -> None:
    """Report a mark without points for each test of an exercise, or what is wrong with it."""
    reporter = Reporter(token, channel, exercise.in_original)
    wait()
    code = _run_pytest(exercise, _Plugin(exercise.root, reporter), "--collect-only")
    if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        reporter.done()


def grade(
    name: str,
    archive: Archive,
    place: Path,
    scratch: Path,
    exercise: PrivateCopy,
    token: str,
    channel: int,
    wait: Wait,
    *,
    sandbox: Sandbox,
    seccomp: bool = False,
) -> None:
    """Grade a copy of a submission, made in `place`, and report its marks.

    `scratch` is a folder for temporary files of the grader.
    `seccomp` is the default for its runs.
    """
    reporter = Reporter(token, channel, exercise.in_original)
    try:
        sandbox.enter([place, scratch, exercise.root])
    except (Refused, OSError) as error:  # though it could be entered before
        reporter.problem(Status.ERROR, f"the answer cannot be confined: {error}")
        return
    tempfile.tempdir = str(scratch)  # which is removed, though this grader may be killed
    with contextlib.suppress(SupervisorLost, ValueError):  # the first run will raise it
        choose_backend()

    def hand_in(runs: list[Run]) -> submission.Submission:
        wait()
        file, source = submission.private_copy(archive, name, place)
        sandbox.let_in(place)
        return submission.Submission(file, source, runs, seccomp)

    options = ["--proclife-seccomp"] if seccomp else []
    code = _run_pytest(exercise, _GradingPlugin(exercise.root, reporter, hand_in), *options)
    if code in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        reporter.done()


def preload() -> None:
    """Import what every session imports, for graders that are forked from this process."""
    for name in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        os.environ.pop(name, None)
    with contextlib.redirect_stdout(io.StringIO()):
        # without the conftest.py of the working directory: it is no part of the exercise
        pytest.main([*_OPTIONS, "--noconftest", "--markers"])


def _run_pytest(exercise: PrivateCopy, plugin: _Plugin, *options: str) -> int:
    root = exercise.root
    sys.path[:] = [path for path in sys.path if path != str(exercise.original.path.parent)]
    sys.pycache_prefix = None  # bytecode is looked for in the copy alone, where changes are found
    os.chdir(root)
    arguments = [*_OPTIONS, f"--rootdir={root}", f"--confcutdir={root}", *options]
    if "conftest.py" not in exercise.original.files:
        arguments.append("--noconftest")  # one that is there was put there by an answer
    plugins = [plugin, _fixtures_of(plugin)]
    return int(pytest.main([*arguments, str(exercise.path)], plugins=plugins))


def _fixtures_of(plugin: _Plugin) -> types.ModuleType:
    """A plugin with the fixture `submission`.

    It is a module: from 9.2 on pytest warns of a fixture of session scope that is a method.
    """

    @pytest.fixture(scope="session")
    def submission() -> Iterator[object]:
        """The student's program: a target for proclife.run and start, its source, its functions."""
        yield plugin.answer
        plugin.answer.close()

    module = types.ModuleType("pytest_proclife_submission")
    vars(module)["submission"] = submission
    return module


class _Plugin:
    """Reports the tests of an exercise, and why it cannot be used."""

    answer: submission.Submission  # of the plugin that grades

    def __init__(self, root: Path, reporter: Reporter) -> None:
        self.root = root
        self.reporter = reporter

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            try:
                self.reporter.mark(_mark_of(item))
            except submission.ExerciseError as error:
                self.unusable(str(error))
            for problem in (_unknown_fixture(item), _unknown_marker(item)):
                if problem is not None:
                    self.unusable(f"{item.nodeid}: {problem}")

    def pytest_exception_interact(
        self, node: pytest.Item | pytest.Collector, call: pytest.CallInfo[None]
    ) -> None:
        if isinstance(node, pytest.Collector) and call.excinfo is not None:
            error = call.excinfo.value
            if isinstance(error, pytest.Collector.CollectError) and error.__cause__:
                error = error.__cause__  # what importing the exercise raised
            self.unusable(f"the exercise cannot be read: {_described(error)}{self._place(error)}")

    def pytest_internalerror(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        self.unusable(f"pytest failed: {_described(excinfo.value)}")

    def unusable(self, reason: str) -> None:
        self.reporter.problem(Status.ERROR, reason)

    def _place(self, error: BaseException) -> str:
        """The last line of the exercise's folder that an exception passed."""
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            path = Path(frame.filename)
            if self.root in path.parents and frame.lineno:
                return f" ({path.relative_to(self.root)}, line {frame.lineno})"
        return ""  # a SyntaxError's own text has it


class _GradingPlugin(_Plugin):
    """Runs the tests with one submission and reports their marks."""

    def __init__(
        self,
        root: Path,
        reporter: Reporter,
        hand_in: Callable[[list[Run]], submission.Submission],
    ) -> None:
        super().__init__(root, reporter)
        self._runs: list[Run] = []  # of the current test
        self._hand_in = hand_in
        self._pictured: list[Run] = []  # the first ones of all tests
        self._compared: statement.Compared | None = None  # in the last assert that was false

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """The tests were checked when they were listed."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self) -> bool | None:
        # only now is there a copy: while it waited, another answer could have changed that
        try:
            self.answer = self._hand_in(self._runs)
        except submission.Ungradable as reason:
            self.reporter.problem(Status.UNGRADABLE, str(reason))
            return True
        except OSError as error:
            self.unusable(f"the submission cannot be copied: {error.filename}: {error.strerror}")
            return True
        os.chdir(self.answer.path.parent)
        return None

    def pytest_proclife_run_finished(self, run: Run) -> None:
        self._runs.append(run)

    def pytest_assertrepr_compare(self, op: str, left: object, right: object) -> None:
        """pytest calls this with the values of a comparison that was false."""
        self._compared = statement.Compared(left=left, operator=op, right=right)

    def pytest_sessionfinish(self) -> None:
        if not hasattr(self, "answer"):
            return  # it has none that can be graded
        cells = self.answer.cells
        program = Program(
            ran=self.answer.started,
            missing=self.answer.missing(),
            left_out=() if cells is None else cells.left_out,
        )
        shown = picture.render([_by_name(run) for run in self._pictured]) if self._pictured else ""
        self.reporter.program(program, shown)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        error = None if call.excinfo is None else call.excinfo.value
        if report.when == "teardown":
            if report.failed:
                self._failed_itself(item, error)
            self._check_reports()
            new = [run for run in self._runs if not any(run is other for other in self._pictured)]
            self._pictured += new[: _PICTURED - len(self._pictured)]
            self._runs.clear()
            self._compared = None
            self.answer.earned.clear()
        elif report.when == "call" or not report.passed:
            self._mark(item, error, report)
        return report

    def _mark(
        self, item: pytest.Item, error: BaseException | None, report: pytest.TestReport
    ) -> None:
        mark = replace(_mark_of(item), seconds=report.duration)
        if report.skipped:
            reason = error.msg if isinstance(error, pytest.skip.Exception) else "skipped"
            self.reporter.mark(replace(mark, seconds=0.0, message=str(reason)))
        elif error is None:
            self.reporter.mark(replace(mark, points=mark.max_points, outcome=Outcome.PASSED))
        elif isinstance(error, submission.PartialCredit):
            if error.points > mark.max_points:
                self.unusable(f"{item.nodeid} gives {error.points} of {mark.max_points} points")
            mark = replace(mark, points=float(error.points), message=str(error))
            outcome = Outcome.PARTIAL if error.points else Outcome.FAILED
            self.reporter.mark(replace(mark, outcome=outcome, sentences=(mark.message,)))
        elif isinstance(error, SupervisorLost):
            reason = "what watches the answer was killed while it ran, not by proclife"
            self.reporter.problem(Status.TAMPERED, reason)
        elif isinstance(error, _ANSWERS) and not isinstance(
            error, TargetError | pytest.FixtureLookupError
        ):
            self.reporter.mark(self._failed(mark, error, report))
        else:
            self._failed_itself(item, error)

    def _failed(self, mark: Mark, error: BaseException, report: pytest.TestReport) -> Mark:
        found = statement.read(error, str(self.root), self._compared)
        run = getattr(error, "run", None) or getattr(found, "run", None)
        failure = _failure_of(error, run or (self._runs[-1] if self._runs else None), found)
        cells = self.answer.cells
        broken = () if cells is None else cells.broken
        failure = replace(failure, missing=self.answer.missing(), broken=broken)
        own = _authors_message(error, found)
        words = feedback.sentences(failure, noun=self.answer.noun, file=str(self.answer.path))
        if isinstance(error, LimitExceeded):
            words = (f"{str(error)[0].upper()}{str(error)[1:]}.",)
        sentences = [own, *words] if own else words
        message = (str(error).splitlines() or [type(error).__name__])[0]
        if not isinstance(error, AssertionError) and not own:
            message = f"{type(error).__name__}: {message}"
        mark = self._with_earned(mark)
        return replace(
            mark,
            sentences=tuple(dict.fromkeys([*mark.sentences, *sentences])),
            message=message,
            detail=report.longreprtext[-_LONGEST:],
        )

    def _with_earned(self, mark: Mark) -> Mark:
        """The mark of a test that failed, with the points that it had given before."""
        earned = self.answer.earned
        points = math.fsum(some for some, _ in earned)
        if points > mark.max_points:
            self.unusable(f"{mark.test} gives {points} of {mark.max_points} points")
        texts = [
            f"{number(some)} of {number(mark.max_points)} points: {text}" for some, text in earned
        ]
        outcome = Outcome.PARTIAL if points else Outcome.FAILED
        return replace(mark, points=points, outcome=outcome, sentences=tuple(texts))

    def _failed_itself(self, item: pytest.Item, error: BaseException | None) -> None:
        self.unusable(f"the exercise itself failed in {item.nodeid}: {_described(error)}")

    def _check_reports(self) -> None:
        """Lost and false reports are tampering; a run that was polled loses some anyway."""
        for run in self._runs:
            for missing in run.witness.missing:
                if run.witness.backend == "pidfd" and missing.kind is MissingKind.REPORTS:
                    reason = f"{missing}, though the kernel saw it run to its end: something "
                    reason += "kept them back, or wrote others in their place"
                    self.reporter.problem(Status.TAMPERED, reason)
                elif missing.kind is MissingKind.CONTRADICTED:
                    reason = f"{missing}, as the kernel has seen: something wrote false reports"
                    self.reporter.problem(Status.TAMPERED, reason)
            for reason in outside_influence(run):
                self.reporter.doubt(reason)


def _by_name(run: Run) -> Run:
    """The same with the name of the program alone: its folder is the grader's."""
    if run.target.kind not in ("script", "notebook"):
        return run
    name = run.target.text.rpartition("/")[2]
    return replace(run, target=replace(run.target, text=name))


def _mark_of(item: pytest.Item) -> Mark:
    """A test's mark before it has run. ExerciseError if its marker is wrong."""
    marker = item.get_closest_marker(MARKER) or getattr(pytest.mark, MARKER)(0).mark
    values = {**_KEYWORDS, **marker.kwargs}
    if (fault := _fault(marker.args, **values)) is not None:
        raise submission.ExerciseError(f"{item.nodeid}: the marker {MARKER}: {fault}")
    function = getattr(item, "originalname", item.name)
    name = values["name"] or function.removeprefix("test_").replace("_", " ")
    if (callspec := getattr(item, "callspec", None)) is not None:
        name = f"{name} [{callspec.id}]"
    return Mark(
        test=item.nodeid,
        name=name,
        points=0.0,
        max_points=float(marker.args[0]),
        outcome=Outcome.NOT_RUN,
        visibility=values["visibility"],
        tags=tuple(values["tags"]),
        extra=values["extra"],
    )


def _fault(
    args: tuple[Any, ...], /, *, name: Any, visibility: Any, tags: Any, extra: Any, **others: Any
) -> str | None:
    """What is wrong with the arguments of the marker."""
    for other in others:
        return f"it takes {', '.join(_KEYWORDS)}, not {other}"
    if len(args) != 1:
        return "it takes one number of points"
    (points,) = args
    is_number = isinstance(points, int | float) and not isinstance(points, bool)
    if not is_number or not 0 <= points < math.inf:
        return f"points are a number, 0 or more, not {points!r}"
    if not isinstance(name, str):
        return f"the name is a text, not {name!r}"
    if visibility not in VISIBILITIES:
        return f"visibility is one of {', '.join(VISIBILITIES)}, not {visibility!r}"
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
        return f"tags are a list of texts, not {tags!r}"
    if not isinstance(extra, bool):
        return f"extra is True or False, not {extra!r}"
    return None


def _unknown_fixture(item: pytest.Item) -> str | None:
    """A sentence if the test uses a fixture that does not exist."""
    # not there if it is not a function, or of another pytest: then its setup will raise
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", None)
    for name in getattr(item, "fixturenames", ()):
        if known is not None and name != "request" and name not in known:
            return f"there is no fixture {name!r}{_similar(name, 'submission')}"
    return None


def _unknown_marker(item: pytest.Item) -> str | None:
    """A sentence if the test has a marker that does not exist."""
    lines = item.config.getini("markers")  # "name(arguments): text"
    known = {line.split(":")[0].split("(")[0].strip() for line in lines}
    for marker in item.iter_markers():
        if marker.name not in known:
            return f"there is no marker {marker.name!r}{_similar(marker.name, MARKER)}"
    return None


def _similar(name: str, right: str) -> str:
    return f": did you mean {right!r}?" if difflib.get_close_matches(name, [right]) else ""


def _authors_message(error: BaseException, found: statement.Statement | None) -> str:
    """The message of an assert of the exercise, of pytest.fail(), or of an AssertionError."""
    if isinstance(error, LifecycleError):
        return ""
    if isinstance(error, pytest.fail.Exception):
        return str(error.msg)
    if not isinstance(error, AssertionError):
        return ""
    if found is not None and found.text:  # an assert statement, with or without a message
        return found.message.strip()
    return str(error).strip()


def _failure_of(
    error: BaseException, run: Run | None, found: statement.Statement | None
) -> feedback.Failure:
    failure = feedback.Failure(run=run, statement=found)
    if isinstance(error, LifecycleError):
        assertion = error.assertion or ("" if found is None else found.called)
        offenders, asked = error.offenders, error.asked
        return replace(failure, offenders=offenders, assertion=assertion, asked=asked)
    if isinstance(error, RunOver):
        return replace(failure, waited_for=error.waited_for)
    if isinstance(error, RunTimeout):
        return replace(failure, waited_for=error.waited_for, limit=error.limit)
    if isinstance(error, ProcessNameError):
        return replace(failure, name=error.name, count=error.count)
    if isinstance(error, ProcessLookupError):
        return replace(failure, too_late=True)
    return failure


def _described(error: BaseException | None) -> str:
    """An exception's type and the first line of its text."""
    return f"{type(error).__name__}: {error}".split("\n", 1)[0]
