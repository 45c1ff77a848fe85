"""Which leaks are excused: a test's marker allows them, or they are in the baseline."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pytest_proclife.guard.leak import Leak

_FORMAT, _VERSION = "proclife-guard-baseline", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """Patterns (as of a shell) for names or command lines, or a number of processes."""

    patterns: tuple[str, ...] = ()
    count: int = 0
    reason: str

    def apply(self, leaks: Iterable[Leak]) -> list[Leak]:
        """The same leaks. Each that is allowed now has the reason."""
        left, result = self.count, []
        for leak in leaks:
            texts = (leak.name, leak.command)
            matches = any(fnmatchcase(text, p) for p in self.patterns for text in texts)
            if not leak.is_excused and (matches or left > 0):
                left -= not matches
                leak = replace(leak, reason=self.reason)
            result.append(leak)
        return result


def allowance(*, allow: object = None, reason: object = None) -> Allowance:
    """The allowance of a marker with these arguments. ValueError says what is wrong with them."""
    if not isinstance(reason, str) or not reason.strip():
        raise ValueError('reason="..." must say why the leak is allowed')
    if isinstance(allow, int) and not isinstance(allow, bool) and allow > 0:
        return Allowance(count=allow, reason=reason)
    texts = [allow] if isinstance(allow, str) else allow
    if isinstance(texts, Sequence) and texts and all(isinstance(t, str) and t for t in texts):
        return Allowance(patterns=tuple(texts), reason=reason)
    values = "the name or command line of a process (or several), or a number of processes"
    raise ValueError(f"allow must be {values}, not {allow!r}")


Key = tuple[str, str, str]  # owner, kind, name


def key_of(leak: Leak) -> Key:
    """What is the same in each run: not the pid, nor multiprocessing's numbers."""
    return leak.owner, leak.kind, re.sub(r"-\d+$", "-*", leak.name)


class Baseline:
    """Known leaks, and how many of each."""

    def __init__(self, entries: Mapping[Key, int]) -> None:
        self.entries = Counter(entries)

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """ValueError if the file is not a baseline; OSError if it cannot be read."""
        try:
            document: Any = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != _FORMAT or document["version"] != _VERSION:
                raise ValueError(f"it is not version {_VERSION} of {_FORMAT}")
            entries = {(e["owner"], e["kind"], e["name"]): e["count"] for e in document["leaks"]}
        except (KeyError, TypeError, json.JSONDecodeError) as error:
            raise ValueError("it is not a baseline of proclife's guard") from error
        if not all(isinstance(count, int) for count in entries.values()):
            raise ValueError("one of its counts is not a number")
        return cls(entries)

    @classmethod
    def of(cls, leaks: Iterable[Leak]) -> Baseline:
        return cls(Counter(key_of(leak) for leak in leaks))

    @staticmethod
    def try_writing(path: Path) -> None:
        """OSError if a baseline cannot be written there. Nothing is changed."""
        path = path.resolve()  # else a link to nothing would be unlinked below
        exists = path.exists()
        path.open("ab").close()
        if not exists:
            path.unlink()

    def write(self, path: Path) -> None:
        """OSError if it cannot be written."""
        entries = [
            {"owner": owner, "kind": kind, "name": name, "count": count}
            for (owner, kind, name), count in sorted(self.entries.items())
        ]
        document = {"format": _FORMAT, "version": _VERSION, "leaks": entries}
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")

    def excuse(self, leaks: Iterable[Leak]) -> list[Leak]:
        """The same leaks, with those marked that the baseline has."""
        left, result = self.entries.copy(), []
        for leak in leaks:
            key = key_of(leak)
            if not leak.is_excused and left[key] > 0:
                left[key] -= 1
                leak = replace(leak, in_baseline=True)
            result.append(leak)
        return result

    def stale(self, leaks: Iterable[Leak], checked: Iterable[str]) -> dict[Key, int]:
        """The entries that leak no longer, of the owners that were checked, with their numbers."""
        left = self.entries - Counter(key_of(leak) for leak in leaks if leak.in_baseline)
        owners = set(checked)
        return {key: count for key, count in left.items() if key[0] in owners}
