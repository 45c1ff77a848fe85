"""Plans as Hypothesis draws them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import hypothesis
from hypothesis import strategies as st

from programs.grammar import Plan, draw


@st.composite
def plans(choose: st.DrawFn) -> Plan:
    return draw(lambda count: choose(st.integers(0, count - 1)))


def drawn_plans(count: int, seed: int) -> Iterator[Plan]:
    """Different plans; the same ones for the same seed and version of Hypothesis."""
    drawn: set[Plan] = set()
    for batch in itertools.count(seed << 20):  # it varies what it has: a batch is kept short
        for plan in _batch(batch):
            if plan not in drawn:
                drawn.add(plan)
                yield plan
                if len(drawn) == count:
                    return


def _batch(seed: int) -> list[Plan]:
    found: list[Plan] = []

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=10,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(plans())
    def collect(plan: Plan) -> None:
        found.append(plan)

    collect()
    return found
