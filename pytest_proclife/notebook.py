"""A notebook as a program: its code cells in order, without what is not Python."""

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

_PYTHON_CELL = ("%%time", "%%timeit", "%%capture", "%%prun")  # the rest of the cell is Python
_FILE_CELL = re.compile(r"%%(?:writefile|file)\s+(\w+\.py)\s*$")
_TIMED_LINE = re.compile(r"(\s*)%time\s+(.+)")
# The names that a kernel defines for every cell, and replacements: display() prints, and a magic
# that is called by get_ipython() does nothing.
_KERNEL_NAMES = {
    "display": "display = lambda *shown, **how: print(*map(repr, shown), sep='\\n')",
    "get_ipython": (
        "get_ipython = lambda: type('NoKernel', (), {'__getattr__': "
        "lambda self, name: lambda *words, **more: None})()"
    ),
}
_ASSIGNED_LINE = re.compile(r"(\s*[A-Za-z_][\w., ]*=)\s*(!|%[a-zA-Z])")
_KERNEL_LINE = re.compile(
    r"\s*(?:%[a-zA-Z_]|!|\?"  # a magic, a shell command, a question
    r"|[A-Za-z_][\w.]*\?\??\s*$"  # a question the other way round
    r"|(?:pip3?|conda|mamba)\s+(?:install|uninstall|list|show|freeze)\b)"
)


class NotebookError(ValueError):
    """The file is not a notebook that can be run; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A code cell as Python."""

    number: int  # among the code cells, from 1 on
    source: str
    left_out: tuple[str, ...] = ()  # the lines that are not Python: "cell 1, line 2: !ls"
    file: str = ""  # the name of a module that the cell writes; it runs nothing then
    body: str = field(default="", repr=False)  # the text of that module


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
        """The lines of all cells that are not Python."""
        return tuple(line for cell in self.cells for line in cell.left_out)


def read(path: str | os.PathLike[str]) -> Notebook:
    """Read a notebook. NotebookError if it is not one, OSError if it cannot be read.

    Formats before 4 need nbformat, which the extra `notebook` installs.
    """
    name = os.path.basename(os.fspath(path))
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise NotebookError(f"{name!r} is not a notebook: it is not JSON ({error})") from None
    values = _as_format_4(name, values)
    language = _language(values)
    if language not in ("", "python", "python3"):
        raise NotebookError(f"{name!r} is a notebook in {language}, not in Python")
    sources = enumerate(_sources(name, values["cells"]), 1)
    return Notebook(name=name, cells=tuple(_cell(number, source) for number, source in sources))


def write_program(notebook: Notebook, folder: Path, search: str) -> Path:
    """Write a program that runs the cells one after the other, and return its path.

    Each cell is a file of its own, so that tracebacks name the cell and the line in it. Imports
    search the folder `search` first.
    """
    place = folder / notebook.name
    place.mkdir()
    lines = []
    futures = {name for cell in notebook.cells for name in _futures(cell.source)}
    if futures:
        # at the top, as in any program; compile() applies them to the cells
        lines.append(f"from __future__ import {', '.join(sorted(futures))}")
    lines.append(
        f'if __name__ == "__main__": __import__("sys").path[:1] = [{search!r}, {str(place)!r}]'
    )
    lines += [text for name, text in _KERNEL_NAMES.items() if _needs(notebook, name)]
    awaiting = {cell.number for cell in notebook.cells if _awaits(cell.source)}
    if awaiting:
        # the cells share one event loop, as in a kernel
        lines.append("__loop__ = __import__('asyncio').Runner()")
    for cell in notebook.cells:
        if cell.file:
            (place / cell.file).write_text(cell.body, encoding="utf-8")
            continue
        path = place / f"cell {cell.number}"
        path.write_text(cell.source + "\n", encoding="utf-8")
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if cell.number in awaiting else 0
        lines += [
            f'with open({str(path)!r}, encoding="utf-8") as __cell__:',
            f'    __cell__ = compile(__cell__.read(), {str(path)!r}, "exec", {flags})',
            "__loop__.run(eval(__cell__))" if flags else "exec(__cell__)",
        ]
    program = place / "notebook_main.py"
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return program


def _needs(notebook: Notebook, name: str) -> bool:
    """True if a notebook calls a function of the kernel, and does not define the name itself."""
    sources = [cell.source for cell in notebook.cells]
    own = re.compile(
        rf"\b(?:def|class|import|as)\s+{name}\b|^\s*{name}\s*=|import\b.*\b{name}\b", re.MULTILINE
    )
    called = re.compile(rf"\b{name}\s*\(")
    return any(map(called.search, sources)) and not any(map(own.search, sources))


