"""Every sentence of the package that a user can meet, with the place where it is made.

Sentences are the string constants with a space in them: help, errors, failures, evidence, feedback,
pages. Values that are put into one stand in braces. Docstrings count if they are public: they are
the reference. What runs in observed processes and in supervisors is left out, but for the errors
that reach the caller.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest_proclife

PACKAGE = Path(pytest_proclife.__file__).parent
_UNSEEN = ("inside/", "polling/")  # no user reads what these write


@dataclass(frozen=True)
class Sentence:
    """A text, the file and the line in which it is, and whether it is a docstring."""

    text: str
    place: str
    is_docstring: bool


def sentences() -> Iterator[Sentence]:
    """All of them, in the order of their places."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(_UNSEEN):
            yield from _of_module(ast.parse(path.read_text()), name)


def _of_module(tree: ast.Module, name: str) -> Iterator[Sentence]:
    """The sentences of a module, by their lines."""
    found = list(_found_in(tree, name))
    yield from sorted(found, key=lambda sentence: int(sentence.place.rpartition(":")[2]))


def _found_in(tree: ast.Module, name: str) -> Iterator[Sentence]:
    docstrings, public = _docstrings(tree)
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if node in skipped or not isinstance(node, ast.Constant | ast.JoinedStr):
            continue
        if isinstance(node, ast.JoinedStr):
            skipped.update(ast.walk(node))
        text = _text(node)
        if node in docstrings:
            if node in public:
                yield Sentence(text, f"{name}:{node.lineno}", True)
        elif _is_sentence(text):
            yield Sentence(text, f"{name}:{node.lineno}", False)


def _text(node: ast.Constant | ast.JoinedStr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    return "".join(
        _text(part) if isinstance(part, ast.Constant) else "{" + ast.unparse(part.value) + "}"
        for part in node.values
        if isinstance(part, ast.Constant | ast.FormattedValue)
    )


def _is_sentence(text: str) -> bool:
    return " " in text.strip() and sum(c.isalpha() for c in text) > 4


def _docstrings(tree: ast.Module) -> tuple[set[ast.AST], set[ast.AST]]:
    """The nodes of all docstrings, and of those of public names."""
    every: set[ast.AST] = set()
    public: set[ast.AST] = set()

    def look(node: ast.AST, is_public: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                known = is_public and not child.name.startswith("_")
                if not isinstance(node, ast.ClassDef):
                    known = child.name in pytest_proclife.__all__ or child.name in _HOOKS
                look(child, known)
            else:
                look(child, is_public)
        body = getattr(node, "body", None)
        if not isinstance(node, ast.Lambda) and isinstance(body, list) and body:
            first = body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                every.add(first.value)
                if is_public:
                    public.add(first.value)

    look(tree, False)
    return every, public


_HOOKS = ("Hooks", "proclife", "proclife_module", "proclife_session")


def as_text() -> str:
    """All sentences in one text, to be read in one go."""
    lines: list[str] = []
    module = ""
    for sentence in sentences():
        name, _, line = sentence.place.partition(":")
        if name != module:
            module = name
            lines += ["", f"== {name}", ""]
        lines.append(f"{line:>5}  {sentence.text.strip()}")
    return "\n".join(lines) + "\n"
