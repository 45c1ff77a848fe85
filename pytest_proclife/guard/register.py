"""Whose each process is that is there: a test's, a fixture's, or nobody's concern."""

from __future__ import annotations

import _thread
import os
from collections.abc import Iterable

from pytest_proclife.guard.ledger import Ledger, Made, Start
from pytest_proclife.guard.pending import dropped, unjoined
from pytest_proclife.guard.sight import (
    Carriers,
    Seen,
    adopts,
    below,
    is_process,
    position,
    seen,
    serves,
)
from pytest_proclife.inside import makers
from pytest_proclife.inside.program import SERVICES
from pytest_proclife.supervisor import kernel

_ROUNDS = 10  # of a look, where something starts processes all the time
_LINKS = 2  # of a folder, besides those of the folders in it; one of these for each thread


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
    def is_opaque(self) -> bool:
        """Whether it may start what nobody notes."""
        noted = self.exact and self.start is not None and self.start.reports
        return not (noted or self.is_helper or self.owner is OUTSIDE)


class Register:
    """All that is there of what this process has started; asked often, so cheap when quiet."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.pid = os.getpid()
        self.known: dict[tuple[int, int], Known] = {}
        self._carriers = Carriers(ledger.tag, ledger.link)
        self._by_pid: dict[int, Known] = {}
        self._owner_of_tag: dict[int, Owner] = {}
        self._owner_of_pid: dict[int, Owner] = {}
        self._owner_of_thread: dict[int, Owner] = {}  # of those that run beside this one
        self._owner_of_maker: dict[str, Owner] = {}
        self.served: dict[int, tuple[Start, Owner]] = {}  # by a fork server
        # of the main thread; what other threads start stands in the ledger
        self._children = -1
        self._children_seen = b""
        self.current = OUTSIDE  # whose what is started now is
        self.look()

    def begin_again(self) -> None:
        """Have the descriptors again that something has closed."""
        self.ledger.begin_again()
        self._carriers = Carriers(self.ledger.tag, self.ledger.link)

    def has_changed(self) -> bool:
        """Whether anything was started, or one of the children has come or gone."""
        if os.getpid() != self.pid:
            return False  # a fork that goes on as pytest: what it starts is its parent's to see
        return self.ledger.has_news() or self._direct_children() != self._children_seen

    def is_quiet(self) -> bool:
        """Whether nothing has changed, and nobody owns anything; asked when a test is over."""
        makers.attend()
        owned = self.known or self.served or self._owner_of_maker
        return not (owned or self.has_changed() or self.ledger.is_lost)

    def _direct_children(self) -> bytes:
        try:
            return os.pread(self._children, 1 << 16, 0)
        except OSError:  # a test closed it
            path = f"/proc/self/task/{self.pid}/children"
            self._children = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._children, 1 << 16, 0)

    def _children_now(self) -> list[int]:
        """The pids of the children of all threads."""
        if os.stat("/proc/self/task").st_nlink == _LINKS + 1:
            return [int(word) for word in self._children_seen.split()]
        return kernel.children(self.pid)

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

    def settle(self) -> None:
        """Give what is new to whose it is, before somebody else's turn comes."""
        if self.has_changed():
            self.look()

    def turn(self, owner: Owner, *, is_first: bool = False) -> Owner:
        """Let it be another's turn; whose it was. At the first of a test's there is no need to
        look at what C has started since the last one.
        """
        makers.attend()
        if self.ledger.has_news() if is_first else self.has_changed():
            self.look()
        return self.hand_over(owner)

    def hand_over(self, owner: Owner) -> Owner:
        """The same, where it is up to date."""
        if self._owner_of_thread or _thread._count():
            self._attend_threads()
        before, self.current = self.current, owner
        return before

    def _attend_threads(self) -> None:
        own = _thread.get_native_id()
        there = {int(name) for name in os.listdir("/proc/self/task")} - {own}
        whose = self._owner_of_thread
        self._owner_of_thread = {one: whose.get(one, self.current) for one in there}

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
        """Bring it up to date: what is new is `current`'s, where nothing tells otherwise."""
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

    def _all_there(self) -> list[Seen]:
        """All that is there. A fork says its pid before it can lose the tag, so who is not seen
        to carry it has said so by then: hence another round as long as there is news.
        """
        news: list[Start] = []
        carriers: set[int] = set()
        for _ in range(_ROUNDS):
            news += self._read_news()
            self._children_seen = self._direct_children()
            if self._may_have_missed(news):
                carriers.update(self._carriers.look())
            there = self._those_there(carriers.union(filter(None, map(self._elsewhere, news))))
            if not self.ledger.has_news():
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
            return self._owner_of_pid.get(start.by, self.current)
        older = [self._owner_of_thread.get(start.thread)]
        if isinstance(start, Start):
            older.insert(0, self._owner_of_maker.get(start.maker))
        return next((one for one in older if one is not None and not one.is_over), self.current)

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
        if one.identity in self.known or position(one.pid, self.ledger.tag):
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
            whose = self._owner_of_pid.get(one.pid, self.current)
            return Known(seen=one, owner=whose, start=start, exact=True, is_helper=helper)
        helper = serves(kernel.command_line(one.pid))
        if parent is not None and not parent.is_helper:
            start, whose = parent.start, parent.owner
        else:
            tag = position(one.pid, self.ledger.tag)
            start, whose = self.ledger.by_tag(tag), self._owner_of_tag.get(tag, self.current)
            forked = start is not None and start.is_silent_fork
            if one.parent == self.pid and not forked and not adopts(self.pid):
                start, whose = None, self.current  # C has forked it: the tag is of what came before
        exact = start is not None and start.is_silent_fork
        return Known(seen=one, owner=whose, start=start, exact=exact, is_helper=helper)

    def _learn(self, known: Known) -> None:
        start = self.ledger.by_pid(known.seen.pid)
        if start is not None and known.seen.began_before(start.at):
            known.start, known.exact = start, True
            known.owner = self._owner_of_pid.get(known.seen.pid, known.owner)
