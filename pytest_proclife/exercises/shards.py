"""Shards: the share of the submissions that one of several machines grades, and their merging."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_proclife.exercises.results import SUMMARY, Result, Status, Store, to_values
from pytest_proclife.exercises.seal import FILE, Seal


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """The share `number` of `count`, counted from 1. `source` is the variable that says so."""

    number: int
    count: int
    source: str = ""

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def folder(self) -> str:
        return f"shard-{self.number}-of-{self.count}"

    def share(self, names: Sequence[str]) -> list[str]:
        """The names that are its own: each name is in one of the shards, wherever that runs."""
        return sorted(names)[self.number - 1 :: self.count]


def shard_of(text: str | None, environment: Mapping[str, str]) -> Shard | None:
    """The shard that an option or the environment of a cluster's job says; None for all.

    `text` is "I/N", or "N" if the job's index is in the environment. ValueError if it is neither.
    """
    index, count, source = _index(environment)
    if text is None:
        if index is None:
            return None
        if count is None:
            raise ValueError(
                f"{source} is set: say --shard N, with the number of all jobs, or --shard 1/1 to "
                "grade all submissions here"
            )
        number, total = index, count
    else:
        match = re.fullmatch(r"(?:(\d+)?/)?(\d+)", text, re.ASCII)
        if match is None:
            raise ValueError(f"--shard must be I/N, such as 2/10, not {text!r}")
        total = int(match[2])
        if match[1] is None and index is None:
            raise ValueError(
                f"--shard {text} needs the number of the shard: say 1/{total} to {total}/{total}, "
                "or set JOB_COMPLETION_INDEX"
            )
        number = int(match[1]) if match[1] is not None else index or 0
        source = "" if match[1] is not None else source
    if not 1 <= number <= total:
        raise ValueError(f"--shard: there is no shard {number} of {total}: they count from 1")
    return Shard(number=number, count=total, source=source)


def _index(environment: Mapping[str, str]) -> tuple[int | None, int | None, str]:
    """The number of this job, counted from 1, how many there are, and the variable."""

    def value(name: str) -> int | None:
        text = environment.get(name, "")
        return int(text) if text.isascii() and text.isdigit() else None

    index, count = value("SLURM_ARRAY_TASK_ID"), value("SLURM_ARRAY_TASK_COUNT")
    if index is not None and count:
        first, step = value("SLURM_ARRAY_TASK_MIN"), value("SLURM_ARRAY_TASK_STEP")
        if first is None:  # the indices of an array follow each other, from wherever on
            return index % count + 1, count, "SLURM_ARRAY_TASK_ID"
        return (index - first) // (step or 1) + 1, count, "SLURM_ARRAY_TASK_ID"
    index = value("JOB_COMPLETION_INDEX")
    if index is not None:
        return index + 1, value("JOB_COMPLETIONS"), "JOB_COMPLETION_INDEX"
    return None, None, ""


# --- merging


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What was found in folders of results."""

    results: tuple[Result, ...]  # one for each submission, by their names
    names: tuple[str, ...]  # of all submissions
    missing: tuple[str, ...]  # submissions without a result
    shards: tuple[tuple[int, int], ...]  # their numbers, each with the count of all
    missing_shards: tuple[str, ...]
    twice: tuple[str, ...]  # submissions that were graded with different results


def merge(folders: Sequence[str], output: Path) -> Merged:
    """The results of folders, and for other submissions those that are in `output` already.

    It does not depend on the order of the folders, nor on how often one is merged. ValueError if a
    folder has no results that can be believed, or if they are of different exercises.
    """
    found: dict[str, list[Result]] = {}
    names: set[str] = set()
    pairs: set[tuple[int, int]] = set()
    sources = _folders(folders)
    earlier = [output.resolve()] if (output / SUMMARY).exists() else []
    given: set[str] = set()
    for folder in [*sources, *earlier]:
        summary = _summary(folder)
        names |= {str(name) for name in summary.get("submissions", [])}
        pairs |= {(int(number), int(count)) for number, count in summary.get("shards", [])}
        for result in _sealed(folder):
            if folder in sources:
                given.add(result.submission)
            elif result.submission in given:
                continue
            found.setdefault(result.submission, []).append(result)
    exercises = {result.key.partition("-")[0] for each in found.values() for result in each}
    if len(exercises) > 1:
        raise ValueError("these results are of different exercises, or of different versions of it")
    names |= set(found)
    return Merged(
        results=tuple(min(found[name], key=_rank) for name in sorted(found)),
        missing=tuple(sorted(names - set(found))),
        names=tuple(sorted(names)),
        shards=tuple(sorted(pairs)),
        missing_shards=tuple(
            f"{number}/{count}"
            for count in sorted({count for _, count in pairs})
            for number in range(1, count + 1)
            if (number, count) not in pairs
        ),
        twice=tuple(
            sorted(name for name, each in found.items() if len(set(map(_content, each))) > 1)
        ),
    )


def _sealed(folder: Path) -> Iterator[Result]:
    seal = Seal.of(folder)
    if seal is None:
        raise ValueError(f"{str(folder)!r} has no {FILE}: copy the folder with that file")
    store = Store(folder, seal)
    for path in sorted((folder / "results").glob("*.json")):
        result = store.sealed(path.stem)
        if result is None:
            raise ValueError(f"{str(path)!r} was not written by proclife, or was changed")
        yield result


def _folders(given: Sequence[str]) -> list[Path]:
    """The folders with results in these."""
    found: set[Path] = set()
    for text in given:
        path = Path(text)
        if not path.is_dir():
            raise ValueError(f"no such folder: {text!r}")
        inside = {file.parent for file in [*path.glob(SUMMARY), *path.glob(f"**/{SUMMARY}")]}
        if not inside:
            raise ValueError(f"there are no results of proclife grade in {text!r}")
        found |= inside
    return sorted({path.resolve() for path in found})


def _summary(folder: Path) -> Mapping[str, Any]:
    try:
        values = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{str(folder / SUMMARY)!r} cannot be read: {error}") from None
    return values if isinstance(values, dict) else {}


def _rank(result: Result) -> tuple[bool, str]:
    """The smallest is taken: no error, if there is a choice, and the same one in any order."""
    return result.status is Status.ERROR, json.dumps(to_values(result), sort_keys=True)


def _content(result: Result) -> str:
    """A result but for the time that it took."""
    values = to_values(result)
    marks = [{**mark, "seconds": 0, "detail": ""} for mark in values["marks"]]
    return json.dumps({**values, "seconds": 0, "marks": marks}, sort_keys=True)
