"""The pytest session that loads an exercise once and grades submissions in forks of itself."""

from __future__ import annotations

import contextlib
import difflib
import io
import math
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_proclife.backend import choose_backend
from pytest_proclife.errors import LifecycleError, RunTimeout, SupervisorLost, TargetError
from pytest_proclife.exercises import feedback
from pytest_proclife.exercises.integrity import Seal
from pytest_proclife.exercises.results import VISIBILITIES, Mark, Outcome, mark_values, say
from pytest_proclife.exercises.submission import (
    ExerciseError,
    PartialCredit,
    Submission,
    Ungradable,
    private_copy,
    program,
)
from pytest_proclife.records import MissingKind, Run

MARKER = "proclife_points"
_ARGUMENTS = ("name", "visibility", "tags")


def mark_of(item: pytest.Item) -> Mark:
    """A test's mark before it has run; ExerciseError where its marker is wrong."""
    marker = item.get_closest_marker(MARKER)
    args = () if marker is None else marker.args
    kwargs = {} if marker is None else dict(marker.kwargs)
    fault = None if marker is None else _fault(args, kwargs)
    if fault is not None:
        raise ExerciseError(f"{item.nodeid}: the marker {MARKER}: {fault}")
    callspec = getattr(item, "callspec", None)
    name = kwargs.get("name") or getattr(item, "originalname", item.name).removeprefix(
        "test_"
    ).replace("_", " ")
    return Mark(
        test=item.nodeid,
        name=name if callspec is None else f"{name} [{callspec.id}]",
        points=0.0,
        max_points=float(args[0]) if args else 0.0,
        outcome=Outcome.NOT_RUN,
        visibility=kwargs.get("visibility", "visible"),
        tags=tuple(kwargs.get("tags", ())),
    )


def missing_fixture(item: pytest.Item) -> str | None:
    """What to say of a fixture that a test names and nobody has; None where all are there."""
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", None)
    if known is None:
        return None  # no function, or another pytest: its setup will tell
    for name in getattr(item, "fixturenames", ()):
        if name != "request" and name not in known:
            return f"{item.nodeid}: there is no fixture {name!r}{_meant(name, ('submission',))}"
    return None


def unknown_marker(text: str) -> str | None:
    """What to say where pytest does not know a marker; None where it says something else."""
    name, found, _ = text.removeprefix("'").partition("' not found in `markers`")
    return f"there is no marker {name!r}{_meant(name, (MARKER,))}" if found else None


