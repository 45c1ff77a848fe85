"""The output of a run: what a pipe delivers, its head and its tail kept, never more."""

import posix

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

KEPT = 1 << 19  # bytes of each end of a stream
_CHUNK = 65536  # bytes
_CHUNKS = 64  # of one read, so that endless output cannot hold up the events


def capture(streams: "list[int]", pass_output: bool) -> "list[Output]":
    """Put pipes in the place of standard output and error; what was there gets a copy."""
    size = 3 if pass_output else 1
    copies: list[int | None] = [*streams[1:size]] or [None, None]
    outputs = [Output(copy) for copy in copies]
    streams[1:size] = [output.writer for output in outputs]
    return outputs


class Output:
    """One stream of main and its children."""

    def __init__(self, copy: int | None) -> None:
        self.copy = copy  # a descriptor that gets all of it, too; closed in the end
        self.head = bytearray()
        self.tail = bytearray()
        self.dropped = 0
        self.total = 0  # bytes that were read
        self.changed = False  # since it was sent to the caller
        self.seen: Callable[[bytes], object] | None = None  # is called with what was read
        self.reader, self.writer = posix.pipe()
        posix.set_blocking(self.reader, False)

    def read(self) -> bool:
        """Read what is there; False at the end of the file. Returns at once."""
        for _ in range(_CHUNKS):
            try:
                data = posix.read(self.reader, _CHUNK)
            except BlockingIOError:
                return True
            if not data:
                return False
            self.changed = True
            self.total += len(data)
            self._pass_on(data)
            self._keep(data)
            if self.seen is not None:
                self.seen(data)
        return True

    def result(self) -> tuple[bytes, bytes, int]:
        """(head, tail, bytes left out between them)."""
        self._cut()
        return bytes(self.head), bytes(self.tail), self.dropped

    def close(self) -> None:
        posix.close(self.reader)
        if self.copy is not None:
            posix.close(self.copy)

    def _pass_on(self, data: bytes) -> None:
        if self.copy is None:
            return
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[posix.write(self.copy, rest) :]
        except OSError:  # nobody reads it any more
            posix.close(self.copy)
            self.copy = None

    def _keep(self, data: bytes) -> None:
        room = KEPT - len(self.head)
        if room > 0:
            self.head += data[:room]
            data = data[room:]
        self.tail += data
        if len(self.tail) > 2 * KEPT:  # cutting each time would be slow
            self._cut()

    def _cut(self) -> None:
        excess = len(self.tail) - KEPT
        if excess > 0:
            self.dropped += excess
            del self.tail[:excess]
