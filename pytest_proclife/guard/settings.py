"""The guard's options, settings and marker."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_proclife.durations import parse_seconds

MODES = ("error", "warn", "off")
MARKER = "proclife_guard"


class Settings(NamedTuple):
    """What is configured. A tuple, since each guarded suite pays for it: a dataclass costs more."""

    mode: str  # of MODES
    wait: float  # seconds
    keep: bool
    baseline: Path | None
    writes_baseline: bool


def configured(config: pytest.Config) -> Settings:
    """The settings. UsageError if one is wrong, or if the guard cannot run on this platform."""
    baseline = _value(config, "proclife_guard_baseline")
    settings = Settings(
        mode=_mode(config),
        wait=_seconds(config),
        keep=bool(_value(config, "proclife_guard_keep")),
        baseline=config.rootpath / str(baseline) if baseline else None,
        writes_baseline=bool(config.getoption("proclife_guard_write_baseline")),
    )
    if settings.writes_baseline and not baseline:
        raise pytest.UsageError(
            "--proclife-guard-write-baseline needs a file: --proclife-guard-baseline=FILE"
        )
    if missing := _missing():
        raise pytest.UsageError(f"the guard cannot run here: {missing}")
    return settings


def _missing() -> str:
    """What the platform lacks; empty if it has all that the guard needs."""
    if sys.platform != "linux":
        return f"{sys.platform} has no pidfds, and no /proc that lists children"
    if not hasattr(os, "pidfd_open") or not hasattr(os, "memfd_create"):
        return "this Python was built without os.pidfd_open or os.memfd_create"
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return "/proc is not mounted, or does not list children (CONFIG_PROC_CHILDREN)"
    return ""


def _value(config: pytest.Config, name: str) -> object:
    value: object = config.getoption(name)
    return config.getini(name) if value is None else value


def _mode(config: pytest.Config) -> str:
    value = _value(config, "proclife_guard")
    if value in MODES:
        return str(value)
    if config.getoption("proclife_guard") is None:
        raise pytest.UsageError(f"proclife_guard must be error, warn or off, not {value!r}")
    raise pytest.UsageError(
        f"--proclife-guard must be error, warn or off, not {value!r}; "
        "write --proclife-guard=error if the next argument is not an option"
    )


def _seconds(config: pytest.Config) -> float:
    name = "proclife_guard_wait"
    try:
        return parse_seconds(name, str(_value(config, name)), finite=True)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def fault_of(mark: pytest.Mark) -> str | None:
    """What is wrong with a marker's arguments, in one sentence."""
    from pytest_proclife.guard.allowance import allowance

    if mark.args:
        return f"the marker {MARKER} takes keyword arguments only, not {mark.args[0]!r}"
    for name in mark.kwargs:
        if name not in ("allow", "reason"):
            return f"the marker {MARKER} takes allow and reason, not {name}"
    try:
        allowance(**mark.kwargs)
    except ValueError as error:
        return f"the marker {MARKER}: {error}"
    return None
