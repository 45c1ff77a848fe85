"""The output of a run: what a pipe delivers, its head and its tail kept, never more."""

import posix


class Output:
    """One stream of main and its children. `limit` in bytes; half of it for the head."""

    def __init__(self, limit: int, copy: int | None = None) -> None:
        self.limit = limit
        self.copy = copy  # a descriptor that gets all of it, too
        self.head = bytearray()
        self.tail = bytearray()
        self.dropped = 0
        self.changed = False  # since somebody was told of it
        self.reader, self.writer = posix.pipe2(posix.O_CLOEXEC)
        posix.set_blocking(self.reader, False)

    def read(self) -> bool:
        """Take what is there; False at the end of the file. Returns at once."""
        for _ in range(64):  # a bound, so that endless output cannot hold up the events
            try:
                data = posix.read(self.reader, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.take(data)
        return True

    def take(self, data: bytes) -> None:
        self.changed = True
        if self.copy is not None:
            self._write(data)
        half = self.limit // 2
        room = half - len(self.head)
        if room > 0:
            self.head += data[:room]
            data = data[room:]
        self.tail += data
        if len(self.tail) > self.limit:  # twice what is kept: cutting each time would be slow
            self._cut(half)

    def _write(self, data: bytes) -> None:
        try:
            while data and self.copy is not None:
                data = data[posix.write(self.copy, data) :]
        except OSError:
            self.copy = None  # nobody reads it any more

    def _cut(self, half: int) -> None:
        excess = len(self.tail) - half
        if excess > 0:
            self.dropped += excess
            del self.tail[:excess]

    def result(self) -> tuple[bytes, bytes, int]:
        """(head, tail, bytes left out between them)."""
        self._cut(self.limit - self.limit // 2)
        return bytes(self.head), bytes(self.tail), self.dropped
