"""Who owns each process that the guarded process started: a test, a fixture, or nobody.

All of this runs for every test, so it must be cheap: one system call if nothing has happened,
and few functions and objects, because each page touched between two forks is copied. It calls
`posix` and not `os` or `open`, since tests replace functions of these.
"""

from __future__ import annotations

import _thread
import posix
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress

from pytest_proclife.guard import proc
from pytest_proclife.guard.starts import NewMaker, Start, Starts
from pytest_proclife.inside.fork_exec import SERVICES
from pytest_proclife.inside.guard import hooks, tags
from pytest_proclife.inside.guard.tags import METHOD, STARTED, THREAD, notes, state
from pytest_proclife.supervisor import procfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pytest


class Owner:
    """A test or a fixture: the processes that it starts must be gone when it is over."""

    __slots__ = "is_fixture", "is_over", "name"

    def __init__(self, name: str, is_fixture: bool = False) -> None:
        self.name = name
        self.is_fixture = is_fixture
        self.is_over = False  # its processes have been checked


NOBODY = Owner("")  # owns what pytest started itself, and what was started between tests


class OwnedProcess:
    """A process that exists. `start` is its own, or (not `exact`) its nearest ancestor's."""

    __slots__ = "exact", "is_helper", "is_reported", "owner", "start", "stat"

    def __init__(
        self, stat: proc.Stat, owner: Owner, start: Start | None, *, exact: bool, is_helper: bool
    ) -> None:
        self.stat = stat
        self.owner = owner
        self.start = start
        self.exact = exact
        self.is_helper = is_helper
        self.is_reported = False  # as a leak, an allowed one too

    @property
    def is_being_started(self) -> bool:
        """Whether it is a Process whose name is not noted yet by the thread that starts it."""
        return self.start is not None and self.start.has_no_pid_yet and not self.start.line.place

    @property
    def may_start_unnoted(self) -> bool:
        """Whether it may start processes of which there is no note."""
        notes = self.exact and self.start is not None and self.start.notes_its_starts
        return not (notes or self.is_helper or self.owner is NOBODY)


# by name, since to use a module costs too: see `tags`
_count_threads, _pread = _thread._count, posix.pread
_ROUNDS = 10  # of a look, if something starts processes all the time
_FEW, _MANY = 256, 1 << 16  # bytes; to read the many costs the mapping of their pages
_LINKS = 2  # of a folder in /proc, besides one for each folder in it

OwnerOf = Callable[[int], Owner]  # of what a thread starts now; the current one for 0


