"""One run: receive a request, start main, watch until nothing is left, hand over the log."""

import _signal  # type: ignore[import-not-found]  # signal.py costs an import of enum
import _socket
import posix
import select
import time

from pytest_proclife.supervisor import kernel, protocol, seccomp
from pytest_proclife.supervisor.caller import Caller
from pytest_proclife.supervisor.held_calls import HeldCalls
from pytest_proclife.supervisor.limits import INTERVAL, MEMORY, TreeLimits
from pytest_proclife.supervisor.main_start import Limits, raise_descriptor_limit, start_main
from pytest_proclife.supervisor.output import Output, capture
from pytest_proclife.supervisor.points import Barrier, Points
from pytest_proclife.supervisor.protocol import Connection, Request
from pytest_proclife.supervisor.reports import Reception, descriptors
from pytest_proclife.supervisor.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_ANCILLARY = 256  # bytes, for a sender's credentials and pidfd, and the descriptors it passes
_SCAN = 0.01  # s between two looks for children of programs that do not report
_ENDING = 0.005  # s between two rounds of SIGKILL, while processes are left
_GATHER = 0.002  # s for which wake-ups are gathered once they come faster than that
_FEW = 8  # living processes up to which nothing is gathered if the caller waits for news
_LONGEST = 86400.0  # s of one wait: epoll_wait(2) takes no more than 24 days
_MOST = 1023  # events of one look
_LOOKING = 20.0  # s for the caller to read the stacks of what has not ended in time
_ROUNDS = 100  # a bound: all pidfds are readable by then, so one round is enough


