"""What a run gets where the call does not say: from the command line and the settings."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import pytest

NAMES = ("start_methods", "timeout", "linger")  # as the marker has them

Value = float | tuple[str, ...] | None
_KEY = pytest.StashKey[dict[str, Value]]()


def configured(config: pytest.Config) -> dict[str, Value]:
    """What the command line, or else the settings, say. UsageError where that makes no sense."""
    if _KEY not in config.stash:
        config.stash[_KEY] = dict(_configured(config))
    return config.stash[_KEY]


def _configured(config: pytest.Config) -> Iterator[tuple[str, Value]]:
    for name in NAMES:
        where = "--proclife-" + name.replace("_", "-")
        value = config.getoption(f"proclife_{name}")
        try:
            if value is None:
                where = f"proclife_{name}"
                value = config.getini(where)
            if value is None:
                continue
            if name == "start_methods":
                words = [value] if isinstance(value, str) else value
                value = [part for word in words for part in word.split(",")]
            else:
                value = float(value)
            yield name, checked(name, value)
        except (TypeError, ValueError, pytest.UsageError) as error:  # the last of getini()
            raise pytest.UsageError(f"{where}: {error}") from None


def checked(name: str, value: object) -> Value:
    """A value as it will be used; None where there is no end. ValueError says what is wrong."""
    if name == "start_methods":
        return None if value is None else _start_methods(value)
    if name == "timeout" and value is None:
        return None
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not value >= 0
        or (name == "linger" and math.isinf(value))
    ):
        raise ValueError(f"{name} is a number of seconds, 0 or more, not {value!r}")
    return None if math.isinf(value) else float(value)


def _start_methods(value: object) -> tuple[str, ...]:
    import multiprocessing

    there = sorted(multiprocessing.get_all_start_methods())
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, Sequence) or not names:
        raise ValueError(f'start_methods is "all", a name or several names, not {value!r}')
    if list(names) == ["all"]:
        return tuple(there)
    for name in names:
        if name not in there:
            raise ValueError(f"unknown start method {name!r}: this platform has {', '.join(there)}")
    return tuple(dict.fromkeys(names))
