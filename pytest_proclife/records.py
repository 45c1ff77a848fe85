"""The frozen account of a run: its processes, how long each lived, why each ended, the evidence."""

from __future__ import annotations

import enum
import signal as signals
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from pytest_proclife.errors import ProcessNameError


class Cause(enum.StrEnum):
    """Why a process ended. Checked in this order; the first that holds is the cause."""

    CLEANED_UP = "cleaned_up"
    ABANDONED = "abandoned"
    KILLED = "killed"
    TERMINATED = "terminated"
    RETURNED = "returned"
    RAISED = "raised"
    SYS_EXIT = "sys_exit"
    OS_EXIT = "os_exit"
    SIGNALED = "signaled"
    EXITED = "exited"
    UNKNOWN = "unknown"


class Ending(enum.StrEnum):
    """How a process ended, apart from why; `RUNNING` only in a snapshot."""

    RETURNED = "returned"
    RAISED = "raised"
    SYS_EXIT = "sys_exit"
    OS_EXIT = "os_exit"
    EXITED = "exited"
    SIGNALED = "signaled"
    RUNNING = "running"


class Joined(enum.StrEnum):
    """Whose wait collected a process's status."""

    EXPLICIT = "explicit"
    IMPLICIT = "implicit"
    LIBRARY = "library"


class Holder(enum.StrEnum):
    """What had to wait for a child, so that it kept its parent in the exit path."""

    EXIT_PATH = "exit_path"  # multiprocessing's exit function, or a finalizer that it runs
    EXIT_HANDLER = "exit_handler"  # other code that the main thread runs there
    THREAD = "thread"  # one that is not a daemon: the exit path joins it
    EXECUTOR = "executor"  # its thread ends when all workers have ended
    POOL = "pool"  # its join() waits for threads that wait for the workers


class Role(enum.StrEnum):
    """What a process is in its run; helpers are `multiprocessing`'s own service processes."""

    MAIN = "main"
    CHILD = "child"
    HELPER = "helper"


KINDS = (
    *("main", "process", "pool_worker", "executor_worker", "manager"),
    *("subprocess", "os_fork", "posix_spawn", "other", "resource_tracker", "forkserver"),
)
START_METHODS = ("fork", "spawn", "forkserver")
HELPER_KINDS = frozenset({"resource_tracker", "forkserver"})
MULTIPROCESSING_KINDS = frozenset({"process", "pool_worker", "executor_worker", "manager"})

_SHOWN = 60  # characters of a wrong value in a message
_LISTED = 20  # names or pids in the message of a KeyError