def _meant(name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f": did you mean {near[0]!r}?" if near else ""


def _fault(args: tuple[object, ...], kwargs: dict[str, object]) -> str | None:
    unknown = next((name for name in kwargs if name not in _ARGUMENTS), None)
    if unknown is not None:
        return f"it takes {', '.join(_ARGUMENTS)}, not {unknown}"
    if len(args) != 1:
        return "it takes one number of points"
    (points,) = args
    if (
        not isinstance(points, int | float)
        or isinstance(points, bool)
        or not 0 <= points < math.inf
    ):
        return f"points are a number, 0 or more, not {points!r}"
    if not isinstance(kwargs.get("name", ""), str):
        return f"the name is a text, not {kwargs['name']!r}"
    if kwargs.get("visibility", "visible") not in VISIBILITIES:
        return f"visibility is one of {', '.join(VISIBILITIES)}, not {kwargs['visibility']!r}"
    tags = kwargs.get("tags", ())
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
        return f"tags are a list of texts, not {tags!r}"
    return None


# What the answer can make a test raise; all else is the exercise's own failure. A LookupError is
# run["a name"], a ValueError `(child,) = run.children`.
_ANSWERS = (AssertionError, RunTimeout, LookupError, ValueError, pytest.fail.Exception)
_LINE = re.compile(
    r'^(?:(?P<shown>\S.*?):(?P<line>\d+): in |E\s+File "(?P<file>.+?)", line (?P<number>\d+))',
    re.MULTILINE,
)
_LONGEST = 20_000  # characters of what pytest shows of a failure

Say = Callable[..., None]


class Unusable(ValueError):
    """The exercise cannot be used; the message says why."""


def _speaker(token: str, channel: int) -> Say:
    def speak(**what: Any) -> None:
        data = say(token, **what)
        while data:
            data = data[os.write(channel, data) :]

    return speak


class Examination:
    """The plugin of such a session: in `proclife grade` it loads, in a fork it examines."""

    def __init__(self, seal: Seal, within: Callable[[Examination], int]) -> None:
        self.seal = seal
        self.marks: tuple[Mark, ...] = ()  # without points yet
        self.session: pytest.Session | None = None
        self.say: Say = self._complain
        self.file: Path | None = None
        self.source = ""
        self.given: Submission | None = None
        self.runs: list[Run] = []  # of the test that is on
        self._within = within
        self._complaints: list[str] = []
        self._outcome: int | BaseException | None = None

    def outcome(self, code: int, words: str) -> int:
        """What came of a session that is over; `words` are pytest's."""
        if isinstance(self._outcome, int):
            return self._outcome
        if self._outcome is not None:
            raise self._outcome
        if code == pytest.ExitCode.INTERRUPTED and not self._complaints:
            raise KeyboardInterrupt
        if code in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            words = "it has no tests: those are functions whose names begin with test_"
        raise Unusable("\n".join(self._complaints) or words.strip())

    def examine(
        self, submission: Path, place: Path, token: str, channel: int, wait: Callable[[], None]
    ) -> None:
        """Grade a copy of a submission, made in `place`; what comes of it goes to the channel.

        In a process of its own, which ends then. `wait` returns when it is this submission's
        turn: what can be made ready before is.
        """
        assert self.session is not None
        self.say = _speaker(token, channel)
        try:
            file, self.source = program(submission)
            place.mkdir()
            self.file = private_copy(submission, place) / file.relative_to(submission)
        except Ungradable as reason:
            self.say(ungradable=str(reason))
            return
        except (OSError, shutil.Error) as error:
            self.say(ungradable=f"it cannot be copied: {error}")
            return
        os.chdir(self.file.parent)
        with contextlib.suppress(SupervisorLost, ValueError):  # the first run will say so
            choose_backend()
        wait()
        self.seal.begin()
        hooks = self.session.config.hook
        hooks.pytest_runtestloop(session=self.session)
        hooks.pytest_sessionfinish(session=self.session, exitstatus=pytest.ExitCode.OK)
        self.say(used=sorted(self.seal.used))
        if (changed := self.seal.broken()) is not None:
            self.say(changed=changed)
        self.say(done=True)

    def _complain(self, *, broken: str) -> None:
        self._complaints.append(broken)

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
        marks = []
        for item in items:
            try:
                marks.append(mark_of(item))
            except ExerciseError as error:
                self.say(broken=str(error))
            if (words := missing_fixture(item)) is not None:
                self.say(broken=words)
        self.marks = tuple(marks)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        if self.session is not None:
            return None  # a fork: the tests are to run
        self.session = session
        if self.marks and not self._complaints:
            try:
                with (
                    contextlib.redirect_stdout(sys.__stdout__),
                    contextlib.redirect_stderr(sys.__stderr__),
                ):
                    self._outcome = self._within(self)
            except BaseException as error:  # noqa: BLE001 - pytest has no business with it
                self._outcome = error
        return True

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            text = report.longreprtext
            what = unknown_marker(_last_line(text)) or _last_line(text)
            self.say(broken=f"the exercise cannot be read: {what}{_place(text, self.seal.root)}")

    def pytest_internalerror(self, excrepr: object) -> None:
        self.say(broken=f"pytest failed: {_last_line(str(excrepr))}")

    def pytest_proclife_run_finished(self, run: Run, item: pytest.Item) -> None:
        if run.target.kind == "script":
            self.seal.use(run.target.text)
        self.runs.append(run)

    def _look_for_tampering(self) -> None:
        for run in self.runs:
            if run.witness.backend != "pidfd":
                continue  # what polling does not see need not have been hidden from it
            for missing in run.witness.missing:
                if missing.kind is MissingKind.REPORTS:
                    self.say(
                        tampered=f"{missing}, though the kernel saw it run to its end: "
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
        elif isinstance(error, pytest.FixtureLookupError):
            self._broken(item, call)
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
            told += feedback.about(
                run,
                offenders,
                noun=noun,
                file=str(self.file),
                join_wanted=getattr(error, "assertion", "") == "assert_joined",
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


def _place(text: str, root: str) -> str:
    """Where in the exercise, or beside it, an error rose that pytest shows: the last such line."""
    for match in reversed(list(_LINE.finditer(text))):
        path = os.path.join(root, match["shown"] or match["file"])
        if path.startswith(root + os.sep) and os.path.exists(path):
            number = match["line"] or match["number"]
            return f" ({os.path.relpath(path, root)}, line {number})"
    return ""


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("E").strip() if lines else ""


# What an exercise has no use for, and would pay for at each answer: of the second the garbage
# collections at the end of all.
_UNUSED = (
    "doctest",
    "unraisableexception",
    "threadexception",
    "junitxml",
    "pastebin",
    "stepwise",
    "faulthandler",
)


def load(exercise: Path, seal: Seal, within: Callable[[Examination], int]) -> int:
    """Load an exercise, once, and do `within`, whose forks can examine; what that returns.

    So every grader has the exercise as it is now, whatever becomes of its files. Unusable
    where it cannot be used.
    """
    os.environ.pop("PYTEST_ADDOPTS", None)
    os.environ.pop("PYTEST_PLUGINS", None)
    root = exercise.parent
    arguments = [str(exercise), "-c", os.devnull, f"--rootdir={root}", f"--confcutdir={root}"]
    arguments += ["-q", "-s", "--tb=short", "-p", "no:cacheprovider", "--disable-plugin-autoload"]
    arguments += [word for name in _UNUSED for word in ("-p", f"no:{name}")]
    arguments += ["-p", "pytest_proclife.plugin", "--strict-markers", "--color=no"]
    arguments += ["--disable-warnings"]
    examination = Examination(seal, within)
    words = io.StringIO()
    with (
        tempfile.TemporaryDirectory(prefix="proclife-") as empty,
        _no_caches(empty),
        contextlib.redirect_stdout(words),
        contextlib.redirect_stderr(words),
    ):
        code = pytest.main(arguments, plugins=[examination])
    return examination.outcome(code, words.getvalue())


@contextlib.contextmanager
def _no_caches(empty: str) -> Iterator[None]:
    """Read no bytecode that lies beside sources, where an answer can have put it, nor write it."""
    before = sys.pycache_prefix, sys.dont_write_bytecode
    sys.pycache_prefix, sys.dont_write_bytecode = empty, True
    try:
        yield
    finally:
        sys.pycache_prefix, sys.dont_write_bytecode = before
