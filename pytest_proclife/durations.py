"""Durations that a caller sets, in seconds: their defaults, and the one check for all of them."""

from __future__ import annotations

TIMEOUT = 30.0  # for main, and for each wait of a main that was started
LINGER = 1.0

_REPR = 60  # characters of a wrong value in the message


def check_seconds(
    name: str, value: object, *, finite: bool = False, or_none: bool = False
) -> float:
    """Return `value`, infinity for None. ValueError if it is not a number of seconds."""
    __tracebackhide__ = True
    if value is None and or_none:
        return float("inf")
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and value >= 0  # false for NaN
        and not (finite and value == float("inf"))
    ):
        return value
    text = repr(value)
    shown = text if len(text) <= _REPR else f"{text[:_REPR]}..."
    none = ", or None" if or_none else ""
    raise ValueError(f"{name} must be a number of seconds, 0 or more{none}, not {shown}")


def parse_seconds(name: str, text: str, *, finite: bool = False) -> float:
    """The number of seconds in a text of the command line or a settings file."""
    try:
        value: object = float(text)
    except ValueError:
        value = text
    return check_seconds(name, value, finite=finite)
