"""Every public exception and warning of the package."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_proclife.records import ProcessRecord, Run, WaitedFor


class TargetError(ValueError):
    """The target cannot be found, resolved or handed over; the message says what to do."""

    __module__ = "pytest_proclife"


class SupervisorLost(RuntimeError):
    """The process that watched a run has ended; every process of the run has been ended too.

    It is also raised if runs cannot be watched here at all, for example without a /proc. The
    message says why.
    """

    __module__ = "pytest_proclife"


class SeccompUnavailable(RuntimeError):
    """The second witness (`seccomp=True`) is not available here; the message says why."""

    __module__ = "pytest_proclife"


class RunTimeout(TimeoutError):
    """A wait took too long. `run` is the `Run`.

    If `run()` raises it, main did not end, and every process of the run was killed. If a
    RunningMain raises it, the run goes on, and `run` is a snapshot. `waited_for` is what it waited
    for, and `limit` the timeout of that in seconds.
    """

    __module__ = "pytest_proclife"

    def __init__(
        self,
        message: str,
        run: Run,
        waited_for: WaitedFor | None = None,
        limit: float | None = None,
    ) -> None:
        super().__init__(message)
        self.run = run
        self.waited_for = waited_for
        self.limit = limit

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.run, self.waited_for, self.limit)


class LimitExceeded(RunTimeout):
    """A program used more than grading allows, and every process of its run was killed.

    `run` is the `Run`. `exceeded` is "memory", "cpu", "processes" or "output".
    """

    __module__ = "pytest_proclife"

    def __init__(self, message: str, run: Run, exceeded: str) -> None:
        super().__init__(message, run)
        self.exceeded = exceeded

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.run, self.exceeded)


class RunOver(RuntimeError):
    """A wait cannot succeed any more, because the run is over. `run` is the `Run`.

    `waited_for` is what it waited for.
    """

    __module__ = "pytest_proclife"

    def __init__(self, message: str, run: Run, waited_for: WaitedFor | None = None) -> None:
        super().__init__(message)
        self.run = run
        self.waited_for = waited_for

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (str(self), self.run, self.waited_for)


class ProcessNameError(KeyError):
    """`run[name]` finds no process of this name, or several: `count` is how many."""

    __module__ = "pytest_proclife"

    def __init__(self, message: str, name: str, count: int, run: Run) -> None:
        super().__init__(message)
        self.name = name
        self.count = count
        self.run = run

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return type(self), (*self.args, self.name, self.count, self.run)


class LifecycleError(AssertionError):
    """An assertion about processes failed.

    `offenders` are their records; there are none if the run itself lacks something. `run` is the
    `Run`, None if no process was given. `assertion` is the name of the assertion, and `asked` has
    what it was given beside processes and the run: `{"code": 3}` of `assert_sys_exit(p, code=3)`.
    `brief` names the process and the fact in a few words, for pytest's short summary.
    """

    __module__ = "pytest_proclife"

    def __init__(
        self,
        text: str,
        offenders: tuple[ProcessRecord, ...] = (),
        run: Run | None = None,
        assertion: str = "",
        brief: str = "",
        asked: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(text)
        self.offenders = offenders
        self.run = run
        self.assertion = assertion
        self.brief = brief
        self.asked = asked or {}

    def __reduce__(self) -> tuple[type[LifecycleError], tuple[object, ...]]:
        values = self.offenders, self.run, self.assertion, self.brief, dict(self.asked)
        return type(self), (*self.args, *values)


class PollingWarning(UserWarning):
    """Runs are polled, which shows less. The message says why.

    It comes once in a process, with the first run, unless PROCLIFE_BACKEND asks for polling. The
    fixture `proclife` writes a line to the terminal instead.
    """

    __module__ = "pytest_proclife"


class ProcessLeakWarning(UserWarning):
    """A test, or a fixture that ended with it, left processes behind."""

    __module__ = "pytest_proclife"
