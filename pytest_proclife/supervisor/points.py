"""Points of a run at which a process can be crashed, and the crash at one of them.

A point is what the program does, not when: its key is (kind, process, detail, about, where), texts
of which each may be empty. The same key can come several times in a run, so a point is a key and
how many of the same came before. A process is known by its name, since its pid is another in each
run; in what a program writes, digits are left out for the same reason.

Whoever reports something is held until that has been read (`Barrier`), so a signal that is sent as
the report is read meets a program in which the reporter has not gone on. Nobody can be held for
the end of a process and for a line of output: there the signal is sent as soon as it is seen, and
no process has gone further than to its next report.
"""

import _socket
import posix
import time

from pytest_proclife import wire
from pytest_proclife.supervisor import protocol, seccomp, signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pytest_proclife.supervisor.identity import Process
    from pytest_proclife.supervisor.output import Output
    from pytest_proclife.supervisor.seccomp import Call
    from pytest_proclife.supervisor.tree import Tree

    Key = tuple[str, ...]  # the five texts

BEGUN = "begun"  # detail: fork|new. Its first moment; its parent may still be in the start
STARTED = "started"  # about: the child. The call that starts it returns
TARGET = "target"  # its target is about to run
FINISHED = "finished"  # detail: returned|raised|sys_exit. Its own code is done
EXIT_PATH = "exit_path"  # detail: begun|done. Of multiprocessing
EXITING = "exiting"  # detail: exit|os_exit|launcher
WAITING = "waiting"  # about: the child. A wait for it is about to block
JOINED = "joined"  # about: the child. It has collected the status, by whatever call
SIGNAL = "signal"  # detail: the signal and the call; about: the target. It is about to be sent
HANDLER = "handler"  # detail: the signal. A handler in Python is about to run
EXEC = "exec"  # about: the program that it is about to become
OUTPUT = "output"  # process: the stream; detail: the line
ENDED = "ended"  # it reports no exit: a program of another language, or a signal ended it
CALL = "call"  # detail: the system call that it has entered; seen with seccomp alone

_SIMPLE = {  # a report -> its kind of point, and the field that is the detail
    wire.HELLO: (BEGUN, 2),
    wire.RUN: (TARGET, 5),  # there is none
    wire.FINISHED: (FINISHED, 0),
    wire.EXITING: (EXITING, 0),
    wire.CAUGHT: (HANDLER, 0),
}
MAIN = "main"
GROUP = "a process group"
_ABOUT_CHILDREN = (wire.WAITING, wire.COLLECTED)  # these have the pid of one
_SOMEBODY = "a process"
HELPERS = ("resource_tracker", "forkserver")  # by their first reports; they are no test's children
REPORTER = "."  # stands for the name of the process that reports the point
_VIA = "crash point"
_CALLS = (*seccomp.SIGNALLING, *seccomp.WAITING)
_OPTIONS = {"wait4": 2, "waitpid": 2, "waitid": 3}  # the place of these among the arguments
_LINE = 200  # characters of a line of output
_LIVING = 64  # processes that are looked at, of those that live
_LONGEST = 12  # digits of a pid
_BACKLOG = 4096


def without_digits(text: str) -> str:
    """A text with "#" for each number in it."""
    kept = "".join("#" if letter.isdigit() else letter for letter in text)
    while "##" in kept:
        kept = kept.replace("##", "#")
    return kept


class Barrier:
    """Where processes wait until what they have reported has been read.

    Each makes a connection, which is closed once all that was written before has been read. So
    nobody has to be known, and a fork needs nothing of its own.
    """

    def __init__(self, address: str) -> None:
        self.listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self.listener.setblocking(False)
        self.listener.bind("\0" + address + wire.BARRIER)
        self.listener.listen(_BACKLOG)

    def fileno(self) -> int:
        return self.listener.fileno()

    def release(self, read: "Callable[[], object]") -> None:
        """Have all reports read, and let go on who waited for that."""
        waiting = []
        for _ in range(_BACKLOG):
            try:
                # not in the stubs: accept() without an object for each connection
                descriptor, _ = self.listener._accept()  # type: ignore[attr-defined]
            except OSError:
                break  # none waits
            waiting.append(_socket.socket(fileno=descriptor))
        read()
        for socket in waiting:
            socket.close()


