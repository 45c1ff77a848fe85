"""The statement of an exercise that failed: what it asked for, read off its syntax tree."""

from __future__ import annotations

import ast
import enum
import itertools
import linecache
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import CodeType, FrameType, TracebackType
from typing import Any

from pytest_proclife.records import ProcessRecord, Run

_SHORTEST = "..."
_LONGEST = 160  # characters of a statement


class Subject(enum.Enum):
    """What an assert statement is about."""

    OUTPUT = "output"  # what the program printed
    EXIT_CODE = "exit code"
    DURATION = "duration"  # of the run, in seconds
    PROCESSES = "processes"  # how many there are, or which
    PROCESS = "process"  # a field of one of them
    OTHER = "other"


_SUBJECTS = {
    "stdout": Subject.OUTPUT,
    "stderr": Subject.OUTPUT,
    "exitcode": Subject.EXIT_CODE,
    "duration": Subject.DURATION,
    "children": Subject.PROCESSES,
    "descendants": Subject.PROCESSES,
    "processes": Subject.PROCESSES,
    "orphans": Subject.PROCESSES,
    "find": Subject.PROCESSES,
}
_FIELDS = ("cause", "ending", "joined", "daemon", "orphaned", "target_ran", "signal", "kind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The values of a comparison that was false: `left operator right`."""

    left: object
    operator: str
    right: object


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A statement that raised.

    `message` is its author's, "" if there is none. `text` is the condition of an assert statement,
    and `field` the field of a run or a process that it is about. `process` is that process, and
    `run` the run, as far as variables hold them. `called` is the function that the statement
    calls, if that is all that it does.
    """

    subject: Subject = Subject.OTHER
    message: str = ""
    text: str = ""
    field: str = ""
    process: ProcessRecord | None = None
    run: Run | None = None
    called: str = ""
    counts: bool = False  # len() or count() of the field
    counted: str = ""  # the text that count() counts
    unpacks: int | None = None  # how many values an assignment takes apart
    compared: Compared | None = None


def read(error: BaseException, within: str, compared: Compared | None) -> Statement | None:
    """The statement of the exercise that raised; None if there is none.

    `within` is the folder of the exercise, `compared` the values of its last comparison.
    """
    found = _innermost(error.__traceback__, within)
    if found is None:
        return None
    frame, node, is_last = found
    if isinstance(node, ast.Assert) and is_last:
        return _of_assert(node, frame, compared)
    if (
        isinstance(node, ast.Assign)
        and is_last
        and isinstance(node.targets[0], ast.Tuple | ast.List)
    ):
        subject, field, _, run = _about(node.value, frame)
        count = len(node.targets[0].elts)
        return Statement(subject=subject, field=field, run=run, unpacks=count)
    called = ""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function = node.value.func
        called = function.attr if isinstance(function, ast.Attribute) else ""
        called = function.id if isinstance(function, ast.Name) else called
    return Statement(called=called)


def _innermost(trace: TracebackType | None, within: str) -> tuple[FrameType, ast.stmt, bool] | None:
    """The innermost frame of the exercise, its statement, and whether no other frame is below."""
    found: tuple[TracebackType, bool] | None = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename.startswith(f"{within}/"):
            found = trace, True
        elif found is not None:
            found = found[0], False
        trace = trace.tb_next
    if found is None:
        return None
    node = _statement_at(found[0])
    return None if node is None else (found[0].tb_frame, node, found[1])


def _statement_at(trace: TracebackType) -> ast.stmt | None:
    """The smallest statement that contains the place at which a frame stood."""
    code = trace.tb_frame.f_code
    try:
        tree = ast.parse("".join(linecache.getlines(code.co_filename)))
    except (SyntaxError, ValueError):
        return None
    line, column = _position(code, trace)
    best: ast.stmt | None = None
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.stmt)):
        is_there = _contains(node, line, column)
        if is_there and (best is None or node.lineno >= best.lineno):
            best = node
    return best


def _position(code: CodeType, trace: TracebackType) -> tuple[int, int | None]:
    positions = itertools.islice(code.co_positions(), trace.tb_lasti // 2, None)
    line, _, column, _ = next(positions, (None, None, None, None))
    return (trace.tb_lineno, None) if line is None else (line, column)


def _contains(node: ast.stmt, line: int, column: int | None) -> bool:
    end = node.end_lineno or node.lineno
    if column is None or node.lineno != end:
        return node.lineno <= line <= end
    return node.lineno == line and node.col_offset <= column < (node.end_col_offset or 0)


def _of_assert(node: ast.Assert, frame: FrameType, compared: Compared | None) -> Statement:
    subject, field, process, run = _about(node.test, frame)
    text = _source(node.test, frame)
    counted = [call for call in ast.walk(node.test) if _counts(call)]
    is_comparison = isinstance(node.test, ast.Compare) and len(node.test.ops) == 1
    return Statement(
        subject=subject,
        message=_message(node, frame),
        text=text if len(text) <= _LONGEST else text[:_LONGEST] + _SHORTEST,
        field=field,
        process=process,
        run=run,
        counts=bool(counted),
        counted=_text_of(counted, frame),
        compared=compared if is_comparison else None,
    )


def _message(node: ast.Assert, frame: FrameType) -> str:
    """The message of an assert statement, made once more: pytest appends an explanation to it."""
    if node.msg is None:
        return ""
    made = compile(ast.Expression(node.msg), frame.f_code.co_filename, "eval")
    try:
        return str(eval(made, frame.f_globals, frame.f_locals))
    except Exception:  # noqa: BLE001 - an author's expression that holds only once
        return ""


def _source(node: ast.expr, frame: FrameType) -> str:
    """The text of an expression, on one line."""
    lines = linecache.getlines(frame.f_code.co_filename)
    text = ast.get_source_segment("".join(lines), node) or ast.unparse(node)
    return " ".join(text.split())


def _text_of(calls: list[ast.AST], frame: FrameType) -> str:
    """The text that a call of count() counts; "" if it is not a name or a literal."""
    for call in calls:
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.args:
            value = _value(call.args[0], frame)
            return value if isinstance(value, str) else ""
    return ""


def _counts(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    function = node.func
    if isinstance(function, ast.Name):
        return function.id == "len"
    return isinstance(function, ast.Attribute) and function.attr == "count"


def _about(
    node: ast.expr, frame: FrameType
) -> tuple[Subject, str, ProcessRecord | None, Run | None]:
    """What an expression is about: the subject, the field, whose it is, and the run."""
    attributes = [part for part in ast.walk(node) if isinstance(part, ast.Attribute)]
    owners = [_value(part.value, frame) for part in attributes]
    for part, owner in zip(attributes, owners, strict=True):
        if isinstance(owner, ProcessRecord) and part.attr in (*_FIELDS, "exitcode"):
            is_code = part.attr == "exitcode"
            subject = Subject.EXIT_CODE if is_code else Subject.PROCESS
            return subject, part.attr, owner, owner.run
    for part, owner in zip(attributes, owners, strict=True):
        if part.attr in _SUBJECTS:
            run = owner if isinstance(owner, Run) else None
            return _SUBJECTS[part.attr], part.attr, None, run
    return Subject.OTHER, "", None, next((o for o in owners if isinstance(o, Run)), None)


def _value(node: ast.AST, frame: FrameType) -> object:
    """The value of an expression that has no effect: a name, and fields of runs and processes."""
    match node:
        case ast.Name(id=name):
            names: Mapping[str, Any] = frame.f_locals
            return names.get(name, frame.f_globals.get(name))
        case ast.Constant(value=value):
            return value
        case ast.Attribute(value=inner, attr=name):
            owner = _value(inner, frame)
            if isinstance(owner, Run | ProcessRecord) and not name.startswith("_"):
                return _tried(lambda: getattr(owner, name))
        case ast.Subscript(value=inner, slice=index):
            owner, key = _value(inner, frame), _value(index, frame)
            if isinstance(owner, Run) and isinstance(key, str):
                return _tried(lambda: owner[key])
            if isinstance(owner, tuple | list) and isinstance(key, int):
                return _tried(lambda: owner[key])
        case _:
            pass
    return None


def _tried(get: Callable[[], object]) -> object:
    try:
        return get()
    except (AttributeError, LookupError):
        return None
