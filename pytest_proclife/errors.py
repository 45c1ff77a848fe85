"""Every public exception and warning of the package."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_proclife.records import ProcessRecord, Run


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
    RunningMain raises it, the run goes on, and `run` is a snapshot.
    """

    __module__ = "pytest_proclife"

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> tuple[type, tuple[str, Run]]:
        return type(self), (str(self), self.run)


class RunOver(RuntimeError):
    """A wait cannot succeed any more, because the run is over. `run` is the `Run`."""

    __module__ = "pytest_proclife"

    def __init__(self, message: str, run: Run) -> None:
        super().__init__(message)
        self.run = run

    def __reduce__(self) -> tuple[type, tuple[str, Run]]:
        return type(self), (str(self), self.run)


class LifecycleError(AssertionError):
    """An assertion about processes failed.

    `offenders` are their records; there are none if the run itself lacks something. `run` is the
    `Run`, None if no process was given. `assertion` is the name of the assertion. `brief` names
    the process and the fact in a few words, for pytest's short summary.
    """

    __module__ = "pytest_proclife"

    def __init__(
        self,
        text: str,
        offenders: tuple[ProcessRecord, ...] = (),
        run: Run | None = None,
        assertion: str = "",
        brief: str = "",
    ) -> None:
        super().__init__(text)
        self.offenders = offenders
        self.run = run
        self.assertion = assertion
        self.brief = brief

    def __reduce__(self) -> tuple[type[LifecycleError], tuple[object, ...]]:
        return type(self), (*self.args, self.offenders, self.run, self.assertion, self.brief)


class PollingWarning(UserWarning):
    """Runs are polled, which shows less. The message says why.

    It comes once in a process, with the first run, unless PROCLIFE_BACKEND asks for polling. The
    fixture `proclife` writes a line to the terminal instead.
    """

    __module__ = "pytest_proclife"


class ProcessLeakWarning(UserWarning):
    """A test, or a fixture that ended with it, left processes behind."""

    __module__ = "pytest_proclife"
