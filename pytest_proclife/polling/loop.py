"""A polled run: main is started from the caller's process, and a thread of it watches.

The thread is the supervisor of the run. It speaks the same protocol over the same connection, so
that the caller's side is the same for both.
"""

from __future__ import annotations

import _socket
import atexit
import functools
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Sequence

from pytest_proclife import wire
from pytest_proclife.errors import SupervisorLost
from pytest_proclife.polling.reports import Reports
from pytest_proclife.polling.tree import Tree
from pytest_proclife.records import Missing, MissingKind
from pytest_proclife.supervisor import protocol
from pytest_proclife.supervisor.caller import Caller
from pytest_proclife.supervisor.output import Output, capture
from pytest_proclife.supervisor.protocol import OPEN_PAYLOAD, PAYLOAD, Connection, Request

PERIOD = 0.01  # s between two looks
_ENDING = 0.005  # s between two rounds of SIGKILL, while processes are left
_LOOKING = 20.0  # s for the caller to read the stacks of what has not ended in time
_PATIENCE = 10.0  # s after which a process that outlives SIGKILL is given up
_STRAGGLERS = 0.5  # s to wait for a process that holds a connection but is not found


@functools.cache
def shortcomings() -> tuple[Missing, ...]:
    """What polling cannot see here."""
    short = Missing(process=None, kind=MissingKind.SHORT_LIVED, what=f"{PERIOD * 1000:.0f} ms")
    codes = Missing(process=None, kind=MissingKind.EXIT_CODES)
    try:
        Reports(select.poll()).close()
    except OSError as error:
        return short, codes, Missing(process=None, kind=MissingKind.NO_REPORTS, what=str(error))
    return short, codes


def serve(descriptors: Sequence[int]) -> None:
    """Watch the run that is requested over the first descriptor; the others belong to main.

    Returns at once; the descriptors stay the caller's. A run that is still watched when the
    interpreter exits is ended.
    """
    connection, *streams = _copies(descriptors)
    watch = Watch(Connection(_socket.socket(fileno=connection)), streams)
    thread = threading.Thread(target=watch.run, name="proclife", daemon=True)
    _watched[watch] = thread
    try:
        thread.start()
    except RuntimeError as error:  # a limit, or a container below which clone3 fails
        del _watched[watch]
        watch.close()
        raise SupervisorLost(f"processes cannot be polled: {error}") from None


def _copies(descriptors: Sequence[int]) -> list[int]:
    copies: list[int] = []
    try:
        copies += map(os.dup, descriptors)
    except OSError as error:  # no descriptor is left
        for descriptor in copies:
            os.close(descriptor)
        raise SupervisorLost(f"processes cannot be polled: {error}") from None
    return copies


_watched: dict[Watch, threading.Thread] = {}


@atexit.register
def _end_what_is_watched() -> None:
    for watch, thread in list(_watched.items()):
        watch.ending = True
        thread.join(_PATIENCE)


