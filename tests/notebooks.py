"""Notebooks for tests."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path


def write_notebook(
    path: Path,
    *sources: str,
    counts: Sequence[int | None] = (),
    tags: Sequence[Sequence[str]] = (),
) -> Path:
    """Write a notebook with a text cell before the code cells given; its path.

    `counts` are the numbers that it shows, and `tags` those of each cell.
    """
    given = zip_longest(sources, counts, tags)
    cells: list[dict[str, object]] = [
        {"cell_type": "markdown", "id": "text", "metadata": {}, "source": "# An answer"}
    ]
    cells += [
        {
            "cell_type": "code",
            "id": f"code-{number}",
            "metadata": {"tags": list(tagged or ())},
            "execution_count": count,
            "outputs": [],
            "source": source.splitlines(keepends=True),
        }
        for number, (source, count, tagged) in enumerate(given, 1)
    ]
    language = {"language_info": {"name": "python"}}
    values = {"nbformat": 4, "nbformat_minor": 5, "metadata": language, "cells": cells}
    path.write_text(json.dumps(values))
    return path
