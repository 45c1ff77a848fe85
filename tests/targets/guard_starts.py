"""Programs that the guard watches, each a function: `python guard_starts.py NAME [ARGUMENT]`.

The facts that a function returns are printed as JSON.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from typing import Any

from pytest_proclife import wire
from pytest_proclife.guard.owners import OwnedProcess, Owner, of_this_process
from pytest_proclife.guard.proc import read_tag
from pytest_proclife.inside.guard import hooks, tags

Facts = dict[str, object]


class Guarded:
    """This process from here on, with one current owner."""

    def __init__(self) -> None:
        self.ownership = of_this_process()
        self.owner = self.ownership.current = Owner("the program")
        self.register = self.ownership.register

    def left(self) -> list[OwnedProcess]:
        self.ownership.update()
        return self.register.left_by([self.owner])

    def starts(self) -> list[tuple[int, str, bool]]:
        """Of each process that is left: its pid, its kind, and whether the start is its own."""
        return [(p.stat.pid, p.start.kind if p.start else "", p.exact) for p in self.left()]


def start_of(process: OwnedProcess) -> Any:
    assert process.start is not None
    return process.start


POPENS: Mapping[str, Mapping[str, Any]] = {
    "path": {"args": ["/bin/cat"]},
    "cwd": {"args": ["cat"], "cwd": "/"},
    "close_fds": {"args": ["cat"], "close_fds": False},
    "preexec_fn": {"args": ["cat"], "preexec_fn": lambda: None},
    "session": {"args": ["cat"], "start_new_session": True},
    "shell": {"args": "cat", "shell": True, "env": {}},
}


def two_programs(how: str) -> Facts:
    guarded = Guarded()
    reader, writer = os.pipe()
    both = [subprocess.Popen(**POPENS[each], stdin=reader) for each in ("path", how)]
    numbers = [read_tag(process.pid) for process in both]
    found = guarded.starts()
    by_tag = [guarded.register.starts.by_tag.get(number) for number in numbers]
    os.close(writer)
    codes = [process.wait() for process in both]
    return {
        "pids": [process.pid for process in both],
        "pids_by_tag": [start.pid for start in by_tag if start is not None],
        "found": found,
        "codes": codes,
        "found_after": guarded.starts(),
    }


def orphans_of_shells() -> Facts:
    guarded = Guarded()
    reader, writer = os.pipe()
    command = "exec 3<&0; (cat <&3 >&2 & echo $!)"
    shells = [
        subprocess.run(command, shell=True, stdin=reader, stdout=subprocess.PIPE, check=True)
        for _ in range(2)
    ]
    found = {p.stat.pid: (start_of(p).name, p.exact) for p in guarded.left()}
    os.close(writer)
    return {"pids": [int(shell.stdout) for shell in shells], "found": found}


def orphan_of_os_system() -> Facts:
    guarded = Guarded()
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)
    os.system(f"cat <&{reader} & echo $! >&2")
    (orphan,) = guarded.left()
    os.close(writer)
    return {"name": start_of(orphan).name, "where": start_of(orphan).line.function}


def starts_that_fail() -> Facts:
    Guarded()
    fork_exec = vars(subprocess)["_fork_exec"]
    texts = []
    for start in (
        lambda: subprocess.Popen(["/no/such/program"]),
        lambda: subprocess.Popen(["no-such-program"], cwd="/"),
        lambda: os.posix_spawn("/no/such/program", ["x"], {}),
        lambda: fork_exec(["true"], [b"true"], True, (18, 3), *[None] * 19),
    ):
        try:
            start()
            texts.append("nothing was raised")
        except (OSError, TypeError, ValueError):
            texts.append(traceback.format_exc())
    return {"texts": texts}


def preexec_fn() -> Facts:
    guarded = Guarded()
    process = subprocess.Popen(
        ["sh", "-c", "umask"],
        preexec_fn=lambda: os.umask(0o027),
        stdout=subprocess.PIPE,
        text=True,
    )
    umask = process.communicate()[0]
    starts = guarded.register.starts.read_new()
    return {"umask": umask, "kinds": [getattr(start, "kind", "") for start in starts]}


def pass_fds() -> Facts:
    Guarded()
    reader, _ = os.pipe()
    text = "import os; print(*sorted(map(int, os.listdir('/proc/self/fd'))))"
    program = [sys.executable, "-c", text]
    out = subprocess.run(
        program, pass_fds=[reader], stdout=subprocess.PIPE, text=True, check=True
    ).stdout
    return {"found": [int(word) for word in out.split()], "reader": reader}


def late_import() -> Facts:
    guarded = Guarded()
    is_imported = "multiprocessing" in sys.modules
    import multiprocessing

    context = multiprocessing.get_context("fork")
    process = context.Process(target=threading.Event().wait, name="late")
    process.start()
    (found,) = guarded.left()
    process.kill()
    process.join()
    start = start_of(found)
    facts = {"name": start.name, "kind": start.kind, "exact": found.exact}
    return {"is_imported": is_imported, **facts}


def closed_descriptors() -> Facts:
    guarded = Guarded()
    os.close(tags.tag)
    os.close(tags.ledger)
    for _ in range(3):
        os.open("/dev/null", os.O_RDWR)
    code = subprocess.Popen(["true"]).wait()
    child = os.fork()
    if child == 0:
        os._exit(3)
    status = os.waitpid(child, 0)[1]
    is_clean = guarded.ownership.end_if_clean()
    guarded.ownership.update()
    is_lost = guarded.register.starts.is_lost
    return {"code": code, "status": status, "is_clean": is_clean, "is_lost": is_lost}


def replaced_descriptors(path: str) -> Facts:
    Guarded()
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.dup2(file, tags.ledger)
    os.dup2(file, tags.tag)
    subprocess.run(["true"], check=True)
    if os.fork() == 0:
        os._exit(0)
    os.wait()
    return {"size": os.fstat(file).st_size}


def threads() -> Facts:
    guarded = Guarded()
    reader, writer = os.pipe()
    stop = threading.Event()
    all_threads = [threading.Thread(target=stop.wait) for _ in range(3)]
    process = subprocess.Popen(["cat"], stdin=reader)
    for thread in all_threads:
        thread.start()
    found = guarded.starts()
    stop.set()
    os.close(writer)
    process.wait()
    return {"found": found, "pid": process.pid}


def fork_that_drops_the_tag() -> Facts:
    """A fork notes its pid and closes the tag while the register looks for it."""
    is_held: list[bool] = []
    waits, go_on = os.pipe()
    is_closed, closes = os.pipe()
    # the hooks for a child run in the order of their registration: this one before the guard's
    os.register_at_fork(after_in_child=lambda: is_held and os.read(waits, 1))
    guarded = Guarded()
    child = os.fork()
    if child == 0:
        is_held.append(True)
        if os.fork() == 0:
            os.dup2(closes, 3)
            os.closerange(4, 10_000)
            os.write(3, b".")
            time.sleep(600)
        os._exit(0)
    os.waitpid(child, 0)
    read_starts = guarded.register._read_starts

    def read_and_let_go_on(*args: Any) -> Any:
        starts = read_starts(*args)
        if not is_held:
            is_held.append(True)
            os.write(go_on, b".")
            os.read(is_closed, 1)
        return starts

    vars(guarded.register)["_read_starts"] = read_and_let_go_on
    found = guarded.starts()
    for pid, _, _ in found:
        os.kill(pid, signal.SIGKILL)
    return {"found": [(kind, exact) for _, kind, exact in found]}


def start_in_a_fork() -> Facts:
    guarded = Guarded()
    reader, writer = os.pipe()

    def below() -> None:
        subprocess.Popen(["sleep", "600"])
        os.write(writer, b".")
        signal.pause()

    child = os.fork()
    if child == 0:
        below()
    os.read(reader, 1)
    left = guarded.left()
    for process in left:
        os.kill(process.stat.pid, signal.SIGKILL)
    return {start_of(process).kind: start_of(process).line.function for process in left}


def overridden_start() -> Facts:
    guarded = Guarded()
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import context

    class Process(context.ForkProcess):
        def start(self) -> None:
            super().start()

    class Context(context.ForkContext):
        pass

    vars_of_class: Any = Context
    vars_of_class.Process = Process
    pool, manager = Context().Pool(1), Context().Manager()
    executor = ProcessPoolExecutor(1, mp_context=Context())
    executor.submit(len, "").result()
    kinds = sorted(kind for _, kind, _ in guarded.starts())
    executor.shutdown()
    manager.shutdown()
    pool.terminate()
    return {"kinds": kinds}


def start_by_a_handler_within_our_code(how: str) -> Facts:
    """A program is started as from a signal handler that runs when a fork is about to be noted."""
    guarded = Guarded()
    new_number, kept = tags.new_number, []

    def interrupted() -> int:
        vars(hooks)["new_number"] = new_number
        if how == "posix_spawn":
            os.posix_spawn("/bin/sleep", ["sleep", "600"], {})
        else:
            kept.append(subprocess.Popen(["sleep", "600"]))
        return new_number()

    vars(hooks)["new_number"] = interrupted
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)  # it has noted its pid by then
    found = {p.stat.pid: start_of(p).name for p in guarded.left() if p.exact}
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    return {"names": sorted(found.values())}


def popen_of_multiprocessing_alone() -> Facts:
    guarded = Guarded()
    from multiprocessing.context import ForkProcess

    process: Any = ForkProcess(target=time.sleep, args=(600,))

    def starts() -> Any:
        return type(process)._Popen(process)

    popen = starts()
    while not (found := [p for p in guarded.left() if start_of(p).pid]):
        pass  # it has not noted its pid yet
    start = start_of(found[0])
    popen.kill()
    return {"is_its_pid": start.pid == popen.pid, "kind": start.kind, "where": start.line.function}


def renamed_process() -> Facts:
    guarded = Guarded()
    from multiprocessing.context import ForkProcess

    popen: Any = vars(ForkProcess)["_Popen"]

    class Renamed(ForkProcess):
        @staticmethod
        def _Popen(process: Any) -> Any:  # noqa: N802 - the name is multiprocessing's
            process.name = "renamed"
            return popen(process)

    process = Renamed(target=time.sleep, args=(600,))
    process.start()
    names = [start_of(found).name for found in guarded.left()]
    process.kill()
    process.join()
    return {"notes_kept": len(hooks.starting), "names": names}


def pool_that_fails() -> Facts:
    guarded = Guarded()
    from multiprocessing import get_context

    process = get_context("fork").Process(target=len, args=("",))
    process.start()
    process.join()

    def fork() -> int:
        raise BlockingIOError

    real, has_failed = os.fork, False
    vars(os)["fork"] = fork
    try:
        get_context("fork").Pool(1)
    except BlockingIOError:
        has_failed = True
    vars(os)["fork"] = real
    guarded.ownership.update()
    return {"has_failed": has_failed, "is_empty": guarded.register.is_empty}


def fork_by_a_handler_within_our_code(how: str) -> Facts:
    """A signal handler forks while the guard holds its lock, in a process with threads."""
    Guarded()
    children: list[int] = []
    is_armed: list[bool] = []
    stop = threading.Event()

    def handler(*_: object) -> None:
        children.append(os.fork())

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        # system(3) has an event of its own too late; the limit is set before
        if is_armed and event == ("os.posix_spawn" if how == "posix_spawn" else "resource.prlimit"):
            is_armed.clear()
            signal.raise_signal(signal.SIGUSR1)

    thread = threading.Thread(target=stop.wait)
    thread.start()
    signal.signal(signal.SIGUSR1, handler)
    sys.addaudithook(hook)
    is_armed.append(True)
    try:
        if how == "posix_spawn":
            os.posix_spawn("/bin/true", ["true"], {})
        else:
            os.system("true")
    except RuntimeError:
        os._exit(3)
    if 0 in children:
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])
    stop.set()
    thread.join()
    return {"code": code}


def forks_and_the_lock() -> Facts:
    Guarded()
    codes = []

    def forks() -> None:
        child = os.fork()
        if child == 0:
            free = [hooks._lock.acquire(blocking=False)]
            hooks._lock.release()
            other = threading.Thread(
                target=lambda: free.append(hooks._lock.acquire(blocking=False))
            )
            other.start()
            other.join()
            os._exit(free != [True, True])
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    thread = threading.Thread(target=forks)
    thread.start()
    thread.join()
    is_held, stop = threading.Event(), threading.Event()

    def hold() -> None:
        with hooks._lock:
            is_held.set()
            stop.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait()
    forks()  # once its patience for the lock is over
    stop.set()
    thread.join()
    return {"codes": codes, "forks": tags.state.forks}


def lock_after() -> Facts:
    """Whether another thread gets the lock now, and what the starts before have left."""
    free: list[bool] = []
    thread = threading.Thread(target=lambda: free.append(hooks._lock.acquire(blocking=False)))
    thread.start()
    thread.join()
    state = tags.state
    return {"is_free": free == [True], "left": [state.forks, state.program_thread, state.limits]}


def programs_of_threads() -> Facts:
    """Two threads run programs, and one forks meanwhile."""
    guarded = Guarded()
    forked = []

    def run() -> None:
        for _ in range(100):
            subprocess.run(["true"], check=True)

    def fork() -> None:
        for _ in range(100):
            child = os.fork()
            if child == 0:
                os._exit(0)
            os.waitpid(child, 0)
            forked.append(child)

    threads = [threading.Thread(target=function) for function in (run, run, fork)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    notes = filter(None, map(wire.unpack, guarded.register.starts._notes_of_forks()))
    noted = {pid for kind, _, pid, _, _ in notes if kind == tags.FORKED}
    return {"not_noted": len({*forked} - noted), **lock_after()}


def programs_of_a_handler() -> Facts:
    """A signal handler runs programs while the program does, in a process with threads."""
    Guarded()
    stop, handled = threading.Event(), []
    thread = threading.Thread(target=stop.wait)
    thread.start()
    signal.signal(signal.SIGALRM, lambda *_: handled.append(subprocess.run(["true"], check=True)))
    signal.setitimer(signal.ITIMER_REAL, 0.003, 0.0037)
    while len(handled) < 20:
        subprocess.run(["true"], check=True)
    signal.setitimer(signal.ITIMER_REAL, 0)
    facts = lock_after()
    stop.set()
    thread.join()
    return facts


def starts_in_a_preexec_fn(how: str) -> Facts:
    """What a preexec_fn starts changes nothing for the program: neither its limit nor its line."""
    guarded = Guarded()
    reader, writer = os.pipe()
    waiting, waits = os.pipe()
    os.set_inheritable(waiting, True)

    def before() -> None:
        limits = resource.getrlimit(resource.RLIMIT_RTTIME)
        if how == "system":
            os.system("true")
        elif how == "posix_spawn":
            os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)
        else:
            subprocess.run(["true"], check=True)
        os.write(writer, b"%d" % (limits == resource.getrlimit(resource.RLIMIT_RTTIME)))

    command = f"cat <&{waiting} >&2 &"
    subprocess.run(["sh", "-c", command], preexec_fn=before, close_fds=False, check=True)
    (orphan,) = guarded.left()
    is_kept = os.read(reader, 1) == b"1"
    os.close(waits)
    os.kill(orphan.stat.pid, signal.SIGKILL)
    where = start_of(orphan).line.function
    return {"is_kept": is_kept, "name": start_of(orphan).name, "where": where}


def limit_of_its_own() -> Facts:
    """A program sets the limit, and leaves an orphan: the descriptor tells whose it is."""
    guarded = Guarded()
    reader, writer = os.pipe()
    os.set_inheritable(reader, True)

    def before() -> None:
        resource.setrlimit(resource.RLIMIT_RTTIME, (10**6, 10**6))

    for command in (f"cat <&{reader} >&2 &", "true"):
        subprocess.run(["sh", "-c", command], preexec_fn=before, close_fds=False, check=True)
    (orphan,) = guarded.left()
    tag_of_it = guarded.register.starts.by_tag[read_tag(orphan.stat.pid)]
    os.close(writer)
    os.kill(orphan.stat.pid, signal.SIGKILL)
    first = min(guarded.register.starts.by_tag)
    return {"where": start_of(orphan).line.function, "is_first": tag_of_it.tag == first}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
