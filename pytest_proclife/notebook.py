"""A notebook as a program: its code cells in order, and what of them is left out."""

from __future__ import annotations
import __future__

import ast
import difflib
import importlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pytest_proclife import notebook_kernel

_RAISES, _SKIPS = "raises-exception", "skip-execution"  # tags of cells that nbclient honours
# Programs that a command line does not start here: what they would install is not the answer's.
_INSTALLERS = ("pip", "pip3", "conda", "mamba", "uv", "apt", "apt-get", "brew", "npm")
# Lines that a kernel takes for magics without a %, if they are all of a cell.
_WITHOUT_SIGN = (*_INSTALLERS[:4], *notebook_kernel.LINE_MAGICS)
_CALLS = ("system", "getoutput", "run_line_magic", "run_cell_magic")
_ONCE = ("timeit", "prun")  # the statement is run once, and not measured
_SIGNS = ("%", "!", "?")


class NotebookError(ValueError):
    """The file is not a notebook that can be run; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A code cell as Python.

    `label` names it: "cell [4]" has the number that the notebook shows, and "code cell 4" is the
    fourth one, if the notebook shows none. Each line of `source` has the number that it has in
    `text`, the cell as it is written. `magic` and `line` are a cell magic around the source.
    """

    label: str
    text: str
    source: str
    magic: str = ""
    line: str = ""
    left_out: tuple[str, ...] = ()  # what is not run: "code cell 1, line 2: %matplotlib inline"
    broken: str = ""  # why it is not Python: "line 2: a syntax error: invalid syntax"
    may_raise: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Notebook:
    """The code cells of a notebook, in order."""

    name: str
    cells: tuple[Cell, ...]

    @property
    def source(self) -> str:
        """The whole program as one text, without what is not Python."""
        return "\n\n".join(cell.source for cell in self.cells if not cell.broken)

    @property
    def left_out(self) -> tuple[str, ...]:
        """What of all cells is not run."""
        return tuple(line for cell in self.cells for line in cell.left_out)

    @property
    def broken(self) -> tuple[Cell, ...]:
        """The cells that are not Python. They spoil only themselves, unless all are broken."""
        return tuple(cell for cell in self.cells if cell.broken)

    @property
    def is_broken(self) -> bool:
        """Whether there are cells, and none of them is Python."""
        return bool(self.broken) and not self.source.strip()


def read(path: str | os.PathLike[str]) -> Notebook:
    """Read a notebook. NotebookError if it is not one, OSError if it cannot be read.

    What only a kernel understands is translated by IPython, and formats before 4 are read by
    nbformat. The extra `notebook` installs both.
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
    written = list(_written(name, values["cells"]))
    shown = Counter(cell.count for cell in written)
    labels = [
        f"code cell {number}"
        if cell.count is None or shown[cell.count] > 1
        else f"cell [{cell.count}]"
        for number, cell in enumerate(written, 1)
    ]
    cells = (_cell(cell, label, name) for cell, label in zip(written, labels, strict=True))
    return Notebook(name=name, cells=tuple(cells))


def write_program(
    notebook: Notebook, folder: Path, search: str, *, keep_going: bool = False
) -> Path:
    """Write a program that runs the cells one after the other, and return its path.

    Each cell is a file of its own, so that tracebacks name the cell and the line in it. Imports
    search the folder `search` first. With `keep_going` a cell that raises does not end the run:
    the first exception leaves main when all cells were run.
    """
    place = folder / notebook.name
    place.mkdir()
    cells = []
    for cell in notebook.cells:
        path = place / cell.label
        path.write_text(cell.text + "\n", encoding="utf-8")
        values = {"file": str(path), "source": cell.source, "magic": cell.magic, "line": cell.line}
        broken = bool(cell.broken) and not notebook.is_broken
        cells.append({**values, "broken": broken, "may_raise": cell.may_raise})
    futures = sorted({name for cell in notebook.cells for name in _futures(cell.source)})
    flags = 0
    for name in futures:
        flags |= getattr(__future__, name).compiler_flag
    program = folder / "notebook_main.py"
    kernel = os.path.abspath(notebook_kernel.__file__)
    given = f"path=[{search!r}], wanted={_wanted(notebook)}, flags={flags}, keep_going={keep_going}"
    lines = [f"from __future__ import {', '.join(futures)}"] if futures else []
    lines += [
        "try:",
        f"    __notebook__ = {{'__name__': 'notebook_kernel', '__file__': {kernel!r}}}",
        f"    with open({kernel!r}, 'rb') as __notebook__['opened']:",
        "        __notebook__['text'] = __notebook__['opened'].read()",
        f"    exec(compile(__notebook__['text'], {kernel!r}, 'exec'), __notebook__)",
        f"    __notebook__['_PLACE'] = {str(place)!r}",
        f"    __notebook__['run'](globals(), {cells!r}, {given})",
        "except BaseException as __error__:",
        "    __notebook__['cleaned'](__error__)",
        "    raise",  # a bare one, which does not enter this frame into the traceback
    ]
    program.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return program


def _wanted(notebook: Notebook) -> list[str]:
    """The names of the kernel's that the cells use."""
    nodes = (node for cell in notebook.cells for node in ast.walk(_tree(cell.source)))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    return sorted(used & {"display", "get_ipython"})


