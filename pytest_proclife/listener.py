"""Waiting for what a run does: one conversation, heard by whichever thread waits."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from pytest_proclife.conversation import Conversation
from pytest_proclife.supervision import SupervisorLost

_PROMPT = 10.0  # s within which a supervisor answers, even on a machine that is very busy

_LONGEST = 86400.0  # s of one wait: poll(2) takes no more than 24 days

T = TypeVar("T")


class Listener:
    """Threads that wait: the first hears what the supervisor says, the others are told.

    Raises SupervisorLost, in each of them, where the supervisor is gone.
    """

    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        self.lost: SupervisorLost | None = None
        self._news = threading.Condition()
        self._version = 0  # counts what was heard
        self._hearing: int | None = None  # the thread that does
        self._sending = threading.Lock()
        self._asked = 0  # the latest question
        self._orders = itertools.count(1)

    def until(self, answer: Callable[[], T | None], seconds: float | None) -> T | None:
        """What `answer` gives, asked anew at all news; None if too late, or all is over."""
        end = None if seconds is None else time.monotonic() + seconds
        while True:
            version, over = self._version, self.talk.over
            found = answer()
            if found is not None or over:
                return found
            if self.lost is not None:
                raise SupervisorLost(str(self.lost))
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._wait(version, _LONGEST if left is None else min(left, _LONGEST))

    def catch_up(self) -> None:
        """Hear all that has happened up to now."""
        ticket = self._ask(at_once=True)
        self._promptly(lambda: self.talk.answered >= ticket or None)

    def order(self, number: int, signal: int, via: str, spared: int | None) -> str:
        """Have a signal sent: "sent", "gone" or "refused"."""
        ticket = next(self._orders)
        with self._sending:
            self.talk.send(("signal", ticket, number, signal, via, spared))
        outcome = self._promptly(lambda: self.talk.outcomes.pop(ticket, None))
        return "gone" if outcome is None else outcome

    def end(self) -> None:
        """Have all of it ended, and hear the end of the account."""
        with self._sending:
            self.talk.send(("end",))
        self._promptly(lambda: None)

    def _promptly(self, answer: Callable[[], T | None]) -> T | None:
        found = self.until(answer, _PROMPT)
        if found is None and not self.talk.over:
            raise SupervisorLost(f"the supervisor of the run has not answered for {_PROMPT:.0f} s")
        return found

    def _ask(self, at_once: bool) -> int:
        with self._sending:
            self._asked += 1
            self.talk.send(("tell", self._asked, at_once))
            return self._asked

    def _wait(self, version: int, seconds: float) -> None:
        """Wait until there is something new after `version`."""
        me = threading.get_ident()
        heard = False
        try:
            with self._news:
                if self._version != version:
                    return
                if self._hearing is not None:
                    self._news.wait(seconds)
                    return
                self._hearing = me
            if self.talk.answered == self._asked:
                self._ask(at_once=False)
            heard = self.talk.hear(seconds)
        except BaseException as error:
            if self.talk.closed and not self.talk.over:
                heard = True
                self.lost = SupervisorLost(_why(error))
            raise
        finally:
            with self._news:
                if self._hearing == me:
                    self._hearing = None
                    self._version += heard
                    self._news.notify_all()


def _why(error: BaseException) -> str:
    if isinstance(error, SupervisorLost):
        return str(error)
    return f"{type(error).__name__} came while the run was being heard; it was ended"
