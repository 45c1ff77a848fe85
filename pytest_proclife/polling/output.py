"""The output of a run: what a pipe delivers, its head and its tail kept, never more."""

from __future__ import annotations

import os

_CHUNK = 65536
_CHUNKS = 64  # taken at a time, so that endless output cannot hold up the watch


class Output:
    """One stream of main and what it starts. Half of `limit` (bytes) is kept of each end."""

    def __init__(self, limit: int, copy: int | None = None) -> None:
        self._copy = copy  # a descriptor that gets all of it, too; closed in the end
        self.dropped = 0
        self.changed = False  # since somebody was told of it
        self._head_size, self._tail_size = limit // 2, limit - limit // 2
        self._head, self._tail = bytearray(), bytearray()
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)

    def read(self) -> bool:
        """Take what is there; False at the end of the file. Returns at once."""
        for _ in range(_CHUNKS):
            try:
                data = os.read(self.reader, _CHUNK)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.changed = True
            self._pass_on(data)
            room = self._head_size - len(self._head)
            self._head += data[:room]
            self._tail += data[room:]
            if len(self._tail) > 2 * self._tail_size:  # cutting each time would be slow
                self._cut()
        return True

    def result(self) -> tuple[bytes, bytes, int]:
        """(head, tail, bytes left out between them)."""
        self._cut()
        return bytes(self._head), bytes(self._tail), self.dropped

    def close(self) -> None:
        os.close(self.reader)
        if self._copy is not None:
            os.close(self._copy)

    def _pass_on(self, data: bytes) -> None:
        if self._copy is None:
            return
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._copy, view) :]
        except OSError:  # nobody reads it any more
            os.close(self._copy)
            self._copy = None

    def _cut(self) -> None:
        excess = len(self._tail) - self._tail_size
        if excess > 0:
            self.dropped += excess
            del self._tail[:excess]
