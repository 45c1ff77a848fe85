"""Stretches of time in which something may have happened unseen, and who could have done it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable


class Spans:
    """Spans of monotonic ns, each with its owner's id. A question costs a binary search."""

    __slots__ = ("_furthest", "_starts")

    def __init__(self, spans: Iterable[tuple[float, float, int]] = ()) -> None:
        ordered = sorted(spans)
        self._starts = [start for start, _, _ in ordered]
        # for each start: the two latest ends up to there, of different owners
        self._furthest: list[tuple[tuple[float, int], tuple[float, int] | None]] = []
        first: tuple[float, int] | None = None
        second: tuple[float, int] | None = None
        for _, end, owner in ordered:
            if first is None or owner == first[1]:
                first = max(first or (end, owner), (end, owner))
            elif end > first[0]:
                first, second = (end, owner), first
            elif second is None or end > second[0]:
                second = (end, owner)
            self._furthest.append((first, second))

    def owner(self, start: float, end: float, *, but: int | None = None) -> int | None:
        """Whose span overlaps start..end; `but` is left out of account."""
        index = bisect_right(self._starts, end) - 1
        if index < 0:
            return None
        for found in self._furthest[index]:
            if found is not None and found[1] != but and found[0] >= start:
                return found[1]
        return None


NONE = Spans()
