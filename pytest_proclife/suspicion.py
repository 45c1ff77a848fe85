"""What nobody reported: requests that may have been sent all the same, and been the reason."""

from __future__ import annotations

import math
import signal as signals

from pytest_proclife.history import Asked, History
from pytest_proclife.response import (
    ASKING,
    OWN_DOING,
    Unknown,
    by_itself,
    is_interrupt,
    signal_name,
)


def exclude_earlier(request: Asked, history: History) -> None:
    """Make sure that no other request came before the one that it ended of."""
    if history.signal == request.signal and request.state == "default":
        return  # alive, and with nothing in the way of the signal: it died of this one
    if history.signal == request.signal == signals.SIGKILL:
        return
    same = request.by, request.signal, request.via  # whichever of these it was, it says the same
    if any(
        not r.sure and r.at <= request.at and (r.by, r.signal, r.via) != same for r in history.asked
    ):
        raise Unknown("an earlier request may have gone to it, or to another process")
    if history.missing.owner(history.began, request.at, but=history.id) is not None:
        raise Unknown("reports are missing that could hold an earlier request")


def exclude_unseen(history: History, until: float = math.inf) -> None:
    """Make sure that it did not end of a request, up to some time, that nobody reported."""
    _exclude(history, _signs(history, until), _silently_caught(history), until)


def exclude_unseen_kill(history: History) -> None:
    """Make sure that nobody unseen killed it on its way out, as a request had told it to end."""
    if not by_itself(history):
        _exclude(history, frozenset({signals.SIGKILL}), frozenset(), math.inf)


def _exclude(history: History, signs: frozenset[int], silent: frozenset[int], until: float) -> None:
    # what came when its code was done could only have ended it by killing it
    done = history.left.at if history.left is not None else math.inf
    unsure = {
        r.signal
        for r in history.asked
        if not r.sure and r.at <= until and (r.at <= done or r.signal == history.signal)
    }
    if unsure & (signs | silent):
        raise Unknown("a request may have gone to it, or to another process")
    until = min(until, history.ended)
    if (signs or silent) and (
        history.missing.owner(history.began, until, but=history.id) is not None
    ):
        raise Unknown("reports are missing that could hold a request")
    for signal in signs - OWN_DOING:
        if history.strangers.owner(history.began, until, but=history.id) is not None:
            name = signal_name(signal)
            raise Unknown(f"a program that does not report was running, and may have sent {name}")


def _signs(history: History, until: float) -> frozenset[int]:
    """The signals up to some time that show in what it did, so that somebody may have sent them."""
    left = history.left
    done = left.at if left is not None else history.ended
    found = {s for s, at in history.caught if s in ASKING and at <= min(done, until)}
    if left is not None and left.rose_from is not None and left.at <= until:
        found.add(left.rose_from)
    passed_on = history.signal == signals.SIGINT and is_interrupt(left)
    if history.signal is not None and not passed_on and history.ended <= until:
        found.add(history.signal)
    return frozenset(found)


def _silently_caught(history: History) -> frozenset[int]:
    """The signals that it could have caught, and ended of, without a trace."""
    if history.signal is not None and not by_itself(history):
        return frozenset()
    if not history.observed or history.replaced is not None:
        return ASKING
    handled = ASKING if history.left is None else history.left.handled & ASKING
    return handled & {signals.SIGINT} if history.sees_handlers else ASKING