def signal_name(number: int) -> str:
    """SIGTERM for 15; `signal 40` for a number without a name."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"signal {number}"


def signal_number(given: object) -> int:
    """The number of a signal that is given by its name or number. ValueError if it is neither."""
    __tracebackhide__ = True
    if isinstance(given, str) and given in signals.Signals.__members__:
        return int(signals.Signals[given])
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given < signals.NSIG:
        return int(given)
    text = repr(given)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    raise ValueError(
        f"unknown signal {shown}: pass a name such as 'SIGTERM', or a number from 1 to "
        f"{signals.NSIG - 1}"
    )


# --- why a cause is unknown, and what was not seen


class UnknownKind(enum.StrEnum):
    """The fact that is missing where a cause is `unknown`."""

    WAIT_STATUS = "wait_status"  # nobody could get it
    NO_END_REPORTED = "no_end_reported"  # it reported neither its end nor os._exit()
    FINISH_REPORT = "finish_report"  # the report of how its own code finished
    REPLACEMENT = "replacement"  # its own reports: another program may have replaced it
    PARENTS_EXIT = "parents_exit"  # its own reports: its parent's exit path may have ended it
    FINISHED_FIRST = "finished_first"  # its own reports: it may have finished before the signal
    FINISHED_BEFORE_OS_EXIT = "finished_before_os_exit"
    FINISHED_BEFORE_SIGNAL = "finished_before_signal"
    FINISHED_BEFORE_EXIT_PATH = "finished_before_exit_path"
    REACTION = "reaction"  # what it did with the signal could not be seen
    REACTION_REPORT = "reaction_report"  # its own reports, of what it did with the signal
    CAUGHT = "caught"  # whether it caught the signal could not be seen
    LEFT_BY_HANDLER = "left_by_handler"  # whether the signal's handler called sys.exit()
    DIED_OF_IGNORED = "died_of_ignored"  # it ignored the signal, and yet died of it
    PARENT = "parent"  # an exit path ended it, perhaps not its parent's
    DAEMON_FLAG = "daemon_flag"
    UNCERTAIN_REQUEST = "uncertain_request"  # a signal was sent to it or to another process
    UNCERTAIN_EARLIER_REQUEST = "uncertain_earlier_request"
    REQUEST_REPORT = "request_report"  # reports of others, which could hold a request
    EARLIER_REQUEST_REPORT = "earlier_request_report"
    UNOBSERVED_SENDER = "unobserved_sender"  # a program that does not report may have sent it
    FOREIGN_SENDER = "foreign_sender"  # a process may have sent it below Python
    EXITED_IN_C = "exited_in_c"  # it may have exited below Python


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownReason:
    """The missing fact. `signal` is the name of the signal that it concerns, if one does."""

    kind: UnknownKind
    signal: str | None = None

    def __str__(self) -> str:
        from pytest_proclife.render.evidence import unknown_words

        return unknown_words(self)


class MissingKind(enum.StrEnum):
    """What sort of thing the witness of a run may have missed."""

    BACKEND = "backend"  # `what`: why the run was polled
    SHORT_LIVED = "short_lived"  # processes that lived shorter than `what`
    EXIT_CODES = "exit_codes"  # those of children that no parent reported
    NO_REPORTS = "no_reports"  # nothing could be reported from inside; `what`: the reason
    REPORTS = "reports"  # reports of `process` were lost
    REPLACED = "replaced"  # `process` became a program that does not report
    UNOBSERVED = "unobserved"  # `process` does not report what it starts
    UNSEEN_CALL = "unseen_call"  # `process` called `what`, which does not report
    IMPORTED_EARLY = "imported_early"  # it had the function `what` before it could be watched
    STARTED_EARLY = "started_early"  # it had `what`, a child or a thread, before that
    FOREIGN_FUNCTION = "foreign_function"  # it took `what`, a function of C, by ctypes or cffi
    SUBINTERPRETER = "subinterpreter"  # it made one, whose calls are not seen
    CONTRADICTED = "contradicted"  # `process` reported a signal that the kernel did not see


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Something that may have happened unseen. `process` is an id, None for the whole run."""

    process: int | None
    kind: MissingKind
    what: str = ""
    run: Run = field(init=False, compare=False, repr=False, hash=False)

    def __str__(self) -> str:
        from pytest_proclife.render.evidence import missing_words

        return missing_words(self)


# --- evidence


class Source(enum.StrEnum):
    """Who states a fact."""

    KERNEL = "kernel"
    ITSELF = "itself"  # a report of the process itself
    PROCESS = "process"  # a report of another process, which is `about`
    TEST = "test"
    PROCLIFE = "proclife"
    TARGET = "target"  # what proclife was asked to run
    PLUGIN = "plugin"


class EvidenceKind(enum.StrEnum):
    """What sort of fact it is; each has a class with its values."""

    STARTED = "started"
    NOT_STARTED = "not_started"
    REPLACES = "replaces"
    SIGNAL_SENT = "signal_sent"
    HANDLER_RAN = "handler_ran"
    SIGNAL_TAKEN = "signal_taken"
    MAY_HAVE_SENT = "may_have_sent"
    ALARM_DUE = "alarm_due"
    CPU_LIMIT = "cpu_limit"
    ASKED_KERNEL = "asked_kernel"
    NOT_SENT = "not_sent"
    PARENT_ENDED = "parent_ended"
    FINISHED = "finished"
    TASK_LOST = "task_lost"
    RAN_ON = "ran_on"
    OS_EXIT_CALLED = "os_exit_called"
    EXIT_PATH_UNFINISHED = "exit_path_unfinished"
    WAITING = "waiting"
    HELD_UP = "held_up"
    CLEAN_UP = "clean_up"
    ENDED = "ended"
    COLLECTED = "collected"
    JOINED = "joined"
    REAPED = "reaped"
    FACT_MISSING = "fact_missing"
    LEFT_OUT = "left_out"
    CAUSE_NAMED = "cause_named"
    FOREIGN = "foreign"


