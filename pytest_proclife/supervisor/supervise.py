"""One run: wait for a request, start main, watch until nothing of it is left, report."""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import _socket
import posix
import select
import time

from pytest_proclife.supervisor import kernel
from pytest_proclife.supervisor.caller import Channel, Orders, send
from pytest_proclife.supervisor.main_start import Birth, Limits, Request, raise_descriptor_limit
from pytest_proclife.supervisor.output import Output
from pytest_proclife.supervisor.reports import Reception, descriptors
from pytest_proclife.supervisor.tree import Tree

_SCAN = 0.01  # s between two looks for children of programs that report nothing
_ENDING = 0.005  # s between two rounds of SIGKILL, while processes are left
_GATHER = 0.002  # s that wake-ups are gathered once they come faster than that
_FEW = 8  # living processes whose news are not gathered where somebody waits for them
_LONGEST = 86400.0  # s of one wait: epoll_wait(2) takes no more than 24 days
_MOST = 1023  # events of one look
_ROUNDS = 100  # a bound: all pidfds are readable by then, so one round is enough


def main(requests: int, taken: int, caller: int) -> None:
    """Become the supervisor of the next request that arrives on the socket `requests`."""
    kernel.die_with_parent(_signal.SIGKILL)
    kernel.become_subreaper()
    limits = raise_descriptor_limit()
    supervisor = Supervisor(caller)  # ahead of the request, which then finds all in place
    channel, *streams = _next_request(requests, caller)
    posix.close(requests)
    kernel.die_with_parent(0)
    supervisor.run(channel, streams, limits, taken)


def _next_request(requests: int, caller: int) -> list[int]:
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    poll.register(caller, select.POLLIN)
    events = dict(poll.poll())
    if not events.get(requests, 0) & select.POLLIN:
        posix._exit(0)  # the caller has ended
    socket = _socket.socket(fileno=requests)
    data, ancillary, _, _ = socket.recvmsg(64, _socket.CMSG_SPACE(16 * 4))
    socket.detach()
    if not data:
        posix._exit(0)
    return [descriptor for _, _, content in ancillary for descriptor in descriptors(content)]


