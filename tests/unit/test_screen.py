"""What a text is made for: the columns, colours and signs of a stream."""

from __future__ import annotations

import io
import os
from typing import TextIO

import pytest

from pytest_proclife.render import timeline
from pytest_proclife.render.screen import Screen, can_show_lines, screen_of


class Terminal(io.StringIO):
    """A stream that is a terminal."""

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return 99


def encoded(encoding: str) -> TextIO:
    return io.TextIOWrapper(io.BytesIO(), encoding=encoding)


def test_what_is_no_terminal_has_80_columns_and_no_colours() -> None:
    assert screen_of(io.StringIO()) == Screen(columns=80, color=False, lines=True)
    assert screen_of(None) == Screen(columns=80, color=False, lines=True)


@pytest.mark.parametrize(
    ("columns", "expected"), [(200, 200), (80, 80), (40, 40), (12, 40), (0, 80)]
)
def test_a_terminal_has_the_columns_that_it_has(
    columns: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda fd: os.terminal_size((columns, 24)))
    assert screen_of(Terminal()).columns == expected


@pytest.mark.parametrize(("given", "expected"), [("120", 120), ("7", 40), ("wide", 80), ("", 80)])
def test_columns_in_the_environment_go_first(
    given: str, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", given)
    assert screen_of(io.StringIO()).columns == expected


@pytest.mark.parametrize(
    ("variables", "option", "colored"),
    [
        ({}, "auto", True),
        ({"NO_COLOR": "1"}, "auto", False),
        ({"NO_COLOR": ""}, "auto", True),
        ({"NO_COLOR": "1"}, "yes", True),
        ({"TERM": "dumb"}, "auto", False),
        ({"TERM": "dumb", "FORCE_COLOR": "1"}, "auto", True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, "auto", False),
        ({"NO_COLOR": "1", "PY_COLORS": "1"}, "auto", True),
        ({"PY_COLORS": "0"}, "auto", False),
        ({}, "no", False),
    ],
)
def test_a_terminal_has_colours_where_pytest_would_have_them(
    variables: dict[str, str], option: str, colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PY_COLORS", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert screen_of(Terminal(), option).color is colored


def test_the_encoding_says_whether_there_are_lines() -> None:
    found = {name: can_show_lines(encoded(name)) for name in ("utf-8", "ascii", "latin-1", "cp437")}
    assert found == {"utf-8": True, "ascii": False, "latin-1": False, "cp437": False}


def test_all_signs_of_the_timeline_are_asked_for() -> None:
    signs = "".join(timeline._SIGNS.values())
    for encoding in ("cp850", "shift_jis", "gb18030", "koi8-r"):
        try:
            signs.encode(encoding)
            fits = True
        except UnicodeEncodeError:
            fits = False
        assert can_show_lines(encoded(encoding)) is fits, encoding
