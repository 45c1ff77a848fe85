"""Imported by a .pth file: replaces functions by ones that call them, as coverage does."""

import os
from multiprocessing.process import BaseProcess
from typing import Any

bootstrap: Any = BaseProcess._bootstrap  # type: ignore[attr-defined]
start: Any = BaseProcess.start
left: Any = os._exit


def _bootstrap(self: BaseProcess, *args: Any, **kwargs: Any) -> Any:
    return bootstrap(self, *args, **kwargs)


def _start(self: BaseProcess) -> None:
    start(self)


def _exit(status: int) -> None:
    left(status)


BaseProcess._bootstrap = _bootstrap  # type: ignore[attr-defined]
BaseProcess.start = _start  # type: ignore[method-assign]
os._exit = _exit  # type: ignore[assignment]
