"""What the tests' process and its forks have noted of what they start (`inside/tagging.py`)."""

from __future__ import annotations

import posix
from collections.abc import Iterable, Iterator

from pytest_proclife import wire
from pytest_proclife.inside import starts, tagging
from pytest_proclife.inside.tagging import Note


class Notes:
    """The notes, from where they were read last. One for each process, made at first use."""

    def __init__(self) -> None:
        starts.enter()
        self._open()

    def _open(self) -> None:
        self.tag, self.link = tagging.tag, tagging.link
        status = posix.fstat(self.tag)
        self._identity = status.st_ino, status.st_dev
        self.is_lost = False  # something closed its descriptor: nothing more can be known
        self._read = 0  # bytes of the ledger

    def begin_again(self) -> None:
        """Where they are lost: what forks have noted and was not read stays unknown."""
        tagging.begin()
        self._open()

    def has_news(self) -> bool:
        """Whether anything has been noted, by this process or by a fork of it."""
        return bool(tagging.notes or tagging.news[0])

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
        own = tagging.notes[:]
        del tagging.notes[: len(own)]
        return sorted(_read(_packed(own)) + of_forks, key=lambda note: note.at)

    def _of_forks(self) -> list[Note]:
        tagging.news[0] = 0  # before they are read: what comes meanwhile is news again
        if not self.is_there():
            return []
        # no larger than it has to be: a megabyte costs the mapping of its pages
        data = posix.pread(self.tag, posix.fstat(self.tag).st_size - self._read, self._read)
        found, start = [], 0
        while start + tagging.LENGTH < len(data):
            size = int.from_bytes(data[start : start + tagging.LENGTH], "little")
            end = start + tagging.LENGTH + size
            found.append(data[start + tagging.LENGTH : end])
            start = end
        self._read += len(data)
        return _read(found)


def _packed(notes: list[Note]) -> Iterator[bytes]:
    """Those that can be: the name of a Process may be of any type, and raise an error."""
    for note in notes:
        try:
            yield tagging.packed(note)
        except Exception:  # noqa: BLE001
            continue


def _read(packed: Iterable[bytes]) -> list[Note]:
    found = (wire.unpack(data) for data in packed)
    return [Note(kind, pid, at, fields) for kind, _, pid, at, fields in filter(None, found)]
