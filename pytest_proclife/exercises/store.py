"""Results on the disk: each written whole or not at all, and the summary of all."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path

from pytest_proclife.exercises.results import Result, Status, from_values, number, to_values

COLUMNS = ("submission", "status", "score", "max_score", "seconds", "reason")


class Store:
    """A folder of results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.results.mkdir(parents=True, exist_ok=True)

    def known(self, submission: str, key: str) -> Result | None:
        """The result of a submission, if it was made with this key.

        What the machinery failed on is tried again.
        """
        try:
            text = self._path(submission).read_text(encoding="utf-8")
            result = from_values(json.loads(text))
        except (OSError, ValueError):
            return None
        same = result.key == key and result.submission == submission
        return result if same and result.status is not Status.ERROR else None

    def keep(self, result: Result) -> None:
        text = json.dumps(to_values(result), indent=1, ensure_ascii=False) + "\n"
        write_whole(self._path(result.submission), text)

    def summarize(self, results: Iterable[Result]) -> None:
        """Write summary.csv and summary.json, in the order given."""
        results = list(results)
        write_whole(self.folder / "summary.csv", summary_csv(results))
        values = [to_values(result) for result in results]
        document = {"format": "proclife-summary", "version": 1, "results": values}
        text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        write_whole(self.folder / "summary.json", text)

    def _path(self, submission: str) -> Path:
        return self.results / f"{submission}.json"


def summary_csv(results: Iterable[Result]) -> str:
    """A line for each submission; Excel, too, reads no formula from what a student named a file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for result in results:
        score, most = number(result.score), number(result.max_score)
        row = (str(result.status), score, most, f"{result.seconds:.2f}", _harmless(result.reason))
        writer.writerow((_harmless(result.submission), *row))
    return text.getvalue()


def _harmless(text: str) -> str:
    text = " ".join(text.split())
    return f"'{text}" if text[:1] in ("=", "+", "-", "@") else text


def write_whole(path: Path, text: str) -> None:
    """Write a file so that whoever reads it sees all of it, or what was there before.

    Whether or not we are killed meanwhile; after a loss of power there can be half a file, which
    is read as none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with half.open("w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
