"""Waits and looks, and what keeps main in its exit path: WHICH, and how main's code ends.

asyncio is imported by those that use it: it would be most of what the others take.
"""

from __future__ import annotations

import atexit
import concurrent.futures
import contextlib
import multiprocessing
import multiprocessing.connection
import multiprocessing.util
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

FORK = multiprocessing.get_context("fork")
GATE = os.pipe()
TRUE = ["true", "child"]
LOOKS = 100  # in a row


# --- what children do


def nothing() -> None:
    pass


def stays() -> None:
    signal.pause()


def reads(end: int) -> None:
    os.read(end, 1)


def until_waited_for(parent: int) -> None:
    """Returns when main's code has ended and all its threads have nothing to do but wait."""
    os.read(GATE[0], 1)
    quiet = 0
    while quiet < LOOKS:
        quiet = quiet + 1 if sleeps(parent) else 0


def sleeps(pid: int) -> bool:
    tasks = list(Path(f"/proc/{pid}/task").iterdir())
    states = [(task / "stat").read_text().rpartition(")")[2].split()[0] for task in tasks]
    return set(states) == {"S"}


# --- how main waits for them


def ended(pid: int) -> None:
    """Wait until a child has ended, without its status."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def fork(code: int = 0) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(code)
    return pid


def ended_fork() -> int:
    pid = fork()
    ended(pid)
    return pid


def started(target: Any = nothing, *arguments: object, **options: Any) -> Any:
    process = FORK.Process(target=target, args=arguments, name="child", **options)
    process.start()
    return process


def ended_process() -> Any:
    process = started()
    ended(process.pid)
    return process


def popen() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(TRUE)
    ended(process.pid)
    return process


def in_thread(call: Any, *arguments: object, **options: Any) -> threading.Thread:
    thread = threading.Thread(target=call, args=arguments, **options)
    thread.start()
    return thread


def subprocess_poll() -> None:
    popen().poll()


def subprocess_poll_then_wait() -> None:
    process = popen()
    process.poll()
    process.wait()


def subprocess_wait() -> None:
    subprocess.Popen(TRUE).wait()


def subprocess_wait_timeout() -> None:
    subprocess.Popen(TRUE).wait(timeout=20)


def subprocess_wait_in_thread() -> None:
    in_thread(subprocess.Popen(TRUE).wait).join()


def subprocess_communicate() -> None:
    subprocess.Popen(TRUE, stdout=subprocess.PIPE).communicate()


def subprocess_communicate_timeout() -> None:
    subprocess.Popen(TRUE, stdout=subprocess.PIPE).communicate(timeout=20)


def subprocess_run() -> None:
    subprocess.run(TRUE)


def subprocess_run_timeout() -> None:
    subprocess.run(TRUE, timeout=20)


def subprocess_run_too_long() -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(["sleep", "60"], timeout=0.1)


def subprocess_check_output() -> None:
    subprocess.check_output(TRUE)


def subprocess_with() -> None:
    with subprocess.Popen(TRUE):
        pass


def subprocess_signalled() -> None:
    popen().send_signal(0)


def subprocess_deleted() -> None:
    process = popen()
    del process


def subprocess_at_the_end() -> None:
    globals()["kept"] = popen()


def subprocess_next_start() -> None:
    process = subprocess.Popen(["sleep", "60"])
    pid = process.pid
    del process  # it is running, so subprocess keeps it
    os.kill(pid, signal.SIGKILL)
    ended(pid)
    subprocess.Popen(TRUE).wait()


def subprocess_next_run() -> None:
    process = subprocess.Popen(["sleep", "60"])
    pid = process.pid
    del process
    os.kill(pid, signal.SIGKILL)
    ended(pid)
    subprocess.run(TRUE)


def subprocess_stolen() -> None:
    process = popen()
    os.waitpid(process.pid, os.WNOHANG)
    process.wait()


def os_popen() -> None:
    os.popen("exit 0").close()


def os_spawn() -> None:
    os.spawnlp(os.P_WAIT, "sh", "sh", "-c", "exit 0")


def os_waitpid() -> None:
    os.waitpid(fork(), 0)


def os_waitpid_in_thread() -> None:
    in_thread(os.waitpid, fork(), 0).join()


def os_waitpid_nohang() -> None:
    os.waitpid(ended_fork(), os.WNOHANG)


def os_wait() -> None:
    fork()
    os.wait()


def os_wait3() -> None:
    fork()
    os.wait3(0)


def os_wait3_nohang() -> None:
    ended_fork()
    os.wait3(os.WNOHANG)


def os_wait4() -> None:
    os.wait4(fork(), 0)


def os_wait4_nohang() -> None:
    os.wait4(ended_fork(), os.WNOHANG)


def os_waitid() -> None:
    os.waitid(os.P_PID, fork(), os.WEXITED)


def os_waitid_nohang() -> None:
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG) if ended_fork() else None


def os_waitid_then_waitpid() -> None:
    os.waitpid(ended_fork(), 0)


def os_stopped_then_looked_at() -> None:
    pid = os.fork()
    if pid == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    os.kill(pid, signal.SIGCONT)
    ended(pid)
    os.waitpid(pid, os.WNOHANG)


def os_handler_of_sigchld() -> None:
    done: list[int] = []  # not an Event, whose lock its waiter may hold as the handler runs

    def handler(number: int, frame: FrameType | None) -> None:
        done.extend(filter(None, os.waitpid(-1, os.WNOHANG)[:1]))

    signal.signal(signal.SIGCHLD, handler)
    fork()
    while not done:
        time.sleep(0.01)


def join() -> None:
    started().join()


def join_timeout() -> None:
    started().join(timeout=20)


def join_twice() -> None:
    process = started()
    process.join()
    process.join()


def join_in_thread() -> None:
    in_thread(started().join).join()


def join_after_is_alive() -> None:
    process = ended_process()
    process.is_alive()
    process.join()


def join_timed_out_then_looked_at() -> None:
    end, other = os.pipe()
    process = started(reads, end)
    process.join(timeout=0.01)
    os.write(other, b"x")
    ended(process.pid)
    process.is_alive()


class Interrupted(Exception):
    pass


def interrupt(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def join_interrupted() -> None:
    """The handler of a signal raises within join(); nobody waits again."""
    signal.signal(signal.SIGALRM, interrupt)
    end, other = os.pipe()
    process = started(reads, end, daemon=True)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        process.join()
    except Interrupted:
        os.write(other, b"x")
    ended(process.pid)
    process.is_alive()


def join_interrupted_then_again() -> None:
    signal.signal(signal.SIGALRM, interrupt)
    end, other = os.pipe()
    process = started(reads, end)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        process.join()
    except Interrupted:
        os.write(other, b"x")
    process.join()


def look_is_alive() -> None:
    ended_process().is_alive()


def look_exitcode() -> None:
    assert ended_process().exitcode == 0


def look_active_children() -> None:
    ended_process()
    multiprocessing.active_children()


def look_next_start() -> None:
    ended_process()
    process = FORK.Process(target=nothing, name="other")
    process.start()
    process.join()


def join_after_pools_start() -> None:
    process = ended_process()
    with FORK.Pool(1):
        process.join()


def look_pools_start() -> None:
    ended_process()
    with FORK.Pool(1) as pool:
        pool.map(abs, [-1])


def look_sentinel() -> None:
    process = started()
    multiprocessing.connection.wait([process.sentinel])
    ended(process.pid)
    assert process.exitcode == 0


def look_stolen() -> None:
    process = started()
    os.waitpid(process.pid, 0)
    process.join()


def asyncio_wait() -> None:
    import asyncio

    async def main() -> None:
        await (await asyncio.create_subprocess_exec(*TRUE)).wait()

    asyncio.run(main())


def asyncio_communicate() -> None:
    import asyncio

    async def main() -> None:
        pipe = asyncio.subprocess.PIPE
        await (await asyncio.create_subprocess_exec(*TRUE, stdout=pipe)).communicate()

    asyncio.run(main())


def asyncio_watched() -> None:
    import asyncio

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(*TRUE)
        while process.returncode is None:
            await asyncio.sleep(0.01)

    asyncio.run(main())


# --- what keeps main in its exit path


def awaited(**options: Any) -> Any:
    return started(until_waited_for, os.getpid(), **options)


def awaited_program() -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "child", str(os.getpid()), str(GATE[0])]
    return subprocess.Popen(command, pass_fds=[GATE[0]], stdout=subprocess.PIPE)


def awaited_fork() -> int:
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        until_waited_for(parent)
        os._exit(0)
    return pid


def held_by_exit_function() -> None:
    awaited()


def held_by_exit_function_without_statuses() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    awaited()


def held_by_stubborn_daemon() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    awaited(daemon=True)


def held_by_executor() -> None:
    executor = concurrent.futures.ProcessPoolExecutor(1, FORK)
    executor.submit(nothing).result()
    executor.submit(until_waited_for, os.getpid())


def held_by_executor_without_wait() -> None:
    executor = concurrent.futures.ProcessPoolExecutor(1, FORK)
    executor.submit(nothing).result()
    executor.submit(until_waited_for, os.getpid())
    executor.shutdown(wait=False)


def held_by_pool() -> None:
    pool = FORK.Pool(1)
    pool.map(abs, [-1])
    pool.apply_async(until_waited_for, [os.getpid()])
    pool.close()
    atexit.register(pool.join)


def held_by_thread_that_joins() -> None:
    in_thread(awaited().join)


def held_by_thread_that_waits() -> None:
    in_thread(awaited_program().wait)


def held_by_thread_that_communicates() -> None:
    in_thread(awaited_program().communicate)


def held_by_thread_that_joins_again_and_again() -> None:
    process = awaited_program()

    def work() -> None:
        while process.returncode is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.01)

    in_thread(work)


def held_by_thread_in_waitpid() -> None:
    in_thread(os.waitpid, awaited_fork(), 0)


def held_by_thread_in_wait() -> None:
    awaited_fork()
    in_thread(os.wait)


def held_by_thread_in_wait_for_its_group() -> None:
    awaited_fork()
    in_thread(os.waitpid, 0, 0)


def held_by_thread_on_a_sentinel() -> None:
    in_thread(multiprocessing.connection.wait, [awaited().sentinel])


def held_by_thread_that_polls() -> None:
    in_thread(until_known, awaited_program().poll)


def held_by_thread_that_looks_at_a_process() -> None:
    process = awaited()
    in_thread(until_known, lambda: process.exitcode)


def until_known(look: Any) -> None:
    while look() is None:
        time.sleep(0.01)


def held_by_handler_that_joins() -> None:
    atexit.register(awaited().join)


def held_by_handler_that_joins_twice() -> None:
    process = started(stays, daemon=True)

    def handler() -> None:
        process.join(timeout=0.1)
        process.join(timeout=0.1)

    atexit.register(handler)


def held_by_handler_that_waits() -> None:
    atexit.register(awaited_program().wait)


def held_by_handler_that_communicates() -> None:
    atexit.register(awaited_program().communicate, timeout=20)


def held_by_handler_in_waitpid() -> None:
    atexit.register(os.waitpid, awaited_fork(), 0)


def held_by_handler_in_wait() -> None:
    awaited_fork()
    atexit.register(os.wait)


def held_by_handler_on_a_sentinel() -> None:
    atexit.register(multiprocessing.connection.wait, [awaited().sentinel])


def held_by_handler_that_polls() -> None:
    atexit.register(until_known, awaited_program().poll)


def held_by_handler_that_looks_at_a_process() -> None:
    process = awaited()
    atexit.register(until_known, lambda: process.exitcode)


def held_by_handler_that_looks_without_blocking() -> None:
    pid = awaited_fork()
    atexit.register(until_known, lambda: os.waitpid(pid, os.WNOHANG)[0] or None)


def held_by_handler_in_asyncio() -> None:
    import asyncio

    async def main() -> None:
        command = sys.executable, sys.argv[0], "child", str(os.getpid()), str(GATE[0])
        process = await asyncio.create_subprocess_exec(*command, pass_fds=[GATE[0]])
        await process.wait()

    atexit.register(asyncio.run, main())


def held_by_finalizer_in_wait() -> None:
    awaited_fork()
    multiprocessing.util.Finalize(None, os.wait, exitpriority=10)


def held_by_finalizer_that_polls() -> None:
    look = awaited_program().poll
    multiprocessing.util.Finalize(None, until_known, [look], exitpriority=10)


def held_by_finalizer() -> None:
    multiprocessing.util.Finalize(None, awaited().join, exitpriority=10)


def holder(parent: int) -> None:
    FORK.Process(target=until_waited_for, args=[os.getpid()], name="child").start()


def held_by_exit_function_of_a_child() -> None:
    process = FORK.Process(target=holder, args=[os.getpid()], name="parent")
    process.start()
    os.write(GATE[1], b"x")
    process.join()


def not_held_by_daemon() -> None:
    started(stays, daemon=True)


def not_held_by_ended() -> None:
    ended_process()


def not_held_by_handler_that_comes_late() -> None:
    process = ended_process()
    atexit.register(process.join)


def not_held_by_joined() -> None:
    started().join()


def not_held_by_daemon_thread() -> None:
    # the program is killed at the end of the exit path
    process = subprocess.Popen(["sleep", "60"])
    in_thread(process.wait, daemon=True)
    atexit.register(os.kill, process.pid, signal.SIGKILL)


def not_held_by_look_in_handler() -> None:
    process = subprocess.Popen(["sleep", "60"])
    atexit.register(os.kill, process.pid, signal.SIGKILL)
    atexit.register(process.poll)


def not_held_by_two_looks_in_handler() -> None:
    process = subprocess.Popen(["sleep", "60"])

    def handler() -> None:
        process.poll()
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)

    atexit.register(handler)


def not_held_by_executor_that_was_shut_down() -> None:
    with concurrent.futures.ProcessPoolExecutor(1, FORK) as executor:
        executor.submit(nothing).result()


if __name__ == "__main__":
    if sys.argv[1] == "child":
        GATE = int(sys.argv[3]), -1
        until_waited_for(int(sys.argv[2]))
    else:
        globals()[sys.argv[1]]()
        os.write(GATE[1], b"xxx")
        if sys.argv[2:] == ["sys_exit"]:
            sys.exit(3)
        if sys.argv[2:] == ["raise"]:
            raise LookupError("drawn")
