"""Change a function's code so that no traceback can tell: same file, same lines, same columns.

For CPython 3.11, which has no `sys.monitoring`. The function's own source is parsed, a few
calls are put in at places that have a line already, and the code object is swapped. What is
called stands among the code's constants, so that no name is added to the module.
"""

import sys

from pytest_proclife.inside.borrow import borrow
from pytest_proclife.inside.handlers import is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType
    from typing import Any

    Hook = Callable[..., object]

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
                node.value = put.call(_returning(returned), node.value, node.value)
            elif kind == "Try" and call is not None:
                for block in [handler.body for handler in node.handlers] + [node.finalbody]:
                    if block:
                        block.insert(0, put.statement(telling(call, None), block[0]))
        if call is not None:
            block, index = _statement_of_run(tree)
            line = block[index]
            block.insert(index, put.statement(telling(call, RUN), line))
            block.insert(index + 2, put.statement(telling(call, RAN), line))
        if returned is not None and type(tree.body[-1]).__name__ != "Return":
            tree.body.append(put.statement(_returning(returned), tree.body[-1]))
        if start is not None:
            tree.body.insert(0, put.statement(telling(start), tree.body[0]))

    recompile(function, edit, source)


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


def telling(handler: "Hook", *extra: object) -> "Hook":
    """A function to be called from a rewritten one: `handler(its frame, *extra)`."""

    def tell() -> None:
        try:
            handler(sys._getframe(1), *extra)
        except BaseException as error:
            if not is_ours(error):
                raise

    return tell


def _returning(handler: "Hook") -> "Hook":
    def tell(value: object = None) -> object:
        try:
            handler(sys._getframe(1), value)
        except BaseException as error:
            if not is_ours(error):
                raise
        return value

    return tell


class Put:
    """Makes the nodes that are put in, each at the place of a node that is there already."""

    def __init__(self, ast: "Any") -> None:
        self.ast = ast
        self.hooks: dict[str, Hook] = {}  # by the constant that stands for it until compiled

    def call(self, hook: "Hook", place: "Any", *arguments: "Any") -> "Any":
        """A call of `hook` with the values of `arguments`."""
        name = f"\0{len(self.hooks)}"
        self.hooks[name] = hook
        constant = self.at(place, self.ast.Constant(value=name))
        # a call of the constant itself is what the compiler warns of
        function = self.ast.Attribute(value=constant, attr="__call__", ctx=self.ast.Load())
        called = self.at(place, function)
        return self.at(place, self.ast.Call(func=called, args=list(arguments), keywords=[]))

    def statement(self, hook: "Hook", place: "Any") -> "Any":
        return self.at(place, self.ast.Expr(value=self.call(hook, place)))

    def at(self, place: "Any", node: "Any") -> "Any":
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            setattr(node, name, getattr(place, name))
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
            put.hooks.get(value, value) if isinstance(value, str) else value
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
