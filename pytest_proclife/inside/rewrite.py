"""Change a function's code so that no traceback can tell: same file, same lines, same columns.

For CPython 3.11, which has no `sys.monitoring`. The function's own source is parsed, a few
calls are put in, and the code object is swapped. What is called stands among the code's
constants, so that no name is added to the module; it is all of C and raises an audit event of
ours, since trace and profile functions see neither C's calls of C nor what an audit hook does.
"""

import sys

from pytest_proclife.inside import handlers
from pytest_proclife.inside.builtins import borrow

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType
    from typing import Any

    Handler = Callable[..., object]

TOLD = "_proclife.told"  # the audit event: number of the handler, then a value if there is one

RUN, RAN = "run", "ran"  # what `call` is told around the statement `self.run()`


def instrument(
    function: "Any",
    start: "Callable[[FrameType], object] | None" = None,
    returned: "Callable[[FrameType, object], object] | None" = None,
    call: "Callable[[FrameType, object], object] | None" = None,
    source: "str | None" = None,
) -> None:
    """Do what `watch.watch` does, on 3.11.

    `call(frame, what)` comes before (RUN) and after (RAN) the statement `self.run()`, and
    with None at the head of each `except` and `finally`.
    """

    def edit(tree: "Any", put: "Put") -> None:
        for node in list(walk(tree)):
            kind = type(node).__name__
            if kind == "Return" and returned is not None and node.value is not None:
                node.value = put.through(telling(returned), node.value)
            elif kind == "Try" and call is not None:
                for block in [handler.body for handler in node.handlers] + [node.finalbody]:
                    if block:
                        block.insert(0, put.statement(telling(call, None)))
        if call is not None:
            block, index = _statement_of_run(tree)
            block.insert(index, put.statement(telling(call, RUN)))
            block.insert(index + 2, put.statement(telling(call, RAN)))
        if returned is not None and type(tree.body[-1]).__name__ != "Return":
            tree.body.append(put.statement(telling(returned, None)))
        if start is not None:
            index = _first_that_runs(tree)
            tree.body.insert(index, put.statement(telling(start), tree.body[index]))

    recompile(function, edit, source)


def _first_that_runs(tree: "Any") -> int:
    """The index of a function's first statement that has code: no docstring, no `global`."""
    for index, node in enumerate(tree.body):
        value = getattr(getattr(node, "value", None), "value", None)
        if type(node).__name__ != "Global" and not isinstance(value, str):
            return index
    raise LookupError(tree.name)


def _statement_of_run(tree: "Any") -> "tuple[list[Any], int]":
    for node in walk(tree):
        for block in (getattr(node, "body", None), getattr(node, "finalbody", None)):
            if not isinstance(block, list):
                continue
            for index, line in enumerate(block):
                called = getattr(getattr(line, "value", None), "func", None)
                if type(line).__name__ == "Expr" and getattr(called, "attr", None) == "run":
                    return block, index
    raise LookupError("self.run()")


_handlers: "list[tuple[Handler, tuple[object, ...]]]" = []


def told(arguments: "tuple[Any, ...]") -> None:
    """Call the handler of a rewritten function: `handler(its frame, *what is told)`."""
    number, *value = arguments
    handler, extra = _handlers[number]
    handler(handlers.outside(sys._getframe()), *extra, *value)


def telling(handler: "Handler", *extra: object) -> "Callable[..., object]":
    """Something of C that tells `handler` when it is called."""
    _handlers.append((handler, extra))
    partial: Any = borrow("_functools").partial
    told: Callable[..., object] = partial(sys.audit, TOLD, len(_handlers) - 1)
    return told


class Put:
    """Makes the nodes that are put in."""

    def __init__(self, ast: "Any") -> None:
        self.ast = ast
        self.constants: dict[str, object] = {}  # by the text that stands for it until compiled

    def statement(self, tell: "Callable[..., object]", place: "Any" = None) -> "Any":
        """A statement of the line before it (or of `place`): no trace function is told of it."""
        return self._at(place, self.ast.Expr(value=self._call(place, tell)))

    def through(self, tell: "Callable[..., object]", value: "Any") -> "Any":
        """An expression with the same value, which is told; in C `next(filterfalse(tell, [v]))`."""
        told = self._at(value, self.ast.List(elts=[value], ctx=self.ast.Load()))
        kept = self._call(value, borrow("itertools").filterfalse, self._constant(value, tell), told)
        return self._call(value, next, kept)

    def _call(self, place: "Any", function: object, *arguments: "Any") -> "Any":
        constant = self._constant(place, function)
        # a call of the constant itself is what the compiler warns of
        function = self.ast.Attribute(value=constant, attr="__call__", ctx=self.ast.Load())
        called = self._at(place, function)
        return self._at(place, self.ast.Call(func=called, args=list(arguments), keywords=[]))

    def _constant(self, place: "Any", value: object) -> "Any":
        name = f"\0{len(self.constants)}"
        self.constants[name] = value
        return self._at(place, self.ast.Constant(value=name))

    def _at(self, place: "Any", node: "Any") -> "Any":
        node.lineno = node.end_lineno = -1 if place is None else place.lineno
        node.col_offset = node.end_col_offset = -1 if place is None else place.col_offset
        return node


def recompile(
    function: "Any", edit: "Callable[[Any, Put], None]", source: "str | None" = None
) -> None:
    """Let `edit(tree, put)` change the function's syntax tree, and swap its code."""
    ast = borrow("_ast")  # the C classes; ast.py costs an import of 4 ms
    code = function.__code__
    put = Put(ast)
    tree = _parse(code, source or code.co_filename)
    edit(tree, put)
    module = ast.Module(body=[tree], type_ignores=[])
    compiled = compile(module, code.co_filename, "exec", dont_inherit=True)
    new = next(c for c in compiled.co_consts if getattr(c, "co_name", None) == code.co_name)
    function.__code__ = new.replace(
        co_qualname=code.co_qualname,
        co_consts=tuple(
            put.constants.get(value, value) if isinstance(value, str) else value
            for value in new.co_consts
        ),
    )


def _parse(code: "CodeType", source: str) -> "Any":
    with open(source, encoding="utf-8") as file:
        lines = file.readlines()
    first = code.co_firstlineno - 1
    while not lines[first].lstrip().startswith("def "):
        first += 1  # a decorator's line
    indent = _indent(lines[first])
    last = first + 1
    while last < len(lines) and (not lines[last].strip() or _indent(lines[last]) > indent):
        last += 1
    # lines `class _:` right above keep the indentation, hence the columns, as they are
    levels = indent // 4
    above = ["\n"] * (first - levels) + [f"{' ' * 4 * n}class _:\n" for n in range(levels)]
    text = "".join(above + lines[first:last])
    flags = 0x400  # ast.PyCF_ONLY_AST
    tree: Any = compile(text, code.co_filename, "exec", flags, dont_inherit=True)
    node = tree.body[0]
    while type(node).__name__ != "FunctionDef":
        node = node.body[0]
    node.decorator_list = []
    return node


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def walk(node: "Any") -> "Iterator[Any]":
    """Every node of a syntax tree below `node`, itself first."""
    yield node
    for name in node._fields:
        value = getattr(node, name, None)
        for item in value if isinstance(value, list) else [value]:
            if hasattr(item, "_fields"):
                yield from walk(item)