class Supervisor:
    def __init__(self, caller: int) -> None:
        self.caller = caller
        self.epoll = select.epoll()
        self.tree = Tree(self.epoll, Reception(self.epoll))
        self.wake = self._wake_on_child()
        self.epoll.register(self.caller, select.EPOLLIN)
        self.outputs: dict[int, Output] = {}  # by the reading end
        self.linger = 0.0
        self.deadline: float | None = None
        self.linger_ends: float | None = None
        self.ending = False
        self.timed_out = False

    def _wake_on_child(self) -> int:
        """SIGCHLD as an event: of orphans that nobody has told of, there is no pidfd."""
        reader, writer = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.epoll.register(reader, select.EPOLLIN)
        return reader

    def run(self, channel: int, streams: list[int], limits: Limits, taken: int) -> None:
        self.channel, self.streams, tree = Channel(channel), streams, self.tree
        self.epoll.register(channel, select.EPOLLIN)
        self.heeds = select.EPOLLIN
        request = self.channel.receive()
        if request is None:
            return
        self.channel.send("taken")
        captured = self._capture(request) if request["capture"] else []
        self.orders = Orders(self.channel, tree.log, captured, lambda *order: send(tree, *order))
        tree.live = bool(request["live"])
        self.linger = float(request["linger"])
        started = time.time()
        error = Birth(request, self.streams, limits).start(tree)
        # only now: the zygote forks the next supervisor, which would compete with main's start
        posix.write(taken, b".")
        for descriptor in (taken, *self.streams):
            posix.close(descriptor)
        if error is not None:
            self.channel.send("failed", request["executable"], error)
            return
        self.channel.send("started", started, tree.epoch, tree.main.pid)
        if request["timeout"] is not None:
            self.deadline = tree.epoch / 1e9 + float(request["timeout"])
        self._watch()
        for output in captured:
            output.read()
        duration = time.monotonic_ns() - tree.epoch
        results = [output.result() for output in captured]
        rest = (duration, self.timed_out, results)
        if request["live"]:
            self.orders.hand_over(rest, self.caller)
        else:
            self.channel.send("over", tree.log, *rest)

    def _capture(self, request: Request) -> list[Output]:
        """Put pipes in the place of standard output and error; what was there gets a copy."""
        passed = request["pass_output"]
        copies: list[int | None] = [*self.streams[1:3]] if passed else [None, None]
        outputs = [Output(int(request["limit"]), copy) for copy in copies]  # type: ignore[call-overload]
        self.streams[1 : 3 if passed else 1] = [output.writer for output in outputs]
        for output in outputs:
            self.outputs[output.reader] = output
            self.epoll.register(output.reader, select.EPOLLIN)
        return outputs

    def _watch(self) -> None:
        """The one event loop: until waitid(2) says that no child is left."""
        tree = self.tree
        main = select.poll()
        main.register(tree.main.handle, select.POLLIN)
        before = 0.0
        while tree.reap():
            events = dict(self.epoll.poll(self._patience(), _MOST))
            first = len(events)
            if time.monotonic() - before < _GATHER and not (tree.main.ended or self._hurries()):
                main.poll(_GATHER * 1000)  # main's end is not kept waiting
                for descriptor, event in self.epoll.poll(0):
                    events[descriptor] = events.get(descriptor, 0) | event
            before = time.monotonic()
            # chosen first: a new pidfd may get the number of a connection that has ended
            items = list(events.items())
            ends = [item for item in items[:first] if item[0] in tree.handles]
            later = [item for item in items[first:] if item[0] in tree.handles]
            # What a process reported before it ended lies in the socket by now: first read,
            # then stamp the ends; what was sent before a signal precedes the death by it.
            tree.read_reports()
            tree.note_ends(ends)
            # not there at the first look, which has all there was: after those that were
            tree.note_ends(later, later=first < _MOST)
            for descriptor, event in items:
                self._serve(descriptor, event)
            self._look_at_the_clock()
            self._tell()
        self._settle()

    def _hurries(self) -> bool:
        """Whether the caller may be waiting for news, and no storm is on its way."""
        return self.tree.live and len(self.tree.living) <= _FEW

    def _settle(self) -> None:
        """Nothing is left: take the ends of those that were reported with the last wake-up."""
        tree = self.tree
        tree.read_reports()
        for _ in range(_ROUNDS):
            if not tree.living:
                return
            events = self.epoll.poll(_SCAN)
            tree.note_ends([item for item in events if item[0] in tree.handles])
            tree.read_reports()

    def _tell(self) -> None:
        """Tell the caller what it has asked for; with an event when there is room for the rest."""
        self.orders.tell(time.monotonic_ns())
        heeds = select.EPOLLIN | (select.EPOLLOUT if self.channel.unsent else 0)
        if heeds != self.heeds and self.heeds:
            self.epoll.modify(self.channel.descriptor, heeds)
            self.heeds = heeds

    def _serve(self, descriptor: int, event: int) -> None:
        if descriptor in self.outputs:
            if not self.outputs[descriptor].read():
                self.epoll.unregister(descriptor)
        elif descriptor == self.wake:
            posix.read(self.wake, 4096)
        elif descriptor == self.channel.descriptor:
            # an order, or room for more of an answer
            if event & ~select.EPOLLOUT and not self.orders.take():
                self.epoll.unregister(descriptor)
                self.heeds = 0
                self._end_all()
        elif descriptor == self.caller:
            self.epoll.unregister(descriptor)  # it has ended, and stays readable
            self._end_all()

    def _patience(self) -> float | None:
        """Seconds until something has to be done without an event; None for ever."""
        if self.ending:
            return _ENDING
        times = [t for t in (self.deadline, self.linger_ends) if t is not None]
        wait = min(max(0.0, min(times) - time.monotonic()), _LONGEST) if times else None
        if self.tree.opaque and (wait is None or wait > _SCAN):
            return _SCAN
        return wait

    def _look_at_the_clock(self) -> None:
        tree = self.tree
        if tree.opaque:
            tree.scan()
        if tree.main.ended and self.linger_ends is None:
            self.deadline = None
            self.linger_ends = time.monotonic() + self.linger
            tree.adopt()
        now = time.monotonic()
        if self.ending:
            tree.kill_all()
        elif self.deadline is not None and now >= self.deadline:
            self.timed_out = True
            self._end_all()
        elif self.linger_ends is not None and now >= self.linger_ends:
            self._end_all()

    def _end_all(self) -> None:
        self.ending = True
        self.tree.kill_all()
