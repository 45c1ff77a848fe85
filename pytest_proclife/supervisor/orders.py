"""What a caller that acts on its run orders while it runs, and what it is told.

It is told when it asks: who does not read is owed one answer at most, and keeps nobody waiting.
"""

import select

from pytest_proclife.supervisor.channel import Channel

TYPE_CHECKING = False
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
