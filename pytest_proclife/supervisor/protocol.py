"""The protocol between a caller and the supervisor of its run, and the supervisor's log.

The caller connects, sends a request first, then orders. The supervisor answers, and sends its log.
A message is a tuple: its kind, then the fields that are given here beside the kind. It crosses
as its length and its marshalled values. Marshal is cheap, which counts for a log of thousands of
entries, and safe enough, since both ends trust each other.

Times are monotonic ns if nothing else is said. Processes are numbered in the order in which they
became known; main is 0.
"""

import _socket
import marshal
import time

from pytest_proclife import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    Message = tuple[Any, ...]
    Entry = tuple[Any, ...]
else:
    Message = Entry = tuple

# --- messages of the caller

REQUEST = "request"  # the fields of a Request; descriptors come beside it
ASK = "ask"  # ticket, at once: send NEWS, at once or when there is some
LOOK = "look"  # ticket: note where each process stands, and send STANDING
# what it has read of the processes that STANDING named: ((number, source, why not, details,
# ((tid, name, ((file, line, function), ...) from the innermost on), ...)), ...)
STACKS = "stacks"
SIGNAL = "signal"  # ticket, process, signal, via, the caller's group or None: see `signals.send`
END = "end"  # (none): end the run. The end of the file means the same

# --- messages of the supervisor

TAKEN = "taken"  # (none): the request was received; before that nothing is started
STARTED = "started"  # time (Unix, in seconds), time, main's pid
FAILED = "failed"  # path, errno: main could not be executed; nothing follows
NO_WITNESS = "no witness"  # why the kernel does not hold calls for us; nothing follows
NEWS = "news"  # ticket, time, entries, outputs or None: the log is complete up to that time
SIGNALED = "signaled"  # ticket, outcome
# ticket (0: at the timeout; the run goes on to be ended once STACKS has come, or after some time),
# ((number, pid, whether it is a Python), ...): the log says where these stand
STANDING = "standing"
# entries, duration (ns), timed out, outputs, the limit that the run exceeded ("" for none): nothing
# of the run is left
OVER = "over"

# Entries are those that were not sent yet. Outputs are of standard output and standard error, if
# they are captured: (head, tail, bytes left out between them).

SENT, GONE, REFUSED = "sent", "gone", "refused"  # outcomes; GONE: the process has ended

# --- entries of the log: (time, kind, process, *fields)

# pid, known by (main|report|parent|orphan|found|fork), arguments if it was not reported; a fork was
# found so soon after its start that it may not have reported yet
NEW = "new"
CHILD = "child"  # number of its parent, as the kernel has it
ADOPTED = "adopted"  # (none): found running below the supervisor, which inherits orphans
PROGRAM = "program"  # arguments: it runs another program than when it was found
REPORT = "report"  # datagram (see `wire`), number of the process that it is about or None
STATE = "state"  # signal, what it would meet (caught|ignored|blocked|default|None if unknown)
CPU_LIMIT = "cpu_limit"  # soft and hard RLIMIT_CPU in seconds, "" for none
GROUP = "group"  # signal, numbers of members, numbers of processes that were gone already
# signal, the call, whether to a group, ((number of a process, one of `wire.MEETS`), ...): seen as
# it was sent, which the kernel then does; a report of the sender comes before
SENDS = "sends"
# the call, its argument (prctl: the signal; alarm: seconds; setitimer: which): the kernel may send
# a signal to it later
ASKS = "asks"
UNREADABLE = "unreadable"  # (none): it runs a program whose calls are not known, as of x32
ORDERED = "ordered"  # signal, via: sent to it for the caller
GROUP_ORDERED = "group ordered"  # signal, via: sent for the caller to the group that it is in
ENDED = "ended"  # wake-up of the supervisor, numbers of processes (its children) running then
STATUS = "status"  # wait status of a zombie or None if unknown
REAPED = "reaped"  # wait status or None if unknown, whether the supervisor has reaped it
# where it stands: its state (proc_pid_stat(5)), whether it is a Python, ((tid, name, state, call,
# wchan, ((kind, number, way, name, whether for a limited time), ...)), ...). The call is NOT_SHOWN
# if the kernel refuses that, "" if it is in none. `way` is r or w
THREADS = "threads"
OPEN = "open"  # ((name, descriptor or -1, r|w|rw), ...): what it has open of what others wait for
STACK = "stack"  # the fields of STACKS, but for the number
CLEANUP_BEGAN = "clean-up began"  # (of main) numbers of all processes that were running then
CLEANUP = "cleanup"  # (none): SIGKILL was sent to it, to end the run

# For crash points: see `points`. They are not of the account.
# its key, how many with this key came before, held, whether a child of main's reports it, names of
# main's children that run, names of all that run
POINT = "point"
CRASH = "crash"  # outcome: the signal of the request was sent to it, at the point of the request

# A STATE comes right after the REPORT or the ORDERED of a signal to a process, and between the
# REPORT and the GROUP of a signal to a group. The ORDERED of each member come before their
# GROUP_ORDERED. All that a wake-up finds ended share its number: their order is not known. A half
# more is for those that are known to have ended after the others. What had ended when the clean-up
# began has its ENDED before CLEANUP_BEGAN, whose time is that of the look that found the others.