# --- the file


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """A code cell as it is in the file."""

    text: str
    count: int | None  # the number that the notebook shows
    tags: tuple[str, ...]


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


def _written(name: str, cells: list[Any]) -> Iterator[_Written]:
    """Each code cell."""
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
        count = cell.get("execution_count")
        metadata = cell.get("metadata")
        tags = metadata.get("tags") if isinstance(metadata, dict) else None
        yield _Written(
            text=source,
            count=count if isinstance(count, int) else None,
            tags=tuple(tag for tag in tags or () if isinstance(tag, str)),
        )


def _broken(name: str, reason: object) -> NotebookError:
    return NotebookError(f"{name!r} is a broken notebook: {reason}")


# --- a cell as Python


def _cell(written: _Written, label: str, name: str) -> Cell:
    cell = Cell(label=label, text=written.text, source="", may_raise=_RAISES in written.tags)
    if _SKIPS in written.tags:
        return replace(cell, left_out=(f"{label}: it has the tag {_SKIPS}",))
    if _fault(written.text) is None:
        return replace(cell, source=written.text)
    try:
        cell = _translated(cell)
    except ImportError:
        fault = _fault(written.text)
        if _is_for_a_kernel(written.text):
            raise NotebookError(
                f"{label} of {name!r} is for IPython ({fault}): install "
                "pytest-proclife[notebook], which translates it"
            ) from None
        cell = replace(cell, source=written.text)
    fault = _fault(cell.source)
    if fault is None:
        return cell
    listed = (*cell.left_out, f"{label}, {fault}")
    return replace(cell, source=written.text, magic="", broken=fault, left_out=listed)


def _is_for_a_kernel(text: str) -> bool:
    lines = [line.strip() for line in text.splitlines()]
    return any(line.startswith(_SIGNS) or line.endswith("?") for line in lines)


def _fault(source: str) -> str | None:
    """Why a cell is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(source, "cell", "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
            compile(source, "cell", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except SyntaxError as error:
        line = "" if error.lineno is None else f"line {error.lineno}: "
        return f"{line}a syntax error: {error.msg}"
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        return f"it cannot be compiled: {str(error) or type(error).__name__}"
    return None


def _translated(cell: Cell) -> Cell:
    """A cell in IPython's language. ImportError without IPython."""
    lines = cell.text.splitlines(keepends=True)
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    head = lines[first].strip() if lines else ""
    if not head.startswith("%%"):
        return _without_unknown(replace(cell, source=_transform(cell.text)))
    name, _, rest = head[2:].partition(" ")
    if name in notebook_kernel.CODE_MAGICS:
        body = "\n" * (first + 1) + "".join(lines[first + 1 :])
        inner = _translated(replace(cell, text=body)) if _fault(body) is not None else None
        inner = replace(inner or cell, text=cell.text, source=inner.source if inner else body)
        if name in _ONCE:
            note = f"{cell.label}, line {first + 1}: {head} (the cell was run once)"
            inner = replace(inner, left_out=(note, *inner.left_out))
        return replace(inner, magic=name, line=rest.strip())
    return _without_unknown(replace(cell, source="\n" * first + _transform(cell.text)))


