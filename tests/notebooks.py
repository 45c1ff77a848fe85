"""Notebooks for tests."""

from __future__ import annotations

import json
from pathlib import Path


def write_notebook(path: Path, *sources: str) -> Path:
    """Write a notebook with a text cell before the code cells given; its path."""
    cells: list[dict[str, object]] = [
        {"cell_type": "markdown", "id": "text", "metadata": {}, "source": "# An answer"}
    ]
    cells += [
        {
            "cell_type": "code",
            "id": f"code-{number}",
            "metadata": {},
            "execution_count": None,
            "outputs": [],
            "source": source.splitlines(keepends=True),
        }
        for number, source in enumerate(sources, 1)
    ]
    language = {"language_info": {"name": "python"}}
    values = {"nbformat": 4, "nbformat_minor": 5, "metadata": language, "cells": cells}
    path.write_text(json.dumps(values))
    return path
