"""Canned logs: what a supervisor would have written of processes that never lived.

Each event is a millisecond after the one before. A log is written in the order in which things
happen; a test may then take entries out, or move them.
"""

from __future__ import annotations

from typing import Any

from pytest_proclife import wire
from pytest_proclife.analysis.assemble import assemble
from pytest_proclife.records import Run, TargetInfo
from pytest_proclife.supervisor import protocol
from pytest_proclife.supervisor.protocol import Entry

EPOCH = 1_000_000_000
STEP = 1_000_000


class Log:
    """The log of one run; main is there from the start."""

    def __init__(self, *, version: str = "3.13.0", observed: bool = True) -> None:
        self.entries: list[Entry] = []
        self.now = EPOCH
        self.wake: float = 0
        self.count = 0
        self.next_pid = 100
        self.version = version
        self.running: dict[int, None] = {}  # numbers of processes that have not ended
        self.is_cleaned_up = False
        self.main = Process(self, how="main")
        if observed:
            self.main.hello(how="new", kind="main")
            self.main.says(wire.RUN, "", "", "", "", "")

    def tick(self) -> int:
        self.now += STEP
        return self.now

    def add(self, kind: str, number: int, *rest: Any, at: int | None = None) -> None:
        self.entries.append((self.tick() if at is None else at, kind, number, *rest))

    def process(self, *, pid: int | None = None, how: str = "report", argv: Any = ()) -> Process:
        """A process becomes known; nobody has said yet what it is."""
        return Process(self, pid=pid, how=how, argv=argv)

    def child(
        self,
        parent: Process | None = None,
        *,
        name: str | None = None,
        daemon: bool = False,
        kind: str = "process",
        method: str = "fork",
        pid: int | None = None,
        runs: bool = True,
    ) -> Process:
        """A child of multiprocessing: forked, announced by its parent, in its target."""
        parent = parent or self.main
        child = Process(self, pid=pid)
        child.hello(parent)
        child.name = name or f"Process-{child.number}"
        parent.started(child, kind=kind, name=child.name, daemon=daemon, method=method)
        if runs:
            child.runs(parent, kind=kind, daemon=daemon, method=method)
        return child

    def server(self) -> Process:
        """Main's fork server: a helper, and the kernel's parent of what is forked from it."""
        server = Process(self, how="parent")
        words = ("/bin/python", "-c", "from multiprocessing.forkserver import main; main()")
        fields = (str(server.pid), "forkserver", "python", "", "", "1", "job.py:5 in <module>")
        self.main.says(wire.STARTED, *fields, *words, about=server)
        server.hello(self.main, how="new", kind="forkserver")
        return server

    def served(
        self, server: Process, parent: Process | None = None, *, daemon: bool = False
    ) -> Process:
        """A child of multiprocessing that a fork server forked for its parent."""
        parent = parent or self.main
        child = Process(self)
        child.hello(server)
        child.name = f"Process-{child.number}"
        parent.started(child, kind="process", name=child.name, daemon=daemon, method="forkserver")
        child.runs(parent, daemon=daemon, method="")
        return child

    def program(
        self, parent: Process | None = None, *argv: str, observed: bool = False, exists: bool = True
    ) -> Process:
        """A program that its parent started through subprocess, or tried to."""
        parent = parent or self.main
        child = Process(self, how="parent")
        words = argv or ("/bin/sleep", "1")
        flag = wire.flag(observed) if exists else wire.NO_PROGRAM
        fields = (str(child.pid), "subprocess", words[0], "", "", flag, "job.py:3 in go", *words)
        parent.says(wire.STARTED, *fields, about=child)
        return child

    def clean_up(self, *running: Process) -> None:
        """The clean-up begins; these run, or all that have not ended."""
        self.is_cleaned_up = True
        numbers = tuple(process.number for process in running) or tuple(self.running)
        self.add(protocol.CLEANUP_BEGAN, self.main.number, numbers)

    def run(self, **options: Any) -> Run:
        """The account of it."""
        values: dict[str, Any] = {
            "epoch": EPOCH,
            "started_at": 1763800000.0,
            "duration": (self.now - EPOCH) / 1e9,
            "timed_out": False,
            "target": TargetInfo(kind="script", text="job.py", args=()),
            "python": "3.13.0",
            "platform": "linux",
            "start_method": None,
            "backend": "pidfd",
            **options,
        }
        return assemble(self.entries, **values)


