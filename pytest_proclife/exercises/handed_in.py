"""What was handed in: submissions on the disk, and the program in each."""

from __future__ import annotations

import ast
import hashlib
import os
import shutil
import tokenize
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_proclife import notebook

_SUFFIXES = (".py", ".ipynb")
_MAINS = ("main.py", "main.ipynb")
_NO_PROGRAMS = ("__pycache__", ".ipynb_checkpoints")
_LARGEST = 10_000_000  # bytes of a program


class Ungradable(Exception):
    """There is no program in the submission that could be run; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedIn:
    """A submission: a file, or a folder with a program in it."""

    name: str
    path: Path


def find(paths: Iterable[str]) -> tuple[HandedIn, ...]:
    """The submissions that the paths name: files, folders, folders of folders. ValueError if none.

    A folder whose folders have programs holds a submission in each; one with several programs,
    none of them main.py, has a submission in each file; any other folder is a submission.
    """
    found: list[Path] = []
    for text in paths:
        path = Path(text)
        if not path.exists():
            raise ValueError(f"no such submission: {text!r}")
        found += _within(path)
    unique = list(dict.fromkeys(Path(os.path.abspath(path)) for path in found))
    if not unique:
        raise ValueError("there is no submission")
    return tuple(_named(unique))


def _within(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    inside = sorted(child for child in path.iterdir() if not child.name.startswith("."))
    folders = [child for child in inside if child.is_dir() and child.name not in _NO_PROGRAMS]
    programs = [child for child in inside if child.suffix in _SUFFIXES and child.is_file()]
    if any(child.name in _MAINS for child in programs):
        return [path]
    if folders and not programs:
        return folders
    if len(programs) > 1:
        return programs
    return [path]


def _named(paths: list[Path]) -> Iterator[HandedIn]:
    """Each by its own name, and by its folder's too where two have the same."""
    names = {path: path.stem if path.suffix in _SUFFIXES else path.name for path in paths}
    depth = 1
    longest = max(len(path.parts) for path in paths)
    while len(set(names.values())) < len(paths):
        depth += 1
        if depth > longest:  # a-b/c and a/b-c
            names = {path: hashlib.sha256(os.fsencode(path)).hexdigest()[:16] for path in paths}
            break
        counted: dict[str, int] = {}
        for name in names.values():
            counted[name] = counted.get(name, 0) + 1
        for path, name in names.items():
            if counted[name] > 1:
                names[path] = "-".join(path.parts[-depth:]).lstrip("/")
    for path, name in names.items():
        yield HandedIn(name=name, path=path)


def fingerprint(path: Path) -> str:
    """A digest of all that a submission, or an exercise, consists of."""
    digest = hashlib.sha256()
    files = [path]
    if path.is_dir():
        files = sorted(f for f in path.rglob("*") if not set(f.parts) & set(_NO_PROGRAMS))
    for file in files:
        digest.update(str(file.relative_to(path)).encode("utf-8", "surrogateescape") + b"\0")
        if file.is_file():
            with file.open("rb") as opened:
                digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def private_copy(path: Path, folder: Path) -> Path:
    """Copy a submission to where its program may do what it likes; the copy's path."""
    copy = folder / path.name
    if path.is_dir():
        left_out = shutil.ignore_patterns(*_NO_PROGRAMS)
        shutil.copytree(path, copy, symlinks=True, ignore=left_out)
    else:
        shutil.copy(path, copy)
    return copy


def program(path: Path) -> tuple[Path, str]:
    """The program of a submission and its source. Ungradable where it cannot be run."""
    file = _program_file(path) if path.is_dir() else path
    try:
        if not file.is_file():
            raise Ungradable(f"{file.name!r} is no file that could be read")
        if file.stat().st_size > _LARGEST:
            raise Ungradable(f"{file.name!r} is larger than {_LARGEST:,} bytes")
        source = _source(file)
    except OSError as error:
        raise Ungradable(f"{file.name!r} cannot be read: {error.strerror}") from None
    if not source.strip():
        raise Ungradable(f"{file.name!r} is empty")
    return file, source


def _program_file(folder: Path) -> Path:
    programs = sorted(f for f in folder.iterdir() if f.suffix in _SUFFIXES and f.is_file())
    for file in programs:
        if file.name in _MAINS:
            return file
    if not programs:
        raise Ungradable("there is no program: no .py and no .ipynb file")
    if len(programs) > 1:
        names = ", ".join(file.name for file in programs[:5])
        raise Ungradable(f"which file is the program? There are {names}, and no main.py")
    return programs[0]


def _source(file: Path) -> str:
    if file.suffix == ".ipynb":
        try:
            cells = notebook.read(file)
        except notebook.NotebookError as error:
            raise Ungradable(str(error)) from None
        for cell in cells.cells:
            where = f"cell {cell.number} of {file.name!r}"
            _parse(cell.source, where, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        return cells.source
    try:
        with tokenize.open(file) as opened:
            source = opened.read()
    except (UnicodeDecodeError, SyntaxError, LookupError):
        raise Ungradable(f"{file.name!r} is no text of Python's: save it as UTF-8") from None
    _parse(source, repr(file.name))
    return source


def _parse(source: str, where: str, flags: int = 0) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):
            compile(source, where, "exec", ast.PyCF_ONLY_AST, dont_inherit=True)
            compile(source, where, "exec", flags, dont_inherit=True)
    except SyntaxError as error:
        line = "" if error.lineno is None else f", line {error.lineno}"
        raise Ungradable(f"{where}{line}: a syntax error: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise Ungradable(
            f"{where} cannot be compiled: {str(error) or type(error).__name__}"
        ) from None