def _awaits(source: str) -> bool:
    """True if a cell awaits at its top level, as it may in a kernel."""
    awaiting = _compiled(source, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return awaiting is not None and _compiled(source) is None


def _parses(source: str) -> bool:
    return _compiled(source, ast.PyCF_ONLY_AST) is not None


def _compiled(source: str, flags: int = 0) -> Any:
    """The code or the tree of a cell; None if it is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return compile(source, "cell", "exec", flags, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError):
        return None


def _as_format_4(name: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, dict) or not isinstance(values.get("nbformat"), int):
        raise NotebookError(f"{name!r} is not a notebook: it has no nbformat")
    if values["nbformat"] < 4:
        try:
            nbformat = importlib.import_module("nbformat")
            values = nbformat.reads(json.dumps(values), as_version=4)
        except ImportError:
            raise NotebookError(
                f"{name!r} is a notebook of format {values['nbformat']}: save it in a newer "
                "Jupyter, or install pytest-proclife[notebook], which reads it"
            ) from None
        except Exception as error:  # noqa: BLE001 - nbformat has no base class for its errors
            raise _broken(name, error) from None
    if not isinstance(values.get("cells"), list):
        raise _broken(name, "it has no list of cells")
    return dict(values)


def _language(values: dict[str, Any]) -> str:
    metadata = values.get("metadata")
    for key, entry in (("language_info", "name"), ("kernelspec", "language")):
        part = metadata.get(key) if isinstance(metadata, dict) else None
        if isinstance(part, dict) and isinstance(part.get(entry), str):
            return str(part[entry]).lower()
    return ""


def _sources(name: str, cells: list[Any]) -> Iterator[str]:
    """The text of each code cell."""
    for cell in cells:
        if not isinstance(cell, dict) or "cell_type" not in cell:
            raise _broken(name, "a cell has no cell_type")
        if cell["cell_type"] != "code":
            continue
        source = cell.get("source")
        if isinstance(source, list) and all(isinstance(line, str) for line in source):
            source = "".join(source)
        if not isinstance(source, str):
            raise _broken(name, "a code cell has no source")
        yield source


def _broken(name: str, reason: object) -> NotebookError:
    return NotebookError(f"{name!r} is a broken notebook: {reason}")


def _futures(source: str) -> set[str]:
    return {
        alias.name
        for node in getattr(_compiled(source, ast.PyCF_ONLY_AST), "body", ())
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
    }


def _cell(number: int, source: str) -> Cell:
    """Make a cell Python. Each line keeps its number."""
    if _parses(source):
        return Cell(number=number, source=source)
    lines = source.split("\n")
    first = next((i for i, line in enumerate(lines) if line.strip()), 0)
    head = lines[first].strip()
    if not head.startswith("%%"):
        left_out = tuple(f"cell {number}, line {n}: {text}" for n, text in _replace_lines(lines))
        return Cell(number=number, source="\n".join(lines), left_out=left_out)
    left_out = (f"cell {number}, line {first + 1}: {head}",)
    if head.split()[0] in _PYTHON_CELL:
        lines[first] = ""
        rest = _cell(number, "\n".join(lines))
        return Cell(number=number, source=rest.source, left_out=(*left_out, *rest.left_out))
    file = _FILE_CELL.match(head)
    name, body = file.group(1) if file else "", "\n".join(lines[first + 1 :]) + "\n"
    return Cell(number=number, source="", left_out=left_out, file=name, body=body)


def _replace_lines(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Replace the lines that are not Python; the number and the text of each."""
    index = 0
    while index < len(lines):
        line = lines[index]
        replacement = _replacement(line)
        if replacement is not None and not _is_open(lines[:index]):
            yield index + 1, line.strip()
            lines[index] = replacement
            while line.endswith("\\") and index + 1 < len(lines):
                index += 1
                line, lines[index] = lines[index], ""
        index += 1


def _replacement(line: str) -> str | None:
    """Python in place of a line that only a kernel understands; None for other lines."""
    timed = _TIMED_LINE.match(line)
    if timed and _parses(timed.group(2)):
        return timed.group(1) + timed.group(2)
    assigned = _ASSIGNED_LINE.match(line)
    if assigned:
        return assigned.group(1) + (" []" if assigned.group(2) == "!" else " None")
    if _KERNEL_LINE.match(line) and not _parses(line.strip()):
        return line[: len(line) - len(line.lstrip())] + "pass"
    return None


def _is_open(lines: list[str]) -> bool:
    """True if the lines end within a string, a bracket or a continued line."""
    if lines and lines[-1].endswith("\\"):
        return True
    try:
        list(tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline))
    except tokenize.TokenError as error:
        return "EOF in multi-line" in str(error)
    except SyntaxError:
        pass  # an indentation error, and not an open bracket
    return False
