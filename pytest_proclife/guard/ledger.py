"""What the tests' process has started so far, as it was noted there (`inside/starts.py`)."""

import os
from collections.abc import Container, Iterator
from typing import NamedTuple

from pytest_proclife import wire
from pytest_proclife.inside import starts, tagging

# Named tuples, which are made at an import in a fifth of the time that a dataclass takes: all this
# is loaded in every guarded suite, whether or not it starts anything.


class Start(NamedTuple):
    """One start: the pid is 0 where only the tag tells who it was; `at` is monotonic ns."""

    by: int  # pid of the process that started it
    at: int
    where: str  # "file:line in function"; empty where it is not known
    pid: int = 0
    tag: int = 0
    kind: str = "os_fork"
    name: str = ""
    daemon: bool | None = None
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


class Made(NamedTuple):
    """A Pool or an executor that came into being."""

    by: int  # pid of the process that made it
    maker: str
    thread: int


class Ledger:
    """The notes, read from where they were read last. One for each process, made at first use."""

    def __init__(self) -> None:
        starts.enter()
        self._open()
        self._tags: dict[int, Start] = {}
        self._pids: dict[int, Start] = {}
        self._made_at: dict[tuple[int, str], str] = {}  # by the process, and the maker

    def _open(self) -> None:
        self.tag, self.link = tagging.tag, tagging.link
        status = os.fstat(self.tag)
        self._identity = status.st_ino, status.st_dev
        self.is_lost = False  # something closed its descriptor: nothing more can be known
        self._read = 0

    def begin_again(self) -> None:
        """Where it is lost: what has been noted and not read stays unknown."""
        tagging.begin()
        self._open()

    def has_news(self) -> bool:
        """Whether anything has been noted: asked of every test, hence by the cheapest call."""
        try:
            return bool(os.pread(self.tag, 1, self._read)) and self._is_there()
        except OSError:
            self._is_there()
            return False

    def _is_there(self) -> bool:
        """Whether the descriptor is still ours; once it is not, it is lost."""
        try:
            status = os.fstat(self.tag)
            self.is_lost |= (status.st_ino, status.st_dev) != self._identity
        except OSError:
            self.is_lost = True
        return not self.is_lost

    def news(self) -> list[Start | Made]:
        """What has been started since the last call; a fork that said its pid comes twice."""
        return [each for note in self._notes() if (each := self._taken(*note)) is not None]

    def by_tag(self, tag: int) -> Start | None:
        return self._tags.get(tag)

    def by_pid(self, pid: int) -> Start | None:
        return self._pids.get(pid)

    def _notes(self) -> Iterator[tuple[str, int, int, list[str]]]:
        if not self._is_there():
            return
        # no larger than it has to be: a megabyte costs the mapping of its pages
        data = os.pread(self.tag, os.fstat(self.tag).st_size - self._read, self._read)
        start = 0
        while start + tagging.LENGTH < len(data):
            size = int.from_bytes(data[start : start + tagging.LENGTH], "little")
            end = start + tagging.LENGTH + size
            note = wire.unpack(data[start + tagging.LENGTH : end])
            start = end
            if note is not None:
                kind, _, pid, at, fields = note
                yield kind, pid, at, fields
        self._read += len(data)

    def _taken(self, kind: str, pid: int, at: int, fields: list[str]) -> Start | Made | None:
        if kind == tagging.MADE:
            maker, where, thread = fields
            self._made_at[pid, maker] = where
            return Made(by=pid, maker=maker, thread=int(thread))
        if kind in (tagging.FORKING, tagging.SYSTEM):
            tag, where, thread = fields
            start = Start(by=pid, at=at, where=where, tag=int(tag), thread=int(thread))
            if kind == tagging.SYSTEM:
                start = start._replace(kind="subprocess", name="sh")
        elif kind == tagging.FORKED:
            fork = self._tags.get(int(fields[0]))
            if fork is None:
                return None
            known = self._pids.get(pid)
            if known is not None and known.by == fork.by and known.at > fork.at:
                start = known._replace(tag=fork.tag)  # its parent's word came first, and says more
            else:
                start = Start(by=fork.by, at=at, where=fork.where, pid=pid, tag=fork.tag)
        else:
            child, tag, what, name, daemon, method, where, thread, maker, *argv = fields
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
                name=name,
                daemon={"1": True, "0": False}.get(daemon),
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
