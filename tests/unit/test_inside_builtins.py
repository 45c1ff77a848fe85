"""What stands in for a builtin function is taken for one, and shows in no traceback."""

from __future__ import annotations

import copy
import inspect
import pickle
import posix
import sys
import traceback
from collections.abc import Callable
from types import BuiltinFunctionType, FrameType
from typing import Any

import pytest

from pytest_proclife.inside import handlers
from pytest_proclife.inside.builtins import builtin_function_or_method, stand_in

seen: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []


def instead(
    real: Callable[..., Any],
    caller: FrameType | None,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Any:
    assert caller is not None
    seen.append((caller.f_code.co_name, args, kwargs))
    return real(*args, **kwargs)


instead.__code__ = instead.__code__.replace(co_filename=f"{handlers.OWN}instead.py")


@pytest.fixture
def real(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """posix.access, with something that stands in for it as long as the test runs."""
    function = posix.access
    monkeypatch.setattr(posix, "access", function)
    monkeypatch.setattr("os.access", function)
    stand_in(posix, "access", instead)
    seen.clear()
    return function


def test_it_passes_calls_on(real: Callable[..., Any]) -> None:
    assert posix.access("/", posix.R_OK, follow_symlinks=True) is True
    assert seen == [
        ("test_it_passes_calls_on", ("/", posix.R_OK), {"follow_symlinks": True}),
    ]


def test_it_is_taken_for_a_builtin_function(real: Callable[..., Any]) -> None:
    function: Any = posix.access
    assert function is not real
    assert function is __import__("os").access
    assert function == real
    assert len({function, real}) == 1
    assert repr(function) == repr(real)
    assert isinstance(function, BuiltinFunctionType)
    assert inspect.isbuiltin(function)
    assert inspect.signature(function) == inspect.signature(real)
    for name in ("__name__", "__qualname__", "__module__", "__doc__", "__self__"):
        assert getattr(function, name) == getattr(real, name)
    assert pickle.loads(pickle.dumps(function)) is function
    assert copy.deepcopy(function) is function


def test_it_is_no_method_of_a_class_that_holds_it(real: Callable[..., Any]) -> None:
    class Holder:
        held: Any = posix.access

    assert Holder().held("/", 0)


def test_no_traceback_shows_it(real: Callable[..., Any]) -> None:
    def texts(function: Callable[..., Any]) -> str:
        try:
            function("/", "no number")
        except TypeError:
            return traceback.format_exc()
        raise AssertionError

    assert texts(posix.access) == texts(real)
    assert texts(posix.access).count("File") == 1


def test_what_a_handler_raised_in_it_is_shown_from_the_handler_on() -> None:
    def handler() -> None:
        raise KeyError

    def calls(
        real: Callable[..., Any],
        caller: FrameType | None,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        handler()

    own = eval(
        compile(
            "lambda real, caller, args, kwargs: calls(real, caller, args, kwargs)", "x", "eval"
        ),
        {"calls": calls},
    )
    own.__code__ = own.__code__.replace(co_filename=handlers.OWN + "x.py")
    function = builtin_function_or_method(len, own)
    with pytest.raises(KeyError) as caught:
        function([])
    names = [entry.name for entry in caught.traceback]
    assert names == [sys._getframe().f_code.co_name, "calls", "handler"]


def test_errors_of_ours_are_told_from_those_of_the_programs_handlers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def handler(*_: object) -> None:
        raise ValueError

    def raised(text: str) -> BaseException:
        code = compile(text, handlers.OWN + "x.py", "exec")
        try:
            exec(code, {"handler": handler, "sys": sys})
        except BaseException as error:  # noqa: BLE001 - KeyboardInterrupt is one of them
            trace = error.__traceback__
            return error.with_traceback(trace and trace.tb_next)
        raise AssertionError

    as_handler = "handler(15, sys._getframe())"  # as the interpreter calls it
    assert handlers.is_ours(raised("1/0"))
    assert handlers.is_ours(raised(as_handler))  # none, but some code of the program's
    monkeypatch.setitem(handlers.codes, handler.__code__, [15])
    assert handlers.is_ours(raised("handler()"))  # called by the program
    assert handlers.is_ours(raised("handler(14)"))
    assert not handlers.is_ours(raised("handler(15, None)"))  # the handler has dropped the frame
    of_handler = raised(as_handler)
    ran: list[int] = []
    monkeypatch.setattr(handlers, "raised_inside", lambda: ran.append(1))
    assert not handlers.is_ours(of_handler)
    assert ran == [1]
    assert [f.name for f in traceback.extract_tb(of_handler.__traceback__)] == ["handler"]
    interrupt = raised("raise KeyboardInterrupt")
    assert not handlers.is_ours(interrupt)
    assert interrupt.__traceback__ is None
