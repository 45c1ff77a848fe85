"""The caller of one run, as its supervisor sees it: orders arrive from it, the log goes to it.

News is sent only if the caller asks for it. So at most one answer is unsent if the caller does
not read, and the supervisor need not wait for it.
"""

import _socket
import select

from pytest_proclife.supervisor import protocol, signals, system_calls
from pytest_proclife.supervisor.output import Output
from pytest_proclife.supervisor.protocol import Connection, pack

_AT_ONCE = _socket.MSG_DONTWAIT | protocol.NO_SIGNAL


class Caller:
    def __init__(self, connection: Connection, tree: "signals.Tree", outputs: list[Output]) -> None:
        self.connection = connection
        self.tree = tree
        self.outputs = outputs
        self.unsent = bytearray()  # of messages; `flush` sends it
        self.asked = self.answered = 0  # tickets of what it asks for
        self.at_once = False
        self.sent = 0  # entries of the log
        self.has_ended_run = False
        self.has_looked = False  # since the last STANDING of the supervisor's own

    def execute_order(self) -> bool:
        """Receive an order and execute it; False if the run is to end."""
        match self.connection.receive():
            case (protocol.ASK, ticket, at_once):
                self.asked, self.at_once = ticket, self.at_once or at_once
            case (protocol.SIGNAL, ticket, number, signal, via, spared):
                outcome = signals.send(self.tree, number, signal, via, spared)
                self._send(protocol.SIGNALED, ticket, outcome)
            case (protocol.LOOK, ticket):
                self.send_standing(ticket)
            case (protocol.STACKS, stacks):
                self._note_stacks(stacks)
            case _:  # END, or the end of the file
                self.has_ended_run = True
        return not self.has_ended_run

    def send_standing(self, ticket: int = 0) -> None:
        """Note where each process stands, and let the caller read their stacks."""
        self.has_looked = False
        self._send(protocol.STANDING, ticket, system_calls.note(self.tree))

    def _note_stacks(self, stacks: "tuple[tuple[object, ...], ...]") -> None:
        running = {process.number: process for process in self.tree.all_running()}
        for number, *fields in stacks:
            process = running.get(number)  # type: ignore[call-overload]
            # if it still has its pid, what was read by that is of no other process
            if process is not None and process.has_pid():
                self.tree.log.append(protocol.entry(protocol.STACK, process.number, *fields))
        self.has_looked = True

    def send_news(self, now: int) -> None:
        """Send what is new, if the caller has asked for that; `now` in monotonic ns."""
        if self.unsent:
            self.flush()
        if self.asked == self.answered:
            return
        changed = any(output.changed for output in self.outputs)
        if not (self.at_once or changed or self.sent < len(self.tree.log)):
            return
        results = [output.result() for output in self.outputs] if changed else None
        for output in self.outputs:
            output.changed = False
        self._send(protocol.NEWS, self.asked, now, self._new_entries(), results)
        self.answered, self.at_once = self.asked, False

    def hand_over(
        self,
        duration: int,
        timed_out: bool,
        live: bool,
        caller: int | None,
        exceeded: str = "",
    ) -> None:
        """Nothing of the run is left: send the rest of the log and the result, as OVER has it.

        A `live` caller gets it when it asks for news. `caller` is its pidfd.
        """
        outputs = [output.result() for output in self.outputs]
        result = (duration, timed_out, outputs, exceeded)
        if not live:
            self.connection.send(protocol.OVER, self._new_entries(), *result)
            return
        poll = select.poll()
        if caller is not None:
            poll.register(caller, select.POLLIN)
        handed_over = False
        while not handed_over or self.unsent:
            if not handed_over and (self.has_ended_run or self.asked != self.answered):
                self._send(protocol.OVER, self._new_entries(), *result)
                handed_over = True
                continue
            wanted = select.POLLOUT if self.unsent else select.POLLIN
            poll.register(self.connection, wanted)
            events = dict(poll.poll())
            if caller in events:
                return
            if self.unsent:
                self.flush()
            else:
                self.execute_order()

    def flush(self) -> None:
        """Send what is unsent, as far as there is room for it."""
        try:
            while self.unsent:
                sent = self.connection.socket.send(self.unsent, _AT_ONCE)
                del self.unsent[:sent]
        except BlockingIOError:
            pass  # no room: an event says when there is
        except OSError:
            self.unsent.clear()  # the caller is gone: its pidfd shows that, and the tree is ended

    def _send(self, *message: object) -> None:
        self.unsent += pack(message)
        self.flush()

    def _new_entries(self) -> "list[protocol.Entry]":
        entries = self.tree.log[self.sent :] if self.sent else self.tree.log
        self.sent = len(self.tree.log)
        return entries
