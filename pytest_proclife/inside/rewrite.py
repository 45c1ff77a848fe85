"""What CPython 3.11 alone needs, which has no `sys.monitoring`.

To delete 3.11 in one go: delete this file, and what 3.11 runs of each condition that has a comment
`# 3.11:` (`grep -rn "# 3.11:" pytest_proclife/inside`). What 3.12 runs stays, unconditionally.

- `instrument` changes a function's code so that no traceback can tell: same file, same lines,
  same columns. The function's own source is parsed, a few calls are put in, and the code object
  is swapped. The callee stands among the code's constants, so that no name is added to the
  module. It is all of C and raises an audit event of ours, since trace and profile functions see
  neither calls of C by C nor an audit hook.
- `MainModule`, and `_with_end` of `launch`: how did the code of __main__ end?
- `after`: act when a function of C has returned.
"""

import _weakref
import sys

from pytest_proclife import wire
from pytest_proclife.inside import handlers
from pytest_proclife.inside.builtins import audit_function, borrow, stand_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType, ModuleType
    from typing import Any

    from pytest_proclife.inside.builtins import Args, Caller, Kwargs, Real

    Handler = Callable[..., object]

EVENT = "_proclife.instrumented"  # audit event: number of the handler, then a value if there is one
MAIN_GONE = "_proclife.main_gone"  # audit event: the module __main__ is being destroyed

BEFORE_RUN, AFTER_RUN = "before run", "after run"  # what `call` gets around `self.run()`


def instrument(
    function: "Any",
    start: "Callable[[FrameType], object] | None" = None,
    returned: "Callable[[FrameType, object], object] | None" = None,
    call: "Callable[..., object] | None" = None,
    failed: "Callable[..., object] | None" = None,
    source: "str | None" = None,
) -> None:
    """Do for a function what `monitoring.watch` does for a code object on 3.12.

    `call(frame, what)` comes with BEFORE_RUN and AFTER_RUN around the statement `self.run()`, if
    there is one, and with None at the head of each `except` and `finally`. `failed(frame, None)`
    comes as an exception leaves the function.
    """
    put = _Put()
    code = function.__code__
    tree = _parse(code, source or code.co_filename)
    for node in list(_walk(tree)):
        kind = type(node).__name__
        if kind == "Return" and returned is not None and node.value is not None:
            node.value = put.through(_notifying(returned), node.value)
        elif kind == "Try" and call is not None:
            for block in [handler.body for handler in node.handlers] + [node.finalbody]:
                if block:
                    block.insert(0, put.statement(_notifying(call, None)))
    if call is not None:
        for block, index in _statements_of_run(tree):
            block.insert(index, put.statement(_notifying(call, BEFORE_RUN)))
            block.insert(index + 2, put.statement(_notifying(call, AFTER_RUN)))
    if returned is not None and type(tree.body[-1]).__name__ != "Return":
        tree.body.append(put.statement(_notifying(returned, None)))
    if start is not None:
        index = _first_that_runs(tree)
        tree.body.insert(index, put.statement(_notifying(start), tree.body[index]))
    if failed is not None:
        index = _first_that_runs(tree)
        tree.body[index:] = [put.guarded(tree.body[index:], _notifying(failed, None))]
    function.__code__ = put.compiled(tree, code)


def find(path: str, names: "tuple[str, ...]") -> "Any":
    """A function or method by the file of its module and its name there."""
    for module in list(sys.modules.values()):
        if getattr(module, "__file__", None) == path:
            found: Any = module
            for name in names:
                found = found.__dict__[name]
            return found
    raise LookupError(path)


def _first_that_runs(tree: "Any") -> int:
    """The index of a function's first statement that has code: not its docstring or `global`."""
    for index, node in enumerate(tree.body):
        value = getattr(getattr(node, "value", None), "value", None)
        if type(node).__name__ != "Global" and not isinstance(value, str):
            return index
    raise LookupError(tree.name)


def _statements_of_run(tree: "Any") -> "list[tuple[list[Any], int]]":
    """The statement `self.run()`, as its block and the index in it; empty if there is none."""
    return [
        (block, index)
        for node in _walk(tree)
        for block in (getattr(node, "body", None), getattr(node, "finalbody", None))
        if isinstance(block, list)
        for index, line in enumerate(block)
        if type(line).__name__ == "Expr"
        and getattr(getattr(line.value, "func", None), "attr", None) == "run"
    ]


_handlers: "list[tuple[Handler, tuple[object, ...]]]" = []


def on_instrumented(arguments: "tuple[Any, ...]") -> None:
    """The audit event: call the handler with the function's frame and the values."""
    number, *value = arguments
    handler, extra = _handlers[number]
    handler(handlers.outside(sys._getframe()), *extra, *value)


def _notifying(handler: "Handler", *extra: object) -> "Callable[..., object]":
    """A function of C that has `handler(frame, *extra, *arguments)` called."""
    _handlers.append((handler, extra))
    return audit_function(EVENT, len(_handlers) - 1)


