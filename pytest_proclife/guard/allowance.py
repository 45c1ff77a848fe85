"""What may be left: by a test's marker, or because a baseline knows of it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pytest_proclife.guard.leak import IN_BASELINE, Leak

_FORMAT, _VERSION = "proclife-guard-baseline", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Patterns (as of a shell) for a name or a command line, or a number of processes."""

    patterns: tuple[str, ...] = ()
    count: int = 0
    reason: str

    def of(self, leaks: Iterable[Leak]) -> list[Leak]:
        """The same leaks, those that it allows with its reason."""
        left, found = self.count, []
        for leak in leaks:
            fits = any(fnmatchcase(t, p) for p in self.patterns for t in (leak.name, leak.command))
            if not leak.excuse and (fits or left > 0):
                left -= not fits
                leak = replace(leak, excuse=self.reason)
            found.append(leak)
        return found


def allowance(*, allow: object = None, reason: object = None) -> Allowance:
    """What the marker's arguments say; ValueError says what is wrong."""
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError('reason="..." has to say why it may be left')
    if isinstance(allow, int) and not isinstance(allow, bool) and allow > 0:
        return Allowance(count=allow, reason=reason)
    patterns = [allow] if isinstance(allow, str) else allow
    if (
        not isinstance(patterns, Sequence)
        or not patterns
        or not all(isinstance(p, str) and p for p in patterns)
    ):
        words = "the name or command line of a process (or several), or a number of processes"
        raise ValueError(f"allow is {words}, not {allow!r}")
    return Allowance(patterns=tuple(patterns), reason=reason)


Key = tuple[str, str, str]  # owner, kind, name


def key_of(leak: Leak) -> Key:
    """What stays the same from run to run: not the pid, nor multiprocessing's numbers."""
    return leak.owner, leak.kind, re.sub(r"-\d+$", "-*", leak.name)


class Baseline:
    """Leaks that are known, and how many of each."""

    def __init__(self, entries: Mapping[Key, int]) -> None:
        self.entries = Counter(entries)

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """ValueError where the file is no baseline; OSError where it cannot be read."""
        try:
            document: Any = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != _FORMAT or document["version"] != _VERSION:
                raise ValueError(f"it is not of version {_VERSION} of {_FORMAT}")
            found = {(e["owner"], e["kind"], e["name"]): e["count"] for e in document["leaks"]}
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"it is no {_FORMAT} ({error!r})") from None
        if not all(isinstance(count, int) for count in found.values()):
            raise ValueError("a count in it is no number")
        return cls(found)

    @classmethod
    def of(cls, leaks: Iterable[Leak]) -> Baseline:
        return cls(Counter(key_of(leak) for leak in leaks))

    @staticmethod
    def try_writing(path: Path) -> None:
        """OSError where a baseline could not be written there; nothing is changed."""
        path = path.resolve()  # or a link to nothing would be unlinked below
        is_there = path.exists()
        path.open("ab").close()
        if not is_there:
            path.unlink()

    def write(self, path: Path) -> None:
        """OSError where it cannot be written."""
        entries = [
            {"owner": owner, "kind": kind, "name": name, "count": count}
            for (owner, kind, name), count in sorted(self.entries.items())
        ]
        document = {"format": _FORMAT, "version": _VERSION, "leaks": entries}
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def excuse(self, leaks: Iterable[Leak]) -> list[Leak]:
        """The same leaks of one owner, those that are known with that for their excuse."""
        left, found = self.entries.copy(), []
        for leak in leaks:
            key = key_of(leak)
            if not leak.excuse and left[key] > 0:
                left[key] -= 1
                leak = replace(leak, excuse=IN_BASELINE)
            found.append(leak)
        return found

    def stale(self, leaks: Iterable[Leak], checked: Iterable[str]) -> dict[Key, int]:
        """What of it was not left any more, of the owners that were checked."""
        seen = Counter(key_of(leak) for leak in leaks if leak.excuse == IN_BASELINE)
        over = set(checked)
        return {k: n - seen[k] for k, n in self.entries.items() if k[0] in over and n > seen[k]}
