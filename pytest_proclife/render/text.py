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


def wrapped(text: str, columns: int) -> list[str]:
    """The lines of a text, broken at spaces, and within words that are longer than a line."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if width(longer) <= columns:
            lines[-1] = longer
            continue
        lines.append("")
        for character in word:
            if width(lines[-1] + character) > columns:
                lines.append("")
            lines[-1] += character
    return [line for line in lines if line] or [""]
