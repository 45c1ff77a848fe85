"""The program's signal handlers: their code, and the exceptions that they raise while we run."""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, FrameType, TracebackType

OWN = __file__[: __file__.rindex("/") + 1]

codes: "dict[CodeType, list[int]]" = {}  # code of handlers that were set -> their signals
runs: "list[tuple[int, int, int]]" = []  # the last runs of handlers: id of the frame, signal, when
_RUNS = 100
_VARARGS = 4  # inspect.CO_VARARGS

_EXIT_REQUESTS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP)


def handled() -> str:
    """The numbers of the exit requests (SIGTERM and so on) for which a handler is set in Python."""
    return " ".join(str(int(n)) for n in _EXIT_REQUESTS if callable(_signal.getsignal(n)))


last_handled = handled()  # as of the last call of signal.signal(), for the interpreter's end


def outside(frame: "FrameType | None") -> "FrameType | None":
    """The first frame that is not ours, from `frame` outwards; None if there is none."""
    while frame is not None and frame.f_code.co_filename.startswith(OWN):
        frame = frame.f_back
    return frame


def code_of(handler: object) -> "CodeType | None":
    """The code object of a signal handler; None if it is not a function of Python."""
    function = getattr(handler, "func", handler)  # functools.partial
    if getattr(function, "__code__", None) is None and not isinstance(function, int):
        function = getattr(type(function), "__call__", None)  # noqa: B004 - needed, not asked for
    if isinstance(getattr(handler, "func", handler), type):  # a class: its instance is thrown away
        function = getattr(getattr(handler, "func", handler), "__init__", None)
    code: CodeType | None = getattr(function, "__code__", None)
    return code


def number_of(frame: "FrameType", numbers: "list[int]") -> int:
    """The signal for which a handler runs: it is called with the number and a frame."""
    run = run_of(frame)
    if run is not None:
        return run[1]
    arguments = _arguments(frame)
    for value in reversed(arguments):  # `self` or the arguments of a partial may come first
        if isinstance(value, int) and value in numbers:
            return int(value)
    return numbers[-1]


def begins(frame: "FrameType") -> "int | None":
    """A handler's code begins to run: note it; the signal, or None if the program calls it."""
    numbers, arguments = codes[frame.f_code], _arguments(frame)
    for value, following in zip(arguments, arguments[1:], strict=False):  # noqa: RUF007 - imports
        # the interpreter passes the frame that it interrupted
        if isinstance(value, int) and value in numbers and following is frame.f_back:
            runs.append((id(frame), int(value), time.monotonic_ns()))
            del runs[:-_RUNS]
            return int(value)
    runs.append((id(frame), 0, 0))
    del runs[:-_RUNS]
    return None


def run_of(frame: "FrameType") -> "tuple[int, int, int] | None":
    """The run of a handler that a living frame is: id, signal (0: none, it was called), when."""
    for run in reversed(runs):
        if run[0] == id(frame):
            return run
    return None


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
        if numbers is not None:
            number = number_of(frame, numbers)
            if number:
                return str(number)
        frame = frame.f_back
    return ""


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
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OWN):
        trace = trace.tb_next
    return trace


def is_ours(error: BaseException) -> bool:
    """Whether an exception that left the recorder is its own, to be swallowed.

    Python runs signal handlers between any two instructions, ours too. An exception that the
    program's handler raised there goes on to the program, without our frames.
    """
    trace = without_ours(error.__traceback__)
    if isinstance(error, Exception) and (trace is None or trace.tb_frame.f_code not in current()):
        return True
    error.__traceback__ = trace
    return False


def guarded(function: "Callable[..., object]", *arguments: object) -> None:
    """Call a function of ours, below a stand-in, which removes our frames: swallow our errors."""
    try:
        function(*arguments)
    except BaseException as error:
        if not is_ours(error):
            raise
