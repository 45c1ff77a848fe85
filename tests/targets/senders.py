"""Mains that send signals, by each way to send one: WHICH, and its arguments."""

import ctypes
import faulthandler
import multiprocessing
import os
import resource
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn


def wait(ready: Any, exits: str) -> None:
    if exits:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
    ready.set()
    time.sleep(60)


def send(pid: int, number: int) -> None:
    signal.pidfd_send_signal(os.pidfd_open(pid), number)


def by_pidfd(method: str, number: str, exits: str, sender: str) -> None:
    """Main or another child signals a child, which may exit in its handler."""
    context: Any = multiprocessing.get_context(method)
    ready = context.Event()
    child = context.Process(target=wait, args=(ready, exits), name="child")
    child.start()
    ready.wait()
    other = context.Process(target=send, args=(child.pid, int(number)), name="other")
    if sender == "other":
        other.start()
        other.join()
    else:
        send(child.pid, int(number))
    child.join()


def to_a_group() -> None:
    group = subprocess.Popen(["sleep", "60"], process_group=0).pid
    subprocess.Popen(["sleep", "60"], process_group=group)
    try:
        signal.pidfd_send_signal(os.pidfd_open(group), 15, None, 4)
    except OSError:  # Linux before 6.9
        os.killpg(group, 15)
    os.wait()
    os.wait()


def to_many_groups() -> None:
    for _ in range(40):
        child = subprocess.Popen(["sleep", "60"], start_new_session=True)
        os.killpg(child.pid, 15)
        child.wait()


def to_themselves() -> None:
    """Children that signal themselves, beside a shell."""
    shell = subprocess.Popen("read line", shell=True, stdin=subprocess.PIPE)
    ways: list[Callable[[], object]] = [
        lambda: os.kill(os.getpid(), 15),
        lambda: signal.pthread_kill(threading.get_ident(), 15),
        lambda: send(os.getpid(), 15),
    ]
    for way in ways:
        if os.fork() == 0:
            way()
            time.sleep(60)
        os.wait()
    shell.communicate()