class Disposition(enum.StrEnum):
    """What a process would do with a signal: signal(7)."""

    CAUGHT = "caught"
    IGNORED = "ignored"
    BLOCKED = "blocked"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One fact about a process. Each kind is a subclass that adds its values.

    `at` is in seconds since main's start, None for a fact without a time. `source` states it.
    `about` is the id of the other process that it concerns: the one that started, signalled or
    collected this one, or that this one waits for. It is None if there is none, or if it was not
    seen. `str()` is the fact as a sentence about "it".
    """

    kind: ClassVar[EvidenceKind]

    at: float | None
    source: Source
    about: int | None = None

    def __init_subclass__(cls, kind: EvidenceKind | None = None) -> None:
        if kind is not None:  # it is None as dataclass() makes the class anew, for its slots
            cls.kind = kind

    def __str__(self) -> str:
        from pytest_proclife.render.evidence import fact_words

        return fact_words(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started(Evidence, kind=EvidenceKind.STARTED):
    """`about` started it. `where` is "file:line in function", "" if it was not seen."""

    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotStarted(Evidence, kind=EvidenceKind.NOT_STARTED):
    """It failed to start a child, which is no process of the run; or `about`, which has begun.

    `child_kind` is one of `KINDS`. `name` is `Process.name`, or the last part of the program's
    path. `error` is the exception as "type: message", "" if it was not seen.
    """

    child_kind: str
    name: str
    error: str
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replaces(Evidence, kind=EvidenceKind.REPLACES):
    """A Pool started it in place of `about`, a worker that had ended.

    `lost_task`: whether that worker ended in the middle of a task, which is lost then; None if
    that is not known, as another process killed it. `function` is the function of that task.
    """

    lost_task: bool | None
    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalSent(Evidence, kind=EvidenceKind.SIGNAL_SENT):
    """`about`, or the test, sent it a signal.

    `via` is the call: "terminate()", "exit path", "os.kill()" and so on. `disposition` is what the
    signal met, None if that was not seen. It was not `alive` if it had ended, and nobody had
    collected its status; None if the sender did not look. The signal may have gone to another
    process if it is not `certain`. `decisive`: it ended of this signal.
    """

    signal: str
    via: str
    disposition: Disposition | None
    alive: bool | None
    certain: bool
    decisive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerRan(Evidence, kind=EvidenceKind.HANDLER_RAN):
    """Its Python handler of a signal began to run."""

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalTaken(Evidence, kind=EvidenceKind.SIGNAL_TAKEN):
    """A call took a signal that was pending: `via` is "sigwait", "sigwaitinfo", "sigtimedwait"."""

    signal: str
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MayHaveSent(Evidence, kind=EvidenceKind.MAY_HAVE_SENT):
    """`about`, a program that does not report, was running, and may have sent it the signal.

    `argv` is the program's command line.
    """

    signal: str
    argv: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmDue(Evidence, kind=EvidenceKind.ALARM_DUE):
    """Its own timer was due, of `signal.alarm()` or `setitimer()`, and it died of SIGALRM."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuLimit(Evidence, kind=EvidenceKind.CPU_LIMIT):
    """It had a limit of processor time, and died of a signal by which the kernel enforces that.

    `soft` (SIGXCPU) and `hard` (SIGKILL) are in seconds, None if there is none: setrlimit(2).
    """

    soft: int | None
    hard: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedKernel(Evidence, kind=EvidenceKind.ASKED_KERNEL):
    """It had asked the kernel for the signal that it died of, by a `call` that was seen.

    `prctl`: at its parent's end (PR_SET_PDEATHSIG); `alarm` or `setitimer`: after some time.
    """

    signal: str
    call: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NotSent(Evidence, kind=EvidenceKind.NOT_SENT):
    """No process of the run sent the signal that it died of, as the kernel shows them all.

    So it came from a process outside of the run, or from the kernel itself: for a fault, a timer,
    a limit, from a terminal.
    """

    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentEnded(Evidence, kind=EvidenceKind.PARENT_ENDED):
    """Its parent, `about`, ended in the moment in which it died of a signal that nobody reported.

    The kernel sends one then if the process has asked for that: PR_SET_PDEATHSIG, prctl(2).
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished(Evidence, kind=EvidenceKind.FINISHED):
    """Its own code finished. `exception` and `message` are cut; `process.exception` is whole."""

    how: Ending
    exception: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLost(Evidence, kind=EvidenceKind.TASK_LOST):
    """A Pool's worker began to end in the middle of a task: a call of `function`."""

    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RanOn(Evidence, kind=EvidenceKind.RAN_ON):
    """A fork of `about` ran on into that one's exit path, and into its exit handlers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OsExitCalled(Evidence, kind=EvidenceKind.OS_EXIT_CALLED):
    """It called `os._exit()`. `status` is the argument as text."""

    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitPathUnfinished(Evidence, kind=EvidenceKind.EXIT_PATH_UNFINISHED):
    """Its exit path began at this time, and its end was not reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(Evidence, kind=EvidenceKind.WAITING):
    """It began to wait for `about`, and the end of that wait was not reported."""

    pid: int
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldUp(Evidence, kind=EvidenceKind.HELD_UP):
    """Its exit path had to wait for `about`, its child, which was alive at that time.

    `until` is when that wait was over, in seconds since main's start; None if it was cut off.
    """

    until: float | None
    by: Holder
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanUp(Evidence, kind=EvidenceKind.CLEAN_UP):
    """Proclife began to end what was left, and it was running then.

    Whatever ended it afterwards, we may have caused. It was `found_later` if it became known only
    after that, as what a process starts that has not been killed yet.
    """

    found_later: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Evidence, kind=EvidenceKind.ENDED):
    """It ended. `exitcode` is None if its wait status was not seen."""

    exitcode: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected(Evidence, kind=EvidenceKind.COLLECTED):
    """`about` collected its wait status, by the call `via`: "join()", "poll()" and so on.

    `via` is "" if it was not seen. A call that does not wait collects it in passing.
    """

    where: str
    via: str
    waited: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedThen(Evidence, kind=EvidenceKind.JOINED):
    """`about` joined it, after its status had been collected in passing."""

    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reaped(Evidence, kind=EvidenceKind.REAPED):
    """It was reaped; by proclife, as an `orphan`, or by its parent."""

    orphan: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class FactMissing(Evidence, kind=EvidenceKind.FACT_MISSING):
    """Its cause is unknown, because of this missing fact."""

    reason: UnknownReason


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut(Evidence, kind=EvidenceKind.LEFT_OUT):
    """A part of the target that was not run, such as a magic of a notebook."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseNamed(Evidence, kind=EvidenceKind.CAUSE_NAMED):
    """A plugin named the cause (`pytest_proclife_cause`)."""

    plugin: str
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign(Evidence, kind=EvidenceKind.FOREIGN):
    """From here on it could act below Python, unseen.

    `by` is "ctypes" or "cffi", by which it took a `function` of C, "faulthandler", whose timer may
    call it, or "subinterpreter". A function such as `prctl` can only have the kernel send a signal
    to this process.
    """

    by: str
    function: str


EVIDENCE = {kind.kind: kind for kind in Evidence.__subclasses__()}


# --- where a process stood


class StackSource(enum.StrEnum):
    """What has read the frames of a stack."""

    PY_SPY = "py-spy"
    REMOTE_DEBUGGING = "_remote_debugging"  # of CPython 3.14 and later
    KERNEL = "kernel"  # there are no frames: only the system call is known


class NoStackKind(enum.StrEnum):
    """Why there are no frames of a process."""

    NOT_PYTHON = "not_python"
    NO_READER = "no_reader"  # py-spy is not installed
    PTRACE_SCOPE = "ptrace_scope"  # Yama lets only an ancestor look
    OTHER_USER = "other_user"
    REFUSED = "refused"  # a capability is missing, a filter of seccomp(2) is there, ...
    FAILED = "failed"  # the reader did; `details` says why
    TOO_MANY = "too_many"  # processes


class AwaitedKind(enum.StrEnum):
    """What a system call waits for."""

    PIPE = "pipe"  # a pipe, a FIFO or a pair of sockets: who has which end of it open is known
    FILE = "file"  # another descriptor: a terminal, a socket of another machine, ...
    CHILD = "child"  # the end of a child
    LOCK = "lock"  # one of its own process, or the end of a thread
    SEMAPHORE = "semaphore"  # or a lock, in memory that processes share
    TIME = "time"
    SIGNAL = "signal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """A line of Python on a stack. `function` has its class, if the reader knows that."""

    file: str
    line: int
    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIn:
    """A process that has something open. `ways` are "r", "w" and "rw", one for each descriptor."""

    process: int
    ways: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Awaited:
    """One thing that a system call waits for.

    `pid` is that of a child, None for any. `descriptor` is that of a file, and `way` is "r" if it
    is waited for to be readable, "w" for writable. `name` is the file's, as in /proc/PID/fd, or
    that of shared memory; `open_in` are the processes of the run that have it open, itself too; of
    a pair of sockets also those that have the other one, whose way is the opposite. If it is
    `timed`, it waits for a limited time, and then perhaps anew.
    """

    kind: AwaitedKind
    pid: int | None
    descriptor: int | None
    way: str
    name: str
    open_in: tuple[OpenIn, ...]
    timed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Where a thread of a process stood, at a time in seconds since main's start.

    `thread` is its id for the kernel; the first one has the pid of its process. `name` is Python's
    if that is known, else the kernel's. `state` is a letter of proc_pid_stat(5): R runs, S and D
    wait, T is stopped. `shown`: the kernel shows the supervisor what it waits for. `call` is the
    system call that it was in, "" if it was in none or if that is not known, and `wchan` the
    function of the kernel. `frames` are of Python, from the innermost on; if there are none,
    `missing` says why, and `details` why the reader failed.
    """

    at: float
    thread: int
    name: str
    state: str
    shown: bool
    call: str
    wchan: str
    awaited: tuple[Awaited, ...]
    source: StackSource
    frames: tuple[Frame, ...]
    missing: NoStackKind | None
    details: str


