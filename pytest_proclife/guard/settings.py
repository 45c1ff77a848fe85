"""The guard's options, settings and marker."""

import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_proclife.durations import check_seconds, parse_seconds

MODES = ("error", "warn", "off")
WAIT = 1.0  # s
MARKER = "proclife_guard"


class Settings(NamedTuple):
    """What is configured. A tuple, since each guarded suite pays for it: a dataclass costs more."""

    mode: str  # of MODES
    wait: float  # seconds
    keep: bool  # as asked for; `kills` has the rest
    baseline: Path | None
    writes_baseline: bool

    @property
    def kills(self) -> bool:
        """Whether leaked processes are killed; those that are excused never are."""
        return self.mode == "error" and not (self.keep or self.writes_baseline)


def configured(config: pytest.Config) -> Settings:
    """The settings. UsageError if one is wrong, has no effect without the guard, or if the guard
    cannot run on this platform.
    """
    mode = _mode(config)
    baseline = _value(config, "baseline")
    settings = Settings(
        mode=mode,
        wait=_seconds(config),
        keep=bool(_value(config, "keep")),
        baseline=config.rootpath / str(baseline) if baseline else None,
        writes_baseline=bool(config.getoption("proclife_guard_write_baseline")),
    )
    if mode == "off":
        _check_that_no_option_needs_it(config)
        return settings
    if settings.writes_baseline and not baseline:
        raise pytest.UsageError(
            "--proclife-guard-write-baseline needs a file: --proclife-guard-baseline=FILE"
        )
    if missing := _missing():
        raise pytest.UsageError(f"the guard cannot run here: {missing}")
    return settings


def _check_that_no_option_needs_it(config: pytest.Config) -> None:
    """UsageError if an option stands without the guard. Settings may: a suite can have them for
    when it is guarded. And --no-proclife-guard overrules all of them.
    """
    if config.getoption("proclife_guard") is not None:
        return
    for name in ("wait", "keep", "baseline", "write_baseline"):
        if config.getoption(f"proclife_guard_{name}") is not None:
            option = f"--proclife-guard-{name.replace('_', '-')}"
            raise pytest.UsageError(
                f"{option} needs the guard: --proclife-guard or --proclife-guard-warn"
            )


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
    name = f"proclife_guard_{name}"
    value: object = config.getoption(name)
    return _setting(config, name) if value is None else value


def _setting(config: pytest.Config, name: str) -> object:
    """The value of a setting. UsageError if it is of a wrong type."""
    try:
        value: object = config.getini(name)
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"{name}: {error}") from None
    return value


def _mode(config: pytest.Config) -> str:
    setting = _setting(config, "proclife_guard")
    if setting not in MODES:
        raise pytest.UsageError(f"proclife_guard must be error, warn or off, not {setting!r}")
    return str(config.getoption("proclife_guard") or setting)


def _seconds(config: pytest.Config) -> float:
    option = config.getoption("proclife_guard_wait")
    setting = _setting(config, "proclife_guard_wait")
    try:
        if setting is not None:
            check_seconds("proclife_guard_wait", setting, finite=True)
        if option is not None:
            return parse_seconds("--proclife-guard-wait", option, finite=True)
    except ValueError as error:
        raise pytest.UsageError(str(error)) from None
    return WAIT if setting is None else float(str(setting))


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
