"""The way to the caller: messages of marshal, each after its length. Both ends are ours."""

import _socket
import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_AT_ONCE = _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL


class Channel:
    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._socket = _socket.socket(fileno=descriptor)
        self.unsent = bytearray()

    def receive(self) -> "Any":
        """One message; None at the end of the file."""
        header = self._read(8)
        data = self._read(int.from_bytes(header, "little")) if header else b""
        return marshal.loads(data) if data else None

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                part = self._socket.recv(size - len(data))
            except ConnectionResetError:
                part = b""  # the caller closed it, and had not read all
            if not part:
                return b""
            data += part
        return data

    def send(self, *message: object) -> None:
        """Send a message, however long the caller takes to read it."""
        self._put(message)
        self._flush(_socket.MSG_NOSIGNAL)

    def send_at_once(self, *message: object) -> None:
        """Send what the caller has room for; `unsent` is what has to follow by `flush`."""
        self._put(message)
        self.flush()

    def flush(self) -> None:
        """Send more of what is unsent, as far as there is room for it."""
        self._flush(_AT_ONCE)

    def _put(self, message: tuple[object, ...]) -> None:
        data = marshal.dumps(message)  # type: ignore[arg-type]  # values of the log
        self.unsent += len(data).to_bytes(8, "little") + data

    def _flush(self, flags: int) -> None:
        try:
            while self.unsent:
                sent = self._socket.send(self.unsent, flags)
                del self.unsent[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self.unsent.clear()  # the caller is gone: its pidfd tells, and the tree is ended

    def close(self) -> None:
        self._socket.close()
