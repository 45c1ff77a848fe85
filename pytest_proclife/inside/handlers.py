"""The program's signal handlers: which run in Python, and what they raise while we run."""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType, TracebackType

OWN = __file__[: __file__.rindex("/") + 1]

codes: "dict[CodeType, list[int]]" = {}  # of handlers that were set -> for which signals
_VARARGS = 4  # inspect.CO_VARARGS: inspect is not for us to import

_EXIT_REQUESTS = (_signal.SIGTERM, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGHUP)


def handled() -> str:
    """The signals that ask for an end for which a handler is set in Python, as numbers."""
    return " ".join(str(int(n)) for n in _EXIT_REQUESTS if callable(_signal.getsignal(n)))


last_handled = handled()  # the same as of the last change, for when it can't be asked any more


def changed() -> None:
    """A handler was set."""
    global last_handled
    last_handled = handled()


def outside(frame: "FrameType | None") -> "FrameType | None":
    """The first frame that is not ours, from `frame` outwards."""
    while frame is not None and frame.f_code.co_filename.startswith(OWN):
        frame = frame.f_back
    return frame


def code_of(handler: object) -> "CodeType | None":
    """The code object of a signal handler; None if it is none of Python's."""
    function = getattr(handler, "func", handler)  # functools.partial
    if getattr(function, "__code__", None) is None and not isinstance(function, int):
        function = getattr(type(function), "__call__", None)  # noqa: B004 - not whether, but which
    code: CodeType | None = getattr(function, "__code__", None)
    return code


def is_set(code: "CodeType", number: int) -> None:
    """A function becomes the handler of a signal, perhaps of one more."""
    numbers = codes.setdefault(code, [])
    if number not in numbers:
        numbers.append(number)


def number_of(frame: "FrameType", numbers: "list[int]") -> int:
    """For which of its signals a handler runs: it is called with the number and a frame."""
    code, values = frame.f_code, frame.f_locals
    given = [values.get(name) for name in code.co_varnames[: code.co_argcount]]
    if code.co_flags & _VARARGS:
        more = values.get(code.co_varnames[code.co_argcount + code.co_kwonlyargcount])
        given += more if isinstance(more, tuple) else ()
    for value in reversed(given):  # before it may stand `self`, or what a partial gives
        if isinstance(value, int) and value in numbers:
            return int(value)
    return numbers[-1]


def current() -> "dict[CodeType, list[int]]":
    """The code objects of all handlers that are set now, and of those that were."""
    found = {code: list(numbers) for code, numbers in codes.items()}
    for number in range(1, _signal.NSIG):
        try:
            code = code_of(_signal.getsignal(number))
        except ValueError:
            continue  # the C library keeps it for itself
        if code is not None:
            found.setdefault(code, []).append(number)
    return found


def beyond(trace: "TracebackType | None") -> "TracebackType | None":
    """A traceback without our frames at its head."""
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(OWN):
        trace = trace.tb_next
    return trace


def is_ours(error: BaseException) -> bool:
    """Whether an error that left the recorder is its own, to be swallowed.

    Python runs signal handlers between any two instructions, ours too. What the program's
    handler raised there goes on to the program, and shows none of our frames.
    """
    trace = beyond(error.__traceback__)
    if isinstance(error, Exception) and (trace is None or trace.tb_frame.f_code not in current()):
        return True
    error.__traceback__ = trace
    return False
