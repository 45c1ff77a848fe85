"""Run a program in a real main process, and know why every process of it ended.

The names below are imported at their first use, since some processes import the package and
need none of them.
"""

TYPE_CHECKING = False  # type checkers know the name; importing it from typing costs 3 ms
if TYPE_CHECKING:
    from pytest_proclife.assertions.verbs import (
        assert_abandoned,
        assert_daemon,
        assert_ended_before,
        assert_held_up_by,
        assert_joined,
        assert_killed,
        assert_no_orphans,
        assert_not_daemon,
        assert_not_held_up,
        assert_nothing_left,
        assert_orphaned,
        assert_os_exit,
        assert_outlived,
        assert_overlapped,
        assert_raised,
        assert_returned,
        assert_shut_down,
        assert_signaled,
        assert_sys_exit,
        assert_target_ran,
        assert_terminated,
    )
    from pytest_proclife.crash import Crash, crash_points
    from pytest_proclife.errors import (
        LifecycleError,
        LimitExceeded,
        PollingWarning,
        ProcessLeakWarning,
        ProcessNameError,
        RunOver,
        RunTimeout,
        SeccompUnavailable,
        SupervisorLost,
        TargetError,
    )
    from pytest_proclife.live import RunningMain
    from pytest_proclife.plugin.fixture import Proclife
    from pytest_proclife.records import (
        Cause,
        CrashOutcome,
        Ending,
        Evidence,
        EvidenceKind,
        ExceptionInfo,
        Frame,
        Hang,
        HangKind,
        Joined,
        Missing,
        MissingKind,
        Point,
        ProcessRecord,
        Request,
        Role,
        Run,
        Stack,
        UnknownKind,
        UnknownReason,
        Wait,
        WaitedFor,
        Witness,
    )
    from pytest_proclife.runner import run, start
    from pytest_proclife.target import Code, Module, Notebook

__all__ = [
    "Cause",
    "Code",
    "Crash",
    "CrashOutcome",
    "Ending",
    "Evidence",
    "EvidenceKind",
    "ExceptionInfo",
    "Frame",
    "Hang",
    "HangKind",
    "Joined",
    "LifecycleError",
    "LimitExceeded",
    "Missing",
    "MissingKind",
    "Module",
    "Notebook",
    "Point",
    "PollingWarning",
    "ProcessLeakWarning",
    "ProcessNameError",
    "ProcessRecord",
    "Proclife",
    "Request",
    "Role",
    "Run",
    "RunOver",
    "RunTimeout",
    "RunningMain",
    "SeccompUnavailable",
    "Stack",
    "SupervisorLost",
    "TargetError",
    "UnknownKind",
    "UnknownReason",
    "Wait",
    "WaitedFor",
    "Witness",
    "assert_abandoned",
    "assert_daemon",
    "assert_ended_before",
    "assert_held_up_by",
    "assert_joined",
    "assert_killed",
    "assert_no_orphans",
    "assert_not_daemon",
    "assert_not_held_up",
    "assert_nothing_left",
    "assert_orphaned",
    "assert_os_exit",
    "assert_outlived",
    "assert_overlapped",
    "assert_raised",
    "assert_returned",
    "assert_shut_down",
    "assert_signaled",
    "assert_sys_exit",
    "assert_target_ran",
    "assert_terminated",
    "crash_points",
    "run",
    "start",
]

_MODULES = {  # of the names that `records` does not have
    "Code": "target",
    "Crash": "crash",
    "LifecycleError": "errors",
    "LimitExceeded": "errors",
    "Module": "target",
    "Notebook": "target",
    "PollingWarning": "errors",
    "ProcessLeakWarning": "errors",
    "ProcessNameError": "errors",
    "Proclife": "plugin.fixture",
    "RunOver": "errors",
    "RunTimeout": "errors",
    "SeccompUnavailable": "errors",
    "RunningMain": "live",
    "SupervisorLost": "errors",
    "TargetError": "errors",
    "crash_points": "crash",
    "run": "runner",
    "start": "runner",
    **{name: "assertions.verbs" for name in __all__ if name.startswith("assert_")},
}


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'records')}"), name)
    globals()[name] = value
    return value