class HangKind(enum.StrEnum):
    """Why a thread did not go on."""

    CHILD = "child"  # it waits for the end of `others`
    THREAD = "thread"  # it waits for a thread of its own process: `other_thread`
    WORKERS = "workers"  # it waits for the workers of a Pool or executor, `others`
    TASK_LOST = "task_lost"  # it waits for a Pool, whose workers `others` ended in a task
    DATA = "data"  # it waits for data, which `others` could write
    END_OF_FILE = "end_of_file"  # it reads until nobody can write any more, and `others` still can
    ROOM = "room"  # it writes to what only `others` could read
    HELD = "held"  # it waits for a semaphore or lock that `others` could release
    NOBODY = "nobody"  # nobody is left that could end the wait; `others` have ended
    FORKED = "forked"  # it waits for a lock that was held in another thread as it was forked
    OUTSIDE = "outside"  # it waits for a pipe whose other end no process of the run has open
    FILE = "file"  # it waits for another file or socket: who could end that is not known
    LOOP = "loop"  # it waits in an event loop of asyncio
    SLEEP = "sleep"  # it sleeps
    SIGNAL = "signal"  # it waits for a signal
    RUNS = "runs"  # it runs
    STOPPED = "stopped"  # its process is stopped
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """Why a thread did not go on: a verdict, from where all processes stood at that time.

    `where` is the innermost line of the program's own code, None if there is none or if it is not
    known; `call` is the function that this line had called, "" if it is not known. `others` are
    ids of processes, `other_thread` is a thread of the same process; `kind` says which these are.
    `exit_path`: it was in the exit path of its process.
    """

    thread: int
    kind: HangKind
    where: Frame | None
    call: str
    exit_path: bool
    awaited: AwaitedKind | None
    others: tuple[int, ...]
    other_thread: int | None


