"""Run a program in a real main process, and know why every process of it ended.

The names below are imported at their first use: this file runs in every process that
imports the package.
"""

TYPE_CHECKING = False  # typing, whose name a type checker takes it for, costs 3 ms
if TYPE_CHECKING:
    from pytest_proclife.records import (
        Cause,
        Ending,
        Evidence,
        ExceptionInfo,
        Joined,
        ProcessRecord,
        Request,
        Role,
        Run,
        Witness,
    )
    from pytest_proclife.runner import RunTimeout, run
    from pytest_proclife.supervision import SupervisorLost
    from pytest_proclife.target import Code, Module, TargetError

__all__ = [
    "Cause",
    "Code",
    "Ending",
    "Evidence",
    "ExceptionInfo",
    "Joined",
    "Module",
    "ProcessRecord",
    "Request",
    "Role",
    "Run",
    "RunTimeout",
    "SupervisorLost",
    "TargetError",
    "Witness",
    "run",
]

_HOMES = {
    "Code": "target",
    "Module": "target",
    "TargetError": "target",
    "RunTimeout": "runner",
    "SupervisorLost": "supervision",
    "run": "runner",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'records')}"), name)
    globals()[name] = value
    return value