def main(requests: int, taken: int, caller: int) -> None:
    """Become the supervisor of the next request that arrives on the socket `requests`."""
    kernel.die_with_parent(_signal.SIGKILL)
    kernel.become_subreaper()
    limits = raise_descriptor_limit()
    supervisor = Supervisor(caller)  # ahead of the request, which then finds all in place
    connection, *streams = _next_request(requests, caller)
    posix.close(requests)
    kernel.die_with_parent(0)
    supervisor.run(Connection(_socket.socket(fileno=connection)), streams, limits, taken)


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
        self.caller_handle = caller
        self.epoll = select.epoll()
        options: tuple[int, ...] = (_socket.SO_PASSCRED,)
        if kernel.PASSPIDFD in kernel.offered:
            options += (kernel.SO_PASSPIDFD,)
        self.tree = Tree(self.epoll, Reception(self.epoll, options, _ANCILLARY))
        self.sending = self.tree.reception.socket_for_main()
        self.wake = self._wake_on_child()
        self.epoll.register(self.caller_handle, select.EPOLLIN)
        self.outputs: dict[int, Output] = {}  # by the reading end
        self.until: float | None = None  # monotonic s; then the run is ended
        self.lingers = False  # main has ended, and `until` is the end of the linger
        self.ending = self.timed_out = False
        self.is_late = False  # main has not ended in time, and `until` is the end of a last look
        self.held: HeldCalls | None = None  # the calls that the kernel holds for us
        self.barrier: Barrier | None = None  # the processes that wait until their reports are read
        self.limits: TreeLimits | None = None  # of all processes together
        self.exceeded = ""  # the one of these for which the run was ended
        self.timeout: float | None = None  # s from the crash to main's end, if there is to be one

    def _wake_on_child(self) -> int:
        """SIGCHLD as an event: an orphan that has not been reported has no pidfd here."""
        reader, writer = posix.pipe2(posix.O_CLOEXEC | posix.O_NONBLOCK)
        _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
        _signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self.epoll.register(reader, select.EPOLLIN)
        return reader

    def run(self, connection: Connection, streams: list[int], limits: Limits, taken: int) -> None:
        """The whole run. `taken` is written to once main has started."""
        tree = self.tree
        message = connection.receive()
        if message is None:
            return  # the caller has given up
        request = Request(**message[1])
        connection.send(protocol.TAKEN)
        if request.capture:
            for output in capture(streams, request.pass_output):
                self.outputs[output.reader] = output
                self.epoll.register(output.reader, select.EPOLLIN)
        if request.points:
            self._note_points(request)
        self.caller = Caller(connection, tree, [*self.outputs.values()])
        self.epoll.register(connection, select.EPOLLIN)
        self.awaited = select.EPOLLIN  # events of the connection
        tree.live = request.live
        started = time.time()
        tree.witnessed = request.seccomp
        try:
            result = start_main(request, streams, limits, tree, self.sending)
        except seccomp.Unavailable as reason:
            connection.send(protocol.NO_WITNESS, str(reason))
            return
        # only now: the zygote forks the next supervisor, which would compete with main's start
        posix.write(taken, b".")
        for descriptor in (taken, *streams):
            posix.close(descriptor)
        if isinstance(result, int):
            connection.send(protocol.FAILED, request.executable, result)
            return
        if result is not None:
            self.held = HeldCalls(result, tree)
            self.epoll.register(result, select.EPOLLIN)
        connection.send(protocol.STARTED, started, tree.epoch, tree.main.pid)
        if request.limits:
            self.limits = TreeLimits(request.limits, request.cgroup, tree, self.outputs.values())
        if request.timeout is not None:
            self.until = tree.epoch / 1e9 + request.timeout
        self._watch(request.linger)
        for output in self.outputs.values():
            output.read()
        duration = time.monotonic_ns() - tree.epoch
        self.caller.hand_over(
            duration, self.timed_out, request.live, self.caller_handle, self.exceeded
        )

    def _note_points(self, request: Request) -> None:
        self.tree.points = Points(self.tree, request.crash, self.outputs.values())
        self.barrier = Barrier(self.tree.reception.address)
        self.epoll.register(self.barrier, select.EPOLLIN)
        self.timeout = None if request.crash is None else request.timeout

    def _watch(self, linger: float) -> None:
        """The one event loop: until waitid(2) says that no child is left."""
        tree = self.tree
        urgent = select.poll()  # what is not kept waiting
        urgent.register(tree.main.handle, select.POLLIN)
        if self.held is not None:
            urgent.register(self.held, select.POLLIN)
        before = 0.0
        while tree.reap():
            events = dict(self.epoll.poll(self._patience(), _MOST))
            looked = time.monotonic_ns()  # what it has found had ended by now
            # chosen at once: a new pidfd may get the number of what is closed meanwhile
            ends, later = tree.chosen(events), {}
            looked_again, all_at_once = looked, len(events) < _MOST
            self._answer_calls()
            self._read_statuses(ends)
            # the caller may be waiting for news, or a process for us
            hurries = (tree.live and len(tree.living) <= _FEW) or self.barrier is not None
            if time.monotonic() - before < _GATHER and not (tree.main.ended or hurries):
                self._gather(urgent)
                more = dict(self.epoll.poll(0))
                looked_again = time.monotonic_ns()
                later = tree.chosen(more)
                self._read_statuses(later)
                for handle in ends.keys() & later.keys():
                    ends[handle] |= later.pop(handle)
                for descriptor, event in more.items():
                    events[descriptor] = events.get(descriptor, 0) | event
            before = time.monotonic()
            # What a process reported before it ended lies in the socket by now: first read,
            # then note the ends; so the report of a signal precedes the end by it.
            tree.read_reports()
            tree.note_ends(ends.items(), looked)
            # the first look has found all that had ended then, so these ended later
            tree.note_ends(later.items(), looked_again, later=all_at_once)
            for descriptor, event in events.items():
                self._serve(descriptor, event)
            self._look_at_the_clock(linger)
            self._send_news()
        self._settle()
        if self.limits is not None and not self.exceeded and self.limits.has_killed():
            self.exceeded, self.timed_out = MEMORY, True  # since the last look

    def _gather(self, urgent: select.poll) -> None:
        """Wait a moment for more events, but handle held calls and main's end at once."""
        until = time.monotonic() + _GATHER
        left = _GATHER
        while left > 0:
            events = urgent.poll(left * 1000)
            if self.held is None or self.held.fileno() not in dict(events):
                return
            self._answer_calls()
            left = until - time.monotonic()

    def _read_statuses(self, handles: "Iterable[int]") -> None:
        """Read the statuses that will be gone with the zombies, and let those be collected."""
        self.tree.read_statuses(handles)
        if self.held is not None:
            self.held.waits.look()

    def _answer_calls(self) -> None:
        if self.held is not None and not self.held.answer():
            self.epoll.unregister(self.held)
            self.held = None

    def _settle(self) -> None:
        """No child is left: note the ends of those that were reported with the last wake-up."""
        tree = self.tree
        tree.read_reports()
        tree.note_ends([], time.monotonic_ns())
        for _ in range(_ROUNDS):
            if not (tree.handles or tree.started_gone):
                return
            events = self.epoll.poll(_SCAN if tree.handles else 0)
            at = time.monotonic_ns()
            tree.note_ends(tree.chosen(dict(events)).items(), at)
            tree.read_reports()
            tree.note_ends([], at)

    def _send_news(self) -> None:
        """Send what the caller has asked for; an event says when there is room for the rest."""
        self.caller.send_news(time.monotonic_ns())
        awaited = select.EPOLLIN | (select.EPOLLOUT if self.caller.unsent else 0)
        if awaited != self.awaited and self.awaited:
            self.epoll.modify(self.caller.connection, awaited)
            self.awaited = awaited

    def _serve(self, descriptor: int, event: int) -> None:
        if descriptor in self.outputs:
            if not self.outputs[descriptor].read():
                self.epoll.unregister(descriptor)
        elif self.barrier is not None and descriptor == self.barrier.fileno():
            self.barrier.release(self.tree.receive_reports)
        elif descriptor == self.wake:
            posix.read(self.wake, 4096)
        elif descriptor == self.caller.connection.fileno():
            # an order, or room for more of an answer
            if event & ~select.EPOLLOUT and not self.caller.execute_order():
                self.epoll.unregister(descriptor)
                self.awaited = 0
                self.ending = True
        elif descriptor == self.caller_handle:
            self.epoll.unregister(descriptor)  # it has ended, and stays readable
            self.ending = True

    def _patience(self) -> float | None:
        """Seconds until something has to be done without an event; None if nothing has to be."""
        if self.ending:
            return _ENDING
        if self.tree.started_gone:
            return 0.0
        looks = bool(self.tree.to_look_at or self.tree.zombies)
        looks = looks or (self.held is not None and bool(self.held.waits.waits))
        longest = _LONGEST if self.limits is None else INTERVAL
        if self.until is None:
            return _SCAN if looks else (None if self.limits is None else longest)
        wait = max(0.0, self.until - time.monotonic())
        return min(wait, _SCAN if looks else longest)

    def _look_at_the_clock(self, linger: float) -> None:
        tree = self.tree
        tree.scan()
        self._begin_linger(linger)
        if self.timeout is not None and tree.points is not None and tree.points.crashed_at:
            if not self.lingers:
                self.until = tree.points.crashed_at + self.timeout
            self.timeout = None
        if self.limits is not None and not self.ending:
            self.exceeded = self.limits.exceeded()
            if self.exceeded:
                self.ending = self.timed_out = True
        is_due = self.until is not None and time.monotonic() >= self.until
        is_due = is_due or (self.is_late and self.caller.has_looked)
        if not tree.cleans_up and (self.ending or is_due):
            at = tree.look_at_all()
            if not (self.ending or self.is_late):
                if self._begin_linger(linger):
                    return  # main has ended in time
                if not self.lingers:
                    # before anything is ended
                    self.is_late = self.timed_out = True
                    self.until = time.monotonic() + _LOOKING
                    self.caller.send_standing()
                    return
            self.ending = True
            tree.begin_cleanup(at)
        if tree.cleans_up:
            tree.kill_all()

    def _begin_linger(self, linger: float) -> bool:
        """Begin to wait for what has outlived main; False if main still runs, or it has begun."""
        if self.lingers or self.is_late or not self.tree.main.ended:
            return False
        self.lingers, self.until = True, time.monotonic() + linger
        self.tree.adopt()
        return True