# --- the account


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A signal that was sent to a process before it had ended, as far as its sender saw.

    `at` is in seconds since main's start. `by` is the id of the process that sent it, "test" or
    "proclife". `signal` is its name, `via` the call: "terminate()", "exit path", "os.kill()".
    """

    at: float
    by: int | str
    signal: str
    via: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """A wait for a process whose end was not reported.

    It began `at` (seconds since main's start) in the line `where`. `process` is the id of the
    process with this `pid`, None if that was not seen.
    """

    at: float
    pid: int
    process: int | None
    where: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitedFor:
    """What a wait of a RunningMain was for.

    `what` is "end" (nothing of the run is left), "output" (`pattern`, a regular expression, is in
    the output `count` times), "children" (main has started `count` of them) or "predicate" (a
    function of a snapshot is true).
    """

    what: str
    pattern: str = ""
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionInfo:
    """The exception that left a target, as text. `type` has its module if that is not builtins."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What could be seen of a run.

    `backend` is "pidfd" or "polling". `features` are those of the kernel that it has used, of
    "pidfs" (Linux 6.9), "passpidfd" (6.5), "info" (6.13), "exit" (6.15) and "status" (6.1): where
    one is lacking, the next best has taken its place. "seccomp" is among them if the second
    witness was asked for: then the kernel has shown each start, signal, wait and exit before it was
    done. Without "exit" the exit code of a process
    that is neither main nor an orphan is known only if its zombie was seen in time, or the wait
    that collected it was reported. `complete` is false if `missing` names something that may have
    happened unseen.
    """

    backend: str
    features: tuple[str, ...]
    complete: bool
    missing: tuple[Missing, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """What was run: its `kind` (script, callable, ...), its text, its arguments as text."""

    kind: str
    text: str
    args: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """One process of a run.

    Times are in seconds since main's start, on the monotonic clock. None means that the notion
    does not apply, or that the value is not known.

    | field | value |
    | --- | --- |
    | `id` | its index in `run.processes` |
    | `pid` | its process id, which another process may have used before or after |
    | `parent_id` | the id of the process that started it; None for main, and if not seen |
    | `role` | main, child or helper |
    | `kind` | what started it, or what it is for: one of `KINDS` |
    | `name` | `Process.name`, or the last part of its program's path |
    | `argv` | its command line, at most 64 arguments |
    | `daemon` | `multiprocessing`'s flag when it was started |
    | `start_method` | fork, spawn or forkserver |
    | `started_at` | when it was started |
    | `finished_at` | when its own code finished; its exit path follows |
    | `ended_at` | when it ended; None while it runs |
    | `exitcode` | as `Process.exitcode`: negative if a signal ended it |
    | `signal` | the name of the signal that ended it |
    | `cause` | why it ended; None while it runs |
    | `ending` | how it ended; None if its wait status is not known |
    | `ended_by` | the id of the process that ended it, "test" or "proclife" |
    | `requests` | the signals that were sent to it, in the order of their times |
    | `joined` | whose wait collected its status |
    | `joined_at` | when that was |
    | `orphaned` | whether it was still running when its parent had ended; None without proof |
    | `target_ran` | whether its target was reached |
    | `exception` | the exception that left its target |
    | `waiting_for` | its waits that began and did not end, in the order of their times |
    | `unknown_reason` | the fact that is missing, if its cause is unknown |
    | `stacks` | where each thread stood at the last look, the first thread first; see `Stack` |
    | `hangs` | why each thread with code of the program did not go on, the most telling first |
    | `evidence` | the facts that the values above rest on, in the order of their times |
    """

    id: int
    pid: int
    parent_id: int | None = field(metadata={"json": "parent"})
    role: Role
    kind: str
    name: str
    argv: tuple[str, ...] | None
    daemon: bool | None
    start_method: str | None
    started_at: float
    finished_at: float | None
    ended_at: float | None
    exitcode: int | None
    signal: str | None
    cause: Cause | None
    ending: Ending | None
    ended_by: int | str | None
    requests: tuple[Request, ...]
    joined: Joined | None
    joined_at: float | None
    orphaned: bool | None
    target_ran: bool | None
    exception: ExceptionInfo | None
    waiting_for: tuple[Wait, ...]
    unknown_reason: UnknownReason | None
    stacks: tuple[Stack, ...] = ()
    hangs: tuple[Hang, ...] = ()
    evidence: tuple[Evidence, ...]
    run: Run = field(init=False, compare=False, repr=False, hash=False)

    @property
    def parent(self) -> ProcessRecord | None:
        """The process that started it; None for main, and if that was not seen."""
        return None if self.parent_id is None else self.run.processes[self.parent_id]

    @property
    def children(self) -> tuple[ProcessRecord, ...]:
        """The processes that it started, without helpers, in start order."""
        return self.run._children.get(self.id, ())

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid})"

    def __repr__(self) -> str:
        """Short, because test runners show it inside their own messages."""
        ended = "running" if self.cause is None else f"{self.cause}, exitcode={self.exitcode}"
        return f"<{self.kind} {self.name!r} pid={self.pid}: {ended}>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One main with every process that it started, until nothing of it is left.

    `str(run)` is the timeline without colours, in 72 columns, so that it fits into a failure of
    pytest in 80 (or as wide as pytest's terminal allows); `timeline()` takes others.

    | field | value |
    | --- | --- |
    | `target` | what was run |
    | `python` | the version of main's Python; of proclife's own if main is not a Python |
    | `platform` | as `sys.platform` |
    | `start_method` | the default start method that was asked for |
    | `witness` | what could be seen, and what could not |
    | `started_at` | when main was started, in Unix time |
    | `duration` | seconds from main's start to the end of everything, linger included |
    | `timed_out` | whether main was ended at its timeout |
    | `stdout`, `stderr` | the output of all processes; None if it was not captured |
    | `output_truncated` | whether the middle of an output was dropped |
    | `processes` | all processes in start order, main first |
    """

    target: TargetInfo
    python: str
    platform: str
    start_method: str | None
    witness: Witness
    started_at: float
    duration: float
    timed_out: bool
    stdout: str | None
    stderr: str | None
    output_truncated: bool
    processes: tuple[ProcessRecord, ...]
    # by parent, so that asking each of many processes for its children is not quadratic
    _children: dict[int | None, tuple[ProcessRecord, ...]] = field(
        init=False, compare=False, repr=False, hash=False
    )

    def __post_init__(self) -> None:
        children: dict[int | None, list[ProcessRecord]] = {}
        for process in self.processes:
            object.__setattr__(process, "run", self)
            if process.role is Role.CHILD:
                children.setdefault(process.parent_id, []).append(process)
        object.__setattr__(self, "_children", {k: tuple(v) for k, v in children.items()})
        for missing in self.witness.missing:
            object.__setattr__(missing, "run", self)

    @property
    def main(self) -> ProcessRecord:
        """The process that ran the target as its `__main__`."""
        return self.processes[0]

    @property
    def children(self) -> tuple[ProcessRecord, ...]:
        """Main's own children, without helpers."""
        return self.main.children

    @property
    def descendants(self) -> tuple[ProcessRecord, ...]:
        """All processes except main and the helpers."""
        return tuple(p for p in self.processes if p.role is Role.CHILD)

    @property
    def helpers(self) -> tuple[ProcessRecord, ...]:
        """`multiprocessing`'s own service processes: resource tracker, fork server."""
        return tuple(p for p in self.processes if p.role is Role.HELPER)

    @property
    def orphans(self) -> tuple[ProcessRecord, ...]:
        """The processes that were still running when their parent had ended, without helpers."""
        return tuple(p for p in self.descendants if p.orphaned)

    @property
    def exitcode(self) -> int | None:
        """Main's exit code: negative if a signal ended it."""
        return self.main.exitcode

    def __getitem__(self, name: str) -> ProcessRecord:
        """The process with this name.

        ProcessNameError, which is a KeyError, if there is none, or more than one.
        """
        found = [p for p in self.processes if p.name == name]
        if len(found) == 1:
            return found[0]
        if not found:
            names = ", ".join(repr(p.name) for p in self.processes[:_LISTED])
            if len(self.processes) > _LISTED:
                names += f", and {len(self.processes) - _LISTED} more"
            text = f"no process is named {name!r}; there are {names}"
            raise ProcessNameError(text, name, 0, self)
        pids = ", ".join(str(p.pid) for p in found[:_LISTED])
        if len(found) > _LISTED:
            pids += ", ..."
        text = f"{len(found)} processes are named {name!r} (pids {pids})"
        raise ProcessNameError(text, name, len(found), self)

    def find(
        self,
        name: str | None = None,
        *,
        kind: str | None = None,
        cause: Cause | str | None = None,
        daemon: bool | None = None,
    ) -> tuple[ProcessRecord, ...]:
        """All processes with this name, kind, cause and daemon flag, in start order.

        None stands for any. Main and helpers count. If there are none, the tuple is
        empty. ValueError for an unknown kind or cause.
        """
        for what, value, known in (("kind", kind, KINDS), ("cause", cause, tuple(Cause))):
            if value is not None and value not in known:
                raise ValueError(f"unknown {what} {value!r}: it must be one of {', '.join(known)}")
        return tuple(
            process
            for process in self.processes
            if name in (None, process.name)
            and kind in (None, process.kind)
            and cause in (None, process.cause)
            and (daemon is None or process.daemon is daemon)
        )

    def __iter__(self) -> Iterator[ProcessRecord]:
        return iter(self.processes)

    def __repr__(self) -> str:
        """Short, like that of its processes; `str()` is the whole timeline."""
        text = f"{self.target.text[:40]!r}{'...' if len(self.target.text) > 40 else ''}"
        return f"<Run of {self.target.kind} {text}: {len(self.processes)} processes>"

    def __str__(self) -> str:
        from pytest_proclife.render.timeline import render

        return render(self)

    def _repr_html_(self) -> str:
        """The picture of the run, which a notebook shows if it is the value of a cell."""
        from pytest_proclife.render.picture import image

        return image(self)

    def timeline(
        self, *, rows: int | None = 40, columns: int = 80, color: bool = False, ascii: bool = False
    ) -> str:
        """The timeline as text: a line for each process, and what was not seen.

        If there are more than `rows` processes (None: no limit), those that are alike share a
        line, and of more lines than that the most unusual are shown. It fits into a terminal of
        `columns` columns (at least 40). With `ascii` the bars are drawn in ASCII.
        """
        from pytest_proclife.render.screen import NARROWEST, Screen
        from pytest_proclife.render.timeline import render

        screen = Screen(columns=max(columns, NARROWEST), color=color, lines=not ascii)
        return render(self, rows=rows, screen=screen)

    def to_json(self) -> str:
        """The JSON document as text; `schema.json` in this package describes it."""
        from pytest_proclife.run_json import to_text

        return to_text(self)

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read a document that `to_json` wrote. ValueError if it is not one of this version."""
        from pytest_proclife.run_json import from_text

        return from_text(text)


# --- crash points


# begun: the first moment of a process, whose parent may still be in the start; started: the call
# that starts it returns; target: it reaches its target; finished: its own code is done; exit_path:
# multiprocessing's has begun, or is done; exiting; waiting: a wait for a child is about to block;
# joined: it has collected a child's status; signal: it is about to send one; handler: a handler in
# Python is about to run; exec; output: a line; ended: by a signal, or it reports nothing; call: it
# is in a system call that the second witness holds.
POINTS = (
    *("begun", "started", "target", "finished", "exit_path", "exiting", "waiting", "joined"),
    *("signal", "handler", "exec", "output", "ended", "call"),
)


class CrashOutcome(enum.StrEnum):
    """What a crash did: see `Crash.outcome`."""

    CLEAN = "clean"
    LEFT = "left"
    HUNG = "hung"
    MISSED = "missed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A point in the life of a program, by what the program does; `str()` is its words.

    | field | value |
    | --- | --- |
    | `kind` | what sort of thing it is: one of `POINTS` |
    | `process` | the name of the process that does it, "main" for main; the stream for output |
    | `detail` | how, by kind: the call, the signal, the text of a line |
    | `about` | the name of the other process that it is about |
    | `where` | "file:line in function", "" if it was not seen |
    | `nth`, `count` | its number among otherwise equal points, from 1 on; how many there are |
    | `held` | whether the process that reports it is held until the signal has been sent |
    """

    kind: str
    process: str
    detail: str
    about: str
    where: str
    nth: int
    count: int
    held: bool

    def __str__(self) -> str:
        from pytest_proclife.render.crash import point_words

        return point_words(self)
