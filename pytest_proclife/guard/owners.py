"""Who owns each process that the guarded process started: a test, a fixture, or nobody.

Everything here is asked for every test, so it must cost little: one system call if nothing has
happened, and few functions and objects, because each page touched between two forks is copied.
The kernel is asked through `posix`, since tests replace functions of `os`, and `open`.
"""

from __future__ import annotations

import _thread
import posix
import sys
from collections.abc import Iterable

from pytest_proclife.guard.pools import dropped, unjoined
from pytest_proclife.guard.proc import (
    Carriers,
    Seen,
    adopts,
    below,
    is_process,
    position,
    seen,
    serves,
)
from pytest_proclife.guard.starts import Ledger, Made, Notes, Start
from pytest_proclife.inside.fork_exec import SERVICES
from pytest_proclife.inside.guard import hooks, tags
from pytest_proclife.supervisor import kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

_ROUNDS = 10  # of a look, where something starts processes all the time


class Owner:
    """Who has to see to the end of what it starts."""

    __slots__ = "is_fixture", "is_over", "name"

    def __init__(self, name: str, is_fixture: bool = False) -> None:
        self.name = name
        self.is_fixture = is_fixture
        self.is_over = False  # it has had its verdict


OUTSIDE = Owner("")  # what pytest had before, or what belongs to no test


class Known:
    """A process that is there. `start` is its own, or (not `exact`) its nearest ancestor's."""

    __slots__ = "exact", "excused", "is_helper", "owner", "seen", "start"

    def __init__(
        self, *, seen: Seen, owner: Owner, start: Start | None, exact: bool, is_helper: bool
    ) -> None:
        self.seen = seen
        self.owner = owner
        self.start = start
        self.exact = exact
        self.is_helper = is_helper
        self.excused = False  # it has been reported, or is allowed

    @property
    def is_being_started(self) -> bool:
        """Whether it is a Process of which the thread that starts it has not said more yet."""
        return self.start is not None and self.start.is_silent_fork and not self.start.where

    @property
    def is_opaque(self) -> bool:
        """Whether it may start what nobody notes."""
        noted = self.exact and self.start is not None and self.start.reports
        return not (noted or self.is_helper or self.owner is OUTSIDE)


