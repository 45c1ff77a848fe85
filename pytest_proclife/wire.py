"""Reports of observed processes: their kinds and fields, and how they are written.

A report is one datagram: a header and fields of text, separated by NUL. Text, not
pickle or marshal, because the reader must survive whatever a hostile program writes.
This module runs in observed processes and in supervisors: it imports nothing.
"""

# Kinds of report, one letter each, with the fields that follow the header. "+pidfd": of the
# process that the report is about, if it can be had. "where" is "file:line in function".
HELLO = "h"  # key, parent's key, how (fork|new), kind, python, executable, argv...
STARTED = "s"  # child's pid, kind, name, daemon, start method, observed, where, argv...  +pidfd
# a child that could not be started: its pid if there was a process that executed nothing, else
# empty; kind, name, error if it was seen, where
NOT_STARTED = "n"
REPLACES = "R"  # pid of a Pool's new worker, pid of the worker in whose place it was started
# the function of the task that a Pool's worker was in the middle of: its own end comes next
TASK = "o"
RUN = "r"  # parent's pid, kind, name, daemon, start method: its target is about to run
# its own code is done: how (returned|raised|sys_exit), exception's type, message, traceback,
# signal whose handler raised it (or several, of which it is one), exit requests for which a handler
# is set, 1 if the exception is a KeyboardInterrupt, when that handler began (monotonic ns), on 3.11
# the signals for which functions of Python were ever handlers
FINISHED = "l"
EXIT_PATH = "x"  # pids of the children that are alive as multiprocessing's exit function begins
EXIT_PATH_DONE = "X"  # (none)
# it is about to exit: how (exit|os_exit|launcher), exit code if known, signal whose handler calls
# os._exit
EXITING = "e"
# target's pid, signal, via, where, alive (if it is the sender's child), signal whose handler sends
# it (if to itself), what it will meet (one of MEETS; "" if the sender could not look), 1 if it had
# set a handler of it before (if to itself, on 3.11)  +pidfd
KILL = "k"
# process group, signal, via, where, pids of own children in it, as KILL's handler, what it will
# meet in each of these, then in the sender (first letters of MEETS, or "-"), the sender's own group
# +pidfd of one
KILL_GROUP = "g"
CAUGHT = "c"  # signal whose Python handler is about to run, or that `via` took
# child's pid, exit code, how (explicit|implicit|library|system: by os.waitpid() or its like; "" if
# that was no wait), where, the call, how else if it is implicit
COLLECTED = "j"
# child's pid, where, thread (main|thread|daemon): a join is about to block; if its exit path has
# begun, and the child is alive, what has to wait (exit_path|exit_handler|thread|executor), and the
# timeout in seconds if there is one
WAITING = "w"
# by (the same, or pool), where, since (monotonic ns; "" is now), pids of
# children that are alive then: its exit path has to wait for these
HELD = "i"
EXEC = "E"  # observed, argv...: the program is about to be replaced
# ns from the report on until the process's own timer sends it SIGALRM, which nothing keeps from
# ending it; "" if that holds no more
ALARM = "a"
CPU_LIMIT = "m"  # soft and hard RLIMIT_CPU that it sets, in seconds; "" for none
SIGCHLD_IGNORED = "z"  # 1 or 0: from here on SIGCHLD is ignored, the kernel reaps the children
UNSEEN = "u"  # reason: something from here on cannot be seen
# what was there before the recorder came: what (child|thread|function), the function's name
EARLY = "y"
# from here on it may act in a way that it does not report: by what
# (ctypes|cffi|faulthandler|subinterpreter), the name of the function of C that it took
FOREIGN = "t"