class _Put:
    """The nodes that are put into a syntax tree."""

    def __init__(self) -> None:
        self.ast: Any = borrow("_ast")  # the C classes; ast.py costs an import of 4 ms
        self.constants: dict[str, object] = {}  # by the text that stands for it until compiled

    def statement(self, function: "Callable[..., object]", place: "Any" = None) -> "Any":
        """A statement of the line before it (or of `place`): no trace function gets an event."""
        return self._at(place, self.ast.Expr(value=self._call(place, function)))

    def guarded(self, body: "list[Any]", function: "Callable[..., object]") -> "Any":
        """The statements, with `function` called as an exception leaves them.

        The bare `raise` is not seen: its frame is in the traceback already, with its own line.
        """
        again = self._at(None, self.ast.Raise())
        handler = self._at(None, self.ast.ExceptHandler(body=[self.statement(function), again]))
        tried = self.ast.Try(body=body, handlers=[handler], orelse=[], finalbody=[])
        return self._at(None, tried)

    def through(self, function: "Callable[..., object]", value: "Any") -> "Any":
        """An expression with the same value, with which `function` is called and returns None.

        In C: `next(filterfalse(function, [value]))`.
        """
        values = self._at(value, self.ast.List(elts=[value], ctx=self.ast.Load()))
        called = self._constant(value, function)
        kept = self._call(value, borrow("itertools").filterfalse, called, values)
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

    def compiled(self, tree: "Any", old: "CodeType") -> "CodeType":
        """The code object of a changed tree, as that of the function that it was."""
        module = self.ast.Module(body=[tree], type_ignores=[])
        compiled = compile(module, old.co_filename, "exec", dont_inherit=True)
        new = next(c for c in compiled.co_consts if getattr(c, "co_name", None) == old.co_name)
        constants = tuple(
            self.constants.get(value, value) if isinstance(value, str) else value
            for value in new.co_consts
        )
        code: CodeType = new.replace(co_qualname=old.co_qualname, co_consts=constants)
        return code


_last_source: "dict[str, list[str]]" = {}


def _parse(code: "CodeType", source: str) -> "Any":
    if source not in _last_source:  # several functions of a module come one after the other
        _last_source.clear()
        with open(source, encoding="utf-8") as file:
            _last_source[source] = file.readlines()
    lines = _last_source[source]
    first = code.co_firstlineno - 1
    while not lines[first].lstrip().startswith(("def ", "async def ")):
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
    while type(node).__name__ not in ("FunctionDef", "AsyncFunctionDef"):
        node = node.body[0]
    node.decorator_list = []
    return node


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _walk(node: "Any") -> "Iterator[Any]":
    """Every node of a syntax tree below `node`, itself first."""
    yield node
    for name in node._fields:
        value = getattr(node, name, None)
        for item in value if isinstance(value, list) else [value]:
            if hasattr(item, "_fields"):
                yield from _walk(item)


# --- how the code of __main__ ended


class MainModule:
    """The module __main__, and how its code ended.

    With -m and -c its return is seen. For the other ways its names show it:
    `_PyRun_SimpleFileObject` (Python/pythonrun.c) sets __file__ and __cached__, and removes both
    when the code has returned or raised. It does not get there if SystemExit left the code: then
    `handle_system_exit` has called `Py_Exit` before.
    """

    end_is_seen = False  # its return cannot be missed
    _had_file = False  # it had a __file__ when its code began

    def watch(self, is_pyc: bool) -> None:
        """Have MAIN_GONE raised, which is before the module's names are gone.

        __file__ is not set yet if a .pyc file is about to be run.
        """
        module = sys.modules.get("__main__")
        if module is not None:
            self._names: dict[str, Any] = module.__dict__
            self._had_file = is_pyc or "__file__" in self._names
            self._reference = _weakref.ref(module, audit_function(MAIN_GONE))

    def release(self) -> None:
        """Drop the names: otherwise no `__del__` of their values would run at the end."""
        self._names = {}

    def ended_by_exit(self) -> "bool | None":
        """Whether SystemExit left the code, if its return was not seen; None if unknown."""
        if self.end_is_seen:
            return True
        if self._had_file and "__name__" in self._names:
            return "__file__" in self._names or "__cached__" in self._names
        return None

    def watch_runpy(self, returned: "Handler") -> None:
        """See the end of `python -m`, which is that of `_run_module_as_main` (runpy.py).

        At the audit event `cpython.run_module`: the interpreter imports runpy right after it. To
        import it here is the one moment between its import and its run: runpy is frozen and its
        code object static, so that no weak reference to it dies.
        """
        import runpy

        function = runpy._run_module_as_main  # type: ignore[attr-defined]  # not in the stubs
        folder = sys.modules["encodings"].__path__[0]  # the source of runpy is beside it
        source = f"{folder[: folder.rindex('/')]}/runpy.py"
        instrument(function, returned=returned, source=source)
        self.end_is_seen = True

    def remove_end(self, arguments: "list[str]") -> None:
        """Take the line that `launch` puts behind the text of -c out of `sys.orig_argv`."""
        for index, argument in enumerate(arguments):
            if argument.endswith(wire.AT_END):
                arguments[index] = argument.removesuffix(wire.AT_END)
                self.end_is_seen = True
                return


main = MainModule()


# --- functions of C


def after(module: "ModuleType", name: str, action: "Callable[[], object]") -> None:
    """Have `action()` called whenever a function of C has returned."""

    def call(real: "Real", caller: "Caller", args: "Args", kwargs: "Kwargs") -> "Any":
        value = real(*args, **kwargs)
        handlers.guarded(action)
        return value

    stand_in(module, name, call)