class Register:
    """All that is there of what this process has started."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.pid = turns.pid
        self.ledger = Ledger(turns.notes)
        self.known: dict[tuple[int, int], Known] = {}
        self._carriers = Carriers(turns.notes.tag, turns.notes.link)
        self._by_pid: dict[int, Known] = {}
        self._owner_of_tag: dict[int, Owner] = {}
        self._owner_of_pid: dict[int, Owner] = {}
        self._owner_of_maker: dict[str, Owner] = {}
        self._silent: set[int] = set()  # tags of forks that were seen before they said their pid
        self.served: dict[int, tuple[Start, Owner]] = {}  # by a fork server
        self.is_owned = False  # anybody has anything to see to

    def begin_again(self) -> None:
        """See by the descriptors that there are now."""
        self._carriers = Carriers(self.turns.notes.tag, self.turns.notes.link)

    def _children_now(self) -> list[int]:
        """The pids of the children of all threads."""
        if self.turns.has_threads():
            return kernel.children(self.pid)
        return [int(word) for word in self.turns.children_seen.split() if word.isdigit()]

    def left_by(self, owners: Iterable[Owner]) -> list[Known]:
        """What is there of what these have started, but for what is excused."""
        if not self.known:
            return []
        whose, given_up = set(owners), dropped()
        return [
            one
            for one in self.known.values()
            if one.owner in whose
            and not (one.excused or one.is_helper)
            and not (one.seen.is_zombie and one.seen.pid in given_up)
        ]

    def makers_of(self, owners: Iterable[Owner]) -> set[str]:
        """The Pools and executors that these have made."""
        if not self._owner_of_maker:
            return set()
        whose = set(owners)
        return {maker for maker, owner in self._owner_of_maker.items() if owner in whose}

    def take_unjoined(self, owners: Iterable[Owner]) -> list[tuple[Start, Owner]]:
        """What a fork server started and collected, and nobody has joined; told of once."""
        if not self.served:
            return []
        whose, ended = set(owners), unjoined()
        found = [pair for pid, pair in self.served.items() if pid in ended and pair[1] in whose]
        self.served = {
            pid: pair
            for pid, pair in self.served.items()
            if pair not in found and (pid in ended or pid in self._by_pid)
        }
        return found

    def look(self) -> None:
        """Bring it up to date: what is new is whose turn it is, where nothing tells otherwise."""
        if posix.getpid() != self.pid:
            return  # a fork that goes on as pytest: what it starts is its parent's to see
        there = self._all_there()
        known: dict[tuple[int, int], Known] = {}
        self._by_pid = {}
        for one in there:
            each = self.known.get(one.identity)
            if each is None:
                each = self._first_seen(one)
            elif not each.exact or (each.start is not None and each.start.is_silent_fork):
                self._learn(each)  # a fork's word may come after the look that found it
            each.seen = one
            known[one.identity] = self._by_pid[one.pid] = each
        self.known = known
        self._owner_of_pid = {p: o for p, o in self._owner_of_pid.items() if p in self._by_pid}
        self.ledger.keep_only(self._by_pid)
        self.is_owned = bool(known or self.served or self._owner_of_maker)

    def _all_there(self) -> list[Seen]:
        """All that is there. A fork says its pid before it can lose the tag, so who is not seen
        to carry it has said so by then: hence another round as long as there is news.
        """
        news: list[Start] = []
        carriers: set[int] = set()
        for _ in range(_ROUNDS):
            news += self._read_news()
            self.turns.children_seen = self.turns.children()
            if self._may_have_missed(news):
                carriers.update(self._carriers.look())
            there = self._those_there(carriers.union(filter(None, map(self._elsewhere, news))))
            if not self.turns.notes.has_news():
                break
        return there

    def _read_news(self) -> list[Start]:
        news = []
        for start in self.ledger.news():
            whose = self._whose(start)
            if isinstance(start, Made):
                if start.by == self.pid:
                    self._owner_of_maker[start.maker] = whose
                continue
            news.append(start)
            if start.tag and start.maker:
                self._owner_of_tag[start.tag] = whose  # its fork came before, and said less
            elif start.tag:
                whose = self._owner_of_tag.setdefault(start.tag, whose)
            if start.pid:
                self._owner_of_pid[start.pid] = whose
            if start.method == "forkserver":
                self.served[start.pid] = start, whose
        return news

    def _whose(self, start: Start | Made) -> Owner:
        """Whose turn it is counts only where nothing older does: a process of the owner's, an
        executor or a thread that is there while it is.
        """
        if start.by != self.pid:
            starter = self._by_pid.get(start.by)
            if starter is not None:
                return starter.owner
            return self._owner_of_pid.get(start.by, self.turns.current)
        older = [self.turns.owner_of_thread.get(start.thread)]
        if isinstance(start, Start):
            older.insert(0, self._owner_of_maker.get(start.maker))
        return next(
            (one for one in older if one is not None and not one.is_over), self.turns.current
        )

    def _elsewhere(self, start: Start) -> int:
        """The pid of one that need not be our child: one that is, and is not there, is gone."""
        return start.pid if start.by != self.pid or start.method == "forkserver" else 0

    def _those_there(self, named: set[int]) -> list[Seen]:
        """Those below, those known before, and those `named` by pid. Parents before their
        children; zombies only where it is up to us to wait for them.
        """
        found = {one.identity: one for one in below(self.pid, self._children_now())}
        loose = {one.seen.pid for one in self.known.values() if one.seen.identity not in found}
        here = {self.pid, *(one.pid for one in found.values())}
        for pid in loose | named:
            one = None if pid in here else seen(pid)
            if one is not None and is_process(pid) and self._is_meant(one):
                here.add(pid)
                for each in (one, *below(pid)):
                    found.setdefault(each.identity, each)
        return [one for one in found.values() if not one.is_zombie or one.parent == self.pid]

    def _is_meant(self, one: Seen) -> bool:
        """Whether it is the process that had this pid, and not a later one."""
        if one.identity in self.known or position(one.pid, self.turns.notes.tag):
            return True
        start = self.ledger.by_pid(one.pid)
        return start is not None and one.began_before(start.at)

    def _may_have_missed(self, news: list[Start]) -> bool:
        """Whether something can have been started that neither a note nor a parent tells of."""
        for start in news:
            last = self.ledger.by_tag(start.tag) or start
            if not last.reports and last.kind not in SERVICES:
                return True
        return any(one.is_opaque for one in self.known.values())

    def _first_seen(self, one: Seen) -> Known:
        parent = self._by_pid.get(one.parent)
        start = self.ledger.by_pid(one.pid)
        if start is not None and one.began_before(start.at):
            helper = start.kind in SERVICES or serves(start.argv)
            whose = self._owner_of_pid.get(one.pid, self.turns.current)
            return Known(seen=one, owner=whose, start=start, exact=True, is_helper=helper)
        helper, is_fork = serves(kernel.command_line(one.pid)), False
        if parent is not None and not parent.is_helper:
            start, whose = parent.start, parent.owner
        else:
            tag = position(one.pid, self.turns.notes.tag)
            start, whose = self.ledger.by_tag(tag), self._owner_of_tag.get(tag, self.turns.current)
            if start is not None and start.is_silent_fork and not whose.is_over:
                is_fork = tag not in self._silent  # there is one such fork; others came after it
                self._silent.add(tag)
            if one.parent == self.pid and not is_fork and not adopts(self.pid):
                # C has forked it: the tag is of what came before
                start, whose = None, self.turns.current
        return Known(seen=one, owner=whose, start=start, exact=is_fork, is_helper=helper)

    def _learn(self, known: Known) -> None:
        start = self.ledger.by_pid(known.seen.pid)
        if start is not None and known.seen.began_before(start.at):
            known.start, known.exact = start, True
            known.owner = self._owner_of_pid.get(known.seen.pid, known.owner)


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
        return tags.raised(posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC))

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
        if hooks.modules_seen != len(sys.modules):
            hooks.attend()
        noted = len(tags.notes)
        # the children after the notes: none may come between; and whether those are lost shows then
        if (
            self.register.is_owned
            or self.children_seen
            or tags.news[0]
            or (noted and not self._are_forks(tags.notes[:noted]))
            or self.children()
            or self.notes.is_lost
        ):
            return False
        del tags.notes[:noted]
        if self.owner_of_thread or _thread._count():
            self._attend_threads()
        if self._current is not None:
            self._current.is_over = self._current is not outer
        self._current = outer
        return True

    def _are_forks(self, noted: list[tags.Note]) -> bool:
        """Whether they tell of nothing but forks of multiprocessing's by the main thread, which
        are among its children as long as they are there; and no thread is about to note more.
        """
        forking, own = set(), str(self.pid)
        for note in noted:
            kind, fields = note.kind, note.fields
            if fields[tags.THREAD] != own:
                return False
            if kind == tags.FORKING:
                forking.add(fields[tags.FORKING_TAG])
            elif kind == tags.STARTED and fields[tags.METHOD] == "fork":
                forking.discard(fields[tags.STARTED_TAG])
            else:
                return False
        return not forking and not _thread._count()

    # --- turns

    def begin(self, name: str) -> None:
        """Let it be a test's turn. What C has started since the last one is not looked for."""
        if hooks.modules_seen != len(sys.modules):
            hooks.attend()
        if tags.notes or tags.news[0]:
            self.register.look()
        if self.owner_of_thread or _thread._count():
            self._attend_threads()
        self._current, self._name = None, name

    def turn(self, owner: Owner) -> Owner:
        """Let it be another's turn; whose it was."""
        hooks.attend()
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
