"""Callables whose call makes a coroutine or a generator, and does not run their code."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any


async def lesson(*pupils: str) -> None:
    print("ran", pupils)


with_pupils = functools.partial(lesson, "Ada")


class Course:
    async def lesson(self) -> None:
        pass

    @classmethod
    async def of_class(cls) -> None:
        pass

    @staticmethod
    async def of_nobody() -> None:
        pass


@functools.lru_cache
async def kept() -> None:
    pass


class Caller:
    async def __call__(self) -> None:
        pass


caller = Caller()


def pages() -> Iterator[int]:
    yield 1


first_pages = functools.partial(pages)


async def all_pages() -> AsyncIterator[int]:
    yield 1


@contextlib.contextmanager
def room() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def hall() -> AsyncIterator[None]:
    yield


def run(function: Callable[..., Any]) -> Callable[..., None]:
    @functools.wraps(function)
    def wrapper(*args: Any) -> None:
        asyncio.run(function(*args))

    return wrapper


def log(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper() -> Any:
        return function()

    return wrapper


@run
async def run_by_decorator(*args: str) -> None:
    print("ran", args)


@log
async def logged() -> None:
    pass


@log
def logged_pages() -> Iterator[int]:
    yield 1
