"""A polled run: main is started from the caller's process, and a thread of it watches.

The thread speaks the language of a supervisor (`supervisor.supervise`) over the same channel,
so that the caller's side is the same for both.
"""

from __future__ import annotations

import atexit
import functools
import os
import secrets
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

from pytest_proclife.polling.output import Output
from pytest_proclife.polling.reports import Reports
from pytest_proclife.polling.tree import Tree, end_all, send
from pytest_proclife.records import Missing, MissingKind
from pytest_proclife.supervisor.caller import Channel, Orders
from pytest_proclife.target import PAYLOAD

PERIOD = 0.01  # s between two looks
_ENDING = 0.005  # s between two rounds of SIGKILL, while processes are left
_PATIENCE = 10.0  # s after which a process that outlives SIGKILL is given up
_STRAGGLERS = 0.5  # s to wait for what holds a connection but is not found


def shortcomings() -> tuple[Missing, ...]:
    """What polling cannot see here."""
    short = f"{PERIOD * 1000:.0f} ms"
    found = [
        Missing(process=None, kind=MissingKind.SHORT_LIVED, what=short),
        Missing(process=None, kind=MissingKind.EXIT_CODES),
    ]
    refused = _reports_refused()
    if refused is not None:
        found.append(Missing(process=None, kind=MissingKind.NO_REPORTS, what=refused))
    return tuple(found)


@functools.cache
def _reports_refused() -> str | None:
    with selectors.DefaultSelector() as selector:
        try:
            Reports(f"proclife-probe-{os.urandom(16).hex()}", selector).close()
        except OSError as error:
            return str(error)
    return None


def serve(descriptors: Sequence[int]) -> None:
    """Watch the run that is asked for over the first descriptor; the others are main's streams.

    Returns at once; the descriptors stay the caller's. A run that is still watched when the
    interpreter ends is ended.
    """
    channel, *streams = [os.dup(descriptor) for descriptor in descriptors]
    watch = Watch(Channel(channel), streams)
    thread = threading.Thread(target=watch.run, name="proclife", daemon=True)
    _watched[watch] = thread
    thread.start()


_watched: dict[Watch, threading.Thread] = {}


@atexit.register
def _end_what_is_watched() -> None:
    for watch, thread in list(_watched.items()):
        watch.ending = True
        thread.join(_PATIENCE)


