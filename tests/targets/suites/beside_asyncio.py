"""An asynchronous test, several runs at a time."""

import asyncio

import pytest

from pytest_proclife import Code


@pytest.mark.asyncio
@pytest.mark.proclife(start_methods="all")
async def test_it(proclife):
    code = Code("import multiprocessing; print(multiprocessing.get_start_method())")
    assert proclife.run(code).stdout == proclife.start_method + "\n"
    runs = await asyncio.gather(*[asyncio.to_thread(proclife.run, code) for _ in range(3)])
    assert sorted(map(id, runs)) == sorted(map(id, proclife.runs[1:]))
