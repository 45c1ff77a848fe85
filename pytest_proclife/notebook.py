"""A notebook as a program: its code cells in order, without what only a kernel understands."""

from __future__ import annotations

import ast
import importlib
import io
import json
import os
import re
import tokenize
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = "notebook_main.py"

_KEPT_BODY = ("%%time", "%%timeit", "%%capture", "%%prun")  # the rest of the cell is Python
_SAVED_BODY = re.compile(r"%%(?:writefile|file)\s+(\w+\.py)\s*$")
_TIMED = re.compile(r"(\s*)%time\s+(.+)")
# What every cell finds in a kernel without importing it, and what stands in for it: what is shown
# is printed, and a magic that is called does nothing.
_KERNELS = {
    "display": "display = lambda *shown, **how: print(*map(repr, shown), sep='\\n')",
    "get_ipython": (
        "get_ipython = lambda: type('NoKernel', (), {'__getattr__': "
        "lambda self, name: lambda *words, **more: None})()"
    ),
}
_ASSIGNED = re.compile(r"(\s*[A-Za-z_][\w., ]*=)\s*(!|%[a-zA-Z])")
_LINE = re.compile(
    r"\s*(?:%[a-zA-Z_]|!|\?"  # a magic, a shell line, a question
    r"|[A-Za-z_][\w.]*\?\??\s*$"  # another way to ask
    r"|(?:pip3?|conda|mamba)\s+(?:install|uninstall|list|show|freeze)\b)"
)


class NotebookError(ValueError):
    """The file is no notebook whose cells can be run; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A code cell as Python. `left_out` has the lines that only a kernel understands."""

    number: int  # among the code cells, from 1 on
    source: str
    left_out: tuple[str, ...] = ()
    file: str = ""  # a module that the cell writes, in place of running
    body: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """The code cells of a notebook, in order."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def source(self) -> str:
        """The whole program as one text."""
        return "\n\n".join(cell.source for cell in self.cells)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What was left out: "cell 1, line 2: %matplotlib inline"."""
        return tuple(line for cell in self.cells for line in cell.left_out)


def read(path: str | os.PathLike[str]) -> Notebook:
    """Read a notebook. NotebookError where it is none, OSError where it cannot be read.

    Format 4 needs nothing else; nbformat, of the extra `notebook`, reads the older ones.
    """
    name = os.path.basename(os.fspath(path))
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise NotebookError(f"{name!r} is no notebook: it is no JSON ({error})") from None
    values = _as_format_4(name, values)
    language = _language(values)
    if language not in ("", "python", "python3"):
        raise NotebookError(f"{name!r} is a notebook in {language}, not in Python")
    sources = [_text(name, cell) for cell in values["cells"] if _is_code(name, cell)]
    cells = tuple(_cell(number, source) for number, source in enumerate(sources, 1))
    return Notebook(name=name, cells=cells)


def write_program(notebook: Notebook, folder: Path, search: str) -> Path:
    """Write the program that runs the cells one after the other; its path.

    Each cell is a file of its own, so that tracebacks name the cell and the line in it. `search`
    is the folder that imports look into first.
    """
    place = folder / notebook.name
    place.mkdir()
    lines = []
    if any(_future(cell.source) for cell in notebook.cells):
        # to the top, as in any program: compile() hands it on to the cells
        names = sorted({name for cell in notebook.cells for name in _future(cell.source)})
        lines.append(f"from __future__ import {', '.join(names)}")
    lines.append(
        f'if __name__ == "__main__": __import__("sys").path[:1] = [{search!r}, {str(place)!r}]'
    )
    lines += [text for name, text in _KERNELS.items() if _lacks(notebook, name)]
    if any(_awaits(cell.source) for cell in notebook.cells):
        lines.append("__loop__ = __import__('asyncio').Runner()")  # one for all, as a kernel has
    for cell in notebook.cells:
        if cell.file:
            (place / cell.file).write_text(cell.body, encoding="utf-8")
            continue
        path = place / f"cell {cell.number}"
        path.write_text(cell.source + "\n", encoding="utf-8")
        awaits = _awaits(cell.source)
        flags = f", {ast.PyCF_ALLOW_TOP_LEVEL_AWAIT}" if awaits else ""
        lines += [
            f'with open({str(path)!r}, encoding="utf-8") as __cell__:',
            f'    __cell__ = compile(__cell__.read(), {str(path)!r}, "exec"{flags})',
            "__loop__.run(eval(__cell__))" if awaits else "exec(__cell__)",
        ]
    program = place / PROGRAM
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return program