class Watch:
    """One run: wait for the request, start main, watch until nothing is left, report."""

    def __init__(self, channel: Channel, streams: list[int]) -> None:
        self.ending = False
        self._channel = channel
        self._streams = streams
        self._selector = selectors.DefaultSelector()
        self._outputs: list[Output] = []
        self._reports: Reports | None = None
        self._deadline: float | None = None
        self._linger_ends: float | None = None
        self._ending_since: float | None = None
        self._timed_out = False

    def run(self) -> None:
        """The whole run; the account goes over the channel. Whatever happens, nothing stays."""
        try:
            request = self._channel.receive()
            if request is not None:
                self._serve(request)
        finally:
            self._release()
            self._selector.close()
            self._channel.close()
            _watched.pop(self, None)

    def _serve(self, request: dict[str, Any]) -> None:
        self._channel.send("taken")
        request["address"] = f"proclife-{secrets.token_hex(16)}"
        try:
            self._reports = Reports(request["address"], self._selector)
        except OSError:
            self._reports = None  # `shortcomings` says so
        if request["capture"]:
            self._capture(request)
        started, epoch = time.time(), time.monotonic_ns()
        try:
            main = _start_main(request, self._streams)
        except OSError as error:
            self._channel.send("failed", request["executable"], error.errno or 0)
            return
        finally:
            self._close_streams()
        # the caller's main thread is the one that is to be interrupted; main has its own mask
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        tree = Tree(main.pid, request["group"] == 0, self._read_reports)
        self._orders = Orders(
            self._channel, tree.log, self._outputs, lambda *order: send(tree, *order)
        )
        self._channel.send("started", started, epoch, main.pid)
        if request["timeout"] is not None:
            self._deadline = epoch / 1e9 + request["timeout"]
        try:
            self._watch(tree, request["linger"])
        finally:
            while tree.living:  # an exception left the loop: a fault of ours
                end_all(tree)
                tree.look()
            main.returncode = tree.main_status or 0  # reaped: Popen has nothing left to do
        for output in self._outputs:
            output.read()
        duration = time.monotonic_ns() - epoch
        results = [output.result() for output in self._outputs]
        self._release()  # before the caller goes on, which may count its descriptors
        rest = (duration, self._timed_out, results)
        if request["live"]:
            _watched.pop(self, None)  # nothing is left that the interpreter's end would end
            self._orders.hand_over(rest, None)
        else:
            self._channel.send("over", tree.log, *rest)

    # --- the loop

    def _watch(self, tree: Tree, linger: float) -> None:
        self._selector.register(self._channel.descriptor, selectors.EVENT_READ)
        next_look = time.monotonic()
        while not self._is_over(tree):
            self._wait(tree, next_look)
            if time.monotonic() < next_look:
                continue
            tree.look()
            self._look_at_the_clock(tree, linger)
            self._orders.tell(time.monotonic_ns())
            next_look = time.monotonic() + (_ENDING if self.ending else PERIOD)

    def _is_over(self, tree: Tree) -> bool:
        if tree.living:
            return False
        if self._reports is None or not self._reports.held:
            return True
        now = time.monotonic()
        if self._ending_since is not None:
            return now >= self._ending_since + _STRAGGLERS
        return self._linger_ends is not None and now >= self._linger_ends

    def _wait(self, tree: Tree, until: float) -> None:
        """Serve what has to be served until the next look is due."""
        for key, _ in self._selector.select(max(0.0, until - time.monotonic())):
            if key.fileobj == self._channel.descriptor:
                if not self._orders.take():
                    self._selector.unregister(self._channel.descriptor)
                    self.ending = True
            elif isinstance(key.data, Output) and not key.data.read():
                self._selector.unregister(key.fileobj)
        tree.take_reports()

    def _look_at_the_clock(self, tree: Tree, linger: float) -> None:
        now = time.monotonic()
        if tree.main.ended_at is not None and self._linger_ends is None:
            self._deadline = None
            self._linger_ends = now + linger
        if self._deadline is not None and now >= self._deadline and not self.ending:
            self._timed_out = self.ending = True
        elif self._linger_ends is not None and now >= self._linger_ends:
            self.ending = True
        if not self.ending:
            return
        if self._ending_since is None:
            self._ending_since = now
        end_all(tree)
        if now > self._ending_since + _PATIENCE:
            for process in list(tree.living.values()):
                tree.give_up(process)

    def _read_reports(self) -> list[tuple[int, bytes]]:
        return [] if self._reports is None else list(self._reports.read())

    # --- main's streams

    def _capture(self, request: dict[str, Any]) -> None:
        """Put pipes in the place of standard output and error; what was there gets a copy."""
        size = 3 if request["pass_output"] else 1
        copies: list[int | None] = [*self._streams[1:size]] or [None, None]
        self._outputs = [Output(request["limit"], copy) for copy in copies]
        self._streams[1:size] = [output.writer for output in self._outputs]
        for output in self._outputs:
            self._selector.register(output.reader, selectors.EVENT_READ, output)

    def _close_streams(self) -> None:
        for descriptor in self._streams:
            os.close(descriptor)
        self._streams = []

    def _release(self) -> None:
        self._close_streams()
        if self._reports is not None:
            self._reports.close()
        for output in self._outputs:
            output.close()
        self._reports, self._outputs = None, []


def _start_main(request: dict[str, Any], streams: Sequence[int]) -> subprocess.Popen[bytes]:
    """Start main as the caller's child. Raises OSError where it cannot be executed."""
    stdin, stdout, stderr, *payload = streams
    environment = dict(request["env"])
    ticket = request["ticket"]
    if request["observed"]:
        text = environment[ticket].replace(b"ADDRESS", request["address"].encode(), 1)
        environment[ticket] = text.replace(b"FD", b"-1", 1)  # it has to connect
    arguments = list(request["arguments"])
    if payload:  # Popen can hand down a descriptor under its own number alone
        here = PAYLOAD.replace("3", str(payload[0]))
        arguments = [text.replace(PAYLOAD, here) for text in arguments]
    return subprocess.Popen(
        arguments,
        executable=request["executable"],
        env=environment,
        cwd=request["cwd"],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=payload,
        process_group=request["group"],
    )
