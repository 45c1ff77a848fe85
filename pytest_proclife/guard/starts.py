"""Starts of processes, as the guarded process and its forks noted them."""

from __future__ import annotations

import posix
from collections.abc import Container, Iterator, Sequence
from typing import NamedTuple

from pytest_proclife import wire
from pytest_proclife.inside.guard import hooks, tags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pytest_proclife.inside.guard.tags import Note

    ReadNote = tuple[str, int, int, Sequence[str]]  # as a `Note`, but its fields are all text

_NAME_LIMIT = 200  # characters


class Line(NamedTuple):
    """The line that started a process. All is empty if it is unknown."""

    place: str = ""  # "file:line" of the test's or the fixture's own code
    function: str = ""
    through: str = ""  # "file:line in function" of the library that it called, if any did


class Start(NamedTuple):
    """The start of a process."""

    by: int  # pid of the process that started it
    at: int  # monotonic ns
    line: Line
    pid: int = 0  # 0 as long as it is known by the tag alone
    tag: int = 0
    kind: str = "os_fork"
    name: str = ""
    method: str = ""
    argv: tuple[str, ...] = ()
    thread: int = 0  # that started it
    maker: str = ""  # the Pool or executor whose worker it is
    is_fork: bool = False  # of Python's, which notes its pid itself

    @property
    def has_no_pid_yet(self) -> bool:
        """Whether it is a fork that has not noted its pid, as it does before anything else."""
        return self.pid == 0 and self.is_fork

    @property
    def notes_its_starts(self) -> bool:
        """Whether it notes the processes that it starts itself, as Python's forks do."""
        return self.method == "fork"


class NewMaker:
    """A Pool or an executor was made."""

    __slots__ = "by", "maker", "thread"

    def __init__(self, by: int, maker: str, thread: int) -> None:
        self.by = by  # pid of the process that made it
        self.maker = maker
        self.thread = thread


class Starts:
    """The starts that this process and its forks have noted, by pid and by tag. One object a
    process, made at first use.
    """

    def __init__(self) -> None:
        hooks.install()
        self.is_lost = False  # something closed the tag: forks' notes cannot be read
        self._read = 0  # bytes of the ledger
        self.by_tag: dict[int, Start] = {}
        self.by_pid: dict[int, Start] = {}
        self._line_made: dict[tuple[int, str], Line] = {}  # by the pid, and the maker

    def reopen(self) -> None:
        """Begin a new ledger. The notes of forks in a lost one stay unknown."""
        tags.open_ledger()
        self.is_lost, self._read = False, 0

    def has_new(self) -> bool:
        """Whether this process or a fork of it has noted anything."""
        return bool(tags.notes or tags.state.fork_noted[0])

    def check(self) -> bool:
        """Whether the tag is still ours; if it is not, forks' notes are lost for good."""
        self.is_lost |= not tags.is_ledger(tags.tag)
        return not self.is_lost

    def read_new(self) -> list[Start | NewMaker]:
        """The starts noted since the last call. A fork that has noted its pid comes twice."""
        new = []
        for note in self._new_notes():
            try:
                start = self._add(*note)
            except ValueError:
                continue  # the pid of a test's own Popen need not be a number
            if start is not None:
                new.append(start)
        return new

    def _new_notes(self) -> list[ReadNote]:
        """The new notes, in the order of time. This process's own are read last: it notes a fork
        before the fork can note anything, so a fork in the ledger is among them.
        """
        of_forks = self._notes_of_forks()
        own = tags.notes[:]
        del tags.notes[: len(own)]
        found = filter(None, map(wire.unpack, [*_packed(own), *of_forks]))
        return sorted(((kind, pid, at, fields) for kind, _, pid, at, fields in found), key=_time)

    def _notes_of_forks(self) -> list[bytes]:
        # before they are read: a note that comes meanwhile is new again
        tags.state.fork_noted[0] = 0
        if not self.check():
            return []
        # exactly the size: to read a megabyte costs the mapping of its pages
        data = posix.pread(tags.tag, posix.fstat(tags.tag).st_size - self._read, self._read)
        packed, start = [], 0
        while start + tags.LENGTH < len(data):
            size = int.from_bytes(data[start : start + tags.LENGTH], "little")
            end = start + tags.LENGTH + size
            packed.append(data[start + tags.LENGTH : end])
            start = end
        self._read += len(data)
        return packed

    def keep_only(self, pids: Container[int]) -> None:
        """Forget the pids of processes that are gone: they will be used again."""
        self.by_pid = {pid: start for pid, start in self.by_pid.items() if pid in pids}

    def _add(self, kind: str, pid: int, at: int, fields: Sequence[str]) -> Start | NewMaker | None:
        if kind == tags.MADE:
            thread, maker, *line = fields
            self._line_made[pid, maker] = Line(*line)
            return NewMaker(by=pid, maker=maker, thread=int(thread))
        if kind == tags.FORKING:
            thread, tag, fork_kind, *line = fields
            start = Start(by=pid, at=at, line=Line(*line), tag=int(tag), thread=int(thread))
            start = start._replace(kind=fork_kind, is_fork=True)
        elif kind == tags.SYSTEM:
            thread, tag, *line = fields
            start = Start(by=pid, at=at, line=Line(*line), tag=int(tag), thread=int(thread))
            start = start._replace(kind="subprocess", name="sh")
        elif kind == tags.FORKED:
            fork = self.by_tag.get(int(fields[tags.FORKING_TAG]))
            if fork is None:
                return None
            known = self.by_pid.get(pid)
            if known is not None and known.by == fork.by and known.at > fork.at:
                # the parent's note was first, and has more in it
                start = known._replace(tag=fork.tag)
            else:
                start = fork._replace(at=at, pid=pid)
        elif not fields[tags.CHILD]:
            thread, _, tag, *_, maker = fields
            start = Start(by=pid, at=at, line=Line(), tag=int(tag), thread=int(thread), maker=maker)
            # the rest comes with its pid: until then `is_being_started` goes by the empty line
            start = start._replace(is_fork=True)
        else:
            thread, child, tag, child_kind, name, method, *line, maker = fields[: tags.MAKER + 1]
            known = self.by_pid.get(int(child))
            if not tag and known is not None and known.by == pid:
                tag = str(known.tag)  # a Process, whose fork or program was noted before
            start = Start(
                by=pid,
                at=at,
                line=Line(*line) if line[0] else self._line_made.get((pid, maker), Line()),
                pid=int(child),
                tag=int(tag or 0),
                kind=child_kind,
                name=wire.clip(name, _NAME_LIMIT),
                method=method,
                argv=tuple(fields[tags.MAKER + 1 :]),
                thread=int(thread),
                maker=maker,
            )
        if start.tag:
            self.by_tag[start.tag] = start
        if start.pid:
            self.by_pid[start.pid] = start
        return start


def _time(note: ReadNote) -> int:
    return note[2]


def _packed(notes: list[Note]) -> Iterator[bytes]:
    """Pack notes. Skip those that fail: the name of a Process may have any type, and raise."""
    for note in notes:
        try:
            yield tags.packed(note)
        except Exception:  # noqa: BLE001 - the program's own: see above
            continue