# Functions of C by which a process can do what it does not report: start programs, fork, signal
# other processes, become another program, exit, signal itself, set a handler, or any of these,
# as by a function that `dlsym` gives. With the other names that glibc exports them by.
STARTING = "system __libc_system popen _IO_popen posix_spawn posix_spawnp wordexp"
FORKING = "fork vfork _Fork __fork __vfork __libc_fork forkpty daemon clone __clone"
SIGNALLING = "kill killpg tgkill tkill sigqueue pidfd_send_signal ptrace"
EXECUTING = "execv execve execvp execvpe execl execle execlp fexecve execveat"
# by these the interpreter ends as it does after sys.exit()
FINALIZING = "Py_Exit Py_Finalize Py_FinalizeEx"
EXITING_IN_C = f"_exit _Exit exit quick_exit daemon pthread_exit thrd_exit {FINALIZING}"
RAISING = "raise gsignal abort"
HANDLING = (
    "signal ssignal sigaction __sigaction __libc_sigaction bsd_signal sysv_signal __sysv_signal "
    "sigset PyOS_setsig"
)
ANYTHING = (
    "syscall dlsym dlvsym dlopen dlmopen Py_NewInterpreter Py_NewInterpreterFromConfig "
    "Py_EndInterpreter"
)
SUBINTERPRETER = "subinterpreter"  # for `by what`, without a function's name
FAULTHANDLER = "faulthandler"  # its timer calls `_exit` if the program lets it get that far
# by these it has the kernel send a signal to itself: nothing of it is unseen but the reason
ASKING_KERNEL = "prctl alarm ualarm setitimer timer_create setrlimit setrlimit64 prlimit prlimit64"
FUNCTIONS = (
    STARTING,
    FORKING,
    SIGNALLING,
    EXECUTING,
    EXITING_IN_C,
    RAISING,
    HANDLING,
    ANYTHING,
    ASKING_KERNEL,
)

TAKEN_BY = ("sigwait", "sigwaitinfo", "sigtimedwait")  # the calls that CAUGHT may name as `via`
# "ended": nobody has collected its status; "unknown": nobody can tell
MEETS = ("caught", "ignored", "blocked", "default", "ended", "unknown")
NO_PROGRAM = "-"  # for `observed`: the child has no program to execute

# 3.11: what is put behind the text of -c, to have its end seen: an audit event
TEXT_ENDED = "_proclife.text_ended"
AT_END = f"\n__import__('sys').audit('{TEXT_ENDED}')"

# The environment variable that takes the ticket to a new interpreter: address of the run,
# descriptor, parent's key, kind, start method, 1 if each wait status is to be reported, 1 if a
# process is to wait after each report until that has been read.
VARIABLE = "_PROCLIFE"

# Behind the run's address: where a process that has reported waits until that has been read.
BARRIER = "-barrier"

# Stands behind the descriptor there: the first report of each process has to bring a pidfd of its
# sender, since the kernel attaches none, or only once the connection has been accepted.
PENDING = "q"

FIELD_LIMIT = 8000  # characters; a datagram has to fit into the socket's buffer (208 KiB)
ARGV_LIMIT = 64  # arguments kept of a command line


def clip(text: object, limit: int = FIELD_LIMIT) -> str:
    """Make `text` fit into a field: without NUL, and without the middle of a long one."""
    clipped = str(text)
    if "\0" in clipped:
        clipped = clipped.replace("\0", "\\0")
    if len(clipped) > limit:
        half = limit // 2
        clipped = f"{clipped[:half]}\n[...]\n{clipped[-half:]}"
    return clipped


def pack(kind: str, seq: int, pid: int, at: int, fields: tuple[str, ...]) -> bytes:
    """Write a report: `seq` counts this process's reports from 0, `at` is monotonic ns."""
    text = "\0".join([f"{kind}{seq} {pid} {at}", *fields])
    return text.encode("utf-8", "backslashreplace")


def unpack(data: bytes) -> tuple[str, int, int, int, list[str]] | None:
    """Read a report: (kind, seq, pid, at, fields), or None if it is not one."""
    header, *fields = data.decode("utf-8", "replace").split("\0")
    try:
        seq, pid, at = header[1:].split(" ")
        return header[0], int(seq), int(pid), int(at), fields
    except (ValueError, IndexError):
        return None


def met(status: bytes, signal: int) -> str:
    """What a signal would meet in a process, by its /proc/PID/status: one of MEETS.

    Source: proc_pid_status(5). The main thread's state and blocked signals stand for the process.
    """
    if (b"\nState:\tZ" in status or b"\nState:\tX" in status) and b"\nThreads:\t1\n" in status:
        return "ended"
    bit = 1 << (signal - 1)
    for name, state in ((b"SigBlk", "blocked"), (b"SigIgn", "ignored"), (b"SigCgt", "caught")):
        start = status.find(b"\n" + name + b":\t")
        if start < 0:
            return ""
        if int(status[start + 9 : start + 25], 16) & bit:
            return state
    return "default"


def flag(value: object) -> str:
    """Write a truth value; None is unknown."""
    return "" if value is None else "1" if value else "0"