def _lacks(notebook: Notebook, name: str) -> bool:
    """Whether a notebook calls what a kernel gives to it by that name, and has none of its own."""
    sources = [cell.source for cell in notebook.cells]
    own = re.compile(
        rf"\b(?:def|class|import|as)\s+{name}\b|^\s*{name}\s*=|import\b.*\b{name}\b", re.MULTILINE
    )
    called = re.compile(rf"\b{name}\s*\(")
    return any(map(called.search, sources)) and not any(map(own.search, sources))


def _awaits(source: str) -> bool:
    """Whether a cell awaits at its top level, as one may in a kernel, which has a loop running."""
    return _compiles(source, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT) and not _compiles(source, 0)


def _compiles(source: str, flags: int) -> bool:
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(source, "cell", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return False
    return True


def _as_format_4(name: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict) or not isinstance(values.get("nbformat"), int):
        raise NotebookError(f"{name!r} is no notebook: it does not say its nbformat")
    if values["nbformat"] < 4:
        try:
            nbformat = importlib.import_module("nbformat")
        except ImportError:
            raise NotebookError(
                f"{name!r} is a notebook of format {values['nbformat']}: save it in a newer "
                "Jupyter, or install pytest-proclife[notebook], which reads it"
            ) from None
        try:
            values = nbformat.reads(json.dumps(values), as_version=4)
        except Exception as error:  # noqa: BLE001 - it names no type of its own for all of them
            raise NotebookError(f"{name!r} is a broken notebook: {error}") from None
    if not isinstance(values.get("cells"), list):
        raise NotebookError(f"{name!r} is a broken notebook: it has no list of cells")
    return dict(values)


def _language(values: dict[str, Any]) -> str:
    metadata = values.get("metadata")
    for key, entry in (("language_info", "name"), ("kernelspec", "language")):
        part = metadata.get(key) if isinstance(metadata, dict) else None
        if isinstance(part, dict) and isinstance(part.get(entry), str):
            return str(part[entry]).lower()
    return ""


def _is_code(name: str, cell: Any) -> bool:
    if not isinstance(cell, dict) or "cell_type" not in cell:
        raise NotebookError(f"{name!r} is a broken notebook: a cell has no cell_type")
    return bool(cell["cell_type"] == "code")


def _text(name: str, cell: dict[str, Any]) -> str:
    source = cell.get("source")
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        raise NotebookError(f"{name!r} is a broken notebook: a code cell has no source")
    return source


def _future(source: str) -> set[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return set()
    return {
        alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }


def _cell(number: int, source: str) -> Cell:
    """A cell whose magics and shell lines do nothing, each line still at its place."""
    if _parses(source):
        return Cell(number=number, source=source)
    lines = source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    head = lines[first].strip()
    if head.startswith("%%"):
        told = f"cell {number}, line {first + 1}: {head}"
        if head.split()[0] not in _KEPT_BODY:
            saved = _SAVED_BODY.match(head)
            return Cell(
                number=number,
                source="",
                left_out=(told,),
                file=saved.group(1) if saved else "",
                body="\n".join(lines[first + 1 :]) + "\n",
            )
        lines[first] = ""
        inner = _cell(number, "\n".join(lines))
        return Cell(number=number, source=inner.source, left_out=(told, *inner.left_out))
    told_lines = tuple(f"cell {number}, line {n}: {text}" for n, text in _silence(lines))
    return Cell(number=number, source="\n".join(lines), left_out=told_lines)


def _silence(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Replace what is not Python, line by line; the number and the text of each such line."""
    index = 0
    while index < len(lines):
        line = lines[index]
        replaced = _harmless(line)
        if replaced is not None and not _within(lines[:index]):
            yield index + 1, line.strip()
            lines[index] = replaced
            while line.endswith("\\") and index + 1 < len(lines):
                index += 1
                line, lines[index] = lines[index], ""
        index += 1


def _harmless(line: str) -> str | None:
    """What stands in for a line that a kernel alone understands; None for others."""
    timed = _TIMED.match(line)
    if timed and _parses(timed.group(2)):
        return timed.group(1) + timed.group(2)
    assigned = _ASSIGNED.match(line)
    if assigned:
        return assigned.group(1) + (" []" if assigned.group(2) == "!" else " None")
    if _LINE.match(line) and not _parses(line.strip()):
        return line[: len(line) - len(line.lstrip())] + "pass"
    return None


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _within(lines: list[str]) -> bool:
    """Whether what follows these lines stands within a string or a bracket of theirs."""
    if lines and lines[-1].endswith("\\"):
        return True
    try:
        for _ in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
            pass
    except tokenize.TokenError as error:
        return "EOF in multi-line" in str(error)
    except SyntaxError:
        return False  # an indentation that does not fit: no bracket is open
    return False
