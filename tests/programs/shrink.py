"""Smaller plans that are still plans: what is tried to shrink a contradiction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from programs.grammar import HARD, ORDERLY, Body, Child, Plan


def shrink(plan: Plan, still: Callable[[Plan], bool], budget: int) -> Plan:
    """The smallest plan found in `budget` trials of which `still` holds."""
    while budget > 0:
        for smaller in _smaller(plan):
            budget -= 1
            if still(smaller):
                plan = smaller
                break
            if budget <= 0:
                break
        else:
            break
    return plan


def _smaller(plan: Plan) -> Iterator[Plan]:
    for main in _bodies(plan.main):
        yield replace(plan, main=main)
    if plan.early:
        yield replace(plan, early="")


def _bodies(body: Body) -> Iterator[Body]:
    """Without a child; with a smaller child; with a simpler end of the same sort."""
    for number, child in enumerate(body.children):
        if child.name != body.asker:
            yield _with(body, number)
    for number, child in enumerate(body.children):
        for smaller in _children(child):
            yield _with(body, number, smaller)
    for number in range(len(body.requests) if len(body.requests) > 1 else 0):
        left = (*body.requests[:number], *body.requests[number + 1 :])
        fewer = replace(body, requests=left)
        if (fewer.goes_on, fewer.orderly) == (body.goes_on, body.orderly):
            yield fewer
    for number, request in enumerate(body.requests):
        if request.via not in ("os.kill", "exit path"):
            simpler = replace(request, via="os.kill")
            requests = (*body.requests[:number], simpler, *body.requests[number + 1 :])
            yield replace(body, requests=requests)
    for ends in (ORDERLY, HARD):
        if body.end in ends[1:]:
            yield replace(body, end=ends[0])


def _with(body: Body, number: int, *instead: Child) -> Body:
    children = (*body.children[:number], *instead, *body.children[number + 1 :])
    return replace(body, children=children)


def _children(child: Child) -> Iterator[Child]:
    for body in _bodies(child.body):
        yield replace(child, body=body)
    if child.method != "fork":
        yield replace(child, method="fork")
    if child.belated:
        yield replace(child, belated="")
    if child.when != "early" and child.deal != "thread_left":
        yield replace(child, when="early")
    if child.daemon and child.deal != "abandoned" and child.kind == "process":
        yield replace(child, daemon=False)