# what a thread waits for
FILE = "file"  # number: a descriptor; name: that of its file, as of a link in /proc/PID/fd
# the same, of which all is known who has an end of it: a pipe, a FIFO, a pair of sockets. OPEN has
# the ends of a pair as those of a pipe: `way` for that of the one that waits
PIPE = "pipe"
CHILD_ENDS = "child"  # number: its pid, 0 for any child
LOCK = "lock"  # of its process
SEMAPHORE = "semaphore"  # or another lock in memory that is shared; name: that of the memory
TIME = "time"
ANY_SIGNAL = "signal"
NOT_SHOWN = "?"


def entry(kind: str, process: int, *fields: object) -> Entry:
    """An entry of the log, of this moment."""
    return (time.monotonic_ns(), kind, process, *fields)


def replay(log: "Iterable[Entry]", readers: "Mapping[str, Callable[..., None]]") -> None:
    """Call the reader of each entry's kind, with (time, process, *fields)."""
    for at, kind, process, *fields in log:
        readers[kind](at, process, *fields)


# --- the request

PAYLOAD = 3  # main's descriptor of a file with a callable's arguments
OPEN_PAYLOAD = "open(%d, 'rb')"  # stands in the last argument, the program text of a callable


class Request:
    """What main is to be, and how long the run is watched.

    The descriptors that come beside it are the supervisor's end of the connection, main's standard
    input (or all three streams), and the file of a callable's arguments if there are any.
    """

    executable: str
    arguments: "list[str]"
    environment: "dict[bytes, bytes]"
    observed: bool  # the recorder gets into it
    start_method: str  # of multiprocessing, as the default in main; "" to leave it
    cwd: str
    umask: int
    group: int  # the process group that it joins; 0 for a new one
    ignored: "list[int]"  # signals
    blocked: "list[int]"  # signals
    timeout: "float | None"  # seconds from main's start to its end
    linger: float  # seconds from main's end, for the processes that outlive it
    capture: bool  # keep the output
    pass_output: bool  # and copy it to the streams that come beside the request
    seccomp: bool  # with the second witness
    live: bool  # the caller looks at the run, and acts on it, before it is over
    user: "tuple[int, int, list[int]] | None"  # uid, gid and groups of main, if not the caller's
    limits: "dict[str, int]"  # see `limits`
    cgroup: str  # the folder of the control group that main joins; "" for the caller's
    points: bool  # note the points at which a process could be crashed, and hold who reports them
    # a process is sent a signal at a point: the point's key, how many with this key are to come
    # before, who it is ("" main, "." who reports it, or a name), the signal. From then on the
    # timeout counts anew
    crash: "tuple[tuple[str, ...], int, str, int] | None"

    def __init__(self, **fields: "Any") -> None:
        if fields.keys() != Request.__annotations__.keys():
            wrong = fields.keys() ^ Request.__annotations__.keys()
            raise TypeError("missing or unknown fields of a request: %s" % sorted(wrong))
        self.__dict__.update(fields)


def ticket(
    address: str,
    descriptor: int,
    start_method: str,
    pending: str = "",
    statuses: bool = False,
    held: bool = False,
) -> bytes:
    """The value of `wire.VARIABLE` for main, which `inside.entry` reads.

    `address` and `descriptor` are where reports go; -1: main has to connect by the address.
    `pending` is `wire.PENDING` if each process has to send a pidfd of itself. `statuses`: it is to
    report each wait status that it collects, since the kernel does not keep them for us. `held`:
    it is to wait after each report until that has been read.
    """
    place = "%d%s" % (descriptor, pending)
    fields = address, place, "", "main", start_method, wire.flag(statuses), wire.flag(held)
    return ",".join(fields).encode()


# --- the framing

_LENGTH = 8  # bytes
NO_SIGNAL = getattr(_socket, "MSG_NOSIGNAL", 0)  # no SIGPIPE if the other end is gone


def pack(message: Message) -> bytes:
    data = marshal.dumps(message)
    return len(data).to_bytes(_LENGTH, "little") + data


class Connection:
    """One end of the stream between a caller and its supervisor."""

    def __init__(self, socket: _socket.socket) -> None:
        self.socket = socket

    def fileno(self) -> int:
        return self.socket.fileno()

    def send(self, *message: object) -> None:
        """Send a message, however long the other end takes to read it.

        If the other end is gone the message is lost: its own end of file says so.
        """
        try:
            self.socket.sendall(pack(message), NO_SIGNAL)
        except OSError:
            pass  # the other end is gone

    def receive(self) -> "Message | None":
        """Wait for a message; None if the other end is gone."""
        length = self._read(_LENGTH)
        data = self._read(int.from_bytes(length, "little")) if length else b""
        return marshal.loads(data) if data else None

    def _read(self, size: int) -> "bytearray | bytes":
        """Exactly that many bytes, so that a poll shows whether more has arrived; or none."""
        data = bytearray(size)
        rest = memoryview(data)
        while rest:
            try:
                received = self.socket.recv_into(rest)
            except ConnectionResetError:
                return b""  # the other end ended before it had read all that we sent
            if not received:
                return b""
            rest = rest[received:]
        return data

    def close(self) -> None:
        self.socket.close()
