"""What has been started so far, by what was noted of it."""

from collections.abc import Container, Sequence
from typing import NamedTuple

from pytest_proclife import wire
from pytest_proclife.guard.notes import Notes
from pytest_proclife.inside import tagging

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
        if kind == tagging.MADE:
            thread, maker, where = fields
            self._made_at[pid, maker] = where
            return Made(by=pid, maker=maker, thread=int(thread))
        if kind in (tagging.FORKING, tagging.SYSTEM):
            thread, tag, where = fields
            start = Start(by=pid, at=at, where=where, tag=int(tag), thread=int(thread))
            if kind == tagging.SYSTEM:
                start = start._replace(kind="subprocess", name="sh")
        elif kind == tagging.FORKED:
            fork = self._tags.get(int(fields[tagging.FORKING_TAG]))
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
