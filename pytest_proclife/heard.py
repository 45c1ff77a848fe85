"""One report of an observed process, as it was heard."""

from __future__ import annotations

from typing import NamedTuple

from pytest_proclife import wire

_SIGNALS = range(1, 65)
_NUMBERS = range(1 << 31)
_LAST_WORDS = ("exit", "os_exit", "launcher")
_HOW_LEFT = ("returned", "raised", "sys_exit")
_HOW_JOINED = ("", "explicit", "implicit", "library")


class Report(NamedTuple):
    """One report: when it was written (monotonic ns), what it says, and whom it is about."""

    kind: str
    seq: int
    at: int
    fields: tuple[str, ...]
    about: int | None

    def field(self, index: int) -> str:
        return self.fields[index] if index < len(self.fields) else ""

    def number(self, index: int) -> int | None:
        text = self.field(index)
        return int(text) if text.lstrip("-").isdecimal() and len(text) < 12 else None

    def flag(self, index: int) -> bool | None:
        return {"1": True, "0": False}.get(self.field(index))

    @property
    def makes_sense(self) -> bool:
        """Whether it can be what it claims: processes may write what they like."""
        if self.seq not in _NUMBERS:
            return False
        match self.kind:
            case wire.HELLO:
                return len(self.fields) > 3 and self.field(2) in ("fork", "new")
            case wire.STARTED | wire.RUN:
                return len(self.fields) > 4
            case wire.LEFT:
                return len(self.fields) > 5 and self.field(0) in _HOW_LEFT
            case wire.LAST_WORD:
                return self.field(0) in _LAST_WORDS
            case wire.KILL | wire.KILL_GROUP:
                return len(self.fields) > 2 and self.number(1) in _SIGNALS
            case wire.CAUGHT:
                return self.number(0) in _SIGNALS
            case wire.UNWAITED:
                return self.flag(0) is not None
            case wire.COLLECTED:
                return len(self.fields) > 2 and self.field(2) in _HOW_JOINED
            case wire.EXIT_PATH | wire.EXIT_PATH_DONE | wire.WAITING | wire.EXEC | wire.UNSEEN:
                return True
            case _:
                return False
