"""What the guard's options, settings and markers say."""

import os
import sys
from pathlib import Path

import pytest

from pytest_proclife.durations import parse_seconds

MODES = ("error", "warn", "off")
MARKER = "proclife_guard"


class Settings:
    """How to guard. `wait` is in seconds. A plain class, since it costs every guarded suite."""

    def __init__(
        self, *, mode: str, wait: float, keep: bool, baseline: Path | None, writes_baseline: bool
    ) -> None:
        self.mode = mode
        self.wait = wait
        self.keep = keep
        self.baseline = baseline
        self.writes_baseline = writes_baseline


def configured(config: pytest.Config) -> Settings:
    """What the options and settings say. UsageError if one is wrong, or the platform lacks."""
    settings, missing = _settings(config), _lacking()
    if missing:
        raise pytest.UsageError(f"the guard cannot work here: {missing}")
    return settings


def _lacking() -> str:
    """What the platform lacks for the guard, in words; empty where there is all."""
    if sys.platform != "linux":
        return f"{sys.platform} has no /proc that tells of children, and no pidfds"
    if not hasattr(os, "pidfd_open") or not hasattr(os, "memfd_create"):
        return "this Python was built without os.pidfd_open or os.memfd_create"
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        return "/proc is not mounted, or does not tell of children (CONFIG_PROC_CHILDREN)"
    return ""


def _settings(config: pytest.Config) -> Settings:
    baseline = _value(config, "proclife_guard_baseline")
    writes = bool(config.getoption("proclife_guard_write_baseline"))
    if writes and not baseline:
        raise pytest.UsageError(
            "--proclife-guard-write-baseline needs a file: --proclife-guard-baseline=FILE"
        )
    return Settings(
        mode=_mode(config),
        wait=_seconds(config),
        keep=bool(_value(config, "proclife_guard_keep")),
        baseline=config.rootpath / str(baseline) if baseline else None,
        writes_baseline=writes,
    )


def _value(config: pytest.Config, name: str) -> object:
    value: object = config.getoption(name)
    return config.getini(name) if value is None else value


def _mode(config: pytest.Config) -> str:
    value = _value(config, "proclife_guard")
    if value in MODES:
        return str(value)
    if config.getoption("proclife_guard") is None:
        raise pytest.UsageError(f"proclife_guard is error, warn or off, not {value!r}")
    raise pytest.UsageError(
        f"--proclife-guard is error, warn or off, not {value!r}; "
        "write --proclife-guard=error where something follows that is no option"
    )


def _seconds(config: pytest.Config) -> float:
    name = "proclife_guard_wait"
    try:
        return parse_seconds(name, str(_value(config, name)), finite=True)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None


def fault_of(mark: pytest.Mark) -> str | None:
    """What is wrong with what the marker says, in one sentence."""
    from pytest_proclife.guard.allowance import allowance

    if mark.args:
        return f"the marker {MARKER} takes its arguments by name, not {mark.args[0]!r}"
    for name in mark.kwargs:
        if name not in ("allow", "reason"):
            return f"the marker {MARKER} takes allow and reason, not {name}"
    try:
        allowance(**mark.kwargs)
    except ValueError as error:
        return f"the marker {MARKER}: {error}"
    return None
