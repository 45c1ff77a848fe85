"""Grading on a cluster of dask.distributed: each submission is a task."""

from __future__ import annotations

import platform
from collections.abc import Generator, Sequence
from typing import Any

from pytest_proclife.exercises import unit
from pytest_proclife.exercises.grading import Grading
from pytest_proclife.exercises.results import Mark, Result, Status
from pytest_proclife.exercises.verdict import without_points

_PATIENCE = 10.0  # s for the scheduler to answer


class Cluster:
    """Grades submissions on the workers of a dask cluster.

    ValueError if it cannot be reached, or if its workers cannot grade as this process does.
    """

    def __init__(self, address: str) -> None:
        try:
            import distributed  # at first use: it is an extra, and costs half a second
        except ImportError:
            raise ValueError(
                "--dask needs dask.distributed: pip install 'pytest-proclife[dask]'"
            ) from None
        try:
            client: Any = distributed.Client
            self._client = client(address, timeout=_PATIENCE)
        except (OSError, TimeoutError, ValueError) as error:
            raise ValueError(f"--dask: no scheduler answers at {address!r}: {error}") from None
        self._as_completed: Any = distributed.as_completed
        try:
            found = set(self._client.run(_python).values())
        except Exception as error:  # noqa: BLE001 - whatever a worker has raised
            self.close()
            text = f"--dask: a worker cannot import pytest_proclife: {error}"
            raise ValueError(text) from None
        own = _python()
        if found != {own}:
            self.close()
            others = ", ".join(sorted(found - {own})) or "none"
            raise ValueError(f"--dask: the workers have Python {others}, and {own} is here")

    def close(self) -> None:
        self._client.close()

    def results(self, names: Sequence[str], grading: Grading) -> Generator[Result]:
        """The result of each, in the order in which they finish.

        If a worker is lost, the scheduler gives its submissions to others.
        """
        spread = self._client.scatter(grading.exercise, broadcast=True, hash=False)
        tasks = {}
        for name in names:
            one = unit.Unit(
                name=name,
                packed=grading.archive.packed(name),
                settings=grading.settings,
                tests=grading.tests,
            )
            tasks[self._client.submit(unit.grade, one, spread, pure=False)] = name
        try:
            for task in self._as_completed(list(tasks)):
                yield _result_of(task, tasks[task], grading.tests)
        finally:
            self._client.cancel(list(tasks))


def _result_of(future: Any, name: str, tests: tuple[Mark, ...]) -> Result:
    """What a task has returned; an error if it has failed."""
    try:
        result: Result = future.result()
        return result
    except Exception as error:  # noqa: BLE001 - the same, or KilledWorker
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        reason = f"the cluster could not grade it: {text}"
        result = Result(submission=name, status=Status.ERROR, marks=tests, seconds=0.0)
        return without_points(result, Status.ERROR, reason)


def _python() -> str:
    return platform.python_version()