def _transform(text: str) -> str:
    """Translate a text in IPython's language to Python. Each line keeps its number."""
    transformer = importlib.import_module("IPython.core.inputtransformer2").TransformerManager()
    lines = text.splitlines()
    if len(lines) == 1 and lines[0].split()[0] in _WITHOUT_SIGN:
        text = f"%{text.strip()}"
    try:
        found = transformer.transform_cell(text).splitlines()
    except SyntaxError:
        return text
    before = [line.strip() for line in lines]
    after: list[str] = []
    # a line that goes on is joined, and empty ones are cut off at the head
    matcher = difflib.SequenceMatcher(None, before, [line.strip() for line in found], False)
    for _, i1, i2, j1, j2 in matcher.get_opcodes():
        after += [*found[j1:j2], *[""] * (i2 - i1 - (j2 - j1))]
    return "\n".join(after)


def _without_unknown(cell: Cell) -> Cell:
    """A cell without the magics and commands that are not run; they are listed."""
    lines, originals = cell.source.split("\n"), cell.text.splitlines()
    left_out: list[str] = []
    calls = [call for node in ast.walk(_tree(cell.source)) if (call := _kernel_call(node))]
    # from the end on, so that columns stay what they are
    for node, function, words in sorted(calls, key=_place, reverse=True):
        note = _not_run(function, words)
        if note is None:
            continue
        number = node.lineno - 1
        line = originals[number].strip() if number < len(originals) else ""
        left_out.append(f"{cell.label}, line {node.lineno}: {line}{note}")
        if not note:
            encoded = lines[number].encode()
            end = node.end_col_offset or len(encoded)
            lines[number] = (encoded[: node.col_offset] + b"None" + encoded[end:]).decode()
    listed = tuple(reversed(left_out))
    return replace(cell, source="\n".join(lines), left_out=(*cell.left_out, *listed))


_Call = tuple[ast.Call, str, list[str]]


def _place(call: _Call) -> tuple[int, int]:
    return call[0].lineno, call[0].col_offset


def _kernel_call(node: ast.AST) -> _Call | None:
    """A call of a function of get_ipython(), the function's name, and its words."""
    match node:
        case ast.Call(
            func=ast.Attribute(value=ast.Call(func=ast.Name(id="get_ipython")), attr=name)
        ) if name in _CALLS:
            words = [arg.value if isinstance(arg, ast.Constant) else "" for arg in node.args]
            return node, name, [str(word) for word in words]
        case _:
            return None


def _tree(source: str) -> ast.Module:
    """The syntax tree of a cell, an empty one if it is not Python."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])


def _not_run(function: str, words: list[str]) -> str | None:
    """None if a call is run as it is; else what to say behind its line, "" if it is left out."""
    name, line = (words[0], words[1]) if len(words) > 1 else ("", (words or [""])[0])
    if function in ("system", "getoutput") or name in ("sx", "system"):
        return "" if _installs(line) else None
    if function == "run_cell_magic":
        return None if name in notebook_kernel.CELL_MAGICS else ""
    if name == "run" and ".ipynb" in line:
        return ""
    if name in _ONCE:
        return " (it was run once)"
    return None if name in notebook_kernel.LINE_MAGICS else ""


def _installs(command: str) -> bool:
    words = [os.path.basename(word) for word in command.split()]
    while words and (words[0] in ("sudo", "-m", "{sys.executable}") or "python" in words[0]):
        words = words[1:]
    return bool(words) and words[0] in _INSTALLERS


def _futures(source: str) -> set[str]:
    return {
        alias.name
        for node in _tree(source).body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
        for alias in node.names
        if hasattr(__future__, alias.name)
    }
