"""What of a test still runs, in whatever thread it was started, and its end."""

from __future__ import annotations

import threading
from contextlib import ExitStack

from pytest_proclife.conversation import Conversation
from pytest_proclife.running import RunningMain

_ENDING = 15.0  # s; more than a conversation gives its tree to end


class Underway:
    """The runs of one test. RuntimeError for what comes after `end`: it is ended at once."""

    def __init__(self, whose: str) -> None:
        self.mains: list[RunningMain] = []
        self._talks: list[Conversation] = []
        self._whose = whose
        self._over = False
        self._changed = threading.Condition()

    def check(self) -> None:
        """RuntimeError where the test is over."""
        if self._over:
            raise RuntimeError(f"the fixture proclife is over: {self._whose} has ended")

    def add(self, talk: Conversation) -> None:
        with self._changed:
            if not self._over:
                self._talks.append(talk)
                return
        talk.end()
        self.check()

    def remove(self, talk: Conversation) -> None:
        with self._changed:
            if talk in self._talks:
                self._talks.remove(talk)
                self._changed.notify_all()

    def add_main(self, main: RunningMain) -> None:
        with self._changed:
            if not self._over:
                self.mains.append(main)
                return
        with main:
            self.check()

    def end(self) -> None:
        """End all of it, and wait for that; what one end raises keeps no other from being ended."""
        with self._changed:
            self._over = True
            talks = tuple(self._talks)
        with ExitStack() as leaving:
            for main in self.mains:
                leaving.enter_context(main)
            for talk in talks:
                talk.send(("end",))  # the thread that listens hears the end of the account
            with self._changed:
                self._changed.wait_for(lambda: not self._talks, _ENDING)