class Points:
    """The points of a run as they come, and the crash at the one that was asked for."""

    def __init__(
        self,
        tree: "Tree",
        crash: "tuple[Key, int, str, int] | None",
        outputs: "Iterable[Output]",
    ) -> None:
        self.tree = tree
        self.outputs = list(outputs)
        for name, output in zip(("stdout", "stderr"), self.outputs, strict=False):
            output.seen = self._writer(name)
        self.crash = crash  # None once it is done
        self.crashed_at: float | None = None  # monotonic s
        self.counts: dict[tuple[str, ...], int] = {}
        self.own: dict[int, str] = {0: MAIN}  # names by number, as processes say themselves
        self.announced: dict[int, str] = {}  # as those that started them say
        self.of_main: set[int] = set()  # numbers of main's children, without helpers
        self.exited: set[int] = set()  # numbers of those that have reported that
        self.lines: dict[str, bytes] = {}  # the begun line of each stream
        self.main_finished = False  # its own code; what is written then may not be read in time

    # --- what comes

    def reported(self, process: "Process", data: bytes, about: "Process | None") -> None:
        """A process has reported something, and is held until this returns."""
        report = wire.unpack(data)
        if report is None:
            return
        for output in self.outputs:
            output.read()  # what it has written comes before what it reports
        kind, _, _, _, fields = report
        fields += [""] * 8  # a program may write anything
        if kind in _ABOUT_CHILDREN:
            about = self._with_pid(fields[0])
        self._learn(kind, process, fields, about)
        number = process.number
        name, point = self.own.get(number, ""), self._point(kind, fields, about)
        own_begin = number == 0 and point[0] in (BEGUN, TARGET)  # nothing has been started yet
        if point[0] and name not in HELPERS and not own_begin:
            self._comes((point[0], name, *point[1:]), process, held=True)
        if number == 0 and point[0] == FINISHED:
            self.main_finished = True

    def _learn(
        self, kind: str, process: "Process", fields: list[str], about: "Process | None"
    ) -> None:
        """Note what a report says of names, parents and exits."""
        number = process.number
        if kind == wire.HELLO:
            self._introduced(process, fields)
        elif kind == wire.RUN and fields[2] and number:
            self.own[number] = fields[2]
            if fields[0] == str(self.tree.main.pid):
                self.of_main.add(number)
        elif kind == wire.EXITING:
            self.exited.add(number)
        elif about is not None:
            if kind == wire.STARTED:
                self.announced.setdefault(about.number, fields[2])
                if number == 0:
                    self.of_main.add(about.number)
            elif self._name(about) == _SOMEBODY:  # it has not introduced itself yet
                self.own[about.number] = f"a fork of {self.own.get(number, '')}"

    def _introduced(self, process: "Process", fields: list[str]) -> None:
        if process.number == 0:
            return
        parent = self.tree.keys.get(fields[1].encode())
        if parent is self.tree.main and fields[3] not in HELPERS:
            self.of_main.add(process.number)
        before = "" if parent is None else self.own.get(parent.number, "")
        if fields[2] == "fork":
            name = f"a fork of {before}"
        elif fields[3] in HELPERS:
            name = fields[3]
        elif fields[3] == "process":
            name = f"a new process of {before}"
        else:
            name = fields[6].rpartition("/")[2]
        self.own[process.number] = name

    def _point(
        self, kind: str, fields: list[str], about: "Process | None"
    ) -> tuple[str, str, str, str]:
        """A report as (kind of point, detail, about, where); an empty kind if it is none."""
        if kind in _SIMPLE:
            point, detail = _SIMPLE[kind]
            return point, fields[detail], "", ""
        if kind == wire.STARTED:
            return STARTED, "", fields[2], fields[6]
        if kind in (wire.EXIT_PATH, wire.EXIT_PATH_DONE):
            return EXIT_PATH, "begun" if kind == wire.EXIT_PATH else "done", "", ""
        target = _SOMEBODY if about is None else self._name(about)
        if kind == wire.WAITING:
            return WAITING, "", target, fields[1]
        if kind == wire.COLLECTED:
            return JOINED, "", target, fields[3]
        if kind in (wire.KILL, wire.KILL_GROUP):
            target = target if kind == wire.KILL else GROUP
            return SIGNAL, f"{fields[1]} {fields[2]}", target, fields[3]
        if kind == wire.EXEC:
            return EXEC, "", fields[1].rpartition("/")[2], ""
        return "", "", "", ""

    def ended(self, process: "Process") -> None:
        """A process has ended; one that has reported its exit has had its point."""
        name = self._name(process)
        if process.number and process.number not in self.exited and name not in HELPERS:
            self._comes((ENDED, name, "", "", ""), None, held=False)

    def called(self, process: "Process", call: "Call") -> None:
        """The kernel holds a system call of a process."""
        name = self._name(process)
        looks = call.name in _OPTIONS and call.integer(_OPTIONS[call.name]) & posix.WNOHANG
        if call.name in _CALLS and name not in HELPERS and not looks:
            self._comes((CALL, name, call.name, "", ""), process, held=True)

    def _writer(self, stream: str) -> "Callable[[bytes], None]":
        return lambda data: self._wrote(stream, data)

    def _wrote(self, stream: str, data: bytes) -> None:
        *lines, rest = (self.lines.get(stream, b"") + data).split(b"\n")
        self.lines[stream] = rest[: 4 * _LINE]
        for line in () if self.main_finished else lines:
            text = line[: 4 * _LINE].decode("utf-8", "replace")[:_LINE]
            self._comes((OUTPUT, stream, without_digits(text), "", ""), None, held=False)

    # --- the point that was asked for

    def _comes(self, key: "Key", reporter: "Process | None", held: bool) -> None:
        """A point comes; `reporter` is the process that is held there, or reports it."""
        if self.tree.main.ended or self.tree.cleans_up:
            return
        before = self.counts.get(key, 0)
        self.counts[key] = before + 1
        crash = self.crash
        if crash is None:
            own = reporter is not None and reporter.number in self.of_main
            self._note(key, before, held, own)
        elif crash[:2] == (key, before):
            self.crash = None
            self.crashed_at = time.monotonic()
            victim = self._victim(crash[2], reporter)
            outcome = protocol.GONE
            if victim is not None:
                outcome = signals.send(self.tree, victim.number, crash[3], _VIA, None)
            self.tree.note(protocol.CRASH, victim or self.tree.main, outcome)

    def _note(self, key: "Key", before: int, held: bool, own: bool) -> None:
        """Note a point, and who could be sent a signal there.

        Of main's children those that main has reported: these are the same each time.
        """
        looked_at = [*self.tree.living.values()][:_LIVING]
        running = [p for p in looked_at if p.number and self.tree.running(p.number) is p]
        names = [(p.number, self._name(p)) for p in running]
        names = [(number, name) for number, name in names if name not in HELPERS]
        reported = self.of_main & self.announced.keys()
        children = tuple(name for number, name in names if number in reported)
        everybody = tuple(name for _, name in names)
        self.tree.note(protocol.POINT, self.tree.main, key, before, held, own, children, everybody)

    def _victim(self, name: str, reporter: "Process | None") -> "Process | None":
        """Main, the reporter, or the first of the processes that run which has a name."""
        if name in ("", REPORTER):
            return reporter if name else self.tree.main
        named = (p for p in self.tree.processes if p.number and self._name(p) == name)
        return next((p for p in named if self.tree.running(p.number) is p), None)

    # --- names

    def _name(self, process: "Process") -> str:
        number = process.number
        return self.announced.get(number) or self.own.get(number) or self._program(process)

    @staticmethod
    def _program(process: "Process") -> str:
        """The name of what was found, not reported."""
        return process.arguments[0].rpartition("/")[2] if process.arguments else _SOMEBODY

    def _with_pid(self, pid: str) -> "Process | None":
        """The last that had a pid; it may have been reaped by now."""
        is_number = pid.isdecimal() and len(pid) < _LONGEST  # a program may write anything
        known = self.tree.identities.by_pid.get(int(pid)) if is_number else None
        return known[-1] if known else None
