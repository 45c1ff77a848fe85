"""One run: wait for a request, start main, watch until nothing of it is left, report."""

import _signal
import _socket
import marshal
import os
import select
import time

from pytest_proclife.supervisor import birth, kernel
from pytest_proclife.supervisor.output import Output
from pytest_proclife.supervisor.tree import Tree

_SCAN = 0.01  # s between two looks for children of programs that report nothing
_ENDING = 0.005  # s between two rounds of SIGKILL, while processes are left
_GATHER = 0.002  # s that wake-ups are gathered once more than a few processes live
_CROWD = 4


def main(requests, taken, caller):
    """Become the supervisor of the next request that arrives on the socket `requests`."""
    kernel.die_with_parent(_signal.SIGKILL)
    kernel.become_subreaper()
    limits = birth.raise_descriptor_limit()
    supervisor = Supervisor(caller)
    channel, descriptors = _next_request(requests, caller)
    os.write(taken, b".")
    os.close(requests)
    os.close(taken)
    kernel.die_with_parent(0)
    supervisor.run(channel, descriptors, limits)


def _next_request(requests, caller):
    poll = select.poll()
    poll.register(requests, select.POLLIN)
    poll.register(caller, select.POLLIN)
    events = dict(poll.poll())
    if requests not in events or not events[requests] & select.POLLIN:
        os._exit(0)  # the caller has ended
    socket = _socket.socket(fileno=requests)
    data, ancillary, _, _ = socket.recvmsg(64, _socket.CMSG_SPACE(16 * 4))
    socket.detach()
    if not data:
        os._exit(0)
    descriptors = []
    for _level, kind, content in ancillary:
        if kind == _socket.SCM_RIGHTS:
            descriptors += [
                int.from_bytes(content[i : i + 4], "little") for i in range(0, len(content), 4)
            ]
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)  # recvmsg does not, and main is executed from here
    return descriptors[0], descriptors[1:]


class Channel:
    """The way to the caller: messages of marshal, each after its length. Both ends are ours."""

    def __init__(self, descriptor):
        self.descriptor = descriptor
        self.buffer = b""

    def receive(self):
        """One message; None at the end of the file."""
        while True:
            if len(self.buffer) >= 8:
                size = int.from_bytes(self.buffer[:8], "little")
                if len(self.buffer) >= 8 + size:
                    message = marshal.loads(self.buffer[8 : 8 + size])
                    self.buffer = self.buffer[8 + size :]
                    return message
            data = os.read(self.descriptor, 1 << 20)
            if not data:
                return None
            self.buffer += data

    def send(self, *message):
        data = marshal.dumps(message)
        view = memoryview(len(data).to_bytes(8, "little") + data)
        try:
            while view:
                view = view[os.write(self.descriptor, view) :]
        except OSError:
            pass  # the caller is gone: its pidfd tells, and the tree is ended


class Supervisor:
    def __init__(self, caller):
        self.caller = caller
        self.epoll = select.epoll()
        self.tree = Tree(self.epoll)
        wake_reader, wake_writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.wake = wake_reader
        _signal.signal(_signal.SIGCHLD, lambda number, frame: None)
        _signal.set_wakeup_fd(wake_writer, warn_on_full_buffer=False)
        self.epoll.register(self.wake, select.EPOLLIN)
        self.epoll.register(self.caller, select.EPOLLIN)
        self.outputs = {}  # reading end -> Output
        self.deadline = None
        self.linger_ends = None
        self.ending = False
        self.timed_out = False

    def run(self, channel, descriptors, limits):
        self.channel = Channel(channel)
        request = self.channel.receive()
        if request is None:
            return
        os.set_blocking(channel, True)
        self.channel.send("taken")
        self.live = request["live"]
        self.linger = request["linger"]
        captured = self.capture(request, descriptors) if request["capture"] else []
        started = time.time()
        error = birth.start_main(self.tree, request, descriptors, limits)
        for descriptor in descriptors:
            os.close(descriptor)
        if error is not None:
            self.channel.send("failed", *error)
            return
        self.channel.send("started", self.tree.main_pid, started, self.tree.epoch)
        self.epoll.register(channel, select.EPOLLIN)
        if request["timeout"] is not None:
            self.deadline = self.tree.epoch / 1e9 + request["timeout"]
        self.watch()
        for output in captured:
            output.read()
        self.flush()
        self.channel.send(
            "over",
            time.monotonic_ns() - self.tree.epoch,
            self.timed_out,
            [output.result() for output in captured],
        )

    def capture(self, request, descriptors):
        """Put pipes in the place of standard output and error; what was there gets a copy."""
        given = descriptors[1:3] if request["streams"] == 3 else [None, None]
        outputs = [Output(request["limit"], copy) for copy in given]
        size = request["streams"]
        descriptors[1:size] = [output.writer for output in outputs]
        for output in outputs:
            self.outputs[output.reader] = output
            self.epoll.register(output.reader, select.EPOLLIN)
        return outputs

    def flush(self):
        if self.tree.log:
            self.channel.send("log", self.tree.log)
            self.tree.log = []

    def watch(self):
        """The one event loop: until waitid(2) says that no child is left."""
        tree = self.tree
        while tree.reap():
            events = dict(self.epoll.poll(self.patience()))
            if len(tree.living) > _CROWD and not self.live:
                time.sleep(_GATHER)
                for descriptor, event in self.epoll.poll(0):
                    events[descriptor] = events.get(descriptor, 0) | event
            # What a process reported before it ended lies in the socket by now: first read,
            # then stamp the ends; what was sent before a signal precedes the death by it.
            ended = []
            for descriptor, event in events.items():
                if descriptor in tree.handles:
                    ended.append((descriptor, event))
                elif descriptor in self.outputs:
                    self.read_output(descriptor)
                elif descriptor == self.wake:
                    os.read(self.wake, 4096)
                elif descriptor == self.caller:
                    self.epoll.unregister(self.caller)  # it stays readable
                    self.end_all()
                elif descriptor == self.channel.descriptor:
                    self.obey()
            tree.read_reports()
            tree.note_ends(ended)
            self.look_at_the_clock()
            if self.live:
                self.flush()

    def read_output(self, descriptor):
        if not self.outputs[descriptor].read():
            self.epoll.unregister(descriptor)

    def patience(self):
        """Seconds until something has to be done without an event; None for ever."""
        if self.ending:
            return _ENDING
        times = [t for t in (self.deadline, self.linger_ends) if t is not None]
        wait = max(0.0, min(times) - time.monotonic()) if times else None
        if self.tree.opaque and (wait is None or wait > _SCAN):
            return _SCAN
        return wait

    def look_at_the_clock(self):
        tree = self.tree
        if tree.opaque:
            tree.scan()
        if tree.main_ended and self.linger_ends is None:
            self.deadline = None
            self.linger_ends = time.monotonic() + self.linger
            tree.adopt()
        now = time.monotonic()
        if self.ending:
            tree.kill_all()
        elif self.deadline is not None and now >= self.deadline:
            self.timed_out = True
            self.end_all()
        elif self.linger_ends is not None and now >= self.linger_ends:
            self.end_all()

    def end_all(self):
        self.ending = True
        self.tree.kill_all()

    def obey(self):
        """A command of the caller's, or the end of its interest in the run."""
        message = self.channel.receive()
        if message is None or message[0] == "end":
            if message is None:
                self.epoll.unregister(self.channel.descriptor)
            self.end_all()
        elif message[0] == "signal":
            _, pid, number, group = message
            self.channel.send("sent", self.tree.ask(pid, number, group))
