"""What a text is made for: how wide it may be, and whether it can have colours and lines."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TextIO

COLUMNS = 80
NARROWEST = 40  # columns; a text for less than these is not made
COLORS = ("auto", "yes", "no")  # as those of pytest's --color
_LINES = "━╌·┫"


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """The columns of a text, and whether it can have colours, and lines that are not ASCII."""

    columns: int = COLUMNS
    color: bool = False
    lines: bool = True


def screen_of(stream: TextIO | None, color: str = "auto") -> Screen:
    """The screen behind a stream; `color` is one of `COLORS`.

    `COLUMNS`, `NO_COLOR`, `FORCE_COLOR` and `PY_COLORS` in the environment count as for pytest.
    """
    wanted = _wants_color(stream) if color == "auto" else color == "yes"
    return Screen(columns=columns_of(stream), color=wanted, lines=can_show_lines(stream))


def columns_of(stream: TextIO | None) -> int:
    """The columns of a terminal; 80 if it is none, and 40 at least."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdecimal() and int(given) > 0:
        return max(int(given), NARROWEST)
    try:
        found = 0 if stream is None else os.get_terminal_size(stream.fileno()).columns
    except (OSError, ValueError):  # no terminal; closed, or no file at all
        found = 0
    return max(found or COLUMNS, NARROWEST)


def can_show_lines(stream: TextIO | None) -> bool:
    """Whether the encoding of a stream has the characters of the bars."""
    try:
        _LINES.encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _wants_color(stream: TextIO | None) -> bool:
    """In the order in which pytest asks."""
    environ = os.environ
    if environ.get("PY_COLORS") in ("0", "1"):
        return environ["PY_COLORS"] == "1"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    is_terminal = stream is not None and not stream.closed and stream.isatty()
    return is_terminal and environ.get("TERM") != "dumb"


_MARGIN = 8  # columns that pytest puts before each line of an exception, in a test function
_of_pytest: list[int] = []  # the columns of its terminal, once they are known


def set_columns_of_pytest(columns: int) -> None:
    """Set the width of pytest's terminal, which the texts of exceptions then fit into."""
    _of_pytest[:] = [columns]


def plain_screen() -> Screen:
    """For the text of an object or of an exception, which pytest shows with a margin."""
    columns = _of_pytest[-1] if _of_pytest else columns_of(None)
    return Screen(columns=max(columns - _MARGIN, NARROWEST), lines=can_show_lines(sys.__stdout__))
