"""The starts noted by the guarded process and its forks (`inside/guard/tags.py`)."""

from __future__ import annotations

import posix
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import NamedTuple

from pytest_proclife import wire
from pytest_proclife.inside.guard import hooks, tags
from pytest_proclife.inside.guard.tags import Note


class Notes:
    """The notes, from where they were read last. One for each process, made at first use."""

    def __init__(self) -> None:
        hooks.enter()
        self._open()

    def _open(self) -> None:
        self.tag, self.link = tags.tag, tags.link
        status = posix.fstat(self.tag)
        self._identity = status.st_ino, status.st_dev
        self.is_lost = False  # something closed its descriptor: nothing more can be known
        self._read = 0  # bytes of the ledger

    def begin_again(self) -> None:
        """Where they are lost: what forks have noted and was not read stays unknown."""
        tags.begin()
        self._open()

    def has_news(self) -> bool:
        """Whether anything has been noted, by this process or by a fork of it."""
        return bool(tags.notes or tags.news[0])

    def is_there(self) -> bool:
        """Whether the descriptor is still ours; once it is not, it is lost."""
        try:
            status = posix.fstat(self.tag)
            self.is_lost |= (status.st_ino, status.st_dev) != self._identity
        except OSError:
            self.is_lost = True
        return not self.is_lost

    def take(self) -> list[Note]:
        """What is new, in the order of time. This process's own are read last, since it notes a
        fork before the fork can note anything: one that is in the ledger is among them.
        """
        of_forks = self._of_forks()
        own = tags.notes[:]
        del tags.notes[: len(own)]
        return sorted(_read(_packed(own)) + of_forks, key=lambda note: note.at)

    def _of_forks(self) -> list[Note]:
        tags.news[0] = 0  # before they are read: what comes meanwhile is news again
        if not self.is_there():
            return []
        # no larger than it has to be: a megabyte costs the mapping of its pages
        data = posix.pread(self.tag, posix.fstat(self.tag).st_size - self._read, self._read)
        found, start = [], 0
        while start + tags.LENGTH < len(data):
            size = int.from_bytes(data[start : start + tags.LENGTH], "little")
            end = start + tags.LENGTH + size
            found.append(data[start + tags.LENGTH : end])
            start = end
        self._read += len(data)
        return _read(found)


def _packed(notes: list[Note]) -> Iterator[bytes]:
    """Those that can be: the name of a Process may be of any type, and raise an error."""
    for note in notes:
        try:
            yield tags.packed(note)
        except Exception:  # noqa: BLE001
            continue


def _read(packed: Iterable[bytes]) -> list[Note]:
    found = (wire.unpack(data) for data in packed)
    return [Note(kind, pid, at, fields) for kind, _, pid, at, fields in filter(None, found)]


_NAME_LIMIT = 200  # characters


class Start(NamedTuple):
    """One start: the pid is 0 where only the tag tells who it was; `at` is monotonic ns."""

    by: int  # pid of the process that started it
    at: int
    where: str  # "file:line in function"; empty where it is not known
    pid: int = 0
    tag: int = 0
    kind: str = "os_fork"
    name: str = ""
    method: str = ""
    argv: tuple[str, ...] = ()
    thread: int = 0  # the one that started it
    maker: str = ""  # the Pool or executor that it is a worker of

    @property
    def is_silent_fork(self) -> bool:
        """A fork that has not said its pid yet, as it does before anything else."""
        return self.pid == 0 and self.kind == "os_fork"

    @property
    def reports(self) -> bool:
        """Whether what it starts itself is in the ledger too: a fork of Python's."""
        return self.method == "fork"


class Made:
    """A Pool or an executor that came into being."""

    __slots__ = "by", "maker", "thread"

    def __init__(self, *, by: int, maker: str, thread: int) -> None:
        self.by = by  # pid of the process that made it
        self.maker = maker
        self.thread = thread


class Ledger:
    """What the notes have said, by pid and by tag."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._tags: dict[int, Start] = {}
        self._pids: dict[int, Start] = {}
        self._made_at: dict[tuple[int, str], str] = {}  # by the process, and the maker

    def news(self) -> list[Start | Made]:
        """What has been started since the last call; a fork that said its pid comes twice."""
        found = []
        for note in self._notes.take():
            try:
                each = self._taken(note.kind, note.pid, note.at, note.fields)
            except ValueError:
                continue  # a test's own Popen need not have a number for a pid
            if each is not None:
                found.append(each)
        return found

    def by_tag(self, tag: int) -> Start | None:
        return self._tags.get(tag)

    def by_pid(self, pid: int) -> Start | None:
        return self._pids.get(pid)

    def _taken(self, kind: str, pid: int, at: int, fields: Sequence[str]) -> Start | Made | None:
        if kind == tags.MADE:
            thread, maker, where = fields
            self._made_at[pid, maker] = where
            return Made(by=pid, maker=maker, thread=int(thread))
        if kind in (tags.FORKING, tags.SYSTEM):
            thread, tag, where = fields
            start = Start(by=pid, at=at, where=where, tag=int(tag), thread=int(thread))
            if kind == tags.SYSTEM:
                start = start._replace(kind="subprocess", name="sh")
        elif kind == tags.FORKED:
            fork = self._tags.get(int(fields[tags.FORKING_TAG]))
            if fork is None:
                return None
            known = self._pids.get(pid)
            if known is not None and known.by == fork.by and known.at > fork.at:
                start = known._replace(tag=fork.tag)  # its parent's word came first, and says more
            else:
                start = Start(by=fork.by, at=at, where=fork.where, pid=pid, tag=fork.tag)
        else:
            thread, child, tag, what, name, method, where, maker, *argv = fields
            known = self._pids.get(int(child))
            if not tag and known is not None and known.by == pid:
                tag = str(known.tag)  # a Process, whose fork or program was noted before
            start = Start(
                by=pid,
                at=at,
                where=where or self._made_at.get((pid, maker), ""),
                pid=int(child),
                tag=int(tag or 0),
                kind=what,
                name=wire.clip(name, _NAME_LIMIT),
                method=method,
                argv=tuple(argv),
                thread=int(thread),
                maker=maker,
            )
        self._keep(start)
        return start

    def _keep(self, start: Start) -> None:
        if start.tag:
            self._tags[start.tag] = start
        if start.pid:
            self._pids[start.pid] = start

    def keep_only(self, pids: Container[int]) -> None:
        """Drop what is known of processes that are gone: their pids will be used again."""
        self._pids = {pid: start for pid, start in self._pids.items() if pid in pids}