class Register:
    """The existing processes that this process has started, each with its owner."""

    def __init__(self) -> None:
        self.pid = posix.getpid()
        # opened first, for the lowest number: what closes the guard's others closes it too
        self.children_file = self._open_children()
        self.children_text = b""  # as of the last look
        self.starts = Starts()
        self.processes: dict[tuple[int, int], OwnedProcess] = {}
        self._carriers = proc.TagCarriers()
        self._by_pid: dict[int, OwnedProcess] = {}
        self._owner_of_tag: dict[int, Owner] = {}
        self._owner_of_pid: dict[int, Owner] = {}
        self._owner_of_maker: dict[str, Owner] = {}
        self._early_forks: set[int] = set()  # tags of forks that were found before they noted a pid
        self.of_fork_server: dict[int, tuple[Start, Owner]] = {}  # by pid
        self.is_empty = True

    def reopen(self) -> None:
        """Replace the descriptors after something has closed them; later, if none are left."""
        with suppress(OSError):
            self.starts.reopen()
            self._carriers = proc.TagCarriers()

    def _open_children(self) -> int:
        path = f"/proc/self/task/{self.pid}/children"
        return tags.moved_up(posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC))

    def read_children(self) -> bytes:
        """The pids of the main thread's children. What other threads start has a note."""
        try:
            text = _pread(self.children_file, _FEW, 0)
            return text if len(text) < _FEW else _pread(self.children_file, _MANY, 0)
        except OSError:  # a test closed it, and perhaps the other descriptors too
            if posix.getpid() != self.pid:
                return self.children_text  # a fork that goes on as pytest checks nothing
            self.children_file = self._open_children()
            self.starts.check()
            return _pread(self.children_file, _MANY, 0)

    # --- leaks

    def may_be_left_by(self, owners: Iterable[Owner]) -> bool:
        """Whether anything exists that they started, or a Pool or an executor that they made."""
        owners = set(owners)
        return any(process.owner in owners for process in self.processes.values()) or any(
            owner in owners for owner in self._owner_of_maker.values()
        )

    def left_by(self, owners: Iterable[Owner]) -> list[OwnedProcess]:
        """The existing processes of these owners that have not been reported."""
        if not self.processes:
            return []
        from pytest_proclife.guard import pools  # most suites leave nothing

        owners, dropped = set(owners), pools.dropped_pids()
        return [
            process
            for process in self.processes.values()
            if process.owner in owners
            and not (process.is_reported or process.is_helper)
            and not (process.stat.is_zombie and process.stat.pid in dropped)
        ]

    def makers_of(self, owners: Iterable[Owner]) -> set[str]:
        """The Pools and executors that these owners have made."""
        owners = set(owners)
        return {maker for maker, owner in self._owner_of_maker.items() if owner in owners}

    def take_unjoined(self, owners: Iterable[Owner]) -> list[tuple[Start, Owner]]:
        """The processes of a fork server, which reaps them, that nobody has joined. Each is
        returned once.
        """
        if not self.of_fork_server:
            return []
        from pytest_proclife.guard import pools

        owners, unjoined, found = set(owners), pools.unjoined_pids(), []
        for pid, (start, owner) in list(self.of_fork_server.items()):
            if pid in unjoined and owner in owners:
                found.append((start, owner))
                del self.of_fork_server[pid]
            elif pid not in unjoined and pid not in self._by_pid:
                del self.of_fork_server[pid]  # it has been joined
        return found

    # --- a look at all processes

    def look(self, owner_of: OwnerOf) -> None:
        """Bring the register up to date. New processes belong to the owner of their parent, their
        Pool or executor, or the thread that started them.
        """
        if posix.getpid() != self.pid:
            return  # in a fork that goes on as pytest: the parent checks what that starts
        existing = self._find_all(owner_of)
        processes: dict[tuple[int, int], OwnedProcess] = {}
        self._by_pid = {}
        for stat in existing:
            process = self.processes.get(stat.identity)
            if process is None:
                process = self._new_process(stat, owner_of(0))
            elif not process.exact or (process.start is not None and process.start.has_no_pid_yet):
                start = self._own_start(stat)  # a fork's note may come after the look that found it
                if start is not None:
                    process.start, process.exact = start, True
                    process.owner = self._owner_of_pid.get(stat.pid, process.owner)
            process.stat = stat
            processes[stat.identity] = self._by_pid[stat.pid] = process
        self.processes = processes
        self._owner_of_pid = {p: o for p, o in self._owner_of_pid.items() if p in self._by_pid}
        self.starts.keep_only(self._by_pid)
        self.is_empty = not (processes or self.of_fork_server or self._owner_of_maker)

    def _find_all(self, owner_of: OwnerOf) -> list[proc.Stat]:
        """All existing processes. A fork notes its pid before it can lose the tag, so the note of
        a process that no longer carries the tag is there by then. Hence another round as long as
        there are new notes.
        """
        new: list[Start] = []
        carriers: set[int] = set()
        for _ in range(_ROUNDS):
            new += self._read_starts(owner_of)
            self.children_text = self.read_children()
            if self._may_lack_notes(new):
                carriers.update(self._carriers.find_new())
            # these need not be our children; a child of ours that is not found is gone
            elsewhere = {s.pid for s in new if s.by != self.pid or s.method == "forkserver"}
            existing = self._find(carriers | elsewhere - {0})
            if not self.starts.has_new():
                break
        return existing

    def _read_starts(self, owner_of: OwnerOf) -> list[Start]:
        """The starts noted since the last call; the owner of each is remembered."""
        new = []
        for start in self.starts.read_new():
            owner = self._owner_of_start(start, owner_of)
            if isinstance(start, NewMaker):
                if start.by == self.pid:
                    self._owner_of_maker[start.maker] = owner
                continue
            new.append(start)
            if start.tag and start.maker:
                self._owner_of_tag[start.tag] = owner  # the note of its fork, before, had no maker
            elif start.tag:
                owner = self._owner_of_tag.setdefault(start.tag, owner)
            if start.pid:
                self._owner_of_pid[start.pid] = owner
            if start.method == "forkserver":
                self.of_fork_server[start.pid] = start, owner
        return new

    def _owner_of_start(self, start: Start | NewMaker, owner_of: OwnerOf) -> Owner:
        """The owner of the process that started it; or that of the Pool or executor, if it is not
        over; or that of the thread.
        """
        if start.by != self.pid:
            parent = self._by_pid.get(start.by)
            return self._owner_of_pid.get(start.by, owner_of(0)) if parent is None else parent.owner
        owner = self._owner_of_maker.get(start.maker) if isinstance(start, Start) else None
        return owner_of(start.thread) if owner is None or owner.is_over else owner

    def _find(self, pids: set[int]) -> list[proc.Stat]:
        """The processes below this one, those known before, and those with these pids. Parents
        before their children; zombies only if it is up to us to wait for them.
        """
        below = proc.descendants(self.pid, self._pids_of_children())
        found = {stat.identity: stat for stat in below}
        elsewhere = {p.stat.pid for key, p in self.processes.items() if key not in found}
        done = {self.pid, *(stat.pid for stat in found.values())}
        for pid in elsewhere | pids:
            stat = None if pid in done else proc.read_stat(pid)
            if stat is not None and proc.is_process(pid) and self._has_kept_its_pid(stat):
                done.add(pid)
                for each in (stat, *proc.descendants(pid)):
                    found.setdefault(each.identity, each)
        return [stat for stat in found.values() if not stat.is_zombie or stat.parent == self.pid]

    def _pids_of_children(self) -> list[int]:
        """The pids of the children of all threads.

        Not the zygotes: the first process of a container inherits them as it does all orphans.
        """
        if posix.stat("/proc/self/task").st_nlink != _LINKS + 1:
            pids = procfs.children(self.pid)
        else:
            pids = [int(word) for word in self.children_text.split() if word.isdigit()]
        noted = self.starts.by_pid
        return [p for p in pids if p in noted or not _is_zygote(p)]

    def _has_kept_its_pid(self, stat: proc.Stat) -> bool:
        """Whether it is the process that had this pid before, and not a later one."""
        is_known = stat.identity in self.processes or proc.read_tag(stat.pid)
        return bool(is_known or self._own_start(stat))

    def _own_start(self, stat: proc.Stat) -> Start | None:
        """The start of this very process; None if there is no note of it."""
        start = self.starts.by_pid.get(stat.pid)
        return start if start is not None and stat.started_before(start.at) else None

    def _may_lack_notes(self, new: list[Start]) -> bool:
        """Whether a process may exist that has neither a note nor a parent that is known."""
        last = [self.starts.by_tag.get(start.tag) or start for start in new]
        return any(
            not start.notes_its_starts and start.kind not in SERVICES for start in last
        ) or any(process.may_start_unnoted for process in self.processes.values())

    def _new_process(self, stat: proc.Stat, current: Owner) -> OwnedProcess:
        start = self._own_start(stat)
        if start is not None:
            is_helper = start.kind in SERVICES or proc.is_helper_command(start.argv)
            owner = self._owner_of_pid.get(stat.pid, current)
            return OwnedProcess(stat, owner, start, exact=True, is_helper=is_helper)
        is_helper, is_fork = proc.is_helper_command(procfs.command_line(stat.pid)), False
        parent = self._by_pid.get(stat.parent)
        if parent is not None and not parent.is_helper:
            start, owner = parent.start, parent.owner
        else:
            tag = proc.read_tag(stat.pid)
            start, owner = self.starts.by_tag.get(tag), self._owner_of_tag.get(tag, current)
            if start is not None and start.kind in SERVICES:
                start, owner = None, current  # a fork server was started for an earlier test
            if start is not None and start.has_no_pid_yet and not owner.is_over:
                # the first process with this tag is that fork; further ones were started by it
                is_fork = tag not in self._early_forks
                self._early_forks.add(tag)
            if stat.parent == self.pid and not is_fork and not proc.adopts_orphans(self.pid):
                # forked by C code: it has inherited the tag of an earlier start
                start, owner = None, current
        return OwnedProcess(stat, owner, start, exact=is_fork, is_helper=is_helper)


