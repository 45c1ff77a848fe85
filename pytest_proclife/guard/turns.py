"""Whose turn it is, and whether anything has happened in it.

This is asked of every test, so it costs little: one system call where nothing has happened, and
few functions and objects, for of what is touched between two forks the page has to be copied.
What is asked of the kernel here and in the modules beside goes by `posix`: tests put other things
in place of `os`'s functions, and of `open`. For the same reason all of them are loaded beforehand.
"""

from __future__ import annotations

import _thread
import posix
import sys

from pytest_proclife.guard.notes import Notes
from pytest_proclife.guard.register import OUTSIDE, Owner, Register
from pytest_proclife.inside import starts, tagging

_FEW, _MANY = 256, 1 << 16  # bytes; the many cost the mapping of their pages
_LINKS = 2  # of a folder, besides those of the folders in it; one of these for each thread


class Turns:
    """The turns of the owners."""

    def __init__(self) -> None:
        self.pid = posix.getpid()
        # with the lowest number of those that the guard has: what closes others closes it too
        self._children = self._opened()
        self.children_seen = b""  # at the last look
        self.notes = Notes()
        self._current: Owner | None = OUTSIDE
        self._name = ""  # of the test whose turn it is, while nobody has asked for its owner
        self.owner_of_thread: dict[int, Owner] = {}  # of those that run beside this one
        self.register = Register(self)
        self.register.look()

    @property
    def current(self) -> Owner:
        """Whose is what is started now."""
        if self._current is None:
            self._current = Owner(self._name)
        return self._current

    @current.setter
    def current(self, owner: Owner) -> None:
        self._current = owner

    def _opened(self) -> int:
        path = f"/proc/self/task/{self.pid}/children"
        return tagging.raised(posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC))

    def children(self) -> bytes:
        """The children of the main thread; what other threads start is noted."""
        try:
            found = posix.pread(self._children, _FEW, 0)
            return found if len(found) < _FEW else posix.pread(self._children, _MANY, 0)
        except OSError:  # a test closed it, and perhaps its neighbours
            if posix.getpid() != self.pid:
                return self.children_seen  # a fork that goes on as pytest has none to see to
            self._children = self._opened()
            self.notes.is_there()
            return posix.pread(self._children, _MANY, 0)

    def has_threads(self) -> bool:
        return posix.stat("/proc/self/task").st_nlink != _LINKS + 1

    # --- changes

    def settle(self) -> None:
        """Give what is new to whose it is, before somebody else's turn comes."""
        if self.notes.has_news() or self.children() != self.children_seen:
            self.register.look()

    def end_quietly(self, outer: Owner) -> bool:
        """Go on to the turn of `outer`, if nothing has happened in this one and nobody owns
        anything. Whether that was so.
        """
        if starts.modules_seen != len(sys.modules):
            starts.attend()
        noted = len(tagging.notes)
        # the children after the notes: none may come between; and whether those are lost shows then
        if (
            self.register.is_owned
            or self.children_seen
            or tagging.news[0]
            or (noted and not self._are_forks(tagging.notes[:noted]))
            or self.children()
            or self.notes.is_lost
        ):
            return False
        del tagging.notes[:noted]
        if self.owner_of_thread or _thread._count():
            self._attend_threads()
        if self._current is not None:
            self._current.is_over = self._current is not outer
        self._current = outer
        return True

    def _are_forks(self, noted: list[tagging.Note]) -> bool:
        """Whether they tell of nothing but forks of multiprocessing's by the main thread, which
        are among its children as long as they are there; and no thread is about to note more.
        """
        tags, own = set(), str(self.pid)
        for note in noted:
            kind, fields = note.kind, note.fields
            if fields[tagging.THREAD] != own:
                return False
            if kind == tagging.FORKING:
                tags.add(fields[tagging.FORKING_TAG])
            elif kind == tagging.STARTED and fields[tagging.METHOD] == "fork":
                tags.discard(fields[tagging.STARTED_TAG])
            else:
                return False
        return not tags and not _thread._count()

    # --- turns

    def begin(self, name: str) -> None:
        """Let it be a test's turn. What C has started since the last one is not looked for."""
        if starts.modules_seen != len(sys.modules):
            starts.attend()
        if tagging.notes or tagging.news[0]:
            self.register.look()
        if self.owner_of_thread or _thread._count():
            self._attend_threads()
        self._current, self._name = None, name

    def turn(self, owner: Owner) -> Owner:
        """Let it be another's turn; whose it was."""
        starts.attend()
        self.settle()
        return self.hand_over(owner)

    def hand_over(self, owner: Owner) -> Owner:
        """Let it be another's turn, where all that is new is somebody's; whose it was."""
        if self.owner_of_thread or _thread._count():
            self._attend_threads()
        before, self.current = self.current, owner
        return before

    def _attend_threads(self) -> None:
        own = _thread.get_native_id()
        there = {int(name) for name in posix.listdir("/proc/self/task")} - {own}
        whose = self.owner_of_thread
        self.owner_of_thread = {one: whose.get(one, self.current) for one in there}

    def begin_again(self) -> None:
        """Have the descriptors again that something has closed."""
        self.notes.begin_again()
        self.register.begin_again()


_turns: dict[int, Turns] = {}  # by the process that they are of


def of_this_process() -> Turns:
    """The turns: the same for all sessions of pytest that run in this process."""
    if posix.getpid() not in _turns:
        _turns.clear()
        _turns[posix.getpid()] = Turns()
    return _turns[posix.getpid()]