class Watch:
    """One run: receive the request, start main, watch until nothing is left, hand over the log."""

    def __init__(self, connection: Connection, streams: list[int]) -> None:
        self.ending = False
        self._connection = connection
        self._streams = streams
        self._poll = select.poll()
        self._outputs: dict[int, Output] = {}  # by the reading end
        self._reports: Reports | None = None
        self._until: float | None = None  # monotonic s; then the run is ended
        self._lingers = False  # main has ended, and `_until` is the end of the linger
        self._ending_since: float | None = None
        self._timed_out = False
        self._is_late = False  # main has not ended in time, and `_until` is the end of a last look

    def run(self) -> None:
        """The whole run. Whatever happens, nothing stays."""
        try:
            message = self._connection.receive()
            if message is not None:  # else the caller has given up
                self._serve(Request(**message[1]))
        finally:
            self.close()
            _watched.pop(self, None)

    def close(self) -> None:
        self._release()
        self._connection.close()

    def _serve(self, request: Request) -> None:
        self._connection.send(protocol.TAKEN)
        try:
            self._reports = Reports(self._poll)
        except OSError:
            self._reports = None  # `shortcomings` says so
        if request.capture:
            for output in capture(self._streams, request.pass_output):
                self._outputs[output.reader] = output
                self._poll.register(output.reader, select.POLLIN)
        started, epoch = time.time(), time.monotonic_ns()
        try:
            main = self._start_main(request)
        except OSError as error:
            self._connection.send(protocol.FAILED, request.executable, error.errno or 0)
            return
        finally:
            self._close_streams()
        # signals are for the caller's main thread, not for this one; main has its own mask
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        tree = Tree(main.pid, request.group == 0, self._reports)
        self._caller = Caller(self._connection, tree, [*self._outputs.values()])
        self._connection.send(protocol.STARTED, started, epoch, main.pid)
        if request.timeout is not None:
            self._until = epoch / 1e9 + request.timeout
        try:
            self._watch(tree, request.linger)
        finally:
            while tree.living:  # an exception left the loop: a fault of ours
                tree.kill_all()
                tree.look()
            main.returncode = tree.main_status or 0  # reaped: Popen has nothing left to do
        for output in self._outputs.values():
            output.read()
        duration = time.monotonic_ns() - epoch
        self._release()  # before the caller goes on, which may count its descriptors
        if request.live:
            _watched.pop(self, None)  # nothing is left that the interpreter's exit would end
        self._caller.hand_over(duration, self._timed_out, request.live, caller=None)

    def _start_main(self, request: Request) -> subprocess.Popen[bytes]:
        """Start main as the caller's child. Raises OSError if it cannot be executed."""
        stdin, stdout, stderr, *payload = self._streams
        environment, arguments = request.environment, request.arguments
        if request.observed:
            # without a socket an address at which nobody listens
            address = os.urandom(16).hex() if self._reports is None else self._reports.address
            ticket = protocol.ticket(address, -1, request.start_method, statuses=True)
            environment[wire.VARIABLE.encode()] = ticket
        for descriptor in payload:  # Popen can hand down a descriptor under its own number alone
            arguments[-1] = arguments[-1].replace(OPEN_PAYLOAD % PAYLOAD, OPEN_PAYLOAD % descriptor)
        return subprocess.Popen(
            arguments,
            executable=request.executable,
            env=environment,
            cwd=request.cwd,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            pass_fds=payload,
            process_group=request.group,
        )

    # --- the loop

    def _watch(self, tree: Tree, linger: float) -> None:
        self._poll.register(self._connection, select.POLLIN)
        next_look = time.monotonic()
        while not self._is_over(tree):
            self._wait(tree, next_look)
            if time.monotonic() < next_look:
                continue
            tree.look()
            self._look_at_the_clock(tree, linger)
            self._caller.send_news(time.monotonic_ns())
            next_look = time.monotonic() + (_ENDING if self.ending else PERIOD)

    def _is_over(self, tree: Tree) -> bool:
        if tree.living:
            return False
        if self._reports is None or not self._reports.is_used:
            return True
        now = time.monotonic()
        if self._ending_since is not None:
            return now >= self._ending_since + _STRAGGLERS
        return self._lingers and self._until is not None and now >= self._until

    def _wait(self, tree: Tree, until: float) -> None:
        """Serve what has to be served until the next look is due."""
        for descriptor, _ in self._poll.poll(max(0.0, until - time.monotonic()) * 1000):
            if descriptor == self._connection.fileno():
                if not self._caller.execute_order():
                    self._poll.unregister(descriptor)
                    self.ending = True
            elif descriptor in self._outputs and not self._outputs[descriptor].read():
                self._poll.unregister(descriptor)
        tree.read_reports()

    def _look_at_the_clock(self, tree: Tree, linger: float) -> None:
        now = time.monotonic()
        if tree.main.ended_at is not None and not (self._lingers or self._is_late):
            self._lingers, self._until = True, now + linger
        is_due = self._until is not None and now >= self._until
        if not self.ending and (is_due or (self._is_late and self._caller.has_looked)):
            if not (self._lingers or self._is_late):
                self._is_late = self._timed_out = True
                self._until = now + _LOOKING
                self._caller.send_standing()  # before anything is ended
                return
            self.ending = True
        if not self.ending:
            return
        if self._ending_since is None:
            self._ending_since = now
            tree.begin_cleanup()
        tree.kill_all()
        if now > self._ending_since + _PATIENCE:
            tree.living.clear()  # they cannot be killed: their records stay those of running ones

    # --- descriptors

    def _close_streams(self) -> None:
        for descriptor in self._streams:
            os.close(descriptor)
        self._streams = []

    def _release(self) -> None:
        self._close_streams()
        if self._reports is not None:
            self._reports.close()
        for output in self._outputs.values():
            output.close()
        self._reports, self._outputs = None, {}
