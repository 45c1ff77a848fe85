"""The caller's connection to the supervisor of one run.

It carries the request, the caller's orders while the run lasts, and the log. News are sent when
the caller asks for them: a caller that does not read is owed one answer at most, and blocks
nobody.
"""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import _socket
import marshal
import posix
import select
import time

from pytest_proclife.supervisor import kernel
from pytest_proclife.supervisor.tree import Process, Tree

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


if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Output(Protocol):
        changed: bool

        def result(self) -> tuple[bytes, bytes, int]: ...

    # number of the process, signal, how it is asked for, the process group to be spared or None
    Send = Callable[[int, int, str, int | None], str]


class Orders:
    """`send` sends a signal and says whether it could: "sent", "gone", "refused"."""

    def __init__(
        self,
        channel: Channel,
        log: "list[tuple[Any, ...]]",
        outputs: "Sequence[Output]",
        send: "Send",
    ) -> None:
        self.channel = channel
        self.log = log
        self.outputs = outputs
        self.send = send
        self.asked = self.answered = 0  # tickets of the caller's questions
        self.at_once = False
        self.told = 0  # entries of the log
        self.ended = False

    def take(self) -> bool:
        """Take one order; False where the caller wants no more of the run."""
        match self.channel.receive():
            case ("tell", ticket, at_once):
                self.asked, self.at_once = ticket, self.at_once or at_once
            case ("signal", ticket, number, signal, via, spared):
                outcome = self.send(number, signal, via, spared)
                self.channel.send_at_once("signaled", ticket, outcome)
            case _:  # "end", or the end of the file
                self.ended = True
        return not self.ended

    def tell(self, now: int) -> None:
        """Tell what is new, if the caller has asked for that; `now` in monotonic ns."""
        if self.channel.unsent:
            self.channel.flush()
        if self.asked == self.answered:
            return
        changed = any(output.changed for output in self.outputs)
        if not (self.at_once or changed or self.told < len(self.log)):
            return
        results = [output.result() for output in self.outputs] if changed else None
        for output in self.outputs:
            output.changed = False
        self.channel.send_at_once("news", self.asked, now, self.log[self.told :], results)
        self.answered, self.at_once, self.told = self.asked, False, len(self.log)

    def hand_over(self, rest: "tuple[object, ...]", caller: int | None) -> None:
        """Nothing is left of the run: tell it when the caller asks. `caller` is its pidfd."""
        poll = select.poll()
        if caller is not None:
            poll.register(caller, select.POLLIN)
        told = False
        while not told or self.channel.unsent:
            if not told and (self.ended or self.asked != self.answered):
                self.channel.send_at_once("over", self.log[self.told :], *rest)
                told = True
                continue
            wanted = select.POLLOUT if self.channel.unsent else select.POLLIN
            poll.register(self.channel.descriptor, wanted)
            events = dict(poll.poll())
            if caller in events:
                return
            if self.channel.unsent:
                self.channel.flush()
            else:
                self.take()


def send(tree: Tree, number: int, signal: int, via: str, spared: int | None) -> str:
    """Send a signal to a process, or to its group where one is `spared`: the caller's own.

    Answers "sent", "gone" (it has ended) or "refused".
    """
    process = tree.processes[number]
    if has_ended(process):
        return "gone"
    try:
        if spared is None:
            _to_one(tree, process, signal, via)
        else:
            return _to_group(tree, process, signal, via, spared)
    except ProcessLookupError:
        return "gone"
    except PermissionError:
        return "refused"
    return "sent"


def has_ended(process: Process) -> bool:
    """Whether it is dead at this moment, whoever has told of it."""
    if process.ended:
        return True
    poll = select.poll()
    poll.register(process.handle, select.POLLIN)
    return bool(poll.poll(0))


def _to_one(tree: Tree, process: Process, signal: int, via: str) -> None:
    asked = _request(process, signal, via)
    _signal.pidfd_send_signal(process.handle, signal)
    tree.log += asked


def _to_group(tree: Tree, process: Process, signal: int, via: str, spared: int) -> str:
    group = posix.getpgid(process.pid)
    if group in (spared, posix.getpgid(0)):
        return "refused"
    # a child that has not said a word yet gets the signal too
    for one in list(tree.living.values()):
        if not one.ended:
            tree.find_children(one)
    members = [p for p in tree.living.values() if not has_ended(p) and _is_in(p, group)]
    asked = [entry for member in members for entry in _request(member, signal, via)]
    asked.append((time.monotonic_ns(), "asked group", process.number, signal, via))
    posix.killpg(group, signal)
    tree.log += asked
    return "sent"


def _is_in(process: Process, group: int) -> bool:
    try:
        return posix.getpgid(process.pid) == group
    except OSError:
        return False  # it has been reaped


def _request(process: Process, signal: int, via: str) -> list[tuple[object, ...]]:
    """What the log says of it: its time is before the signal, whatever the answer to that."""
    entries: list[tuple[object, ...]] = [
        (time.monotonic_ns(), "asked", process.number, signal, via)
    ]
    if signal != _signal.SIGKILL:
        state = kernel.signal_state(process.pid, signal)
        entries.append((time.monotonic_ns(), "state", process.number, signal, state))
    return entries