def _is_zygote(pid: int) -> bool:
    words = procfs.command_line(pid)
    if not any("pytest_proclife" in word for word in words):
        return False
    # imported late: it imports the records, which take more than the rest of the guard's start
    from pytest_proclife.backend import is_zygote

    return is_zygote(words)


class Ownership:
    """The current owner, which owns what is started now.

    A thread other than the main one keeps the owner that was current when the thread was new.
    """

    # without slots, to set an attribute would write to the class too
    __slots__ = "_current", "_has_had_threads", "_owner_of_thread", "_test", "register"

    def __init__(self) -> None:
        self.register = Register()
        self._current: Owner | None = NOBODY
        self._test: str | None = None  # that is current; None for nobody: see `current`
        self._owner_of_thread: dict[int, Owner] = {}
        self._has_had_threads = False  # whether some have an owner: costs less than the dictionary
        self.look()

    @property
    def current(self) -> Owner:
        if self._current is None:  # until somebody needs it
            self._current = NOBODY if self._test is None else Owner(self._test)
        return self._current

    @current.setter
    def current(self, owner: Owner) -> None:
        self._current = owner

    def look(self) -> None:
        """Bring the register up to date."""
        self.register.look(self._owner_of)

    def _owner_of(self, thread: int) -> Owner:
        owner = self._owner_of_thread.get(thread)
        return self.current if owner is None or owner.is_over else owner

    def update(self) -> None:
        """Bring the register up to date if anything has happened."""
        register = self.register
        if register.starts.has_new() or register.read_children() != register.children_text:
            self.look()

    def begin_test(self, item: pytest.Item) -> None:
        """Make a test the current owner. What C code has started since the last test is ignored."""
        if state.modules_seen != len(sys.modules):
            hooks.watch_new_modules()
        if notes or state.fork_noted[0]:
            self.look()
        if self._has_had_threads or _count_threads():
            self._update_threads()
        self._current, self._test = None, item.nodeid

    def end_if_clean(self) -> bool:
        """Make nobody the current owner if nothing is left that anybody owns. Whether it was so.

        This is all that runs after most tests: whatever else may have happened, it is False.
        """
        if state.modules_seen != len(sys.modules):
            hooks.watch_new_modules()
        register = self.register
        number = len(notes)
        if not register.is_empty or register.children_text or state.fork_noted[0]:
            return False
        if number:
            # All have to be Processes that the main thread forked, which are among its children
            # as long as they exist; and no other thread can be about to note more.
            if _count_threads():
                return False
            for kind, _, _, fields in notes:
                is_forked = kind == STARTED and fields[METHOD] == "fork"
                if not is_forked or fields[THREAD] != register.pid:
                    return False
        try:
            # the children after the notes: no fork may come between
            is_left = _pread(register.children_file, 1, 0)
        except OSError:  # if the descriptors are closed, that shows now
            is_left = register.read_children()
        if is_left or register.starts.is_lost:
            return False
        del notes[:number]
        if self._has_had_threads or _count_threads():
            self._update_threads()
        self._test = None
        if self._current is not None:
            self._current.is_over = self._current is not NOBODY
            self._current = None
        return True

    def change_to(self, owner: Owner) -> Owner:
        """Make this the current owner. The one before gets what is new, and is returned."""
        hooks.watch_new_modules()
        self.update()
        return self.replace_by(owner)

    def replace_by(self, owner: Owner) -> Owner:
        """The same, for when nothing can be new."""
        if self._has_had_threads or _count_threads():
            self._update_threads()
        before, self.current = self.current, owner
        return before

    def _update_threads(self) -> None:
        try:
            threads = {int(name) for name in posix.listdir("/proc/self/task")}
        except OSError:
            return  # a test has used up all descriptors
        threads.discard(_thread.get_native_id())
        owners = self._owner_of_thread
        self._owner_of_thread = {thread: owners.get(thread, self.current) for thread in threads}
        self._has_had_threads = bool(threads)


_by_process: dict[int, Ownership] = {}  # by pid: a fork begins with its parent's


def of_this_process() -> Ownership:
    """The same for all sessions of pytest that run in this process."""
    if posix.getpid() not in _by_process:
        _by_process.clear()
        _by_process[posix.getpid()] = Ownership()
    return _by_process[posix.getpid()]
