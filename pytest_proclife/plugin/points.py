"""The marker of an exercise's tests: what each is worth."""

from __future__ import annotations

import difflib
import math

import pytest

from pytest_proclife.exercises.results import VISIBILITIES, Mark, Outcome
from pytest_proclife.exercises.submission import ExerciseError

MARKER = "proclife_points"
_ARGUMENTS = ("name", "visibility", "tags")


def mark_of(item: pytest.Item) -> Mark:
    """A test's mark before it has run; ExerciseError where its marker is wrong."""
    marker = item.get_closest_marker(MARKER)
    args = () if marker is None else marker.args
    kwargs = {} if marker is None else dict(marker.kwargs)
    fault = None if marker is None else _fault(args, kwargs)
    if fault is not None:
        raise ExerciseError(f"{item.nodeid}: the marker {MARKER}: {fault}")
    callspec = getattr(item, "callspec", None)
    name = kwargs.get("name") or getattr(item, "originalname", item.name).removeprefix(
        "test_"
    ).replace("_", " ")
    return Mark(
        test=item.nodeid,
        name=name if callspec is None else f"{name} [{callspec.id}]",
        points=0.0,
        max_points=float(args[0]) if args else 0.0,
        outcome=Outcome.NOT_RUN,
        visibility=kwargs.get("visibility", "visible"),
        tags=tuple(kwargs.get("tags", ())),
    )


def missing_fixture(item: pytest.Item) -> str | None:
    """What to say of a fixture that a test names and nobody has; None where all are there."""
    known = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", None)
    if known is None:
        return None  # no function, or another pytest: its setup will tell
    for name in getattr(item, "fixturenames", ()):
        if name != "request" and name not in known:
            return f"{item.nodeid}: there is no fixture {name!r}{_meant(name, ('submission',))}"
    return None


def unknown_marker(text: str) -> str | None:
    """What to say where pytest does not know a marker; None where it says something else."""
    name, found, _ = text.removeprefix("'").partition("' not found in `markers`")
    return f"there is no marker {name!r}{_meant(name, (MARKER,))}" if found else None


def _meant(name: str, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, names, 1)
    return f": did you mean {near[0]!r}?" if near else ""


def _fault(args: tuple[object, ...], kwargs: dict[str, object]) -> str | None:
    unknown = next((name for name in kwargs if name not in _ARGUMENTS), None)
    if unknown is not None:
        return f"it takes {', '.join(_ARGUMENTS)}, not {unknown}"
    if len(args) != 1:
        return "it takes one number of points"
    (points,) = args
    if (
        not isinstance(points, int | float)
        or isinstance(points, bool)
        or not 0 <= points < math.inf
    ):
        return f"points are a number, 0 or more, not {points!r}"
    if not isinstance(kwargs.get("name", ""), str):
        return f"the name is a text, not {kwargs['name']!r}"
    if kwargs.get("visibility", "visible") not in VISIBILITIES:
        return f"visibility is one of {', '.join(VISIBILITIES)}, not {kwargs['visibility']!r}"
    tags = kwargs.get("tags", ())
    if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
        return f"tags are a list of texts, not {tags!r}"
    return None
