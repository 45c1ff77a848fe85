"""Change a function's code so that no traceback can tell: same file, same lines, same columns.

For what `sys.monitoring` cannot do: CPython 3.11, which has none, and an argument that has
to be replaced (`subprocess.Popen._posix_spawn`). The function's own source is parsed, a few
calls are put in at places that have a line already, and the code object is swapped.
"""

import sys

HOOKS = "__proclife__"  # in the function's globals: the list of our functions that it calls

RUN, RAN = "run", "ran"  # what `call` is told on 3.11 around the statement `self.run()`


def instrument(function, start=None, returned=None, call=None, source=None):
    """Do what `watch.watch` does, on 3.11.

    `call(frame, what)` comes before (RUN) and after (RAN) the statement `self.run()`, and
    with None at the head of each `except` and `finally`.
    """

    def edit(tree, put):
        for node in list(walk(tree)):
            kind = type(node).__name__
            if kind == "Return" and returned is not None and node.value is not None:
                node.value = put.call(_returning(returned), node.value, node.value)
            elif kind == "Try" and call is not None:
                for block in [handler.body for handler in node.handlers] + [node.finalbody]:
                    if block:
                        block.insert(0, put.statement(_telling(call, None), block[0]))
        if call is not None:
            block, index = _statement_of_run(tree)
            line = block[index]
            block.insert(index, put.statement(_telling(call, RUN), line))
            block.insert(index + 2, put.statement(_telling(call, RAN), line))
        if returned is not None and type(tree.body[-1]).__name__ != "Return":
            tree.body.append(put.statement(_returning(returned), tree.body[-1]))
        if start is not None:
            tree.body.insert(0, put.statement(_telling(start), tree.body[0]))

    recompile(function, edit, source)


def _statement_of_run(tree):
    for node in walk(tree):
        for block in (getattr(node, "body", None), getattr(node, "finalbody", None)):
            for index, line in enumerate(block if isinstance(block, list) else ()):
                called = getattr(getattr(line, "value", None), "func", None)
                if type(line).__name__ == "Expr" and getattr(called, "attr", None) == "run":
                    return block, index
    raise LookupError("self.run()")


def _telling(handler, *extra):
    def tell():
        try:
            handler(sys._getframe(1), *extra)
        except Exception:
            pass  # the observed program must never see a fault of the recorder

    return tell


def _returning(handler):
    def tell(value=None):
        try:
            handler(sys._getframe(1), value)
        except Exception:
            pass  # see above
        return value

    return tell


class Put:
    """Makes the nodes that are put in, each at the place of a node that is there already."""

    def __init__(self, ast, function):
        self.ast = ast
        self.hooks = function.__globals__.setdefault(HOOKS, [])

    def item(self, hook, place):
        """An expression whose value is `hook`."""
        ast = self.ast
        self.hooks.append(hook)
        name = self.at(place, ast.Name(id=HOOKS, ctx=ast.Load()))
        index = self.at(place, ast.Constant(value=len(self.hooks) - 1))
        return self.at(place, ast.Subscript(value=name, slice=index, ctx=ast.Load()))

    def call(self, hook, place, *arguments):
        """A call of `hook` with the values of `arguments`."""
        item = self.item(hook, place)
        return self.at(place, self.ast.Call(func=item, args=list(arguments), keywords=[]))

    def statement(self, hook, place, *arguments):
        return self.at(place, self.ast.Expr(value=self.call(hook, place, *arguments)))

    def at(self, place, node):
        for name in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            setattr(node, name, getattr(place, name))
        return node


def recompile(function, edit, source=None):
    """Let `edit(tree, put)` change the function's syntax tree, and swap its code."""
    import _ast  # the C classes; ast.py costs an import of 4 ms

    code = function.__code__
    tree = _parse(code, source or code.co_filename)
    edit(tree, Put(_ast, function))
    module = _ast.Module(body=[tree], type_ignores=[])
    compiled = compile(module, code.co_filename, "exec", dont_inherit=True)
    new = next(c for c in compiled.co_consts if getattr(c, "co_name", None) == code.co_name)
    function.__code__ = new.replace(co_qualname=code.co_qualname)


def _parse(code, source):
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
    above = ["\n"] * (first - levels) + [" " * 4 * n + "class _:\n" for n in range(levels)]
    text = "".join(above + lines[first:last])
    flags = 0x400  # ast.PyCF_ONLY_AST
    tree = compile(text, code.co_filename, "exec", flags, dont_inherit=True)
    node = tree.body[0]
    while type(node).__name__ != "FunctionDef":
        node = node.body[0]
    node.decorator_list = []
    return node


def _indent(line):
    return len(line) - len(line.lstrip())


def walk(node):
    """Every node of a syntax tree below `node`, itself first."""
    yield node
    for name in node._fields:
        value = getattr(node, name, None)
        for item in value if isinstance(value, list) else [value]:
            if hasattr(item, "_fields"):
                yield from walk(item)
