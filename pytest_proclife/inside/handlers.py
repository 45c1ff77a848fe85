"""The program's signal handlers: their code, and the exceptions that they raise while we run."""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType, TracebackType
    from typing import TypeVar

    T = TypeVar("T")

OWN = __file__[: __file__.rindex("/") + 1]
OURS = OWN, OWN[: OWN.rindex("/", 0, -1) + 1] + "wire.py"  # whose frames are ours

codes: "dict[CodeType, list[int]]" = {}  # code of handlers that were set -> their signals
# the last runs of handlers: id of the frame -> signal, when (monotonic ns)
_runs: "dict[int, tuple[int, int]]" = {}
_RUNS = 100  # kept: more than are ever on the stacks, and in the tracebacks, at once
_VARARGS = 4  # inspect.CO_VARARGS
_isinstance, _Exception = isinstance, Exception  # for the interpreter's end: see `recorder`

_EXIT_REQUESTS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP)


def handled() -> str:
    """The numbers of the exit requests (SIGTERM and so on) for which a handler is set in Python."""
    return " ".join(str(int(n)) for n in _EXIT_REQUESTS if callable(_signal.getsignal(n)))


def interrupting() -> str:
    """The numbers of the exit requests whose handler raises KeyboardInterrupt: SIGINT by default.

    SIGINT alone if it is no handler any more.
    """
    raising = [n for n in _EXIT_REQUESTS if _signal.getsignal(n) is _signal.default_int_handler]
    return " ".join(str(int(n)) for n in raising or [_signal.SIGINT])


# called when an exception of a handler goes through code of ours, where the handler's run may not
# have been seen: set by `signals`
raised_inside: "Callable[[], object] | None" = None
had = ""  # 3.11: all signals for which functions of Python were ever handlers: see ever_handled()
last_handled = handled()  # as of the last call of signal.signal(), for the interpreter's end


def ever_handled() -> str:
    """The numbers of the signals whose handlers are in `codes`."""
    return " ".join(str(n) for n in sorted({int(n) for ns in codes.values() for n in ns}))


def outside(frame: "FrameType | None") -> "FrameType | None":
    """The first frame that is not ours, from `frame` outwards; None if there is none."""
    while frame is not None and frame.f_code.co_filename.startswith(OURS):
        frame = frame.f_back
    return frame


def code_of(handler: object) -> "CodeType | None":
    """The code object of a signal handler; None if it is not a function of Python."""
    function = getattr(handler, "func", handler)  # functools.partial
    if isinstance(function, type):  # a class: its instance is thrown away
        function = getattr(function, "__init__", None)
    elif getattr(function, "__code__", None) is None and not isinstance(function, int):
        function = getattr(type(function), "__call__", None)  # noqa: B004 - needed, not asked for
    code: CodeType | None = getattr(function, "__code__", None)
    return code


def begins(frame: "FrameType") -> int:
    """Note that a handler's code begins to run; returns the signal, 0 if the program calls it."""
    numbers, arguments = codes[frame.f_code], _arguments(frame)
    pairs = zip(arguments, arguments[1:], strict=False)  # noqa: RUF007 - imports
    # the interpreter passes the frame that it interrupted
    passed = (value for value, following in pairs if following is frame.f_back)
    signal = next((int(v) for v in passed if isinstance(v, int) and v in numbers), 0)
    _runs.pop(id(frame), None)  # of a frame that is gone
    _runs[id(frame)] = signal, time.monotonic_ns()
    if len(_runs) > _RUNS:
        _runs.pop(next(iter(_runs)), None)  # a handler that runs here may have done it
    return signal


def _run_of(frame: "FrameType", numbers: "list[int]") -> "tuple[int, int]":
    """The signal for which a handler runs, 0 if the program called it; when it began, 0 if unseen.

    `numbers` are the signals that its code handles.
    """
    run = _runs.get(id(frame))
    if run is not None:
        return run
    for value in reversed(_arguments(frame)):  # `self` or the arguments of a partial may come first
        if isinstance(value, int) and value in numbers:
            return int(value), 0
    return numbers[-1], 0


def _arguments(frame: "FrameType") -> "list[object]":
    code, values = frame.f_code, frame.f_locals
    arguments = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & _VARARGS:
        more = values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
        arguments += more if isinstance(more, tuple) else ()
    return arguments


def running(frame: "FrameType | None") -> str:
    """The number of the signal whose handler is on this stack; "" if there is none."""
    while codes and frame is not None:
        numbers = codes.get(frame.f_code)
        signal = _run_of(frame, numbers)[0] if numbers else 0
        if signal:
            return str(signal)
        frame = frame.f_back
    return ""


def risen_from(trace: "TracebackType | None") -> "tuple[str, str]":
    """The signal whose innermost handler is in a traceback, and when that began; "" if unknown."""
    found, handlers = (0, 0), current()
    while trace is not None:
        numbers = handlers.get(trace.tb_frame.f_code)
        run = _run_of(trace.tb_frame, numbers) if numbers else (0, 0)
        found = run if run[0] else found
        trace = trace.tb_next
    return str(found[0] or ""), str(found[1] or "")


def current() -> "dict[CodeType, list[int]]":
    """The code objects of all handlers that are or were set, with their signals."""
    found = {code: list(numbers) for code, numbers in codes.items()}
    for number in range(1, _signal.NSIG):
        try:
            code = code_of(_signal.getsignal(number))
        except ValueError:
            continue  # reserved by the C library
        if code is not None:
            found.setdefault(code, []).append(number)
    return found


def without_ours(trace: "TracebackType | None") -> "TracebackType | None":
    """A traceback without our frames at its head."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OURS):
        trace = trace.tb_next
    return trace


def is_ours(error: BaseException) -> bool:
    """Whether an exception that left the recorder is its own, to be swallowed.

    Python runs signal handlers between any two instructions, ours too. An exception that the
    program's handler raised there goes on to the program, without our frames.
    """
    trace = error.__traceback__
    if _isinstance(error, _Exception) and not _leads_to_handler(trace):
        return True
    error.__traceback__ = without_ours(trace)
    if raised_inside is not None:
        raised_inside()
    return False


def _leads_to_handler(trace: "TracebackType | None") -> bool:
    """Whether a traceback has the run of a handler: it gets the frame that it interrupted.

    Its code alone does not tell: the program may call it too, and a decorator's code is that of all
    functions which it decorates.
    """
    if without_ours(trace) is None:
        return False
    handlers = current()
    interrupted: FrameType | None = None
    while trace is not None:
        frame = trace.tb_frame
        numbers = handlers.get(frame.f_code)
        if numbers and interrupted is not None:
            by_us = interrupted.f_code.co_filename.startswith(OURS)
            for value in _arguments(frame):
                # that of the signal, if the handler has used the name of the frame for another
                if value is interrupted or (by_us and type(value) is int and value in numbers):
                    return True
        interrupted, trace = frame, trace.tb_next
    return False


def guarded(function: "Callable[..., T]", *arguments: object) -> "T | None":
    """Call a function of ours, below a stand-in, which removes our frames: swallow our errors."""
    try:
        return function(*arguments)
    except BaseException as error:
        if not is_ours(error):
            raise
    return None