def _frames(texts: Any) -> Any:
    split = [(text.partition(" ")[0], text.partition(" ")[2].rpartition(":")) for text in texts]
    return tuple((file, int(line), function) for function, (file, _, line) in split)


class Process:
    """One process of a log, and what it says and does."""

    def __init__(
        self, log: Log, *, pid: int | None = None, how: str = "report", argv: Any = ()
    ) -> None:
        self.log = log
        self.number = log.count
        log.count += 1
        if pid is None:
            pid = log.next_pid
            log.next_pid += 1
        self.pid = pid
        self.key = f"{pid}.{log.now}"
        self.seq = 0
        self.name = ""
        log.add(protocol.NEW, self.number, pid, how, tuple(argv))
        log.running[self.number] = None

    def says(self, kind: str, *fields: str, about: Process | None = None) -> None:
        at = self.log.tick()
        data = wire.pack(kind, self.seq, self.pid, at, fields)
        self.seq += 1
        self.log.add(
            protocol.REPORT, self.number, data, None if about is None else about.number, at=at
        )

    def says_raw(self, data: bytes) -> None:
        self.log.add(protocol.REPORT, self.number, data, None)

    def loses(self, reports: int = 1) -> None:
        """Reports of its that never arrive; their numbers are used up."""
        self.seq += reports
        self.log.tick()

    def hello(
        self, parent: Process | None = None, *, how: str = "fork", kind: str = "os_fork"
    ) -> None:
        if how == "new":
            self.seq = 0
        words = ("/bin/python", "job.py") if how == "new" else ()
        version = self.log.version if how == "new" else ""
        key = parent.key if parent else ""
        self.says(wire.HELLO, self.key, key, how, kind, version, "", *words)

    def started(
        self, child: Process, *, kind: str, name: str, daemon: bool, method: str = "fork"
    ) -> None:
        fields = (str(child.pid), kind, name, wire.flag(daemon), method, "", "job.py:7 in <module>")
        self.says(wire.STARTED, *fields, about=child)

    def runs(
        self,
        parent: Process,
        *,
        kind: str = "process",
        daemon: bool = False,
        method: str = "fork",
        name: str = "",
    ) -> None:
        flag = wire.flag(daemon)
        self.says(wire.RUN, str(parent.pid), kind, name or self.name, flag, method)

    def leaves(
        self,
        how: str = "returned",
        error: str = "",
        message: str = "",
        *,
        rose_from: int | str | None = None,
        handled: str = "2",
    ) -> None:
        """Its own code ends. Of several signals, "2 15", the handler of one has raised."""
        rose = "" if rose_from is None else str(rose_from)
        trace = 'File "job.py", line 9, in work' if error else ""
        interrupt = wire.flag(error == "KeyboardInterrupt")
        self.says(wire.FINISHED, how, error, message, trace, rose, handled, interrupt)

    def sends(
        self,
        other: Process,
        signal: int,
        via: str = "os.kill()",
        *,
        state: str | None = "default",
        alive: bool | None = None,
        handler: int | None = None,
        met: str = "",
    ) -> None:
        """It sends a signal; `state` is what the supervisor saw that it would meet.

        `handler` is the signal whose handler sends it, to itself. `met` is what the sender saw, so
        that the supervisor does not look.
        """
        extra = [wire.flag(alive), "" if handler is None else str(handler), met]
        self.says(
            wire.KILL, str(other.pid), str(signal), via, "job.py:8 in go", *extra, about=other
        )
        if signal != 9 and not met:
            self.log.add(protocol.STATE, other.number, signal, state)

    def signals_group(
        self,
        group: int,
        signal: int,
        *members: Process,
        states: str | None = "default",
        own: tuple[Process, ...] = (),
        met: str = "",
    ) -> None:
        """`members` are who the supervisor found in the group, `own` whom the sender did.

        `met` is what the sender saw that it would meet in these and in itself: `wire.KILL_GROUP`.
        """
        children = " ".join(str(p.pid) for p in own)
        where = "job.py:8 in go"
        self.says(wire.KILL_GROUP, str(group), str(signal), "os.kill()", where, children, "", met)
        for member in members:
            if signal != 9:
                self.log.add(protocol.STATE, member.number, signal, states)
        self.log.add(protocol.GROUP, self.number, signal, tuple(m.number for m in members), ())

    def asked_by_test(self, signal: int, state: str | None = "default") -> None:
        self.log.add(protocol.ORDERED, self.number, signal, "test")
        if signal != 9:
            self.log.add(protocol.STATE, self.number, signal, state)

    def group_asked_by_test(self, signal: int) -> None:
        """The test sent a signal to its process group; the members' requests stand before."""
        self.log.add(protocol.GROUP_ORDERED, self.number, signal, "terminate()")

    def is_zombie(self, status: int | None) -> None:
        """It has ended, and nobody has collected its status; who looks at the run has asked."""
        self.log.wake += 1
        self.log.running.pop(self.number, None)
        self.log.add(protocol.ENDED, self.number, self.log.wake, ())
        self.log.add(protocol.STATUS, self.number, status)

    def catches(self, signal: int) -> None:
        self.says(wire.CAUGHT, str(signal))

    def begins_exit_path(self, *alive: Process) -> None:
        self.says(wire.EXIT_PATH, *(str(p.pid) for p in alive))

    def abandons(self, child: Process, *, state: str | None = "default") -> None:
        self.sends(child, 15, "exit path", state=state)

    def collects(
        self,
        child: Process,
        code: int,
        how: str = "explicit",
        *,
        via: str = "join()",
        otherwise: str = "",
        where: str = "job.py:11 in <module>",
    ) -> None:
        """It collects a status; `otherwise` is how, if the child had ended before its exit path."""
        where = "" if how == "implicit" else where
        self.says(wire.COLLECTED, str(child.pid), str(code), how, where, via, otherwise)

    def waits(
        self,
        child: Process,
        where: str = "job.py:11 in <module>",
        *,
        holder: str = "",
        thread: str = "main",
        timeout: float | None = None,
    ) -> None:
        """It begins to wait; `holder` is what waits, if that keeps it in its exit path."""
        seconds = "" if timeout is None else str(timeout)
        self.says(wire.WAITING, str(child.pid), where, thread, holder, seconds)

    def waits_at_exit(self, child: Process) -> None:
        """Its exit path waits for a child, which is alive; at the moment of the event before."""
        self.log.now -= STEP
        self.waits(child, "", holder="exit_path")

    def last_word(self, how: str = "exit", code: str = "") -> None:
        self.says(wire.EXITING, how, code)

    def ends(
        self,
        code: int | None = 0,
        *,
        signal: int = 0,
        orphan: bool = False,
        running: tuple[Process, ...] = (),
        wake: float | None = None,
    ) -> None:
        """The kernel: it has ended, and was reaped; by the supervisor if an orphan, or main."""
        self.log.wake = self.log.wake + 1 if wake is None else wake
        self.log.running.pop(self.number, None)
        numbers = tuple(p.number for p in running)
        self.log.add(protocol.ENDED, self.number, self.log.wake, numbers)
        status = None if code is None else signal or code << 8
        self.log.add(protocol.REAPED, self.number, status, orphan or self.number == 0)

    def exits(self, code: int = 0, how: str | None = None) -> None:
        """It says its last word and ends with an exit code."""
        self.last_word(how or ("exit" if self.number == 0 else "launcher"), str(code))
        self.ends(code)

    def returns(self) -> None:
        """Its code returns, and it ends."""
        self.leaves()
        self.exits(0)

    def stands(
        self,
        *frames: str,
        call: str = "",
        awaits: Any = (),
        opened: Any = (),
        state: str = "S",
        missing: str = "",
        others: Any = (),
    ) -> None:
        """It is looked at: frames as "function file:line", the innermost first.

        `others` are threads beside the first: (frames, what each awaits).
        """
        threads = [(self.pid, frames, tuple(awaits))]
        threads += [(self.pid + 5000 + n, f, tuple(a)) for n, (f, a) in enumerate(others)]
        seen = tuple((tid, f"t{tid}", state, call, "", a) for tid, _, a in threads)
        self.log.add(protocol.THREADS, self.number, state, missing != "not_python", seen)
        if opened:
            self.log.add(protocol.OPEN, self.number, tuple(opened))
        stacks = tuple((tid, f"thread-{n}", _frames(f)) for n, (tid, f, _) in enumerate(threads))
        read = ("kernel", missing, "", ()) if missing else ("py-spy", "", "", stacks)
        if missing != "not_python":
            self.log.add(protocol.STACK, self.number, *read)

    def cleaned_up(self) -> None:
        if not self.log.is_cleaned_up:
            self.log.clean_up()
        self.log.add(protocol.CLEANUP, self.number)
        self.ends(signal=9, orphan=True)