def ignore_and_leave(ready: Any) -> None:
    """Asked to end, it ignores further requests, and leaves."""

    def leave(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.exit(7)

    signal.signal(signal.SIGTERM, leave)
    ready.send(None)
    while True:
        time.sleep(0.1)


def catch_and_restore(ready: Any) -> None:
    """Asked to end, it takes its handler away, and returns."""
    reader, writer = os.pipe()

    def note(number: int, frame: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.write(writer, b"1")

    signal.signal(signal.SIGTERM, note)
    ready.send(None)
    os.read(reader, 1)


def catch_in_asyncio(ready: Any) -> None:
    """Asked to end, its event loop is over at once, and the handler with it."""
    import asyncio  # here, since it takes longer than all that the others do

    async def serve() -> None:
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        ready.send(None)
        await stopped.wait()

    asyncio.run(serve())


def catch_interrupt(ready: Any) -> None:
    try:
        ready.send(None)
        while True:
            time.sleep(0.1)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


WAYS: dict[str, Callable[[Any, int], object]] = {
    "kill": lambda child, number: os.kill(child.pid, number),
    "Process": lambda child, number: child.terminate(),
    "pidfd": lambda child, number: send(child.pid, number),
    "killpg": lambda child, number: os.killpg(child.pid, number),
    "sibling": lambda child, number: sibling(child.pid, number),
}


def sibling(pid: int, number: int) -> None:
    """Another child sends it."""
    sender = os.fork()
    if sender == 0:
        os.kill(pid, number)
        os._exit(0)
    os.waitpid(sender, 0)


def own_group(name: str, ready: Any) -> None:
    os.setpgid(0, 0)
    globals()[name](ready)


def quick_ends(method: str, name: str, number: str, way: str, count: str) -> None:
    """Children that are gone, or have no handler any more, as soon as they have caught it."""
    context: Any = multiprocessing.get_context(method)
    for _ in range(int(count)):
        told, ready = context.Pipe(duplex=False)  # no lock that an interrupt could leave locked
        child = context.Process(target=own_group, args=(name, ready))
        child.start()
        told.recv()
        WAYS[way](child, int(number))
        child.join()


INTERRUPTED = """
try:
    print("ready", flush=True)
    __import__("time").sleep(60)
except KeyboardInterrupt:
    pass
"""


def interrupted(count: str) -> None:
    """Programs that catch Ctrl-C, and end a moment later by themselves."""
    for _ in range(int(count)):
        program = subprocess.Popen([sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE)
        assert program.stdout is not None
        program.stdout.readline()
        program.send_signal(signal.SIGINT)
        program.communicate()


def abort_by_itself() -> None:
    os.abort()


def abort_and_show_the_stack() -> None:
    faulthandler.enable()
    os.abort()


def abort_with_a_handler() -> None:
    """abort() ends it all the same: abort(3)."""
    signal.signal(signal.SIGABRT, lambda *_: None)
    os.abort()


def fault_by_itself() -> None:
    faulthandler.enable()
    signal.raise_signal(signal.SIGSEGV)


def alarm_by_itself() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    time.sleep(60)


def alarm_of_its_thread() -> None:
    threading.Thread(target=signal.alarm, args=(1,)).start()
    time.sleep(60)


def sleep(ready: Any) -> None:
    ready.send(None)
    time.sleep(60)


def leave_if_asked(ready: Any) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    sleep(ready)


def alarm_that_it_does_not_wait_for(ready: Any) -> None:
    signal.alarm(50)
    sleep(ready)


def alarm_that_it_took_back(ready: Any) -> None:
    signal.setitimer(signal.ITIMER_REAL, 50)
    signal.alarm(0)
    sleep(ready)


def alarm_that_was_over(ready: Any) -> None:
    """A handler took it; what comes after that is not from the timer."""
    signal.setitimer(signal.ITIMER_REAL, 2)

    def restore(number: int, frame: object) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        ready.send(None)

    signal.signal(signal.SIGALRM, restore)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    time.sleep(60)


def beside_a_shell(*names: str) -> None:
    """Children that end of what they did themselves, beside a shell that could have done it."""
    shell = subprocess.Popen("read line", shell=True, stdin=subprocess.PIPE)
    for name in names:
        child = multiprocessing.get_context("fork").Process(target=globals()[name], name=name)
        child.start()
        child.join()
    shell.communicate()


def by_a_program(name: str, *command: str) -> None:
    """A child is signalled by a program that does not report."""
    context = multiprocessing.get_context("fork")
    told, ready = context.Pipe(duplex=False)
    child = context.Process(target=globals()[name], args=(ready,), name="child")
    child.start()
    told.recv()
    subprocess.run([word.format(pid=child.pid) for word in command], check=True)
    child.join()


def note_then_again(ready: Any, number: int = signal.SIGHUP) -> None:
    """It notes a request, tidies up, and sends itself the same with the default action."""
    asked: list[int] = []
    signal.signal(number, lambda number, frame: asked.append(number))
    ready.send(1)
    while not asked:
        time.sleep(0.01)
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def die_with_the_parent() -> None:
    """A process that asked the kernel to end it when its parent does: prctl(2)."""
    if os.fork() == 0:
        reader, writer = os.pipe()
        if os.fork() == 0:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)
            os.write(writer, b"1")
            time.sleep(60)
        os.read(reader, 1)
        os._exit(0)
    os.wait()


def use_up(soft: int, hard: int) -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_DFL if soft < hard else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
    while True:
        pass


def out_of_processor_time() -> None:
    """One reaches its soft limit, one its hard limit, and a program that of a preexec_fn."""
    context = multiprocessing.get_context("fork")
    for name, limits in (("soft", (1, 60)), ("hard", (1, 1))):
        child = context.Process(target=use_up, args=limits, name=name)
        child.start()
        child.join()
    program = [sys.executable, "-c", "while True: pass"]
    limit = resource.RLIMIT_CPU, (1, 1)
    subprocess.run(program, check=False, preexec_fn=lambda: resource.setrlimit(*limit))
    subprocess.run(["sh", "-c", "ulimit -t 1; (while :; do :; done); :"], check=False)


def refused() -> None:
    """Numbers that are not signals, and what the calls say to them."""
    own = os.pidfd_open(os.getpid())
    calls: list[Callable[[Any], object]] = [
        lambda number: os.kill(os.getpid(), number),
        lambda number: os.killpg(os.getpgid(0), number),
        lambda number: signal.pthread_kill(threading.get_ident(), number),
        lambda number: signal.pidfd_send_signal(own, number),
        lambda number: signal.pidfd_send_signal(own, str(number)),  # type: ignore[arg-type]
        lambda number: signal.pidfd_send_signal(own),  # type: ignore[call-arg]
        lambda number: signal.pidfd_send_signal(0, number),
    ]
    for number in (9999, 65, -1, 0):
        for call in calls:
            try:
                print(call(number))
            except (OSError, TypeError, ValueError) as error:
                print(repr(error))


def to_a_stranger(way: str, pid: str) -> None:
    """A process of another run is signalled, and a child stays."""
    if os.fork() == 0:
        time.sleep(60)
    if way == "kill":
        os.kill(int(pid), signal.SIGCONT)
    elif way == "killpg":
        os.killpg(int(pid), signal.SIGCONT)
    else:
        send(int(pid), signal.SIGCONT)


def left_by_a_handler(how: str) -> None:
    """Main has a handler of SIGHUP that exits, or that lets it go on."""
    reader, writer = os.pipe()

    def leave(number: int, frame: object) -> None:
        if how == "sys.exit":
            sys.exit(5)
        if how == "raise":
            raise SystemExit(5)
        if how == "catches its exit":
            try:
                sys.exit(5)
            except SystemExit:
                os.write(writer, b"1")
        else:
            os.write(writer, b"1")

    signal.signal(signal.SIGHUP, leave)
    print("ready", flush=True)
    # until a handler writes or leaves; one that comes just before a call waits for its end
    while not select.select([reader], [], [], 0.05)[0]:
        pass
    sys.exit(6)


class Asked(Exception):
    pass


def leave_without_a_code(ready: Any, how: str) -> None:
    def leave(number: int, frame: object) -> None:
        if how == "in the handler":
            sys.exit()
        raise Asked

    signal.signal(signal.SIGTERM, leave)
    try:
        ready.set()
        time.sleep(60)
    except Asked:
        sys.exit() if how == "while it is handled" else None
    sys.exit()


def asked_to_leave(method: str, how: str) -> None:
    """A child calls sys.exit() in the handler of SIGTERM, in an `except` block, or after that."""
    context: Any = multiprocessing.get_context(method)
    ready = context.Event()
    child = context.Process(target=leave_without_a_code, args=(ready, how), name="child")
    child.start()
    ready.wait()
    child.terminate()
    child.join()


def _work() -> NoReturn:
    print("ready", flush=True)
    while True:
        time.sleep(0.01)


def _works_until_interrupted() -> int:
    try:
        _work()
    except KeyboardInterrupt:
        return 1


def leaves_when_interrupted(how: str) -> None:
    """Main catches Ctrl-C, and leaves in one of the ways that programs have for that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever it inherits
    if how == "by its code":
        sys.exit(_works_until_interrupted())
    try:
        _work()
    except KeyboardInterrupt:
        if how == "in the except block":
            sys.exit(130)
        if how == "with another exception":
            raise LookupError from None
    if how == "after it":
        sys.exit()
    if how == "os._exit":
        os._exit(3)


def asked_by_a_shell(how: str) -> None:
    """A shell asks main to end; it leaves by sys.exit() in the handler, or had no handler."""

    def leave(number: int, frame: object) -> None:
        signal.signal(number, signal.SIG_IGN)
        sys.exit(6)

    if how == "handled":
        signal.signal(signal.SIGHUP, leave)
        subprocess.run(["sh", "-c", "kill -HUP $PPID; sleep 60"], check=False)
    else:
        subprocess.run(["sh", "-c", "exit 0"], check=False)
    sys.exit(6)


def to_one_that_has_ended() -> None:
    """Main signals a child that has died of a signal, and whose status nobody has collected."""
    pid = os.fork()
    if pid == 0:
        signal.pause()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
