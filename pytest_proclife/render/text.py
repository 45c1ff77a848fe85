"""Text for a terminal: printable, of known width, shortened."""

from __future__ import annotations

import unicodedata

_NAME = 30  # columns of a name at most


def seconds(value: float) -> str:
    """A time or a duration."""
    return f"{value:.2f} s"


def plain(text: str) -> str:
    """Text for one line of a terminal: what moves its cursor is written out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def width(text: str) -> int:
    """Columns in a terminal: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def shortened(name: str) -> str:
    """A name for a column: on one line, the middle of a long one left out."""
    name = plain(name)
    if width(name) <= _NAME:
        return name
    head, tail = name[: _NAME // 2], name[-(_NAME // 2) :]
    while width(head) + width(tail) > _NAME - 3:
        head, tail = (head[:-1], tail) if width(head) >= width(tail) else (head, tail[1:])
    return f"{head}...{tail}"
