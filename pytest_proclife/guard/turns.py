"""Whose turn it is, and whether anything has happened in it.

This is asked of every test, so it costs little: one system call where nothing has happened. What
finds out more (`register.py`) is loaded when something has. What is asked of the kernel here and
there goes by `posix`: tests put other things in place of `os`'s functions, and of `open`.
"""

from __future__ import annotations

import _thread
import posix

from pytest_proclife.guard.notes import Notes
from pytest_proclife.inside import starts, tagging

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_proclife.guard.register import Register

_FEW, _MANY = 256, 1 << 16  # bytes; the many cost the mapping of their pages
_LINKS = 2  # of a folder, besides those of the folders in it; one of these for each thread
_TAG, _METHOD = 1, 5  # among the fields of tagging.STARTED


class Owner:
    """Who has to see to the end of what it starts."""

    __slots__ = "is_fixture", "is_over", "name"

    def __init__(self, name: str, is_fixture: bool = False) -> None:
        self.name = name
        self.is_fixture = is_fixture
        self.is_over = False  # it has had its verdict


OUTSIDE = Owner("")  # what pytest had before, or what belongs to no test


class Turns:
    """The turns of the owners: `current` is whose what is started now is."""

    def __init__(self) -> None:
        self.pid = posix.getpid()
        self.notes = Notes()
        self.current = OUTSIDE
        self.owner_of_thread: dict[int, Owner] = {}  # of those that run beside this one
        self.loaded: Register | None = None
        self._children = -1
        self.children_seen = b""  # at the last look
        if self.children() or self.has_threads():
            self.register.look()  # what is there already is nobody's

    @property
    def register(self) -> Register:
        """All that is there of what this process has started."""
        if self.loaded is None:
            from pytest_proclife.guard.register import Register

            self.loaded = Register(self)
        return self.loaded

    def children(self) -> bytes:
        """The children of the main thread; what other threads start is noted."""
        try:
            found = posix.pread(self._children, _FEW, 0)
            return found if len(found) < _FEW else posix.pread(self._children, _MANY, 0)
        except OSError:  # a test closed it, and perhaps its neighbours
            path = f"/proc/{self.pid}/task/{self.pid}/children"
            self._children = tagging.raised(posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC))
            self.notes.is_there()
            return posix.pread(self._children, _MANY, 0)

    def has_threads(self) -> bool:
        return posix.stat("/proc/self/task").st_nlink != _LINKS + 1

    def has_changed(self) -> bool:
        """Whether anything was started, or one of the children has come or gone."""
        return self._is_noted() or self.children() != self.children_seen

    def _is_noted(self) -> bool:
        """Whether anything was noted; forks note nothing where there are none."""
        there = self.loaded is not None and self.loaded.known
        return bool(tagging.notes or (there and self.notes.forks_have_news()))

    def ends_quietly(self, outer: Owner) -> bool:
        """Whether nothing has happened in the turn, and nobody owns anything; if so it is over."""
        starts.attend()
        if self.loaded is not None and self.loaded.is_owned:
            return False
        if self.children() != self.children_seen or self.notes.is_lost:
            return False
        if tagging.notes and not self._all_have_gone():
            return False
        self.current.is_over = self.current is not outer
        self.hand_over(outer)
        return True

    def _all_have_gone(self) -> bool:
        """Whether all that was started are forks of multiprocessing's that have been joined, and
        have started nothing: that needs no look.
        """
        noted = [*tagging.notes]
        if self.children_seen or _thread._count() or self.notes.forks_have_news():
            return False
        tags = set()
        for kind, _, _, fields in noted:
            if kind == tagging.FORKING:
                tags.add(fields[0])
            elif kind == tagging.STARTED and fields[_METHOD] == "fork":
                tags.discard(fields[_TAG])
            else:
                return False
        if tags or self.has_threads():
            return False
        self.notes.drop(len(noted))
        return True

    def settle(self) -> None:
        """Give what is new to whose it is, before somebody else's turn comes."""
        if self.has_changed():
            self.register.look()

    def turn(self, owner: Owner) -> Owner:
        """Let it be another's turn; whose it was."""
        starts.attend()
        self.settle()
        return self.hand_over(owner)

    def begin(self, owner: Owner) -> None:
        """The same for a test's first, before which there is no need to look at what C has
        started since the last one.
        """
        if tagging.notes or (self.loaded is not None and self._is_noted()):
            self.register.look()
        self.hand_over(owner)

    def hand_over(self, owner: Owner) -> Owner:
        """The same, where it is up to date."""
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
        if self.loaded is not None:
            self.loaded.begin_again()


_turns: dict[int, Turns] = {}  # by the process that they are of


def of_this_process() -> Turns:
    """The turns: the same for all sessions of pytest that run in this process."""
    if posix.getpid() not in _turns:
        _turns.clear()
        _turns[posix.getpid()] = Turns()
    return _turns[posix.getpid()]
